"""Flask's own cookie, and Flask-Session.

Tuned, Flask-Session does not store again what was not changed.
"""

from __future__ import annotations

import functools
import secrets
import warnings

import flask
from flask.sessions import SessionInterface

from ..applications import WsgiApplication
from ..scenarios import Contestant
from ..workload import untouched, views_ending_by

_VIEWS = views_ending_by(lambda session: session.clear())


def _application(with_session, **config):
    app = flask.Flask("benchmark")
    app.config.update(SECRET_KEY=secrets.token_hex(32), **config)

    def view_of(work):
        if not with_session or work is untouched:
            return lambda: "untouched"
        return lambda: work(flask.session)

    for name, work in _VIEWS.items():
        app.add_url_rule(f"/{name}", name, view_of(work))
    return app


class _NoSession(SessionInterface):
    """The same nothing for everybody, as Flask cannot do without a session."""

    def open_session(self, app, request):
        return _NOTHING

    def save_session(self, app, session, response):
        pass


_NOTHING = {}


@functools.cache
def without_session():
    app = _application(False)
    app.session_interface = _NoSession()
    return WsgiApplication(app)


def cookie():
    return Contestant(WsgiApplication(_application(True)), without_session(), client_side=True)


def _flask_session(tuned, kind, prepare=None, **config):
    import flask_session

    # Of utcnow, which it uses.
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="flask_session")
    app = _application(True, SESSION_TYPE=kind, SESSION_REFRESH_EACH_REQUEST=not tuned, **config)
    if prepare is not None:
        prepare(app)
    flask_session.Session(app)
    return Contestant(WsgiApplication(app), without_session())


def redis(url, tuned=False):
    from redis import Redis

    return _flask_session(tuned, "redis", SESSION_REDIS=Redis.from_url(url))


def memcached(host, port, tuned=False):
    from pymemcache import Client

    client = Client((host, port), default_noreply=False)
    return _flask_session(tuned, "memcached", SESSION_MEMCACHED=client)


def file(folder, tuned=False):
    from cachelib.file import FileSystemCache

    # Its default of 500 files would throw sessions away.
    cache = FileSystemCache(folder, threshold=1_000_000)
    return _flask_session(tuned, "cachelib", SESSION_CACHELIB=cache)


def sqlalchemy(url, tuned=False):
    from flask_sqlalchemy import SQLAlchemy

    def prepare(app):
        app.config["SESSION_SQLALCHEMY"] = SQLAlchemy(app)

    return _flask_session(
        tuned,
        "sqlalchemy",
        prepare,
        SQLALCHEMY_DATABASE_URI=url,
        SESSION_SQLALCHEMY_TABLE="flask_tuned" if tuned else "flask_default",
    )
