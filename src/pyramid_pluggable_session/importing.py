"""The sessions of another package, taken over one by one while the site runs.

A request that has no session of ours, but a good cookie of the other package, goes on with what is
stored there: as a session of ours, under an id of its own. This happens once for each old session,
however many requests come with its cookie, by these steps at the end of the request:

1. The session is stored under its new id, which nobody knows yet.
2. A mark is stored under an id that is made of the old one, if there is none there (a swap). It
   names the new id, and lives as long as the old session could have. This is the moment at which
   the session is ours.
3. The old record is deleted.
4. The response has the new cookie, and deletes the old one.

Whatever stops this in between, nothing is lost and there are no two sessions:

- After 1: the record is known to nobody and ends by itself. The old session is as it was, and the
  next request imports it.
- After 2: the old cookie comes again, as the response was not sent, or not received. The mark leads
  to the new session, and its cookie is sent. What is left of the old record is never read again.
- Two requests at once: one of them has its mark stored. The other one deletes what it has stored,
  and merges its changes into the session that the mark names, as requests do that have one session.
- A request that was on its way with the old cookie, and looks only now: the mark leads it, too.

The mark leads nowhere once the new session is in use: when it was stored again, and a minute has
passed. From then on the old cookie, stolen from somewhere perhaps, is of no use. It leads nowhere
from the beginning if the request has itself given the session another id, as a login does: whoever
planted the old cookie must not get there. And what the user has ended does not come back.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from . import clock, events
from .cookie import LONGEST_AGE, CookieAttributes
from .errors import PlugUnavailable, SessionTooLarge, UnserializableValue
from .import_count import count_import
from .keys import SessionKey, handle, is_session_id
from .limited_log import fields
from .origins import make_origin
from .origins.sessions import OldKey, OldSession, Place, Refused
from .ownership import owner_text
from .record import Kind, Meta, Record, Unreadable
from .storage import Storage
from .store import GRACE, HELD_OFF_FOR, MARKED_FOR, Draft, Moved, Outcome, Store, Stored

log = logging.getLogger("pyramid_pluggable_session")


class _Mark(NamedTuple):
    """What is known of an old session that was imported: the new id, if the old cookie leads there.

    ``at`` is when it was imported, epoch seconds.
    """

    at: float
    session_id: str | None


def make_importer(config: Any, spec: Any, salt: str) -> Importer:
    """Return what imports from the origin that ``spec`` names. Raise ConfigurationError."""
    origin, options = make_origin(config, spec)
    return Importer(origin, options, salt)


class Importer:
    """Imports sessions from an origin, an :class:`~.interfaces.IOrigin`."""

    def __init__(self, origin: Any, options: dict[str, Any], salt: str) -> None:
        """``options`` are ``convert`` and ``userid_key``. ``salt`` keeps applications apart."""
        self.origin = origin
        self.salt = salt
        self._convert = options["convert"]
        self._userid_key = options["userid_key"]

    def bring(self, visit: Any, storage: Storage, store: Store) -> None:
        """Let a visit become what its old cookie stands for, if that is a live session.

        Raises PlugUnavailable in an outage of either storage.
        """
        request = visit.request
        key = None
        try:
            key = self.origin.identify(request)
            if key is None:
                return
            arrival = Arrival(self, visit, storage, store, key)
            if arrival.was_imported():
                return
            old = self.origin.load(key, request)
            if old is not None:
                arrival.take(old, self._converted(old, request))
        except (Refused, UnserializableValue) as error:
            self._refuse(visit, storage, key, str(error))
        except SessionTooLarge:
            self._refuse(visit, storage, key, "larger than pluggable_session.max_size allows")

    def _refuse(self, visit: Any, storage: Storage, key: OldKey | None, why: str) -> None:
        """Say why an old session is not imported. It must not be an error with every request."""
        reason = f"not imported from {self.origin.name}: {why}"
        name = "in a cookie" if key is None else handle(self.mark_id(key))
        storage.log.refused_record(name, reason)
        visit.rejected = f"record: {reason}"
        visit.notify(events.SessionRejected, None, visit.rejected)

    def end(
        self, visit: Any, storage: Storage, store: Store, arrival: Arrival | None = None
    ) -> None:
        """End the old session of a visit that ends: its ``arrival``, or one that stayed behind.

        Else whoever logs out would be logged in again by the old cookie. Raises PlugUnavailable if
        it cannot be done.
        """
        if arrival is None:
            try:
                key = self.origin.identify(visit.request)
                old = None if key is None else self.origin.load(key, visit.request)
            except Refused:
                return
            if key is None or old is None:
                return
            arrival = Arrival(self, visit, storage, store, key)
            arrival.note(old)
        arrival.end()

    def _converted(self, old: OldSession, request: Any) -> dict[str, Any]:
        data = old.data if self._convert is None else self._convert(old.data, request)
        return data or {}

    def delete_headers(
        self, request: Any, places: Sequence[Place], ours: CookieAttributes, is_set: bool
    ) -> list[tuple[str, str]]:
        """Return the headers that delete the old cookies, but for one whose place ours takes."""
        headers = []
        for name, path, domain in places:
            if is_set and (name, path) == (ours.name, ours.path) and domain in ours.domains:
                continue
            attributes = CookieAttributes(name, path, (domain,), ours.secure)
            headers += attributes.headers(request, name, "", 0)
        return headers

    def owner(self, data: dict[str, Any]) -> str | None:
        """Return whose session it is, by what the application keeps in it."""
        try:
            return owner_text(data.get(self._userid_key))
        except ValueError:
            return None

    def mark_id(self, key: OldKey) -> str:
        """Return the id of the mark for an old session."""
        # Of no secret, as an owner's index; see there.
        name = f"{len(self.salt)}:{self.salt}{self.origin.name}\0{key.id}"
        return hashlib.sha256(b"imported\0" + name.encode()).hexdigest()


class Arrival:
    """An old session on its way to becoming the session of one request."""

    def __init__(
        self, importer: Importer, visit: Any, storage: Storage, store: Store, key: OldKey
    ) -> None:
        self._importer = importer
        self._visit = visit
        self._storage = storage
        self._store = store
        self._key = key
        self._mark_id = importer.mark_id(key)
        # Of what is with the client, there is no place for a mark.
        self._marks = not storage.client_side
        self._there: bytes | None = None

    def was_imported(self) -> bool:
        """Tell whether it was; then the visit becomes the session that the mark leads to."""
        mark = self._read_mark()
        if mark is None:
            return False
        visit, now = self._visit, clock.now()
        fresh = now < mark.at + MARKED_FOR
        if mark.session_id is None:
            visit.moved = now < mark.at + HELD_OFF_FOR
            return True
        try:
            found = self._store.load(self._storage, mark.session_id)
        except Unreadable:
            return True
        if isinstance(found, Stored):
            if fresh or found.meta.renewed == mark.at:
                visit.load(mark.session_id)
                if not visit.new:
                    visit.rejected = None
                    visit.leftover = tuple(self._importer.origin.places)
        elif isinstance(found, Moved):
            visit.moved = found.holds_off
        return True

    def take(self, old: OldSession, data: dict[str, Any]) -> None:
        """Let the visit become this session, to be stored at its end.

        Raises UnserializableValue or SessionTooLarge if that cannot be.
        """
        now = clock.now()
        created = min(old.created, now)
        meta = Meta(created, now, old.timeout, None, self._importer.owner(data))
        if not data or self._store.lifetimes.ended(meta, now):
            return
        serializer = self._store.serializer
        body = serializer.dumps(data)
        self._record = Record(Kind.SESSION, meta, serializer.name, body)
        self._store.seal(self._mark_id, self._record)  # to see that it is not too large
        base = Stored(self._mark_id, b"", self._record, serializer)
        self.note(old)
        self._visit.arrive(self, base.state(), meta)

    def note(self, old: OldSession) -> None:
        """Note how long the mark is needed, and which cookies are to be deleted."""
        now = clock.now()
        self._until = max(old.expires_at or now + LONGEST_AGE, now + MARKED_FOR) + GRACE
        self._visit.leftover = tuple(dict.fromkeys((*self._importer.origin.places, *old.places)))

    def is_as_it_came(self, state: dict[str, Any]) -> bool:
        """Tell whether nobody has changed the data."""
        return self._store.serializer.dumps(state) == self._record.body

    def store(self, draft: Draft, leads_on: bool) -> Outcome:
        """Store the session, once for all requests; see the steps above.

        Without ``leads_on`` nobody gets to it by the old cookie.
        """
        outcome = self._store.create(self._storage, draft)
        if outcome is not Outcome.STORED:
            return outcome
        if self._put_mark(draft.session_id if leads_on else "", draft.meta.renewed):
            self._settle(draft.session_id)
            return Outcome.STORED
        self._store.clear(self._storage, draft.session_id)
        mark = self._read_mark()
        if mark is None or mark.session_id is None or not leads_on:
            return Outcome.MOVED
        # It has changed since this request has seen it, in the one way or the other: with these
        # bytes no swap succeeds, and the changes are put on top of what is there.
        draft.session_id, draft.body = mark.session_id, None
        base = Stored(mark.session_id, b"", self._record, self._store.serializer)
        return self._store.update(self._storage, base, draft)

    def end(self) -> None:
        """See to it that it is over, and is not imported by anybody.

        Raises PlugUnavailable if that cannot be done.
        """
        if not self._put_mark("", clock.now()):
            mark = self._read_mark()
            if mark is not None and mark.session_id is not None:
                self._store.clear(self._storage, mark.session_id)
        self._importer.origin.forget(self._key, self._visit.request)

    def _settle(self, session_id: str) -> None:
        """Delete what was there, and tell of it."""
        name, visit = self._importer.origin.name, self._visit
        try:
            self._importer.origin.forget(self._key, visit.request)
        except PlugUnavailable as error:
            # The mark keeps it from being read again.
            log.warning("an old session stays where it was: %s", error)
        if self._marks:
            count_import(self._storage, self._store, self._importer.salt)
        log.info(
            "session %s: imported from %s",
            *(handle(session_id), name),
            extra=fields("imported", handle=handle(session_id), origin=name),
        )
        visit.notify(events.SessionImported, session_id, name)

    def _read_mark(self) -> _Mark | None:
        if not self._marks:
            return None
        self._there = self._storage.loads(SessionKey(self._mark_id, None))
        if self._there is None:
            return None
        try:
            record = self._store.unseal(self._mark_id, self._there)
        except Unreadable:
            return None
        named = record.body.decode()
        return _Mark(record.meta.renewed, named if is_session_id(named) else None)

    def _put_mark(self, named: str, at: float) -> bool:
        """Store the mark; return false if another request has done so."""
        if not self._marks:
            return True
        meta, name = Meta(at, at), self._store.serializer.name
        sealed = self._store.seal(self._mark_id, Record(Kind.IMPORTED, meta, name, named.encode()))
        key = SessionKey(self._mark_id, self._until)
        if self._storage.can_swap:
            return self._storage.swap(key, self._there, sealed)
        # As good as it gets without: another one may come in between.
        if self._storage.loads(key) != self._there:
            return False
        self._storage.dumps(key, sealed)
        return True
