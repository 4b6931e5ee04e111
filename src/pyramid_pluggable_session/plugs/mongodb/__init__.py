"""Sessions in MongoDB."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Final

import pymongo
from pymongo.errors import DuplicateKeyError, PyMongoError
from pyramid.exceptions import ConfigurationError
from zope.interface import implementer

from ... import settings
from ...interfaces import IPurgePlug, IScanPlug, ISwapPlug
from ...keys import SessionKey
from ...settings import Option, or_none, text
from ..common_options import CONNECT_TIMEOUT, TIMEOUT, from_application
from . import documents
from .client import CODEC, Collections, Documents, close
from .remedies import remedy

if TYPE_CHECKING:
    from ...interfaces import Key

_URL: Final = "mongodb://localhost:27017"
_PAGE = 500


@implementer(ISwapPlug, IScanPlug, IPurgePlug)
class MongodbPlug:
    """Keeps records as documents of a collection.

    Writes are confirmed by the majority of a replica set and reads come from its primary, so that
    a record survives the loss of a server. A TTL index lets MongoDB delete what has expired.
    """

    # pymongo repeats what failed with its connection. It may: for a replica set it numbers the
    # writes, so that none is done twice, and on other servers it repeats nothing but reads.

    name: ClassVar[str] = "mongodb"
    options: ClassVar[tuple[Option, ...]] = (
        Option(
            "url",
            text,
            _URL,
            "The servers, and options of pymongo: mongodb://user:password@host1,host2/database"
            "?replicaSet=name, or mongodb+srv://host/database.",
            from_url="url",
        ),
        Option(
            "database",
            or_none(text),
            None,
            "The database; if not set, the one in the URL's path, or else sessions.",
        ),
        Option("collection", text, "sessions", "The collection."),
        Option("username", or_none(text), None, "The user, if not in the URL."),
        Option("password", or_none(text), None, "The password, if not in the URL.", secret=True),
        CONNECT_TIMEOUT,
        TIMEOUT,
        Option(
            "create_index",
            settings.boolean,
            True,
            "Whether to make the TTL index by which MongoDB deletes expired sessions.",
        ),
        Option(
            "client",
            or_none(settings.dotted),
            None,
            "The application's own MongoClient, or a callable that gets config and returns it, in "
            "place of url, username, password and connect_timeout.",
        ),
    )
    outages: ClassVar[tuple[type[Exception], ...]] = (PyMongoError,)

    def __init__(
        self,
        config: Any = None,
        *,
        url: str = _URL,
        database: str | None = None,
        collection: str = "sessions",
        username: str | None = None,
        password: str | None = None,
        connect_timeout: float = 2.0,
        timeout: float = 5.0,
        create_index: bool = True,
        client: Any = None,
    ) -> None:
        self._create_index = create_index
        self._index_is_there = not create_index
        collections = Collections(database, collection, timeout)
        if client is None:
            self._collection = collections.on_url(url, username, password, connect_timeout)
            weakref.finalize(self, close, self._collection)
        elif (url, username, password) == (_URL, None, None):
            self._collection = collections.on_client(from_application(config, client))
        else:
            raise ConfigurationError(
                "pluggable_session.mongodb.client is set, and so is url, username or password, "
                "which an own client has no use for. Remove one or the other."
            )
        self._owns_client = client is None

    def close(self) -> None:
        """Close the connections, unless they are the application's. The plug stays usable."""
        if self._owns_client:
            close(self._collection)

    def loads(self, session: Key, request: Any) -> bytes | None:
        """Return the record, or None when it is absent or expired."""
        where = {"_id": session.session_id, **documents.live()}
        found = self._collection().find_one(where, {"data": 1})
        return None if found is None else found["data"]

    def dumps(self, session: Key, request: Any, session_data: bytes) -> None:
        """Store the record until ``session.expires_at``."""
        document = documents.document(session, session_data)
        self._for_writing().replace_one({"_id": session.session_id}, document, upsert=True)

    def clear(self, session: Key, request: Any) -> None:
        """Forget the record."""
        self._collection().delete_one({"_id": session.session_id})

    def swap(self, session: Key, request: Any, expected: bytes | None, session_data: bytes) -> bool:
        """Store the record if what is stored equals ``expected``."""
        document = documents.document(session, session_data)
        if expected is not None:
            where = {"_id": session.session_id, "data": expected, **documents.live()}
            return self._for_writing().replace_one(where, document).matched_count == 1
        where = {"_id": session.session_id, **documents.expired()}
        try:
            # It replaces an expired record or inserts one, which a live record does not let it.
            self._for_writing().replace_one(where, document, upsert=True)
        except DuplicateKeyError:
            return False
        return True

    def scan(self) -> Iterator[SessionKey]:
        """Yield the key of every live record."""
        # In pages: a cursor ends with its server, and after ten minutes in which nobody reads it.
        last = ""
        while True:
            where = {"_id": {"$gt": last}, **documents.live()}
            page = list(self._collection().find(where, {"expires": 1}).sort("_id").limit(_PAGE))
            yield from map(documents.key, page)
            if len(page) < _PAGE:
                return
            last = page[-1]["_id"]

    def versions(self) -> dict[str, str]:
        """Return the versions of the server and the driver."""
        info = self._collection().database.client.server_info()
        return {"MongoDB": info["version"], "pymongo": pymongo.version}

    def server_time(self) -> float:
        """Return what time it is to the server, in epoch seconds."""
        hello = self._collection().database.command("hello", codec_options=CODEC)
        return int(hello["localTime"]) / 1000

    def purge(self) -> int:
        """Delete the expired records and return how many they were.

        With ``create_index`` MongoDB deletes them by itself, and this does nothing.
        """
        total = 0
        while not self._create_index:
            # In batches, each of which is done within `timeout`.
            where = documents.expired()
            page = [
                found["_id"] for found in self._collection().find(where, {"_id": 1}).limit(_PAGE)
            ]
            # With the date once more: one of them may have been written anew by now.
            where["_id"] = {"$in": page}
            total += self._collection().delete_many(where).deleted_count
            if len(page) < _PAGE:
                break
        return total

    def remedy(self, error: BaseException) -> str | None:
        """Return what to change so that the error does not come again, if that can be told."""
        return remedy(error)

    def _for_writing(self) -> Documents:
        collection = self._collection()
        if not self._index_is_there:
            # To MongoDB it is nothing to make an index that it has already.
            collection.create_index("expires", expireAfterSeconds=0)
            self._index_is_there = True
        return collection
