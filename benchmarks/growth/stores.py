"""Storages to be filled: several stores of one kind side by side, and records by the million.

To put them in, each way is the driver's own for many at once. What is stored is the same as if the
application had stored it.
"""

from __future__ import annotations

import itertools
import os
import sqlite3
from typing import ClassVar

from pyramid_pluggable_session.keys import SessionKey
from pyramid_pluggable_session.plugs import expiry

from ..groups import GROUPS

GIB = 2**30
_MOST_MEMORY = 3 * GIB  # that a benchmark may take
_BATCH = 1000


class Stores:
    """The stores of one kind, by name.

    ``disk``, ``inodes`` and ``memory`` are what a session of 1 KB takes while it is put in.
    """

    disk = inodes = memory = 0
    purge_interval = None  # the name of the setting, if there is one
    server_options: ClassVar = {}  # for the class of the server
    server_arguments = ()

    def __init__(self, place):
        self.place = place

    def plug(self, name):
        """Return what the setting ``plug`` is for a store, and further settings."""
        raise NotImplementedError

    def fill(self, site, name, rows):
        """Put rows into a store, which is the one of ``site``; nothing else uses it meanwhile."""
        raise NotImplementedError


class Memory(Stores):
    def plug(self, name):
        return "memory", {}


class Memcached(Stores):
    server_arguments = ("-I", "8m", "-m", "512")

    def plug(self, name):
        return self.place.url, {"memcached.prefix": f"{name}:"}


class Sqlite(Stores):
    disk = 2500
    purge_interval = "sqlite.purge_interval"

    def plug(self, name):
        return f"sqlite://{self.place.path(name)}.db", {}

    def fill(self, site, name, rows):
        site.close()
        connection = sqlite3.connect(f"{self.place.path(name)}.db", isolation_level=None)
        try:
            # Nobody wants it back if this is interrupted: no log, and a cache for the whole index.
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA cache_size = -400000")
            connection.execute("BEGIN EXCLUSIVE")
            insert = "INSERT INTO sessions (id, data, expires) VALUES (?, ?, ?)"
            connection.executemany(insert, rows)
            connection.execute("COMMIT")
            connection.execute("PRAGMA journal_mode = WAL")
        finally:
            connection.close()


class File(Stores):
    disk = 4096 + 512
    inodes = 1
    purge_interval = "file.purge_interval"

    def plug(self, name):
        return f"file://{self.place.path(name)}", {}

    def fill(self, site, name, rows):
        folder = self.place.path(name)
        for number in range(256):
            os.makedirs(f"{folder}/{number:02x}", mode=0o700, exist_ok=True)
        for session_id, data, expires_at in rows:
            path = f"{folder}/{session_id[:2]}/{session_id}"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            os.write(descriptor, expiry.stamp(data, expires_at))
            os.close(descriptor)


class Redis(Stores):
    """Each store is a database of its own: with prefixes, they would be in one table."""

    memory = 1500

    def __init__(self, place):
        super().__init__(place)
        self._numbers = {}

    def _url(self, name):
        number = self._numbers.setdefault(name, len(self._numbers))
        return self.place.url.removesuffix("/0") + f"/{number}"

    def plug(self, name):
        return self._url(name), {}

    def fill(self, site, name, rows):
        import redis

        with redis.Redis.from_url(self._url(name)) as client:
            rows = iter(rows)
            while batch := list(itertools.islice(rows, _BATCH)):
                pipeline = client.pipeline(transaction=False)
                for session_id, data, expires_at in batch:
                    pipeline.set(f"session:{session_id}", data, pxat=int(expires_at * 1000))
                pipeline.execute()


class Postgresql(Stores):
    disk = 4000  # with its log
    purge_interval = "sqlalchemy.purge_interval"
    server_options: ClassVar = {
        "shared_buffers": "256MB", "max_wal_size": "2GB", "max_connections": "200"
    }  # fmt: skip

    def plug(self, name):
        return self.place.url, {"sqlalchemy.table": _table(name)}

    def fill(self, site, name, rows):
        import psycopg

        # The first operation makes the table.
        site.plug.loads(SessionKey("0" * 64, None), None)
        table = _table(name)
        with psycopg.connect(self.place.url, autocommit=True) as connection:
            copy = f"COPY {table} (id, data, expires) FROM STDIN (FORMAT BINARY)"
            with connection.cursor().copy(copy) as into:
                into.set_types(["varchar", "bytea", "float8"])
                for row in rows:
                    into.write_row(row)
            # Sooner or later the server does it by itself, but not in the middle of measuring.
            connection.execute(f"VACUUM ANALYZE {table}")


def _table(name):
    return f"sessions_{name}"


STORES = {
    "memory": Memory,
    "file": File,
    "sqlite": Sqlite,
    "redis": Redis,
    "memcached": Memcached,
    "postgresql": Postgresql,
}


def server(name, folder):
    """Return the server of a kind of storage, not started; None if it needs none.

    Raise LookupError or ImportError if there is none here.
    """
    server_class = GROUPS[name].server_class()
    if server_class is None:
        return None
    stores = STORES[name]
    return server_class(folder, *stores.server_arguments, **stores.server_options)


def obstacle(stores, count, folder):
    """Return why so many sessions do not fit here, or None if they do."""
    about = os.statvfs(folder)
    needs = (
        ("disk", count * stores.disk / GIB, about.f_bavail * about.f_frsize / 2 / GIB, "GiB"),
        # Some file systems have no such limit, and say 0.
        ("inodes", count * stores.inodes, about.f_favail / 2 if about.f_files else count, ""),
        ("memory", count * stores.memory / GIB, min(_available(), _MOST_MEMORY) / GIB, "GiB"),
    )
    for what, needed, free, unit in needs:
        if needed > free:
            return f"{needed:.3g} {unit} of {what} are needed, and {free:.3g} may be used".replace(
                "  ", " "
            )
    return None


def _available():
    """Return the bytes of memory that are available."""
    with open("/proc/meminfo") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0
