"""Sessions in the memory of one process: for tests, and for applications of a single process."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from zope.interface import implementer

from .. import clock
from ..interfaces import IPurgePlug, IScanPlug, ISwapPlug
from ..keys import SessionKey
from ..settings import Option

if TYPE_CHECKING:
    from ..interfaces import Key

# So many writes are always free of sweeping, or a handful of sessions would be swept all the time.
_SWEEP_AFTER = 1000


@implementer(ISwapPlug, IScanPlug, IPurgePlug)
class MemoryPlug:
    """Keeps records in a dictionary.

    They end with the process, and no other process sees them. Expired records are swept out as new
    ones are written, so that memory stays within about twice what the live ones need.
    """

    name: ClassVar[str] = "memory"
    options: ClassVar[tuple[Option, ...]] = ()
    outages: ClassVar[tuple[type[Exception], ...]] = ()
    caution: ClassVar[str] = (
        "Sessions are kept in the memory of this process: they end with it and no other process "
        "sees them. The memory plug is for tests and single processes."
    )

    def __init__(self, config: Any = None) -> None:
        self._records: dict[str, tuple[bytes, float | None]] = {}
        self._writes = 0  # since the last sweep
        self._left = 0  # by the last sweep
        self._lock = threading.Lock()
        _plugs.add(self)

    def loads(self, session: Key, request: Any) -> bytes | None:
        """Return the record, or None when it is absent or expired."""
        return self._live(session.session_id)

    def dumps(self, session: Key, request: Any, session_data: bytes) -> None:
        """Store the record until ``session.expires_at``."""
        with self._lock:
            self._store(session, session_data)

    def clear(self, session: Key, request: Any) -> None:
        """Forget the record."""
        with self._lock:
            self._records.pop(session.session_id, None)

    def swap(self, session: Key, request: Any, expected: bytes | None, session_data: bytes) -> bool:
        """Store the record if what is stored equals ``expected``."""
        with self._lock:
            if self._live(session.session_id) != expected:
                return False
            self._store(session, session_data)
            return True

    def scan(self) -> Iterator[SessionKey]:
        """Yield the key of every live record."""
        with self._lock:
            ids = list(self._records)
        for session_id in ids:
            _, expires_at = self._records.get(session_id, (b"", 0.0))
            if expires_at is None or expires_at > clock.now():
                yield SessionKey(session_id, expires_at)

    def purge(self) -> int:
        """Delete the expired records and return how many they were."""
        with self._lock:
            return self._sweep()

    def _live(self, session_id: str) -> bytes | None:
        data, expires_at = self._records.get(session_id, (None, None))
        return data if expires_at is None or expires_at > clock.now() else None

    def _store(self, session: Key, data: bytes) -> None:
        self._records[session.session_id] = (bytes(data), session.expires_at)
        self._writes += 1
        # A sweep looks at every record, so it waits for as many writes as the last one left: each
        # write then costs the same on average, without a timer. Not for as many as there are now:
        # where each write brings a new record, that number runs ahead of the writes.
        if self._writes > self._left + _SWEEP_AFTER:
            self._sweep()

    def _sweep(self) -> int:
        now = clock.now()
        expired = [
            session_id
            for session_id, (_, expires_at) in self._records.items()
            if expires_at is not None and expires_at <= now
        ]
        for session_id in expired:
            del self._records[session_id]
        self._writes, self._left = 0, len(self._records)
        return len(expired)


_plugs: weakref.WeakSet[MemoryPlug] = weakref.WeakSet()


def _renew_locks() -> None:
    # A thread that held the lock at the moment of a fork does not exist in the child to release it.
    for plug in _plugs:
        plug._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
