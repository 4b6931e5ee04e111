"""What the commands share that go over all records of a storage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from .. import clock
from ..errors import PlugUnavailable
from ..keys import SessionKey, handle
from ..plugs.chain import ChainPlug
from ..record import Kind, Record
from ..store import GRACE, MARKED_FOR, Store

_NAMED_AT_MOST: Final = 10


def read_from(plug: Any) -> Any:
    """Return the plug to read all records from: of a chain, the authority.

    The chain would put a copy of each in front, where they push out those that are in use.
    """
    while isinstance(plug, ChainPlug):
        plug = plug.authority
    return plug


def stored_in(plug: Any) -> tuple[int | None, int | None]:
    """Return how many records a plug has and how many of them have expired, as far as it knows.

    A plug that can tell quickly has a method ``stored``, which returns both; the second may be
    None. Neither has to be exact.
    """
    if not hasattr(plug, "stored"):
        return None, None
    try:
        stored, expired = plug.stored()
    except (OSError, *getattr(plug, "outages", ())):
        # What is wrong with the storage is told when it is asked for the records.
        return None, None
    return stored, expired


def count_in(plug: Any) -> int | None:
    """Return about how many records a plug has, None if it does not know."""
    return stored_in(plug)[0]


@contextmanager
def reported(report: Callable[[bool], None]) -> Iterator[None]:
    """Call ``report`` at the end of the work, or where it stops, with whether all is done."""
    try:
        yield
    except KeyboardInterrupt:
        report(False)
        raise
    except PlugUnavailable as error:
        report(False)
        raise PlugUnavailable(f"{error}. Not all is done: run the command again.") from error
    report(True)


class Expiry:
    """Tells until when a record is to be kept that a scan has found."""

    def __init__(self, store: Store) -> None:
        self._lifetimes = store.lifetimes
        # Others may have clocks that are a little behind.
        self._began = clock.now() - GRACE

    def key(self, key: SessionKey, record: Record) -> SessionKey:
        """Return the scan's key with the expiry of the record, which was read after the scan.

        It may be another record by then, and what the scan said is too early for it.
        """
        meta = record.meta
        if record.kind in (Kind.MOVED, Kind.ENDED):
            return SessionKey(key.session_id, meta.renewed + MARKED_FOR)
        if meta.renewed < self._began or key.expires_at is None or record.kind is Kind.IMPORTED:
            return key
        if record.kind is Kind.SESSION:
            expires_at = self._lifetimes.expires_at(meta)
        else:
            # Not before what it lists, by what `owners.py` says. Later does no harm: whoever reads
            # an index drops from it what has ended.
            timeout = self._lifetimes.timeout(meta)
            expires_at = None if timeout is None else meta.renewed + 4 * timeout + 3600
        if expires_at is None:
            return SessionKey(key.session_id, None)
        return SessionKey(key.session_id, max(key.expires_at, expires_at + GRACE))


class Named:
    """Counts sessions, and keeps the handles of the first few and what is wrong with them."""

    def __init__(self) -> None:
        self.count = 0
        self.first: dict[str, str] = {}

    def add(self, session_id: str, why: str) -> None:
        """Count a session."""
        self.count += 1
        if len(self.first) < _NAMED_AT_MOST:
            self.first[handle(session_id)] = why

    def lines(self) -> list[str]:
        """Return what is to be said of them, a line each."""
        lines = [f"{name}: {why}" for name, why in self.first.items()]
        if self.count > len(self.first):
            lines.append(f"... and {self.count - len(self.first)} more")
        return lines
