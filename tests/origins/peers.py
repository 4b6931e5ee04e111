"""Applications of the packages whose sessions are imported, and browsers that go from them to ours.

The sessions are made by the real packages, over HTTP.
"""

from __future__ import annotations

import copy
import datetime
import sys
import warnings
from decimal import Decimal
from http.cookiejar import CookieJar

import pytest
from pyramid.config import Configurator
from pyramid.interfaces import ISessionFactory
from pyramid.response import Response
from webtest import TestApp

from apps import App, Client, CountingPlug

SECRET = "a secret of the old application" * 2

DATA = {
    "auth.userid": "ada",
    "cart": {"items": [1, 2, {"name": "ä tea"}], "total": 12.5},
    "_csrft_": "t" * 40,
    "_f_": ["saved"],
}
RICH = {
    **DATA,
    "since": datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc),
    "day": datetime.date(2026, 1, 2),
    "price": Decimal("12.50"),
    "tags": {"a", "b"},
    "raw": b"\x00\xff",
}


def imported(name):
    """Import a package of others, or skip the test if it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"{name} is not installed", exc_type=ImportError)


class Theirs:
    """An application with the sessions of a package, which is given as what configures it."""

    def __init__(self, configure, settings=None):
        self.views = {}
        with Configurator(settings=settings or {}) as config:
            configure(config)
            config.add_route("do", "/do/{name}")
            config.add_view(self._view, route_name="do")
            self.wsgi = config.make_wsgi_app()

    def _view(self, request):
        self.views[request.matchdict["name"]](request.session)
        return Response("done")

    def do(self, browser, action):
        """Run ``action(session)`` in a view."""
        box = []
        self.views["now"] = lambda session: box.append(action(session))
        TestApp(self.wsgi, cookiejar=browser).get("/do/now")
        return box[0]

    def log_in(self, browser, data=DATA):
        self.do(browser, lambda session: session.update(data))


def beaker(**settings):
    """Return an application with pyramid_beaker."""
    imported("beaker")
    imported("pyramid_beaker")
    return Theirs(
        lambda config: config.include("pyramid_beaker"),
        {f"session.{name.replace('__', '.')}": value for name, value in settings.items()},
    )


def ours(settings, plug=None, **options):
    """Return our application, on the settings of theirs."""
    options = {"import": "beaker", "cookie_name": "sid", **options}
    app = App(plug or CountingPlug(), settings, **options)
    app.origin = app.registry.getUtility(ISessionFactory).importer.origin
    if hasattr(app.origin, "close"):
        _to_close.append(app.origin.close)
    return app


_to_close = []


def close_all():
    """Close the connections of our applications, and of Beaker, which keeps them for ever."""
    while _to_close:
        _to_close.pop()()
    for module, name, close in (
        ("mongodb", "MongoNamespaceManager", "close"),
        ("redisnm", "RedisNamespaceManager", "close"),
        ("memcached", "MemcachedNamespaceManager", "disconnect_all"),
        ("sqla", "SqlaNamespaceManager", "dispose"),
        ("database", "DatabaseNamespaceManager", "dispose"),
    ):
        if f"beaker.ext.{module}" not in sys.modules:
            continue
        manager = getattr(sys.modules[f"beaker.ext.{module}"], name)
        clients = getattr(manager, "clients", None) or manager.binds
        for client in clients.dict.values():
            getattr(client, close)()
        clients.clear()


def visit(app, browser):
    """Return a client of our application that has the cookies of a browser."""
    client = Client(app)
    client.testapp.cookiejar = browser
    return client


def names(browser):
    """Return the names of the cookies that a browser has."""
    return sorted(cookie.name for cookie in browser)


def check_moved(app, browser, old_cookie, data=DATA):
    """Check that a browser is still logged in, by a session of ours, and once."""
    assert old_cookie in names(browser)
    client = visit(app, browser)
    response = client.do(lambda session: (dict(session), session.new, session.owner))
    assert response.result == (data, False, data["auth.userid"])
    names_ = [type(each).__name__ for each in app.events]
    assert names_ == ["SessionImported"], names_
    app.events.clear()
    sid = app.registry.settings["pluggable_session.cookie_name"]
    (cookie,) = [each for each in browser if each.name == sid]
    assert len(cookie.value) == 64 * 2
    if old_cookie != sid:
        assert old_cookie not in names(browser)
    again = client.do(lambda session: (dict(session), session.handle))
    assert again.result[0] == data
    assert not app.events
    return client


def copy_of(browser):
    """Return another browser with the same cookies."""
    jar = CookieJar()
    for cookie in browser:
        jar.set_cookie(copy.copy(cookie))
    return jar


def with_value(browser, name, change):
    """Return another browser, in which the value of a cookie is changed."""
    jar = copy_of(browser)
    for cookie in jar:
        if cookie.name == name:
            cookie.value = change(cookie.value)
    return jar
