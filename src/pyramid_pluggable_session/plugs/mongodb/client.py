"""How MongoDB is reached: the client of each process, its URL checked without a network."""

from __future__ import annotations

import math
import re
from typing import Any, Final

from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import MongoClient, ReadPreference, WriteConcern
from pymongo.collection import Collection
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri
from pyramid.exceptions import ConfigurationError

from ..per_process import PerProcess

Documents = Collection[dict[str, Any]]

_SETTING: Final = "pluggable_session.mongodb."
_SRV: Final = "mongodb+srv://"

# Dates as what they are, milliseconds: a datetime ends with the year 9999, and whether it has a
# time zone is up to whoever made the client.
CODEC: CodecOptions[dict[str, Any]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS
)


class Collections:
    """The collection of sessions, on a client that each process makes, or on the application's.

    ``database`` None is the one that the client names, or else ``sessions``. ``timeout`` says how
    many seconds the members of a replica set may take to confirm a write.
    """

    def __init__(self, database: str | None, collection: str, timeout: float) -> None:
        self._database = database
        self._collection = collection
        self._timeout = timeout

    def on_url(
        self, url: str, username: str | None, password: str | None, connect_timeout: float
    ) -> PerProcess[Documents]:
        """Check a URL and return what connects to it."""
        milliseconds = math.ceil(connect_timeout * 1000)
        arguments: dict[str, Any] = {
            "appname": "pyramid_pluggable_session",
            "connectTimeoutMS": milliseconds,
            "serverSelectionTimeoutMS": milliseconds,
            "timeoutMS": math.ceil(self._timeout * 1000),
            "username": username,
            "password": password,
        }
        arguments = self._check_url(url, {k: v for k, v in arguments.items() if v is not None})
        return PerProcess(lambda: self._open(MongoClient(url, connect=False, **arguments)))

    def on_client(self, client: Any) -> PerProcess[Documents]:
        """Return what uses the application's own client."""
        if not isinstance(client, MongoClient):
            raise ConfigurationError(
                f"{_SETTING}client must be a pymongo MongoClient or a callable that returns one, "
                f"not {type(client).__name__}."
            )
        try:
            documents = self._open(client)
        except (PyMongoError, ValueError) as error:
            raise ConfigurationError(f"{_SETTING}client cannot be used: {error}.") from None
        return PerProcess(lambda: documents)

    def _open(self, client: MongoClient[Any]) -> Documents:
        """Return the collection, with the guarantees that sessions need. It needs no network."""
        concern = client.write_concern
        if not concern.acknowledged:
            raise ValueError("with w=0 nobody learns whether a session was saved")
        # wtimeout is for an application's client: on ours, timeoutMS takes its place.
        wtimeout = math.ceil(self._timeout * 1000)
        concern = WriteConcern(**{"w": "majority", "wtimeout": wtimeout, **concern.document})
        if self._database is None:
            database = client.get_default_database("sessions")
        else:
            database = client.get_database(self._database)
        return database.get_collection(self._collection, CODEC, ReadPreference.PRIMARY, concern)

    def _check_url(self, url: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments but for what the URL says itself: its options are pymongo's own."""
        try:
            # The host of a mongodb+srv URL is a question to the DNS; pymongo asks it at once.
            plain = _without_srv(url) if url.startswith(_SRV) else url
            parsed = parse_uri(plain, warn=False, default_port=None)
            hosts = parsed["nodelist"]
            if not all(host for host, _ in hosts):
                raise ValueError("it names no host")
            if url.startswith(_SRV) and (len(hosts) > 1 or hosts[0][1] is not None):
                raise ValueError("a mongodb+srv URL has one host and no port")
            if "@" in (parsed["database"] or ""):
                raise ValueError("its user or password has a slash")
            if parsed["collection"] is not None:
                raise ValueError(f"its path is a database; {_SETTING}collection names a collection")
            if "password" in arguments and parsed["password"]:
                raise ValueError(f"it has a password, and {_SETTING}password is another one")
            if "password" in arguments and not (parsed["username"] or "username" in arguments):
                raise ValueError(f"it has no user for {_SETTING}password")
            in_url = {name.lower() for name in parsed["options"]}
            left = {name: each for name, each in arguments.items() if name.lower() not in in_url}
            with MongoClient[Any](plain, connect=False, **left) as client:
                if client.read_preference != ReadPreference.PRIMARY:
                    raise ValueError(
                        "sessions are read from the primary, so readPreference must go"
                    )
                self._open(client)
        except (PyMongoError, ValueError, TypeError, OSError) as error:
            raise ConfigurationError(
                f"{_SETTING}url cannot be used: {_without_password(str(error), url)}. It should "
                "look like mongodb://user:password@host1,host2/database?replicaSet=name, with "
                "special characters of the user and the password percent-encoded."
            ) from None
        return left


def close(collection: PerProcess[Documents]) -> None:
    """Close the client of this process, if there is one."""
    opened = collection.take()
    if opened is not None:
        opened.database.client.close()


def _without_srv(url: str) -> str:
    """Return a mongodb+srv URL as a mongodb one, without the options that only the former has."""
    rest, mark, query = url.removeprefix(_SRV).partition("?")
    pairs = (pair for pair in query.split("&") if not pair.lower().startswith("srv"))
    return f"mongodb://{rest}{mark}{'&'.join(pairs)}"


def _without_password(message: str, url: str) -> str:
    """Return pymongo's message, unless it has a part of a password that was taken for another."""
    password = url.partition("://")[2].rpartition("@")[0].partition(":")[2]
    if any(part in message for part in re.split(r"[:/?#@&=%]", password) if part):
        return "pymongo cannot make sense of it"
    return message.rstrip(".")
