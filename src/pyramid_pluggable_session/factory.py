"""From a request to its session, and from the session to the response."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from pyramid.exceptions import ConfigurationError
from pyramid.interfaces import ISessionFactory
from zope.interface import implementer

from . import clock, events
from .cookie import CookieAttributes, SessionCookie
from .interfaces import IPlugSession
from .keyring import Keyring
from .keys import handle
from .options import CORE_OPTIONS, check_secrets, make_serializers
from .record import Sealer, Unreadable
from .responses import add_cookies, answer, become, vary_on_cookie
from .session import CSRF_KEY, Session
from .settings import parse
from .storage import Storage
from .store import Draft, Moved, Outcome, Store, Stored

log = logging.getLogger("pyramid_pluggable_session")


def PluggableSessionFactory(  # noqa: N802
    secret: Any,
    cookie_name: str = "session",
    max_age: Any = None,
    path: str = "/",
    domain: Any = None,
    secure: Any = "auto",
    httponly: Any = True,
    set_on_exception: Any = True,
    timeout: Any = 1200,
    reissue_time: Any = "auto",
    hashalg: str = "sha512",
    salt: str = "pyramid_pluggable_session.",
    serializer: Any = "msgpack",
    *,
    samesite: str | None = "Lax",
    partitioned: Any = False,
    lifetime: Any = None,
    encrypt: Any = False,
    max_size: Any = 1024 * 1024,
    on_conflict: str = "ours",
) -> SessionFactory:
    """Make a session factory for ``config.set_session_factory``.

    The arguments are the settings ``pluggable_session.*``, see
    :data:`~pyramid_pluggable_session.options.CORE_OPTIONS`, as Python values or as the strings of
    an ini file. One default differs: without ``max_age`` the cookie ends with the browser. Raises
    :class:`~pyramid.exceptions.ConfigurationError` for what is wrong.

    ``config.include('pyramid_pluggable_session')`` does this with the settings.
    """
    return SessionFactory(
        parse(CORE_OPTIONS, locals(), lambda name: f"PluggableSessionFactory's argument {name}")
    )


@implementer(ISessionFactory)
class SessionFactory:
    """Makes the session of a request, opens it at the first look and saves it at the end."""

    def __init__(self, options: dict[str, Any]) -> None:
        """Take the values of :data:`~pyramid_pluggable_session.options.CORE_OPTIONS`."""
        check_secrets(options["secret"], log)
        self.options = options
        keyring = Keyring(options["secret"], options["salt"], options["hashalg"])
        self.cookie = SessionCookie(
            CookieAttributes(
                name=options["cookie_name"],
                path=options["path"],
                domains=options["domain"] or (None,),
                secure=options["secure"],
                httponly=options["httponly"],
                samesite=options["samesite"],
                partitioned=options["partitioned"],
            ),
            keyring,
        )
        serializers = make_serializers(options["serializer"])

        self._make_store = partial(
            Store,
            serializers=serializers,
            timeout=options["timeout"],
            lifetime=options["lifetime"],
            max_size=options["max_size"],
            fail_on_conflict=options["on_conflict"] == "fail",
        )
        self._keyring = keyring
        self._server_side_store = self._make_store(Sealer(keyring, options["encrypt"]))
        self._client_side_store: Store | None = None

    def __call__(self, request: Any) -> Session:
        """Return the session of a request. Nothing is read yet."""
        session = Session(request, self)
        request.add_response_callback(lambda _request, response: self._finish(session, response))
        return session

    def _store_for(self, storage: Storage) -> Store:
        if not storage.client_side:
            return self._server_side_store
        if self._client_side_store is None:
            self._client_side_store = self._make_store(Sealer(self._keyring, encrypt=True))
        return self._client_side_store

    # Opening

    def open(self, session: Session) -> dict[str, Any]:
        """Load the session of the request, or make it a new one. Return its state."""
        request = session.request
        plug = request.registry.queryUtility(IPlugSession)
        if plug is None:
            raise ConfigurationError(
                "There is no storage for sessions. Set pluggable_session.plug, or call "
                "config.set_session_plug('sqlite:///path/to/sessions.db')."
            )
        storage = session._storage = Storage(plug, request)
        session._store = self._store_for(storage)
        now = session._accessed = clock.now()
        found = self.cookie.read(request)
        session._resign = found.resign
        if found.session_id is not None:
            session._cookie_sent = True
            self._load(session, storage, found.session_id, now)
        elif found.rejected is not None:
            log.info("refused a %s", found.rejected)
            self._notify(request, events.SessionRejected, "", found.rejected)
        if session._state is None:
            session._reset(now)
        request.add_finished_callback(lambda _request: self._check_saved(session))
        state = session._state
        assert state is not None  # noqa: S101
        return state

    def _load(self, session: Session, storage: Storage, session_id: str, now: float) -> None:
        request = session.request
        try:
            stored = session._store.load(storage, session_id)
            if stored is None:
                return
            if isinstance(stored, Moved):
                session._moved = True
                return
            reason = session._store.ended(stored.meta, now)
            if reason is None:
                state = stored.state()
                session._stored_body = stored.body_as_loaded(session._store.serializer, state)
                session._stored = stored
                session._session_id = session_id
                session._meta = stored.meta
                session._new = False
                session._state = state
                return
        except Unreadable as error:
            log.warning("refused the record of session %s: %s", handle(session_id), error.reason)
            session._store.clear(storage, session_id)
            self._notify(
                request, events.SessionRejected, handle(session_id), f"record: {error.reason}"
            )
            return
        session._store.clear(storage, session_id)
        self._notify(request, events.SessionEnded, handle(session_id), reason)

    def end(self, session: Session) -> None:
        """Delete what is stored of the session, and make it an empty new one."""
        stored, storage = session._stored, session._storage
        if stored is not None and storage is not None:
            session._store.clear(storage, stored.session_id)
            self._notify(
                session.request, events.SessionEnded, handle(stored.session_id), "invalidated"
            )
        session._ended = True
        session._reset(clock.now())

    # Saving

    def _finish(self, session: Session, response: Any) -> None:
        """Save the session and tell the client, as a response callback."""
        request = session.request
        if request.response_callbacks and session._turns < _MAX_TURNS:
            # Others are still to come, and may change the session: let them go first.
            session._turns += 1
            request.add_response_callback(
                lambda _request, response: self._finish(session, response)
            )
            return
        try:
            if session._state is not None:
                self._save(session, response)
        except Exception as error:
            become(request, response, answer(request, error))
        finally:
            session._finished = True
            if session._state is not None:
                vary_on_cookie(response)

    def _save(self, session: Session, response: Any) -> None:
        request = session.request
        failed = not self.options["set_on_exception"] and getattr(request, "exception", None)
        outcome = None if failed else self._save_changes(session)
        if outcome is Outcome.STORED:
            max_age = self._max_age(session)
            if session._cookie_due or max_age is not None:
                add_cookies(response, self.cookie.set_headers(request, session.session_id, max_age))
        elif outcome is None and session._ended and session._cookie_sent and not session._moved:
            add_cookies(response, self.cookie.delete_headers(request))

    def _save_changes(self, session: Session) -> Outcome | None:
        """Store what changed. Return None if nothing did."""
        request, stored, storage = session.request, session._stored, session._storage
        state, now = session._state, clock.now()
        assert state is not None  # noqa: S101
        assert storage is not None  # noqa: S101
        if stored is None:
            if not state:
                return None
            if session._moved:
                return self._dropped(session, Outcome.MOVED)
        elif not session._regenerate and not self._is_due(session, stored, now):
            return None
        meta = session._meta._replace(renewed=now)
        draft = Draft(session.session_id, state, meta)
        if stored is None:
            outcome = session._store.create(storage, draft)
            self._notify(request, events.SessionCreated, handle(draft.session_id))
        elif session._regenerate:
            # A token that another request asks for meanwhile may be known to an attacker.
            draft.own_keys = (CSRF_KEY,)
            outcome = session._store.move(storage, stored, draft)
        else:
            outcome = session._store.update(storage, stored, draft)
        if outcome.dropped is not None:
            return self._dropped(session, outcome)
        if draft.conflicts:
            log.warning(
                "session %s: two requests changed %s at once; the later value stays",
                handle(draft.session_id),
                # A key may be whatever somebody typed, line breaks and all.
                ", ".join(map(repr, draft.conflicts)),
            )
            self._notify(request, events.SessionConflict, handle(draft.session_id), draft.conflicts)
        if session._regenerate and stored is not None:
            former = handle(stored.session_id)
            self._notify(request, events.SessionMoved, handle(draft.session_id), former)
        session._meta = draft.meta
        return outcome

    def _is_due(self, session: Session, stored: Stored, now: float) -> bool:
        """Whether there is something to store: a change, or a renewal."""
        reissue_time = self._reissue_time(session)
        if reissue_time is not None and now - stored.meta.renewed >= reissue_time:
            return True
        if session._meta != stored.meta:
            return True
        assert session._state is not None  # noqa: S101
        return session._store.serializer.dumps(session._state) != session._stored_body

    def _reissue_time(self, session: Session) -> float | None:
        reissue_time: float | str | None = self.options["reissue_time"]
        if isinstance(reissue_time, str):  # auto
            timeout = session._store.timeout(session._meta)
            return None if timeout is None else timeout / 10
        return reissue_time

    def _dropped(self, session: Session, outcome: Outcome) -> Outcome:
        name = handle(session._stored.session_id) if session._stored else ""
        log.info("session %s was %s by another request: changes dropped", name, outcome.dropped)
        self._notify(session.request, events.SessionDropped, name, outcome.dropped)
        return outcome

    def _max_age(self, session: Session) -> int | None:
        """Return the age of the cookie in seconds, None for one that ends with the browser."""
        max_age: int | None = self.options["max_age"]
        if session._meta.persistent is None:
            return max_age
        if not session._meta.persistent:
            return None
        # A user who is remembered is remembered for as long as the session may live.
        timeout = session._store.timeout(session._meta)
        return _LONGEST_AGE if timeout is None else max(max_age or 0, math.ceil(timeout))

    def _check_saved(self, session: Session) -> None:
        """Complain about changes that no response callback was there to save any more."""
        if session._finished or sys.exc_info()[1] is not None:
            return
        if self._has_changes(session):
            raise RuntimeError(
                "The session was changed where no response callback runs any more (a NewResponse "
                "subscriber, a script), so the change is not saved. Look into the session before "
                "the response is made."
            )

    def _has_changes(self, session: Session) -> bool:
        if session._stored is None:
            return bool(session._state) and not session._moved
        return session._store.serializer.dumps(session._state) != session._stored_body

    def _notify(self, request: Any, event: Callable[..., Any], *about: Any) -> None:
        registry = request.registry
        if registry.has_listeners:
            registry.notify(event(request, *about))


_LONGEST_AGE = 400 * 24 * 3600  # in seconds; browsers cut a cookie's age to 400 days
_MAX_TURNS = 16
