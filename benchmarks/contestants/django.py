"""Django's sessions.

Django is set up once in a process. So each contestant has a database or cache of its own there, and
chooses it before each of its batches.
"""

from __future__ import annotations

import functools

import django
from django.conf import settings
from django.core.cache import caches
from django.core.handlers.wsgi import WSGIHandler
from django.db import connections
from django.http import HttpResponse
from django.test import override_settings
from django.urls import path

from ..applications import WsgiApplication
from ..scenarios import Contestant
from ..workload import untouched, views_ending_by

_DATABASES, _CACHES = {"default": {}}, {}


class Router:
    """Sends what Django stores to the database that the contestant has chosen."""

    chosen = "default"

    def db_for_read(self, model, **hints):
        return Router.chosen

    db_for_write = db_for_read


def _view_of(work):
    def view(request):
        session = None if work is untouched else getattr(request, "session", None)
        return HttpResponse("untouched" if session is None else work(session))

    return view


urlpatterns = [
    path(name, _view_of(work))
    for name, work in views_ending_by(lambda session: session.flush()).items()
]


@functools.cache
def _set_up():
    settings.configure(
        SECRET_KEY="benchmark" * 6,
        ALLOWED_HOSTS=["*"],
        INSTALLED_APPS=["django.contrib.sessions"],
        ROOT_URLCONF=__name__,
        DATABASE_ROUTERS=[f"{__name__}.Router"],
        LOGGING_CONFIG=None,
        USE_TZ=True,
    )
    django.setup()


def _application(middleware, **changed):
    _set_up()
    # Both are read only when a handler is made.
    with override_settings(MIDDLEWARE=middleware, **changed):
        return WSGIHandler()


@functools.cache
def without_session():
    return WsgiApplication(_application([]))


def _contestant(engine, choose=None, **options):
    handler = _application(
        ["django.contrib.sessions.middleware.SessionMiddleware"],
        SESSION_ENGINE=f"django.contrib.sessions.backends.{engine}",
    )
    return Contestant(WsgiApplication(handler, choose), without_session(), **options)


def cache(backend, location):
    """Return sessions in a cache; that is what Django's documentation advises for speed."""
    _set_up()
    alias = f"cache{len(_CACHES)}"
    _CACHES[alias] = {
        "BACKEND": f"django.core.cache.backends.{backend}",
        "LOCATION": location,
    }
    caches.settings = caches.configure_settings(
        {"default": next(iter(_CACHES.values())), **_CACHES}
    )

    def choose():
        settings.SESSION_CACHE_ALIAS = alias

    return _contestant("cache", choose)


def database(**database):
    """Return sessions in a database, with Django's settings of it, such as CONN_MAX_AGE."""
    _set_up()
    alias = f"database{len(_DATABASES)}"
    _DATABASES[alias] = database
    connections.settings = connections.configure_settings(dict(_DATABASES))

    def choose():
        Router.chosen = alias

    from django.contrib.sessions.models import Session

    choose()
    if "django_session" not in connections[alias].introspection.table_names():
        with connections[alias].schema_editor() as editor:
            editor.create_model(Session)
    return _contestant("db", choose)


def file(folder):
    _set_up()
    settings.SESSION_FILE_PATH = folder
    return _contestant("file")


def cookie():
    return _contestant("signed_cookies", client_side=True)
