"""What one request finds of its session, and what becomes of it: loaded, changed, ended, saved.

The session (what the application sees) and the factory (cookies and responses) share this, and
neither knows the other's side.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from . import clock, events
from .cookie import Found
from .errors import PlugUnavailable
from .keys import handle, new_session_id
from .ownership import Owners, can_have_owners
from .record import Meta, Unreadable
from .storage import Operation, Storage, describe
from .store import Draft, Moved, Outcome, Store, Stored

if TYPE_CHECKING:
    from .importing import Arrival, Importer
    from .origins.sessions import Place

log = logging.getLogger("pyramid_pluggable_session")

CSRF_KEY: Final = "_csrft_"
"""Where Pyramid's session-based CSRF policies and the session keep the token."""


class Visit:
    """The session of one request, from its first look inside to the response.

    ``state`` is the data and ``meta`` what is known beside it; both are changed in place, and
    :meth:`save` finds out. ``moved`` is true if the client came with an id that was given up a
    moment ago: its changes are dropped, unless it logs in. ``named`` is true if it has said who the
    owner is, ``closed`` when the last moment to save is over.
    ``importer`` is what brings sessions of another package, if any are to be imported, and
    ``leftover`` is where the client has a cookie of that package, to be deleted with the response.

    For those who watch: ``rejected`` is why a cookie or record was refused, ``outcome`` how the
    save ended (None if there was nothing to save), ``conflicts`` names what could not be merged.
    """

    state: dict[str, Any]
    meta: Meta
    new: bool
    outcome: Outcome | None = None
    conflicts: tuple[str, ...] = ()
    moved = False
    ended = False
    closed = False
    _outage: PlugUnavailable | None = None
    leftover: tuple[Place, ...] = ()
    importer: Importer | None = None
    _arrival: Arrival | None = None

    def __init__(
        self,
        request: Any,
        found: Found,
        storage: Storage,
        store: Store,
        options: Mapping[str, Any],
    ) -> None:
        """Begin as an empty new session.

        ``found`` is what the client's cookies said; only the factory looks at it. Of the options
        this is about ``reissue_time``, ``on_outage`` and those of owners.
        """
        self.request = request
        self.found = found
        self.rejected = found.rejected
        self.accessed = clock.now()
        self._storage = storage
        self._store = store
        self._options = options
        self._begin(self.accessed)

    def _begin(self, now: float) -> None:
        self.state = {}
        self.meta = Meta(now, now)
        self.new = True
        self._stored: Stored | None = None
        self._as_loaded: bytes | None = None
        self._handed_out = False
        self._session_id: str | None = None
        self._regenerate = self._starts_over = self.named = False

    def load(self, session_id: str) -> None:
        """Become the session with this id, if there is one and it is not over."""
        try:
            self._load(session_id)
        except PlugUnavailable as error:
            self._go_on_without(error)

    def look_elsewhere(self) -> None:
        """Become the session of another package that the client has a cookie of, if any."""
        if self.importer is None or self.moved or self._outage is not None:
            return
        try:
            self.importer.bring(self, self._storage, self._store)
        except PlugUnavailable as error:
            self._go_on_without(error)

    def arrive(self, arrival: Arrival, state: dict[str, Any], meta: Meta) -> None:
        """Become a session of another package, which is stored as ours when this is saved.

        To the application it is not new: it goes on with what it has put there before.
        """
        self._arrival = arrival
        self.state = state
        self.meta = meta
        self.new = False
        self.rejected = None

    def _go_on_without(self, error: PlugUnavailable) -> None:
        """Go on without what is stored, if that is what the application wants in an outage."""
        if not self._goes_on_without():
            raise error
        self._storage.log.goes_on("a session", error)
        self._outage = error

    def _load(self, session_id: str) -> None:
        try:
            stored = self._store.load(self._storage, session_id)
            if isinstance(stored, Moved):
                self.moved = stored.holds_off
            if not isinstance(stored, Stored):
                return
            reason = self._store.lifetimes.ended(stored.meta, self.accessed)
            if reason is None:
                self.state = stored.state()
                self._stored = stored
                self._session_id = session_id
                self.meta = stored.meta
                self.new = False
                return
        except Unreadable as error:
            self._storage.log.refused_record(handle(session_id), error.reason)
            self.rejected = f"record: {error.reason}"
            self._store.clear(self._storage, session_id)
            self.notify(events.SessionRejected, session_id, self.rejected)
            return
        self._store.clear(self._storage, session_id)
        self.notify(events.SessionEnded, session_id, reason)

    @property
    def session_id(self) -> str:
        """The id; drawn when it is first asked for if the session is new."""
        if self._session_id is None:
            self._session_id = new_session_id()
        return self._session_id

    @property
    def expires_at(self) -> float | None:
        """When the session ends unless it is renewed, in epoch seconds; None for never."""
        return self._store.lifetimes.expires_at(self.meta)

    @property
    def timeout(self) -> float | None:
        """The idle timeout in seconds; None for none."""
        return self._store.lifetimes.timeout(self.meta)

    @property
    def operations(self) -> tuple[Operation, ...]:
        """What was done to the storage so far, oldest first."""
        return tuple(self._storage.operations)

    @property
    def needs_cookie(self) -> bool:
        """Whether the client has no cookie yet for what was saved, or one of another lifetime."""
        return (
            self._stored is None
            or self._regenerate
            or bool(self.leftover)
            or self._stored.meta.persistent != self.meta.persistent
        )

    def regenerate_id(self) -> None:
        """Go on under a new id."""
        self._session_id = None
        self._regenerate = True

    def end(self, moved: bool = False) -> None:
        """Delete what is stored, and begin anew as an empty new session.

        With ``moved``, requests that still come with the old id are treated as after a move.
        Raises PlugUnavailable in an outage, whatever ``on_outage`` says: whoever logs out must not
        be told that it is done while the session lives on.
        """
        if self._outage is not None:
            raise self._outage
        if self._stored is not None:
            delete = self._store.give_up if moved else self._store.clear
            delete(self._storage, self._stored.session_id)
            self.notify(events.SessionEnded, self._stored.session_id, "invalidated")
        elif self.found.session_id is not None and not (self.moved or self.ended):
            # What is not there for this process may be there for another, whose clock is behind.
            self._store.clear(self._storage, self.found.session_id)
        if self.importer is not None and not self.ended:
            self.importer.end(self, self._storage, self._store, self._arrival)
            self._arrival = None
        self.ended = True
        self._begin(clock.now())
        self._starts_over = moved

    def hand_out(self) -> dict[str, Any]:
        """Return the state to somebody who may change it, or a list or dict that is in it."""
        self._remember()
        self._handed_out = True
        return self.state

    def put(self, key: str, value: None | bool | float | str | bytes) -> None:
        """Set a key to a value that nobody can change."""
        self._remember()
        self.state[key] = value

    def _remember(self) -> None:
        """Remember what was loaded, to compare with. Before that, nothing can have changed."""
        if self._as_loaded is None and self._stored is not None:
            self._as_loaded = self._stored.body_as_loaded(self._store.serializer, self.state)

    def is_changed(self) -> bool:
        """Tell whether the data is another than when it was loaded."""
        if self._arrival is not None:
            return not self._arrival.is_as_it_came(self.state)
        if self._stored is None:
            return self._has_content() and (not self.moved or self._is_login())
        return self._changed_body() is not None

    def _changed_body(self) -> bytes | None:
        """Return the state as it is to be stored if it is another than when it was loaded."""
        if self._as_loaded is None or self._stored is None:
            return None
        serializer = self._store.serializer
        if self._handed_out or self._stored.serializer.name != serializer.name:
            body = serializer.dumps(self.state)
        else:
            body = serializer.dumps_again(self.state)
        return None if body == self._as_loaded else body

    def changed_keys(self) -> list[str]:
        """Return the keys whose values are others than when the session was loaded."""
        before = {} if self._stored is None else self._stored.state()
        keys = dict.fromkeys((*before, *self.state))
        absent = object()
        return [key for key in keys if before.get(key, absent) != self.state.get(key, absent)]

    def save(self) -> Outcome | None:
        """Store what changed, or renew what is due. Return None if there was nothing to do."""
        self.outcome = self._save()
        return self.outcome

    def close(self) -> None:
        """Note that the last moment to save is over."""
        self.closed = True
        registry = self.request.registry
        if registry.has_listeners:
            stored = self.outcome is Outcome.STORED
            name = handle(self.session_id) if stored or self._stored is not None else ""
            plug = describe(self._storage.plug)
            registry.notify(events.SessionClosed(self.request, name, stored, plug, self.operations))

    def part(self) -> None:
        """Let go of the request, which is over."""
        self.request = self._storage.request = None

    def _save(self) -> Outcome | None:
        now = clock.now()
        body = self._changed_body()
        if self._stored is None:
            if not self._has_content():
                return None
            if self.moved and not self._is_login():
                return self._dropped(Outcome.MOVED)
            if self._outage is not None:
                return self._dropped(Outcome.UNAVAILABLE)
        elif body is None and not self._regenerate and not self._is_due(self._stored, now):
            return None
        # Never back: a clock that is behind must not end a session that another one has renewed.
        renewed = max(now, self.meta.renewed)
        draft = Draft(self.session_id, self.state, self.meta._replace(renewed=renewed), body)
        try:
            outcome = self._store_draft(draft)
        except PlugUnavailable as error:
            if not self._goes_on_without():
                raise
            self._storage.log.goes_on("saving", error)
            outcome = Outcome.UNAVAILABLE
        if outcome is not Outcome.STORED:
            return self._dropped(outcome)
        self.meta = draft.meta
        if draft.conflicts:
            # A key may be whatever somebody typed, line breaks and all.
            self.conflicts = draft.conflicts
            keys = ", ".join(map(repr, draft.conflicts))
            name = handle(draft.session_id)
            log.warning("session %s: two requests changed %s; the later value stays", name, keys)
            self.notify(events.SessionConflict, draft.session_id, draft.conflicts)
        if self._arrival is not None:
            pass  # it tells of itself, if it was the first
        elif self._stored is None:
            self.notify(events.SessionCreated, draft.session_id)
        elif self._regenerate:
            former = handle(self._stored.session_id)
            self.notify(events.SessionMoved, draft.session_id, former)
        return outcome

    def _store_draft(self, draft: Draft) -> Outcome:
        if not self._must_be_listed(draft):
            return self._store_as_listed(draft)
        owners = Owners(
            self.request, self._storage, self._store, draft.meta.owner or "", self._options
        )
        # Before it is stored: what is not listed could not be ended from elsewhere.
        former = None if self._stored is None else self._stored.session_id
        until = owners.enlist(draft.session_id, draft.meta, former)
        draft.meta = draft.meta._replace(listed_until=until)
        outcome = self._store_as_listed(draft)
        if outcome is Outcome.STORED and self._is_new_to_owner(draft):
            owners.keep_to_the_limit(draft.session_id)
        return outcome

    def _store_as_listed(self, draft: Draft) -> Outcome:
        if self._arrival is not None:
            outcome = self._arrival.store(draft, leads_on=not self._regenerate)
            self._session_id = draft.session_id
            return outcome
        if self._stored is None:
            return self._store.create(self._storage, draft)
        if self._regenerate:
            # A token that another request asks for meanwhile may be known to an attacker.
            draft.own_keys = (CSRF_KEY,)
            draft.is_login = self._is_login()
            outcome = self._store.move(self._storage, self._stored, draft)
            if outcome is Outcome.MOVED and draft.is_login:
                self._stored = None  # this is a new one, beside the one that was moved
                return Outcome.STORED
            return outcome
        return self._store.update(self._storage, self._stored, draft)

    def _is_login(self) -> bool:
        """Tell whether a move is not in its way. Any request may change the id, and no more."""
        return self._starts_over or (self._regenerate and self.named)

    def _has_content(self) -> bool:
        """Tell whether a new session is worth a record."""
        return bool(self.state) or self.meta.owner is not None or self._arrival is not None

    def _must_be_listed(self, draft: Draft) -> bool:
        """Tell whether the index of the owner does not have the session, or not for long enough."""
        if draft.meta.owner is None or not can_have_owners(self._storage):
            return False
        if self._regenerate or self._is_new_to_owner(draft):
            return True
        expires_at = self._store.lifetimes.expires_at(draft.meta)
        return draft.meta.listed_until < (math.inf if expires_at is None else expires_at)

    def _is_new_to_owner(self, draft: Draft) -> bool:
        return self._stored is None or self._stored.meta.owner != draft.meta.owner

    def _is_due(self, stored: Stored, now: float) -> bool:
        """Tell whether an unchanged session is to be stored for what is beside its data."""
        reissue_time = self._options["reissue_time"]
        if isinstance(reissue_time, str):  # auto
            timeout = self.timeout
            reissue_time = None if timeout is None else timeout / 10
        if reissue_time is not None and now - stored.meta.renewed >= reissue_time:
            return True
        return bool(self.leftover) or self.meta != stored.meta

    def _dropped(self, outcome: Outcome) -> Outcome:
        session_id = self._stored.session_id if self._stored else None
        if outcome is not Outcome.UNAVAILABLE:  # that has been said
            name = handle(session_id) if session_id else ""
            log.info("session %s: changes dropped (%s)", name, outcome.dropped)
        self.notify(events.SessionDropped, session_id, outcome.dropped)
        return outcome

    def _goes_on_without(self) -> bool:
        """Tell whether the application wants this request to go on in an outage."""
        policy = self._options["on_outage"]
        return bool((policy(self.request) if callable(policy) else policy) == "anonymous")

    def notify(self, event: Any, session_id: str | None, *about: Any) -> None:
        """Tell the application's subscribers of an event of a session, None for none."""
        registry = self.request.registry
        if registry.has_listeners:
            name = "" if session_id is None else handle(session_id)
            registry.notify(event(self.request, name, *about))
