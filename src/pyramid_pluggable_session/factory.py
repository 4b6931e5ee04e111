"""From a request to its session, and from the session to the response."""

from __future__ import annotations

import logging
import math
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from pyramid.exceptions import ConfigurationError
from pyramid.interfaces import ISessionFactory
from zope.interface import implementer

from . import events
from .compat import CompatibleSession
from .cookie import LONGEST_AGE, CookieAttributes, SessionCookie
from .errors import PlugUnavailable
from .interfaces import IPlugSession
from .keyring import Keyring
from .lifetimes import Lifetimes
from .options import CORE_OPTIONS, check_secrets, make_serializers, weaknesses
from .record import Sealer
from .responses import add_cookies, answer, become, vary_on_cookie
from .session import Session
from .settings import parse
from .storage import Storage
from .store import Outcome, Store
from .visit import Visit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta

    from .importing import Importer

log = logging.getLogger("pyramid_pluggable_session")


def PluggableSessionFactory(  # noqa: N802
    secret: str | bytes | Sequence[str | bytes],
    cookie_name: str = "session",
    max_age: int | str | None = None,
    path: str = "/",
    domain: str | Sequence[str] | None = None,
    secure: bool | str | None = "auto",
    httponly: bool | str = True,
    set_on_exception: bool | str = True,
    timeout: float | timedelta | str | None = 1200,
    reissue_time: float | timedelta | str | None = "auto",
    hashalg: str = "sha256",
    salt: str = "pyramid_pluggable_session.",
    serializer: Any = "msgpack",
    *,
    samesite: str | None = "Lax",
    partitioned: bool | str = False,
    lifetime: float | timedelta | str | None = None,
    encrypt: bool | str = False,
    max_size: int | str | None = 1024 * 1024,
    on_conflict: str = "ours",
    on_outage: str | Callable[[Any], str] = "fail",
    max_sessions: int | str | None = None,
    on_max_sessions: str = "end_oldest",
    device_details: str | Sequence[str] | None = (),
    compat: bool | str = False,
) -> SessionFactory:
    """Make a session factory for ``config.set_session_factory``.

    The arguments are the settings ``pluggable_session.*``, as Python values or as the strings of
    an ini file; the page of settings says what each is for. One default differs: without
    ``max_age`` the cookie ends with the browser. Raises
    :class:`~pyramid.exceptions.ConfigurationError` for what is wrong.

    ``config.include('pyramid_pluggable_session')`` does this with the settings. What is returned
    is a :class:`pyramid.interfaces.ISessionFactory`, called with a request.
    """
    return SessionFactory(
        parse(CORE_OPTIONS, locals(), lambda name: f"PluggableSessionFactory's argument {name}")
    )


@implementer(ISessionFactory)
class SessionFactory:
    """Makes the session of a request, opens it at the first look and saves it at the end."""

    def __init__(self, options: dict[str, Any]) -> None:
        """Take the values of :data:`~pyramid_pluggable_session.options.CORE_OPTIONS`."""
        check_secrets(options["secret"])
        for weakness in weaknesses(options):
            log.warning("%s", weakness)
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
            lifetimes=Lifetimes(options["timeout"], options["lifetime"]),
            max_size=options["max_size"],
            fail_on_conflict=options["on_conflict"] == "fail",
        )
        self._keyring = keyring
        self.importer: Importer | None = None
        self._server_side_store = self._make_store(Sealer(keyring, options["encrypt"]))
        self._client_side_store: Store | None = None
        self._make_session = CompatibleSession if options["compat"] else Session

    def __call__(self, request: Any) -> Session:
        """Return the session of a request. Nothing is read yet."""
        session = self._make_session(request, self.open)
        request.add_response_callback(partial(self._respond, session))
        request.add_finished_callback(partial(_part, session))
        return session

    def open(self, request: Any) -> Visit:
        """Find the session that a request comes with, or begin a new one."""
        plug = request.registry.queryUtility(IPlugSession)
        if plug is None:
            raise ConfigurationError(
                "There is no storage for sessions. Set pluggable_session.plug, or call "
                "config.set_session_plug('sqlite:///path/to/sessions.db')."
            )
        storage = Storage(plug, request)
        store = self.store_for(storage)
        found = self.cookie.read(request)
        visit = Visit(request, found, storage, store, self.options)
        try:
            if found.session_id is not None:
                visit.load(found.session_id)
            if self.importer is not None:
                visit.importer = self.importer
                if visit.new:
                    visit.look_elsewhere()
        except PlugUnavailable:
            visit.close()
            raise
        if found.rejected is not None and visit.new:
            storage.log.refused_cookie(found.rejected)
            visit.notify(events.SessionRejected, None, found.rejected)
        return visit

    def store_for(self, storage: Storage) -> Store:
        """Return the store that goes with a storage: what the client keeps is always encrypted."""
        if not storage.client_side:
            return self._server_side_store
        if self._client_side_store is None:
            self._client_side_store = self._make_store(Sealer(self._keyring, encrypt=True))
        return self._client_side_store

    def _respond(self, session: Session, request: Any, response: Any, turn: int = 0) -> None:
        if request.response_callbacks and turn < _MAX_TURNS:
            # Others are still to come, and may change the session: let them go first.
            request.add_response_callback(partial(self._respond, session, turn=turn + 1))
        elif session.visit is not None:
            self._finish(session.visit, response)

    def _finish(self, visit: Visit, response: Any) -> None:
        """Save the session and tell the client."""
        try:
            self._save(visit, response)
        except Exception:
            become(visit.request, response, answer(visit.request))
        finally:
            vary_on_cookie(response)
            visit.close()

    def _save(self, visit: Visit, response: Any) -> None:
        request = visit.request
        failed = not self.options["set_on_exception"] and getattr(request, "exception", None)
        outcome = None if failed else visit.save()
        if outcome is Outcome.STORED:
            max_age = self._max_age(visit)
            # A cookie with an age is sent with each write, as its age counts from then on.
            if visit.needs_cookie or max_age is not None or visit.found.resign:
                headers = self.cookie.set_headers(request, visit.session_id, max_age, visit.found)
                if visit.leftover:
                    headers += self._without_leftover(visit, is_set=True)
                add_cookies(response, headers)
        elif outcome is None and visit.ended and not visit.moved:
            headers = self.cookie.delete_headers(request) if visit.found.session_id else []
            if headers := headers + self._without_leftover(visit):
                add_cookies(response, headers)

    def _without_leftover(self, visit: Visit, is_set: bool = False) -> list[tuple[str, str]]:
        if self.importer is None:
            return []
        attributes = self.cookie.attributes
        return self.importer.delete_headers(visit.request, visit.leftover, attributes, is_set)

    def _max_age(self, visit: Visit) -> int | None:
        """Return the age of the cookie in seconds, None for one that ends with the browser."""
        max_age: int | None = self.options["max_age"]
        if visit.meta.persistent is None:
            return max_age
        if not visit.meta.persistent:
            return None
        # A user who is remembered is remembered for as long as the session may live.
        timeout = visit.timeout
        return LONGEST_AGE if timeout is None else max(max_age or 0, math.ceil(timeout))


_MAX_TURNS = 16


def _part(session: Session, request: Any) -> None:
    """Part the session from its request, which is over.

    As the request has the session, and the session the request, only Python's search for cycles
    would free the two, much later. Not if nobody has looked inside: that takes the request, and
    a body that is sent piece by piece may do it yet.
    """
    visit = session.visit
    if visit is None:
        session.late = True
        return
    try:
        _check_saved(visit)
    finally:
        session.request = None
        visit.part()


def _check_saved(visit: Visit) -> None:
    """Complain about changes that no response callback was there to save any more."""
    if visit.closed or sys.exc_info()[1] is not None or not visit.is_changed():
        return
    raise RuntimeError(
        "The session was changed where no response callback runs any more (a NewResponse "
        "subscriber, a script), so the change is not saved. Look into the session before the "
        "response is made."
    )
