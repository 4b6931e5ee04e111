"""An application with our sessions, and ways to its storage past the application."""

from __future__ import annotations

import random
import secrets
import time
from typing import NamedTuple

from pyramid.interfaces import ISessionFactory
from pyramid.request import Request

from pyramid_pluggable_session.interfaces import IPlugSession
from pyramid_pluggable_session.record import Kind, Meta, Record
from pyramid_pluggable_session.storage import Storage
from pyramid_pluggable_session.store import GRACE

from ..applications import Visitor, WsgiApplication, ask
from ..workload import STATE, VIEWS, pyramid_application

# Long, so that no reading is about to renew a session: a thousandth of it passes here.
_TIMEOUT = 10 * 24 * 3600


class Row(NamedTuple):
    """A record as a storage gets it."""

    session_id: str
    data: bytes
    expires_at: float


class WrongAnswerError(Exception):
    """The application did not answer as it must."""


class Site(WsgiApplication):
    """Whole requests go through ``run`` and ``ask``."""

    def __init__(self, plug, settings=None, views=None):
        given = {"secret": secrets.token_hex(32), "plug": plug, "timeout": _TIMEOUT}
        given.update(settings or {})
        self.settings = {f"pluggable_session.{name}": value for name, value in given.items()}
        super().__init__(application(self.settings, views))
        registry = self.application.registry
        self.plug = registry.getUtility(IPlugSession)
        self._factory = registry.getUtility(ISessionFactory)

    def rows(self, count, expired=False):
        """Yield as many sessions of 1 KB, sealed as the application does it."""
        store = self._factory.store_for(Storage(self.plug, None))
        now = time.time() - (2 * _TIMEOUT if expired else 0)
        body = store.serializer.dumps(STATE)
        for _ in range(count):
            session_id = secrets.token_hex(32)
            # Not all at once, as in an application that has been running for some time.
            renewed = now - random.uniform(0, _TIMEOUT / 20)
            meta = Meta(renewed, renewed)
            record = Record(Kind.SESSION, meta, store.serializer.name, body)
            sealed = store.seal(session_id, record)
            yield Row(session_id, sealed, store.lifetimes.expires_at(meta) + GRACE)

    def visitor(self, session_id):
        """Return a visitor who has the cookie of this session."""
        visitor = Visitor()
        headers = self._factory.cookie.set_headers(Request.blank("/"), session_id, None)
        visitor.take([value for _, value in headers])
        return visitor

    def new_visitor(self, path="new"):
        """Return a visitor with a new session."""
        visitor = Visitor()
        self.call(path, visitor)
        return visitor

    def call(self, path, visitor):
        """Make a request as a visitor and return the body; raise WrongAnswerError if it failed."""
        answer = ask(self, path, visitor)
        if answer.status != 200:
            raise WrongAnswerError(f"{path}: status {answer.status}")
        return answer.body

    def close(self):
        """Close the connections of the plug."""
        getattr(self.plug, "close", lambda: None)()


def application(settings, views=None):
    """Return an application whose sessions are as ``settings`` say."""
    return pyramid_application(
        include=lambda config: config.include("pyramid_pluggable_session"),
        settings=settings,
        views={**VIEWS, **(views or {})},
    )
