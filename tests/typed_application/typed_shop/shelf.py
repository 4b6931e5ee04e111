"""A storage of the application's own: a dictionary, with all that a storage can do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from zope.interface import implementer

from pyramid_pluggable_session import clock
from pyramid_pluggable_session.interfaces import IPurgePlug, IScanPlug, ISwapPlug, Key
from pyramid_pluggable_session.keys import SessionKey
from pyramid_pluggable_session.settings import Option, or_none, positive_integer


@implementer(ISwapPlug, IScanPlug, IPurgePlug)
class ShelfPlug:
    name = "shelf"
    options = (
        Option("room", or_none(positive_integer), None, "How many records to keep; none for all."),
    )
    outages = (MemoryError,)

    def __init__(self, config: Any, room: int | None) -> None:
        self._room = room
        self._records: dict[str, tuple[bytes, float | None]] = {}
        self._lock = threading.RLock()

    def loads(self, session: Key, request: Any) -> bytes | None:
        with self._lock:
            data, expires_at = self._records.get(session.session_id, (None, None))
        return data if expires_at is None or clock.now() < expires_at else None

    def dumps(self, session: Key, request: Any, session_data: bytes) -> None:
        with self._lock:
            self._records[session.session_id] = session_data, session.expires_at
            while self._room is not None and len(self._records) > self._room:
                del self._records[next(iter(self._records))]

    def clear(self, session: Key, request: Any) -> None:
        with self._lock:
            self._records.pop(session.session_id, None)

    def swap(self, session: Key, request: Any, expected: bytes | None, session_data: bytes) -> bool:
        with self._lock:
            if self.loads(session, request) != expected:
                return False
            self.dumps(session, request, session_data)
            return True

    def scan(self) -> Iterator[SessionKey]:
        with self._lock:
            records = list(self._records.items())
        for session_id, (_, expires_at) in records:
            if expires_at is None or clock.now() < expires_at:
                yield SessionKey(session_id, expires_at)

    def purge(self) -> int:
        with self._lock:
            live = {key.session_id for key in self.scan()}
            expired = self._records.keys() - live
            for session_id in expired:
                del self._records[session_id]
        return len(expired)
