"""How a session gets from one of two storages to the other while it is used.

Each step is one atomic operation on one storage, and a process may be killed between any two. What
holds at every moment:

- A plain record is in one of the places only.
- A *fence* around a record says that it is on its way to the other place. It counts until it is
  taken away, and cannot be changed as a plain record can. As long as it is there, the other place
  has nothing but that very record. So fence and record expire together, and never does what was
  left behind come back when the record that went on from it has expired.
- An *announcement* says that a record is about to be stored here. It counts as nothing. Whoever
  made it stores the record in exchange for it; so who is late, and finds it gone, stores nothing.
  That is how a session that was ended meanwhile stays so.

Neither mark begins as a sealed record does, with its format.
"""

from __future__ import annotations

import random
import secrets
import time
from typing import Any, Final, NamedTuple

from pyramid.exceptions import ConfigurationError

from ... import clock
from ...interfaces import Key
from ...keys import SessionKey, handle
from ...storage import Storage

_FENCE: Final = b"\0pluggable_session.moving\0"
_ANNOUNCEMENT: Final = b"\0pluggable_session.coming\0"
_ANNOUNCED_FOR: Final = 60.0
"""Seconds after which the announcement of a killed process is forgotten. Nobody waits for that."""

_LONG_AGO: Final = 1.0  # epoch seconds
_PAUSE: Final = 0.01  # seconds: what others may take to finish


class Entry(NamedTuple):
    """What a place has: as it is ``stored``, and the ``record`` in it; None for nothing."""

    stored: bytes | None
    record: bytes | None
    fenced: bool = False


class Place:
    """Where one of the two storages keeps one session."""

    def __init__(self, plug: Any, session: Key, request: Any) -> None:
        self._storage = Storage(plug, request)
        self.session_id = session.session_id

    def read(self) -> Entry:
        """Return what is here."""
        stored = self._storage.loads(SessionKey(self.session_id, None))
        if stored is None or stored.startswith(_ANNOUNCEMENT):
            return Entry(stored, None)
        if not stored.startswith(_FENCE):
            return Entry(stored, stored)
        return Entry(stored, stored[len(_FENCE) :], fenced=True)

    def swap(self, expected: bytes | None, data: bytes, expires_at: float | None) -> bool:
        """Store ``data`` if what is stored here is ``expected``."""
        return self._storage.swap(SessionKey(self.session_id, expires_at), expected, data)

    def discard(self, stored: bytes | None) -> None:
        """Delete what is stored here if it is this."""
        # A record that is stored after its expiry is absent, and so is what it replaced.
        self.swap(stored, _ANNOUNCEMENT, _LONG_AGO)

    def clear(self) -> None:
        """Delete whatever is stored here."""
        self._storage.clear(SessionKey(self.session_id, None))

    def announce(self) -> bytes | None:
        """Announce a record and return what to exchange for it; None if there is one already."""
        mine = _ANNOUNCEMENT + secrets.token_bytes(16)
        other = None
        while not self.swap(other, mine, clock.now() + _ANNOUNCED_FOR):
            found = self.read()
            if found.record is not None:
                return None
            other = found.stored
            if other is not None:
                # Whoever has announced it may be at it, or was killed.
                pause()
        return mine


def create(here: Place, there: Place, data: bytes, expires_at: float | None) -> bool:
    """Store a record here if neither place has one; tell whether it was stored.

    Another process may do the same the other way round at this moment. Each announces it, then
    looks at the other place and takes away what is announced there: at most one of them stores.
    """
    while (announcement := here.announce()) is not None:
        while (other := there.read()).stored is not None:
            if other.record is not None:
                here.discard(announcement)
                return False
            there.discard(other.stored)
        if here.swap(announcement, data, expires_at):
            return True
        pause()
    return False


def move(source: Place, target: Place, found: Entry, data: bytes, expires_at: float | None) -> bool:
    """Store ``data`` in the target in place of what was found in the source.

    Return False if that is not there any more, or only as a remainder that is gone now.
    """
    announcement = target.announce()
    if announcement is None:
        _tidy(source, target, found)
        return False
    fenced = _FENCE + data
    if not source.swap(found.stored, fenced, expires_at):
        target.discard(announcement)
        return False
    # From now on it is stored, whoever brings it to the target.
    if target.swap(announcement, data, expires_at):
        source.discard(fenced)
    return True


def _tidy(source: Place, target: Place, found: Entry) -> None:
    """Take away the fence of a move that is done but for that: the other place has the record."""
    there = target.read()
    if found.fenced:
        if there.record is not None:
            source.discard(found.stored)
    elif there.fenced:
        target.discard(there.stored)
    elif there.record is not None and source.read().stored == found.stored:
        raise ConfigurationError(
            f"Both storages of the migration have session {handle(source.session_id)}: they are "
            "one and the same storage, or pluggable_session.migration.new had sessions of this "
            "application before the migration began. It must be empty then."
        )


def pause() -> None:
    """Let others finish: processes that are in each other's way would be so again."""
    time.sleep(random.uniform(0, _PAUSE))  # noqa: S311 (not a secret)
