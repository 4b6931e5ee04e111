"""What the two packages have in common that keep sessions in Redis, under ``redis.sessions.*``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from zope.interface import implementer

from ..cookie import cookie_values
from ..interfaces import IOrigin
from ..keys import SessionKey
from ..settings import Option
from ..storage import Storage
from .formats import as_dict
from .redis_settings import RedisSettings
from .sessions import LONGEST_COOKIE, OldKey, OldSession


@implementer(IOrigin)
class RedisOrigin:
    """A signed session id in a cookie, and a session under that id. Subclasses know the forms."""

    name: ClassVar[str]
    options: ClassVar[tuple[Option, ...]] = ()

    def __init__(self, given: RedisSettings, allow_pickle: bool, classes: Iterable[type]) -> None:
        self.places = (given.place(),)
        self._name = self.places[0].name
        self._timeout = given.timeout()
        self._read = given.reader(allow_pickle, classes)
        self._storage = given.storage()

    def identify(self, request: Any) -> OldKey | None:
        """Return the session id of the one signed cookie."""
        found = {
            session_id
            for value in cookie_values(request, self._name)
            if len(value) <= LONGEST_COOKIE and value.isascii()
            if (session_id := self._open(value))
        }
        return OldKey(found.pop()) if len(found) == 1 else None

    def load(self, key: OldKey, request: Any) -> OldSession | None:
        """Return the session, None if it is absent or over."""
        stored = Storage(self._storage, request).loads(SessionKey(key.id, None))
        return None if stored is None else self._session(as_dict(self._read(stored)))

    def forget(self, key: OldKey, request: Any) -> None:
        """Delete the session."""
        Storage(self._storage, request).clear(SessionKey(key.id, None))

    def close(self) -> None:
        """Close the connections."""
        self._storage.close()

    def _open(self, cookie: str) -> str | None:
        """Return the session id in a cookie, None if that is not authentic."""
        raise NotImplementedError

    def _session(self, payload: dict[str, Any]) -> OldSession | None:
        """Return the session that was stored, None if it is over. Raise Refused if it is none."""
        raise NotImplementedError
