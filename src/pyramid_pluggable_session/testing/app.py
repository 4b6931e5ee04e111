"""Helpers for the tests of an application that has sessions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyramid.interfaces import ISessionFactory
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import remember

from .. import clock
from ..session import Session


@contextmanager
def open_session(testapp: Any) -> Iterator[Session]:
    """Read and write the session of a WebTest application's client.

    ::

        with open_session(testapp) as session:
            session["auth.userid"] = "ada"
        testapp.get("/account", status=200)

    It is a request of its own: at the end of the block the session is saved, and the client gets
    the cookie. ``testapp`` is a ``webtest.TestApp`` around a Pyramid application.
    """
    request = Request.blank("/", base_url=_base_url(testapp))
    testapp.cookiejar.add_cookie_header(_utils()._RequestCookieAdapter(request))
    request.registry = _registry(testapp.app)
    session: Session = request.registry.getUtility(ISessionFactory)(request)
    request.session = session
    yield session
    response = Response()
    request._process_response_callbacks(response)
    request._process_finished_callbacks()
    keep_cookies(testapp, request, response)


def log_in(testapp: Any, userid: Any, **data: Any) -> None:
    """Log a WebTest client in as the application's security policy does, and give it some data.

    ::

        log_in(testapp, "ada", cart=["tea"])
        testapp.get("/account", status=200)
    """
    with open_session(testapp) as session:
        request = session.request
        headers = remember(request, userid)
        session.update(data)
    keep_cookies(testapp, request, Response(headerlist=headers))


def session_of(testapp: Any) -> dict[str, Any]:
    """Return the data of a WebTest client's session, with which nothing is done; {} if it has none.

    ::

        assert session_of(testapp)["cart"] == ["tea"]
    """
    with open_session(testapp) as session:
        return dict(session)


def assert_logged_in(testapp: Any, userid: Any) -> None:
    """Fail unless the WebTest client's session is this user's."""
    with open_session(testapp) as session:
        owner = session.owner
    if owner != str(userid):
        raise AssertionError(f"the session is {owner or 'nobody'}'s, and not {userid}'s")


def assert_no_session(testapp: Any) -> None:
    """Fail if the WebTest client has a session, as it should not after a logout."""
    with open_session(testapp) as session:
        keys = sorted(session)
        new = session.new
    if not new:
        raise AssertionError(f"there is a session, with the keys {keys}")


def keep_cookies(testapp: Any, request: Any, response: Any) -> None:
    """Let a WebTest client keep the cookies of a response, as it does with its own."""
    # Not testapp.set_cookie: it puts quotes around values, and files them under another host.
    utils = _utils()
    testapp.cookiejar.extract_cookies(
        utils._ResponseCookieAdapter(response), utils._RequestCookieAdapter(request)
    )


class FakeClock:
    """A clock that stands still until it is told to go on; also a context manager.

    ::

        with FakeClock() as fake:
            testapp.get("/login")
            fake.advance(1300)
            testapp.get("/account", status=403)

    All that this package does with time goes by it, the storages that expire records themselves
    (Redis and the like) excepted. It is global: not for tests that run in parallel threads.
    """

    now: float
    """What time it is, in epoch seconds."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass, or go back with a negative number."""
        self.now += seconds

    def __enter__(self) -> FakeClock:
        self._real, clock._time = clock._time, lambda: self.now
        return self

    def __exit__(self, *exc_info: object) -> None:
        clock._time = self._real


def _registry(app: Any) -> Any:
    """Find the Pyramid application below the middleware that is around it."""
    while not hasattr(app, "registry"):
        inner = getattr(app, "app", None) or getattr(app, "application", None)
        if inner is None:
            raise TypeError("there is no Pyramid application in this WebTest application")
        app = inner
    return app.registry


def _base_url(testapp: Any) -> str:
    environ = testapp.extra_environ
    scheme = environ.get("wsgi.url_scheme", "http")
    return f"{scheme}://{environ.get('HTTP_HOST', 'localhost:80')}"


def _utils() -> Any:
    # Plugs are tested without WebTest, so it is not needed before it is used.
    from webtest import utils  # noqa: PLC0415

    return utils
