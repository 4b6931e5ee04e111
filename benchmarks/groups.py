"""Who is measured beside whom: a group for each kind of storage, with its floor, ours and peers."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

# The servers are those of the tests.
TESTS = str(Path(__file__).parents[1] / "tests")


class Place:
    """Where a group stores: a directory, and its server, perhaps by way of a relay."""

    def __init__(self, folder, server=None, relay=None):
        self.root, self.server, self.relay = str(folder), server, relay

    def folder(self, name):
        """Return a new directory of this name."""
        path = os.path.join(self.root, name)
        os.mkdir(path)
        return path

    def path(self, name):
        return os.path.join(self.root, name)

    @property
    def host(self):
        return self.server.host

    @property
    def port(self):
        return self.server.port if self.relay is None else self.relay.port

    @property
    def url(self):
        return self.server.url if self.relay is None else self.relay.url()


class Entry(NamedTuple):
    """Whoever takes part in a group. ``kind`` is floor, ours or peer.

    ``make`` gets the place and returns a function's name, as ``module:function`` below
    ``contestants``, and its arguments.
    """

    kind: str
    name: str
    function: str
    arguments: Callable[[Place], dict[str, Any] | tuple] = lambda place: ()

    def contestant(self, place):
        module, _, function = self.function.partition(":")
        module = importlib.import_module(f"{__package__}.contestants.{module}")
        arguments = self.arguments(place)
        if isinstance(arguments, dict):
            made = getattr(module, function)(**arguments)
        else:
            made = getattr(module, function)(*arguments)
        made.name, made.kind = self.name, self.kind
        return made


@dataclass
class Group:
    """A storage: the class of its server, if it needs one, and the entries."""

    name: str
    entries: list[Entry]
    server: str | None = None

    def server_class(self):
        """Return the class, or raise LookupError with the reason why there is no such server."""
        if self.server is None:
            return None
        if TESTS not in sys.path:
            sys.path.insert(0, TESTS)
        module, _, name = self.server.partition(":")
        found = getattr(importlib.import_module(f"servers.{module}"), name)
        if reason := found.absent():
            raise LookupError(reason)
        return found


def _floor(name, arguments=lambda place: ()):
    return Entry("floor", "floor", "pyramid:floor", lambda place: (name, *arguments(place)))


def _ours(name, plug, **settings):
    """Return ours: ``plug`` is its URL, or a function of the place; settings have __ for a dot."""

    def arguments(place):
        url = plug(place) if callable(plug) else plug
        given = {
            key.replace("__", "."): value(place) if callable(value) else value
            for key, value in settings.items()
        }
        return {"plug": url, "settings": given, "client_side": url == "cookie"}

    return Entry("ours", name, "pyramid:ours", arguments)


def _peer(name, function, arguments=lambda place: ()):
    return Entry("peer", name, function, arguments)


def _url(place):
    return place.url


def _mongodb(place):
    # A replica set tells its clients the members' addresses, which lead around a relay.
    return place.url + ("?directConnection=true" if place.relay else "")


def _mariadb(place):
    parts = urlsplit(place.url)
    return {
        "name": "mariadb",
        "host": place.host,
        "port": place.port,
        "user": "app",
        "password": importlib.import_module("servers.mariadb").PASSWORD,
        "database": parts.path[1:],
    }


def _dynamodb(place):
    query = parse_qs(urlsplit(place.url).query)
    return (query["endpoint_url"][0], query["region"][0])


def _datastore(place):
    parts = urlsplit(place.url)
    return (parts.netloc, parse_qs(parts.query)["emulator_host"][0])


def _django_postgresql(place, **settings):
    return {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": place.host,
        "PORT": place.port,
        "USER": "app",
        "PASSWORD": importlib.import_module("servers.postgresql").PASSWORD,
        "NAME": "app",
        **settings,
    }


def _psycopg(place):
    return place.url.replace("postgresql:", "postgresql+psycopg:")


GROUPS = {
    group.name: group
    for group in (
        Group(
            "memory",
            [
                _floor("memory"),
                _ours("memory", "memory"),
                _ours("memory, cookie with an age", "memory", max_age="864000"),
                Entry("ours", "dogpile, memory", "pyramid:ours_in_region", lambda _: ("memory",)),
                _peer("Beaker", "beaker:beaker", lambda _: ("memory",)),
                _peer("Beaker, tuned", "beaker:beaker", lambda _: ("memory", True)),
                _peer("Pyramid's signed cookie", "pyramid:signed_cookie"),
                _peer("starsessions", "starsessions:memory"),
            ],
        ),
        Group(
            "cookie",
            [
                Entry("floor", "floor (not encrypted)", "pyramid:floor",
                      lambda _: {"name": "cookie", "client_side": True}),
                _ours("cookie (encrypted)", "cookie"),
                _peer("Pyramid's signed cookie", "pyramid:signed_cookie"),
                _peer("Flask's cookie", "flask:cookie"),
                _peer("Django signed_cookies", "django:cookie"),
                _peer("starsessions", "starsessions:cookie"),
            ],
        ),
        Group(
            "file",
            [
                _floor("file", lambda place: (place.folder("floor"),)),
                _ours("file", lambda place: f"file://{place.path('ours')}"),
                _ours("chain: memory, file", "chain", chain__plugs=lambda place: (
                    f"memory\nfile://{place.path('chained')}")),
                _peer("Beaker", "beaker:beaker",
                      lambda place: {"kind": "file", "data_dir": place.path("beaker")}),
                _peer("Beaker, tuned", "beaker:beaker", lambda place: {
                      "kind": "file", "data_dir": place.path("beaker2"), "tuned": True}),
                _peer("Django", "django:file", lambda place: (place.folder("django"),)),
                _peer("Flask-Session, cachelib", "flask:file",
                      lambda place: (place.folder("flask"),)),
                _peer("Flask-Session, cachelib, tuned", "flask:file",
                      lambda place: (place.folder("flask2"), True)),
            ],
        ),
        Group(
            "sqlite",
            [
                _floor("sqlite", lambda place: (place.path("floor.db"),)),
                _ours("sqlite", lambda place: f"sqlite://{place.path('ours.db')}"),
                _ours("sqlalchemy", lambda place: f"sqlite+pysqlite:///{place.path('alchemy.db')}"),
                _ours("migration: sqlite, file", "migration",
                      migration__old=lambda place: f"sqlite://{place.path('old.db')}",
                      migration__new=lambda place: f"file://{place.path('new')}"),
                _peer("Beaker", "beaker:beaker", lambda place: {
                      "kind": "ext:database", "url": f"sqlite:///{place.path('beaker.db')}",
                      "lock_dir": place.path("locks")}),
                _peer("Beaker, tuned", "beaker:beaker", lambda place: {
                      "kind": "ext:database", "url": f"sqlite:///{place.path('beaker2.db')}",
                      "lock_dir": place.path("locks2"), "tuned": True}),
                _peer("Django", "django:database", lambda place: {
                      "ENGINE": "django.db.backends.sqlite3", "NAME": place.path("django.db")}),
                # Tuned: the connection is kept, and the database as ours is.
                _peer("Django, tuned", "django:database", lambda place: {
                      "ENGINE": "django.db.backends.sqlite3", "NAME": place.path("django2.db"),
                      "CONN_MAX_AGE": None, "OPTIONS": {"init_command":
                          "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"}}),
                _peer("Flask-Session, SQLAlchemy", "flask:sqlalchemy",
                      lambda place: (f"sqlite:///{place.path('flask.db')}",)),
                _peer("Flask-Session, SQLAlchemy, tuned", "flask:sqlalchemy",
                      lambda place: (f"sqlite:///{place.path('flask2.db')}", True)),
            ],
        ),
        Group(
            "lmdb",
            [
                _floor("lmdb", lambda place: (place.path("floor.lmdb"),)),
                _ours("lmdb", lambda place: f"lmdb://{place.path('ours.lmdb')}"),
            ],
        ),
        Group(
            "dbm",
            [
                _floor("dbm", lambda place: (place.path("floor"),)),
                _ours("dbm", lambda place: f"dbm://{place.path('ours')}"),
                _peer("Beaker", "beaker:beaker",
                      lambda place: {"kind": "dbm", "data_dir": place.path("beaker")}),
                _peer("Beaker, tuned", "beaker:beaker", lambda place: {
                      "kind": "dbm", "data_dir": place.path("beaker2"), "tuned": True}),
            ],
        ),
        Group(
            "redis",
            [
                _floor("redis", lambda place: (place.url,)),
                _ours("redis", _url),
                _ours("redis, near cache", _url,
                      redis__near_cache=100_000_000, redis__prefix="near:"),
                _ours("chain: memory, redis", "chain",
                      chain__plugs=lambda place: f"memory\n{place.url}",
                      redis__prefix="chained:"),
                Entry("ours", "dogpile, redis", "pyramid:ours_in_region",
                      lambda place: {"backend": "redis", "url": place.url}),
                _peer("pyramid_session_redis", "pyramid:session_redis", lambda place: (place.url,)),
                _peer("pyramid_session_redis, tuned", "pyramid:session_redis_tuned",
                      lambda place: (place.url,)),
                _peer("pyramid_session_redis, LRU", "pyramid:session_redis_lru",
                      lambda place: (place.url,)),
                _peer("Beaker", "beaker:beaker",
                      lambda place: {"kind": "ext:redis", "url": place.url}),
                _peer("Beaker, tuned", "beaker:beaker",
                      lambda place: {"kind": "ext:redis", "url": place.url, "tuned": True}),
                _peer("Flask-Session", "flask:redis", lambda place: (place.url,)),
                _peer("Flask-Session, tuned", "flask:redis", lambda place: (place.url, True)),
                _peer("Django, cache", "django:cache",
                      lambda place: ("redis.RedisCache", place.url)),
                _peer("starsessions", "starsessions:redis", lambda place: (place.url,)),
            ],
            server="redis:Valkey",
        ),
        Group(
            "memcached",
            [
                _floor("memcached", lambda place: (place.host, place.port)),
                _ours("memcached", _url),
                Entry("ours", "dogpile, pymemcache", "pyramid:ours_in_region", lambda place: {
                      "backend": "pymemcache", "url": f"{place.host}:{place.port}"}),
                _peer("Beaker", "beaker:beaker", lambda place: {
                      "kind": "ext:memcached", "url": f"{place.host}:{place.port}",
                      "lock_dir": place.path("locks")}),
                _peer("Beaker, tuned", "beaker:beaker", lambda place: {
                      "kind": "ext:memcached", "url": f"{place.host}:{place.port}",
                      "lock_dir": place.path("locks"), "tuned": True}),
                _peer("Django, cache", "django:cache", lambda place: (
                      "memcached.PyMemcacheCache", f"{place.host}:{place.port}")),
                _peer("Flask-Session", "flask:memcached", lambda place: (place.host, place.port)),
                _peer("Flask-Session, tuned", "flask:memcached",
                      lambda place: (place.host, place.port, True)),
            ],
            server="memcached:Memcached",
        ),
        Group(
            "postgresql",
            [
                _floor("postgresql", lambda place: (place.url,)),
                _ours("postgresql (sqlalchemy)", _url),
                _peer("Beaker", "beaker:beaker", lambda place: {
                      "kind": "ext:database", "url": _psycopg(place),
                      "lock_dir": place.path("locks"), "table_name": "beaker_one"}),
                _peer("Beaker, tuned", "beaker:beaker", lambda place: {
                      "kind": "ext:database", "url": _psycopg(place),
                      "lock_dir": place.path("locks2"), "table_name": "beaker_two",
                      "tuned": True}),
                _peer("Django", "django:database", _django_postgresql),
                _peer("Django, connection kept", "django:database",
                      lambda place: _django_postgresql(place, CONN_MAX_AGE=None)),
                _peer("Flask-Session, SQLAlchemy", "flask:sqlalchemy",
                      lambda place: (_psycopg(place),)),
                _peer("Flask-Session, SQLAlchemy, tuned", "flask:sqlalchemy",
                      lambda place: (_psycopg(place), True)),
            ],
            server="postgresql:PostgreSQL",
        ),
        Group(
            "mariadb",
            [
                Entry("floor", "floor", "pyramid:floor", _mariadb),
                _ours("mariadb (sqlalchemy)", _url),
            ],
            server="mariadb:MariaDB",
        ),
        Group(
            "mongodb",
            [_floor("mongodb", lambda place: (_mongodb(place),)), _ours("mongodb", _mongodb)],
            server="mongodb:Mongodb",
        ),
        Group(
            "dynamodb",
            [_floor("dynamodb", _dynamodb), _ours("dynamodb", _url)],
            server="dynamodb:DynamodbLocal",
        ),
        Group(
            "datastore",
            [_floor("datastore", _datastore), _ours("datastore", _url)],
            server="datastore:DatastoreEmulator",
        ),
    )
}  # fmt: skip
