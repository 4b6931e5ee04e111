"""The store: sessions as records in a storage, loaded, saved and merged.

It knows nothing of cookies and responses, and nothing of any one storage.
"""

from __future__ import annotations

import enum
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from . import clock
from .errors import SessionConflict, SessionTooLarge
from .events import DropReason
from .keys import SessionKey, handle
from .lifetimes import Lifetimes
from .merge import merge
from .record import Kind, Meta, Record, Sealer, Unreadable
from .serializers import Serializer
from .storage import Storage

GRACE: Final = 60.0
"""Seconds that a storage keeps a record beyond the session's own end.

The session enforces its end itself. The storage comes after it, so that a server whose clock is
ahead does not forget sessions that are alive, and so that an end can be told from an absence.
"""

MARKED_FOR: Final = 60.0
"""Seconds for which an id that was given up is remembered as such: what a slow request may take."""

HELD_OFF_FOR: Final = 15.0
"""Seconds for which a request that comes with a moved id gets no session of its own.

Only what was sent before the browser had the new cookie needs that, and is on its way no longer: a
request that has loaded the session before finds out by its swap. A packet that is lost three times
is sent again after 7 seconds; the rest is for queues, and for clocks that differ by some seconds.
"""

ATTEMPTS: Final = 100
"""So often a swap is tried that others keep winning."""

_ATTEMPTS_WITHOUT_PAUSE: Final = 3


class Stored:
    """A session as it is stored: what a change is compared and merged with."""

    def __init__(
        self, session_id: str, sealed: bytes, record: Record, serializer: Serializer
    ) -> None:
        self.session_id = session_id
        self.sealed = sealed
        self.meta = record.meta
        self.serializer = serializer
        self._body = record.body

    def state(self) -> dict[str, Any]:
        """Return the state, made anew by every call. Raise Unreadable if it cannot be."""
        try:
            state = self.serializer.loads(self._body)
        except ValueError:
            raise Unreadable("unreadable data") from None
        if type(state) is not dict:
            raise Unreadable("unreadable data")
        return state

    def body_as_loaded(self, serializer: Serializer, state: Mapping[str, Any]) -> bytes:
        """Return the bytes that ``serializer`` makes of ``state`` as long as nothing changes it.

        Call it before the application has seen the state.
        """
        if serializer.canonical and serializer.name == self.serializer.name:
            return self._body
        return serializer.dumps(state)


class Moved(NamedTuple):
    """Stands for a session that was given another id. ``holds_off``: only a moment ago."""

    holds_off: bool


@dataclass
class Draft:
    """A session as a request wants it stored."""

    session_id: str
    state: dict[str, Any]
    meta: Meta
    body: bytes | None = None
    """The state as the serializer writes it, if that is known."""
    own_keys: tuple[str, ...] = ()
    """Keys in which no other request has a say."""
    conflicts: tuple[str, ...] = ()
    is_login: bool = False
    """Whether it is good for a session of its own if another request moves the session first."""


class Outcome(enum.Enum):
    """How a save ended, but for errors."""

    STORED = enum.auto()
    ENDED = enum.auto()
    MOVED = enum.auto()
    UNAVAILABLE = enum.auto()

    @property
    def dropped(self) -> DropReason | None:
        """Why nothing was stored; None if something was."""
        return _DROPPED.get(self)


_DROPPED: dict[Outcome, DropReason] = {
    Outcome.ENDED: "ended",
    Outcome.MOVED: "moved",
    Outcome.UNAVAILABLE: "outage",
}


class Store:
    """Loads and saves sessions. Times are in seconds, sizes in bytes."""

    def __init__(
        self,
        sealer: Sealer,
        serializers: Sequence[Serializer],
        *,
        lifetimes: Lifetimes,
        max_size: int | None,
        fail_on_conflict: bool,
    ) -> None:
        """Write with the first serializer, read with all of them."""
        self._sealer = sealer
        self._readers = {each.name: each for each in reversed(serializers)}
        self.serializer = serializers[0]
        self.lifetimes = lifetimes
        self._max_size = max_size
        self._fail_on_conflict = fail_on_conflict

    def _key(self, session_id: str, meta: Meta) -> SessionKey:
        expires_at = self.lifetimes.expires_at(meta)
        return SessionKey(session_id, None if expires_at is None else expires_at + GRACE)

    # Loading

    def load(self, storage: Storage, session_id: str) -> Stored | Moved | None:
        """Return what is stored under an id, whether it is over or not.

        Raises Unreadable for a record that is not ours, PlugUnavailable in an outage.
        """
        sealed = storage.loads(SessionKey(session_id, None))
        if sealed is None:
            return None
        record = self._sealer.unseal(session_id, sealed)
        if record.kind is Kind.SESSION:
            serializer = self._readers.get(record.serializer)
            if serializer is None:
                raise Unreadable(f"serializer {record.serializer!r} is not configured")
            return Stored(session_id, sealed, record, serializer)
        if record.kind is Kind.MOVED:
            age = clock.now() - record.meta.renewed
            return Moved(age < HELD_OFF_FOR) if age < MARKED_FOR else None
        if record.kind is Kind.ENDED:
            return None
        raise Unreadable("not a session")

    def seal(self, session_id: str, record: Record) -> bytes:
        """Return a record of any kind as it is stored. Raise SessionTooLarge for a large one."""
        sealed = self._sealer.seal(session_id, record)
        if self._max_size is not None and len(sealed) > self._max_size:
            raise SessionTooLarge(
                f"the session would be a record of {len(sealed)} bytes, and "
                f"pluggable_session.max_size allows {self._max_size}. Keep large things elsewhere "
                "and their names in the session, or raise the limit.",
                len(sealed),
                self._max_size,
            )
        return sealed

    def unseal(self, session_id: str, sealed: bytes) -> Record:
        """Return a record of any kind as it is stored. Raise Unreadable if it is not ours."""
        return self._sealer.unseal(session_id, sealed)

    def reseal(self, session_id: str, sealed: bytes) -> bytes:
        """Return a record sealed as new ones are: with the first secret, encrypted or not."""
        return self._sealer.seal(session_id, self._sealer.unseal(session_id, sealed))

    def is_current(self, sealed: bytes) -> bool:
        """Tell whether a record of ours is sealed as new ones are."""
        return self._sealer.is_current(sealed)

    def clear(self, storage: Storage, session_id: str) -> None:
        """Delete what is stored under an id."""
        storage.clear(SessionKey(session_id, None))

    def give_up(self, storage: Storage, session_id: str) -> None:
        """Delete what is stored under an id, and mark the id as moved."""
        if storage.client_side:
            self.clear(storage, session_id)
        else:
            storage.dumps(*self._mark(session_id, Kind.MOVED))

    def end(self, storage: Storage, session_id: str) -> None:
        """Delete what is stored under an id, and mark it as ended.

        A session that is about to be stored under it for the first time will not be.
        """
        storage.dumps(*self._mark(session_id, Kind.ENDED))

    def _mark(self, session_id: str, kind: Kind) -> tuple[SessionKey, bytes]:
        now = clock.now()
        record = Record(kind, Meta(now, now), self.serializer.name, b"")
        return SessionKey(session_id, now + MARKED_FOR), self._sealer.seal(session_id, record)

    # Saving

    def create(self, storage: Storage, draft: Draft) -> Outcome:
        """Store a session that is not stored yet."""
        sealed = self._seal(draft)
        key = self._key(draft.session_id, draft.meta)
        if not storage.can_swap:
            storage.dumps(key, sealed)
        elif not storage.swap(key, None, sealed):
            if self._is_mark(draft.session_id, storage.loads(key)):
                return Outcome.ENDED
            # Somebody holds 256 random bits that we drew a moment ago: a broken source of
            # randomness (a copied virtual machine). Not to be papered over.
            raise SessionConflict(f"the new session id {handle(draft.session_id)} is taken")
        return Outcome.STORED

    def _is_mark(self, session_id: str, sealed: bytes | None) -> bool:
        try:
            return sealed is not None and self.unseal(session_id, sealed).kind is Kind.ENDED
        except Unreadable:
            return False

    def update(self, storage: Storage, stored: Stored, draft: Draft) -> Outcome:
        """Store a changed session, merged with what others have changed meanwhile."""
        for attempt in range(ATTEMPTS):
            sealed = self._seal(draft)
            if self._replace(storage, stored, self._key(draft.session_id, draft.meta), sealed):
                return Outcome.STORED
            pause(attempt)
            current = self._reload(storage, stored.session_id)
            if isinstance(current, Outcome):
                return current
            if self._rebase(draft, stored, current):
                return Outcome.STORED
            stored = current
        raise self._starved(draft)

    def move(self, storage: Storage, stored: Stored, draft: Draft) -> Outcome:
        """Store a session under the new id of ``draft``, and mark the old one as moved.

        The new record comes first: whatever happens in between, one of the two is there. It stays
        for a login if the outcome is MOVED: another login was first, and its answer may be lost.
        """
        if self.create(storage, draft) is Outcome.ENDED:
            return Outcome.ENDED
        if storage.client_side:
            # There is one place, and the new record is in it.
            return Outcome.STORED
        mark_key, mark = self._mark(stored.session_id, Kind.MOVED)
        try:
            for attempt in range(ATTEMPTS):
                if self._replace(storage, stored, mark_key, mark):
                    return Outcome.STORED
                pause(attempt)
                current = self._reload(storage, stored.session_id)
                if isinstance(current, Outcome):
                    if not (draft.is_login and current is Outcome.MOVED):
                        # Nobody gets to know the new id.
                        self.clear(storage, draft.session_id)
                    return current
                self._rebase(draft, stored, current)
                if not self._rewrite(storage, draft):
                    return Outcome.ENDED
                stored = current
            raise self._starved(draft)
        except SessionConflict:
            self.clear(storage, draft.session_id)
            raise

    def _rewrite(self, storage: Storage, draft: Draft) -> bool:
        """Replace what this request has stored under a new id, unless its owner has ended it."""
        key = self._key(draft.session_id, draft.meta)
        for attempt in range(ATTEMPTS):
            there = storage.loads(key)
            if there is None or self._is_mark(draft.session_id, there):
                return False
            if storage.swap(key, there, self._seal(draft)):
                return True
            pause(attempt)
        raise self._starved(draft)

    def _replace(self, storage: Storage, stored: Stored, key: SessionKey, sealed: bytes) -> bool:
        if storage.can_swap:
            return storage.swap(key, stored.sealed, sealed)
        storage.dumps(key, sealed)
        return True

    def _reload(self, storage: Storage, session_id: str) -> Stored | Outcome:
        try:
            current = self.load(storage, session_id)
        except Unreadable:
            return Outcome.ENDED
        if current is None:
            return Outcome.ENDED
        return Outcome.MOVED if isinstance(current, Moved) else current

    def _rebase(self, draft: Draft, base: Stored, current: Stored) -> bool:
        """Put the changes of ``draft`` on top of ``current``; tell if they are there already."""
        theirs = current.state()
        their_body = current.body_as_loaded(self.serializer, theirs)
        mine = {key: draft.state[key] for key in draft.own_keys if key in draft.state}
        before, theirs, ours = (
            {**{key: value for key, value in side.items() if key not in draft.own_keys}, **mine}
            for side in (base.state(), theirs, draft.state)
        )
        state, conflicts = merge(before, theirs, ours)
        if conflicts and self._fail_on_conflict:
            raise SessionConflict(
                "another request changed the same keys of the session: "
                + ", ".join(map(repr, conflicts)),
                conflicts,
            )
        was, is_now, wanted = base.meta, current.meta, draft.meta
        meta = is_now._replace(renewed=max(wanted.renewed, is_now.renewed))
        if wanted.timeout != was.timeout:
            meta = meta._replace(timeout=wanted.timeout)
        if wanted.persistent != was.persistent:
            meta = meta._replace(persistent=wanted.persistent)
        if wanted.owner != was.owner:
            meta = meta._replace(owner=wanted.owner, listed_until=wanted.listed_until)
        elif wanted.owner == is_now.owner:
            meta = meta._replace(listed_until=max(wanted.listed_until, is_now.listed_until))
        draft.state, draft.meta, draft.body = state, meta, self.serializer.dumps(state)
        draft.conflicts = tuple(dict.fromkeys((*draft.conflicts, *conflicts)))
        # A renewal that another request has just done need not be done again.
        return (
            meta._replace(renewed=0) == is_now._replace(renewed=0)
            and is_now.renewed > was.renewed
            and draft.body == their_body
        )

    def _seal(self, draft: Draft) -> bytes:
        if draft.body is None:
            draft.body = self.serializer.dumps(draft.state)
        record = Record(Kind.SESSION, draft.meta, self.serializer.name, draft.body)
        return self.seal(draft.session_id, record)

    def _starved(self, draft: Draft) -> SessionConflict:
        return SessionConflict(
            f"session {handle(draft.session_id)} was changed by others in each of {ATTEMPTS} "
            "attempts to save it"
        )


def pause(attempt: int) -> None:
    """Let others finish: requests that lose together would lose together again."""
    if attempt >= _ATTEMPTS_WITHOUT_PAUSE:
        time.sleep(random.uniform(0, min(0.001 * 2**attempt, 0.05)))  # noqa: S311 (not a secret)
