"""Counts the sessions that were imported, by the hour, in one small record beside them."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from . import clock
from .errors import SessionError
from .keys import SessionKey
from .record import Kind, Meta, Record, Unreadable
from .serializers import MsgpackSerializer
from .storage import Storage
from .store import Store

_HOUR: Final = 3600
_DAY: Final = 24
_WEEK: Final = 7 * _DAY
_ATTEMPTS: Final = 10

_serializer = MsgpackSerializer()


def count_import(storage: Storage, store: Store, salt: str) -> None:
    """Count one. Where many come at once, or the storage fails, some may be left out."""
    try:
        for _ in range(_ATTEMPTS):
            if _count(storage, store, _count_id(salt)):
                return
    except SessionError:
        # The session is stored, and that is what matters.
        return


def imported_lately(storage: Storage, store: Store, salt: str) -> tuple[int, int]:
    """Return how many were imported in the last 24 hours, and in the last 7 days."""
    _, counts = _read(storage, store, _count_id(salt))
    now = int(clock.now() // _HOUR)
    day, week = (
        sum(count for hour, count in counts.items() if hour > now - hours)
        for hours in (_DAY, _WEEK)
    )
    return day, week


def _count_id(salt: str) -> str:
    return hashlib.sha256(b"imports counted\0" + salt.encode()).hexdigest()


def _count(storage: Storage, store: Store, count_id: str) -> bool:
    sealed, counts = _read(storage, store, count_id)
    now = clock.now()
    hour = int(now // _HOUR)
    counts = {each: count for each, count in counts.items() if each > hour - _WEEK}
    counts[hour] = counts.get(hour, 0) + 1
    record = Record(Kind.IMPORTED, Meta(now, now), _serializer.name, _serializer.dumps(counts))
    key = SessionKey(count_id, now + (_WEEK + 1) * _HOUR)
    if storage.can_swap:
        return storage.swap(key, sealed, store.seal(count_id, record))
    storage.dumps(key, store.seal(count_id, record))
    return True


def _read(storage: Storage, store: Store, count_id: str) -> tuple[bytes | None, dict[int, Any]]:
    sealed = storage.loads(SessionKey(count_id, None))
    if sealed is None:
        return None, {}
    try:
        return sealed, dict(_serializer.loads(store.unseal(count_id, sealed).body))
    except (Unreadable, ValueError):
        return sealed, {}
