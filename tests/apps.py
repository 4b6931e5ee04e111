"""A small application for the tests, whose views are given as functions of the session."""

from __future__ import annotations

from typing import Any

from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from webtest import TestApp
from zope.interface import implementer

from pyramid_pluggable_session import events
from pyramid_pluggable_session.interfaces import IPlugSession, IPurgePlug, IScanPlug, ISwapPlug
from pyramid_pluggable_session.plugs.memory import MemoryPlug
from pyramid_pluggable_session.record import Kind
from pyramid_pluggable_session.testing.app import keep_cookies

SECRET = "0123456789abcdef" * 3


@implementer(ISwapPlug, IScanPlug, IPurgePlug)
class CountingPlug(MemoryPlug):
    """A memory plug that lists the operations done on it."""

    def __init__(self, config=None):
        super().__init__(config)
        self.calls = []
        self.looked_up = set()

    def loads(self, session, request):
        self.calls.append("loads")
        self.looked_up.add(session.session_id)
        return super().loads(session, request)

    def dumps(self, session, request, session_data):
        self.calls.append("dumps")
        super().dumps(session, request, session_data)

    def clear(self, session, request):
        self.calls.append("clear")
        super().clear(session, request)

    def swap(self, session, request, expected, session_data):
        self.calls.append("swap")
        return super().swap(session, request, expected, session_data)

    def taken(self):
        """Return the calls since the last time."""
        calls, self.calls = self.calls, []
        return calls

    def ids(self):
        """Return the ids of what is stored, but for indexes of owners."""
        records = [
            (key.session_id, super(CountingPlug, self).loads(key, None)) for key in self.scan()
        ]
        return [session_id for session_id, record in records if record[1] != Kind.OWNER]


class UnreliablePlug(CountingPlug):
    """A plug that fails to load and to swap with its ``error``, as long as it has one."""

    error = None

    def _maybe_fail(self):
        if self.error is not None:
            raise type(self.error)(*self.error.args)

    def loads(self, session, request):
        self._maybe_fail()
        return super().loads(session, request)

    def swap(self, session, request, expected, session_data):
        self._maybe_fail()
        return super().swap(session, request, expected, session_data)


class App:
    """An application, its plug, its events, and any number of clients."""

    def __init__(self, plug=None, settings=None, configure=None, **options):
        self.plug = CountingPlug() if plug is None else plug
        self.events: list[Any] = []
        self.views: dict[str, Any] = {}
        all_settings = {"pluggable_session.secret": SECRET, **(settings or {})}
        for name, value in options.items():
            all_settings[f"pluggable_session.{name}"] = value
        with Configurator(settings=all_settings) as config:
            config.include("pyramid_pluggable_session")
            config.set_session_plug(self.plug)
            config.add_route("do", "/do/{name}")
            config.add_view(self._view, route_name="do", renderer="json")
            config.add_subscriber(self.events.append, events.SessionEvent)
            if configure is not None:
                configure(config)
            self.wsgi = config.make_wsgi_app()
        self.registry = self.wsgi.registry
        self.registry.settings["app"] = self

    def _view(self, request):
        return self.views[request.matchdict["name"]](request)

    def client(self, cookie=None, **environ):
        return Client(self, cookie, environ)

    def event_names(self):
        """Return the events since the last time, as class names with reasons."""
        taken, self.events[:] = list(self.events), []
        return [
            f"{type(e).__name__}:{e.reason}" if hasattr(e, "reason") else type(e).__name__
            for e in taken
        ]


class Client:
    """One browser."""

    def __init__(self, app, cookie=None, environ=None):
        self.app = app
        self.testapp = TestApp(app.wsgi, extra_environ=environ or {})
        if cookie is not None:
            self.send_cookie(f"session={cookie}; Path=/")

    def send_cookie(self, header):
        """Let the browser have a cookie, given as a ``Set-Cookie`` header."""
        keep_cookies(
            self.testapp, Request.blank("/"), Response(headerlist=[("Set-Cookie", header)])
        )

    @property
    def cookie(self):
        return self.testapp.cookies.get("session")

    @property
    def session_id(self):
        return self.cookie[:64] if self.cookie else None

    def do(self, action, method="GET", **kwargs):
        """Run ``action(session)`` in a view; the response has what it returned as ``result``."""
        box = {}

        def view(request):
            box["result"] = action(request.session)
            return {}

        response = self.request(view, method, **kwargs)
        response.result = box.get("result")
        return response

    def request(self, view, method="GET", **kwargs):
        """Run ``view(request)``."""
        name = f"v{len(self.app.views)}"
        self.app.views[name] = view
        return self.testapp.request(f"/do/{name}", method=method, **kwargs)

    def data(self):
        return self.do(dict).result


def set_cookies(response):
    return response.headers.getall("Set-Cookie")


@implementer(IPlugSession)
class PlainPlug:
    """A plug as somebody wrote it for 0.0.0a2: three methods, a private name, no expiry."""

    def __init__(self, config=None):
        self.data = {}

    def loads(self, session, request):
        return self.data.get(session._session_id)

    def dumps(self, session, request, session_data):
        self.data[session._session_id] = session_data

    def clear(self, session, request):
        self.data.pop(session._session_id, None)
