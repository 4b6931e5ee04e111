"""Where Beaker keeps sessions, and which of our storages takes the place of each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from ..options import EXAMPLE_SECRET
from .rows import Line, Old, Remark, Row, Said, dropped, part
from .urls import redis_cluster, redis_server

_SERVER = re.compile(r"(?:inet6?:)?([\w.-]+(?::\d+)?|\[[0-9a-fA-F:.]+\](?::\d+)?)")


def type_of(old: Old) -> str:
    """Return the type of storage that Beaker takes."""
    return old.get("type") or ("file" if old.get("data_dir") else "memory")


def storage(old: Old) -> Iterator[Said]:
    """Say which storage takes the place of Beaker's."""
    make = _STORAGES.get(type_of(old))
    if make is not None:
        yield from make(old)
        return
    yield Line("plug", f"{EXAMPLE_SECRET}: a storage")
    yield Remark(
        f"= {old['type']} is none of Beaker's own. Name one of ours, or write a plug.", about="type"
    )


def can_be_imported(old: Old) -> str | None:
    """Return why sessions cannot be taken along; None if they can."""
    reasons = {
        "memory": "They end with the process that has them.",
        "ext:google": "App Engine's own library has them, which is for Python 2.",
        "ext:sqla": "Their engine and table are made in Python.",
    }
    if old.get("session_class") or old.get("namespace_class"):
        reason = "They are of a class of your own."
    elif (name := type_of(old)) not in _STORAGES:
        reason = "Nothing is known of their storage."
    elif name not in reasons:
        return None
    else:
        reason = reasons[name]
    return f"is left out, as the old sessions cannot be taken along. {reason} Users log in anew."


def pickled(old: Old) -> bool:
    """Tell whether what is stored has a pickle in it."""
    plain = type_of(old) in ("cookie", "ext:memcached")
    return old.get("data_serializer", "pickle") != "json" or not plain


def _memory(old: Old) -> Iterator[Said]:
    yield Line("plug", "memory")
    yield Remark(
        "is memory: each process has sessions of its own, forgets them when it ends, and never "
        "before. For a site, sqlite:///path/to/sessions.db is better.",
        caution=True,
        about="type",
    )


def _directory(old: Old, own: str) -> str | None:
    name = own if old.get(own) else "data_dir"
    return old.copied(name).rstrip("/") if old.get(name) else None


def _file(old: Old) -> Iterator[Said]:
    yield from _in_directory(old, "file", "file_dir", "_sessions")


def _dbm(old: Old) -> Iterator[Said]:
    yield from _in_directory(old, "dbm", "dbm_dir", "_sessions.dbm")
    yield Remark(
        "is dbm, which one process at a time can use: Beaker had a database for each session. If "
        "there are more processes, sqlite:///path/to/sessions.db is better.",
        caution=True,
        about="type",
    )


def _in_directory(old: Old, plug: str, own: str, ending: str) -> Iterator[Said]:
    directory = _directory(old, own)
    if directory is None:
        yield Line("plug", f"{EXAMPLE_SECRET}: {plug}, and a path")
        yield Remark("is not set, and Beaker did not work without it.", about="data_dir")
        return
    yield Line("plug", plug)
    # Beside Beaker's directory, and not in it: that will be deleted one day.
    yield Line(f"{plug}.path", directory.rstrip("/") + ending)


def _cookie(old: Old) -> Iterator[Said]:
    yield Line("plug", "cookie")
    yield Remark(
        "is cookie: the browser keeps the session, so a logout does not take it from whoever has "
        "copied the cookie. Any other storage does. Ours is always encrypted: pip install "
        "pyramid_pluggable_session[cookie]",
        about="type",
    )
    if not old.get("encrypt_key"):
        yield Remark(
            "is not set, so that whoever had the cookie could read the session.",
            caution=True,
            about="encrypt_key",
        )


def _memcached(old: Old) -> Iterator[Said]:
    yield Remark(
        "is ext:memcached, to which Beaker gave no expiry: sessions stayed until the server was "
        "full or restarted. Ours expire. What Beaker left there may be flushed when the import "
        "is over.",
        caution=True,
        about="type",
    )
    servers = [each.strip() for each in old.get("url", "").split(";") if each.strip()]
    sockets = [each.removeprefix("unix:") for each in servers if "/" in each]
    if len(servers) == 1 and sockets:
        yield Line("plug", f"memcached://{sockets[0]}".replace("%", "%%"))
        return
    matches = [_SERVER.fullmatch(each) for each in servers]
    if matches and all(matches):
        hosts = ",".join(match[1] for match in matches if match)
        yield Line("plug", f"memcached://{hosts}")
    else:
        yield Line("plug", f"{EXAMPLE_SECRET}: memcached://host:11211,host2:11211")
        yield Remark("does not name hosts, or one socket, that are understood.", about="url")


def _redis(old: Old) -> Iterator[Said]:
    yield from redis_server(old, "url")


def _rediscluster(old: Old) -> Iterator[Said]:
    yield from redis_cluster(old, "urls")


def _mongodb(old: Old) -> Iterator[Said]:
    yield Line("plug", "mongodb")
    if old.get("url"):
        yield Line("mongodb.url", old.discreet("url"))
    yield Remark(
        "is ext:mongodb, where Beaker makes no TTL index: sessions whose users never came back are "
        "still there, in the collection backer_cache. Ours expire, in the collection sessions. "
        "Drop the old one when the import is over.",
        caution=True,
        about="type",
    )


def _database(old: Old) -> Iterator[Said]:
    yield Line("plug", "sqlalchemy")
    if not old.get("url"):
        yield Line("sqlalchemy.url", f"{EXAMPLE_SECRET}: the database")
        yield Remark("is not set; was it in sa_opts, in Python?", about="url")
    elif old["url"].startswith("postgres://"):
        yield Line("sqlalchemy.url", old.hole("url", "postgresql:// and the rest"))
        yield Remark("begins with postgres://, which is postgresql:// by now.", about="url")
    else:
        yield Line("sqlalchemy.url", old.discreet("url"))
    if old.get("table_name") == "sessions":
        yield Line("sqlalchemy.table", "pluggable_sessions")
    if old.get("schema_name"):
        yield Line("sqlalchemy.schema", old.copied("schema_name"))
    yield Remark(
        "is ext:database, from which Beaker deletes nothing: sessions whose users never came back "
        f"are still there, in the table {old.get('table_name') or 'beaker_cache'}. Ours are "
        "deleted when they have expired. Drop the old table when the import is over.",
        caution=True,
        about="type",
    )


def _sqla(old: Old) -> Iterator[Said]:
    yield Line("plug", "sqlalchemy")
    yield Line("sqlalchemy.engine", f"{EXAMPLE_SECRET}.dotted.name.of.the.engine")
    yield Remark(
        "is ext:sqla, with an engine that is made in Python: write its dotted name, or that of a "
        "callable that takes config and returns it.",
        about="type",
    )


def _google(old: Old) -> Iterator[Said]:
    yield Line("plug", "datastore")
    yield Remark(
        "is ext:google, which is App Engine's library for Python 2. Ours is that of Google Cloud "
        "Datastore, with entities of another kind.",
        about="type",
    )


_STORAGES: Final[dict[str, Callable[[Old], Iterator[Said]]]] = {
    "memory": _memory,
    "file": _file,
    "dbm": _dbm,
    "cookie": _cookie,
    "ext:memcached": _memcached,
    "ext:redis": _redis,
    "ext:rediscluster": _rediscluster,
    "ext:mongodb": _mongodb,
    "ext:database": _database,
    "ext:sqla": _sqla,
    "ext:google": _google,
}

STORAGE_ROWS: Final[tuple[Row, ...]] = (
    part("type"),
    part("data_dir", "file.path", "dbm.path"),
    part("file_dir", "file.path"),
    part("dbm_dir", "dbm.path"),
    dropped("lock_dir", "is not needed: no storage has lock files of its own."),
    dropped("digest_filenames", "is not read by Beaker for sessions either."),
    dropped("dbmmodule", "can only be set in Python. Ours is pluggable_session.dbm.module."),
    part("url", "plug", "redis.username", "redis.password", "sqlalchemy.url", "mongodb.url"),
    part("urls"),
    part("username", "redis.username"),
    part("password", "redis.password"),
    part("table_name", "sqlalchemy.table"),
    part("schema_name", "sqlalchemy.schema"),
    dropped("sa_opts", "can only be set in Python. Give an engine: pluggable_session.sqlalchemy."
            "engine = its dotted name"),
    dropped("bind", "can only be set in Python: pluggable_session.sqlalchemy.engine = its dotted "
            "name"),
    dropped("table", "can only be set in Python. Ours is made by itself: "
            "pluggable_session.sqlalchemy.table is its name."),
    dropped("memcache_module", "is not needed: pymemcache is the client."),
)  # fmt: skip
