"""The sessions of an owner: listed, counted and ended."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, NamedTuple

from . import clock, events
from .errors import TooManySessions
from .keys import handle
from .owner_index import Entry, OwnerIndex
from .record import Meta, Unreadable
from .storage import Storage
from .store import Store, Stored

_LISTED_FOR: Final = 3600.0
"""Seconds for which a session is listed at least: one in use is listed anew as often."""

_MAY_COME_FOR: Final = 300.0
"""Seconds for which a session that is listed may not be stored yet: what a request may take, and
what the clocks of two servers may differ."""

_LONGEST_OWNER: Final = 1000  # bytes
_LONGEST_USER_AGENT: Final = 200


def can_have_owners(storage: Storage) -> bool:
    """Tell whether the sessions of an owner can be kept track of in a storage."""
    return storage.can_swap and not storage.client_side


def owner_text(userid: Any) -> str | None:
    """Return a user id as sessions keep it, as text; None for None.

    Raises ValueError if it cannot be one.
    """
    if userid is None:
        return None
    text = str(userid)
    if not text or isinstance(userid, bool) or len(text.encode()) > _LONGEST_OWNER:
        raise ValueError(
            "the owner of a session must be None or a user id: a number, or a text of at most "
            f"{_LONGEST_OWNER} bytes"
        )
    return text


class _Listed(NamedTuple):
    """What is behind an entry of the index.

    ``stored`` is the session if it is alive and the owner's. ``may_come`` is true if nothing is
    there and the session may be about to be stored; ``settled``, if the entry is too old for that.
    """

    entry: Entry
    stored: Stored | None
    may_come: bool
    settled: bool


class Owners:
    """The sessions of one owner."""

    def __init__(
        self,
        request: Any,
        storage: Storage,
        store: Store,
        owner: str,
        options: Mapping[str, Any],
    ) -> None:
        """Of the options this is about ``max_sessions`` and what is next to it, and ``salt``."""
        self.store = store
        self._limit: int | None = options["max_sessions"]
        self._ends_oldest = options["on_max_sessions"] == "end_oldest"
        self._device_details = options["device_details"]
        self._request = request
        self._storage = storage
        self._owner = owner
        self._index = OwnerIndex(storage, store, options["salt"], owner)

    def enlist(self, session_id: str, meta: Meta, former: str | None) -> float:
        """List a session that is about to be stored; return until when it is.

        ``former`` is the id that it is stored under so far, if any.
        """
        now = clock.now()
        until = self._listed_until(meta, now)
        entry = None
        if session_id == former:
            entry = next((e for e in self._index.entries() if e.session_id == session_id), None)
        if entry is None:
            entry = Entry(session_id, now, until, *self._about_the_client())
        self._index.add(entry._replace(until=until))
        return until

    def keep_to_the_limit(self, session_id: str) -> None:
        """End the oldest sessions if this one, just stored, makes them too many; or it, and raise.

        Of two that are stored at once, one at least sees the other.
        """
        if self._limit is None:
            return
        others = [entry.session_id for entry, _ in self.live() if entry.session_id != session_id]
        excess = len(others) + 1 - self._limit
        if excess <= 0:
            return
        if not self._ends_oldest:
            self.store.clear(self._storage, session_id)
            self._index.drop({session_id})
            raise self._too_many(len(others))
        for each in others[:excess]:
            self._end(each, "max_sessions")
        self._index.drop({*others[:excess]})

    def live(self) -> list[tuple[Entry, Stored]]:
        """Return what is listed and alive, oldest first. What is over is listed no more."""
        live = []
        over = set()
        for entry, stored, _, settled in self._listed():
            if stored is not None:
                live.append((entry, stored))
            elif settled:
                over.add(entry.session_id)
        if over:
            self._index.drop(over)
        return sorted(live, key=lambda each: each[0].since)

    def end(self, only: str | None = None, spare: str | None = None) -> int:
        """End the session with the handle ``only``, or all but the one with the id ``spare``.

        Return how many that were.
        """
        session = self._request.session
        ended = 0
        seen: set[str] = set()
        # What is read first may be a copy, in front of a chain; once written, it is not.
        for attempt in range(2):
            gone = set()
            for entry, stored, may_come, settled in self._listed(seen):
                session_id = entry.session_id
                seen.add(session_id)
                if session_id == spare or (only is not None and handle(session_id) != only):
                    continue
                if stored is not None and session_id == session.session_id:
                    session.invalidate()
                elif stored is not None or may_come:
                    self._end(session_id, "owner")
                elif not settled:
                    continue
                ended += stored is not None
                gone.add(session_id)
            if gone or attempt == 0:
                self._index.drop(gone)
        return ended

    def check_room(self, spare: str) -> None:
        """Raise TooManySessions if one more than there are, ``spare`` aside, would be refused."""
        if self._limit is None:
            return
        others = sum(entry.session_id != spare for entry, _ in self.live())
        if others >= self._limit:
            raise self._too_many(others)

    def _too_many(self, others: int) -> TooManySessions:
        return TooManySessions(
            f"this user has {others} sessions already, and pluggable_session.max_sessions allows "
            f"{self._limit}"
        )

    def _listed(self, but_for: Collection[str] = ()) -> Iterator[_Listed]:
        now = clock.now()
        for entry in [each for each in self._index.entries() if each.session_id not in but_for]:
            settled = now >= entry.since + _MAY_COME_FOR
            try:
                found = self.store.load(self._storage, entry.session_id)
            except Unreadable:
                yield _Listed(entry, None, False, settled)
                continue
            stored = None
            if isinstance(found, Stored) and self._is_alive_and_his(found.meta, now):
                stored = found
            yield _Listed(entry, stored, found is None and not settled, settled)

    def _is_alive_and_his(self, meta: Meta, now: float) -> bool:
        return meta.owner == self._owner and self.store.lifetimes.ended(meta, now) is None

    def _end(self, session_id: str, reason: events.EndReason) -> None:
        self.store.end(self._storage, session_id)
        registry = self._request.registry
        if registry.has_listeners:
            registry.notify(events.SessionEnded(self._request, handle(session_id), reason))

    def _about_the_client(self) -> tuple[str | None, str | None]:
        details, request = self._device_details, self._request
        user_agent = request.user_agent if "user_agent" in details else None
        return (
            request.client_addr if "address" in details else None,
            user_agent and user_agent[:_LONGEST_USER_AGENT],
        )

    def _listed_until(self, meta: Meta, now: float) -> float:
        """Return a moment that the session will not see, unless it is listed anew before."""
        timeout, end = self.store.lifetimes.timeout(meta), self.store.lifetimes.last_moment(meta)
        until = math.inf if timeout is None else now + max(4 * timeout, _LISTED_FOR)
        return until if end is None else min(until, end)
