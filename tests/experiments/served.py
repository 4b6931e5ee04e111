"""The storages that the experiments are made on, and the application that web servers serve there.

A new storage is one line in ``EMBEDDED``; it then takes part in every experiment of a storage on a
disk.
"""

from __future__ import annotations

import json
import os

from pyramid.config import Configurator
from pyramid.request import Request

SECRET = "0123456789abcdef" * 3

EMBEDDED = {
    "file": "file://{folder}/files?purge_interval={purge_interval}",
    "sqlite": "sqlite:///{folder}/sessions.db?purge_interval={purge_interval}",
    "lmdb": "lmdb://{folder}/sessions.lmdb?purge_interval={purge_interval}",
    # The other modules of dbm promise less.
    "dbm": "dbm:///{folder}/sessions?module=dumb&purge_interval={purge_interval}",
    "chain": "chain",
}
_BEHIND = "memory\nsqlite:///{folder}/behind.db?purge_interval={purge_interval}"


def on(storage, folder, purge_interval=0):
    """Return the arguments of ``apps.App`` for an application on a storage in this folder."""
    given = {"folder": folder, "purge_interval": purge_interval}
    return {
        "plug": EMBEDDED[storage].format(**given),
        "settings": {"pluggable_session.chain.plugs": _BEHIND.format(**given)},
    }


def note(request):
    """Append what was sent to the session's notes, and show all of it."""
    session = request.session
    if "text" in request.params:
        session.setdefault("notes", []).append(request.params["text"])
    return {"process": os.getpid(), "notes": session.get("notes", [])}


def make_app(*_):
    """Return the WSGI application with the settings that the environment has as JSON."""
    settings = {"pluggable_session.secret": SECRET, **json.loads(os.environ["SERVED_SETTINGS"])}
    with Configurator(settings=settings) as config:
        config.include("pyramid_pluggable_session")
        config.add_route("note", "/")
        config.add_view(note, route_name="note", renderer="json")
        app = config.make_wsgi_app()
    # Used before the web server forks, so that there are connections to be inherited.
    Request.blank("/?text=first").get_response(app)
    return app
