"""Runs where nothing but the wheel is installed, or the wheel with one extra; see ``check.py``.

``inside.py with redis`` fails unless what the extra is for works; ``inside.py without redis`` fails
unless the error says which extra is missing; ``inside.py bare`` is about the package alone.
"""

import io
import json
import os
import socket
import sys
import tempfile

from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.request import Request

import pyramid_pluggable_session
from pyramid_pluggable_session.scripts import progress

PREFIX = "pluggable_session."

# What is tried with an extra. {folder} is a new directory, {port} one that nobody listens at.
PLUGS = {
    "cookie": "cookie",
    "redis": "redis://127.0.0.1:{port}/0",
    "memcached": "memcached://127.0.0.1:{port}",
    "sqlalchemy": "sqlite+pysqlite:///{folder}/sessions.db",
    "postgresql": "postgresql://user:secret@127.0.0.1:{port}/db",
    "mysql": "mysql://user:secret@127.0.0.1:{port}/db",
    "mongodb": "mongodb://127.0.0.1:{port}/db",
    "dynamodb": "dynamodb://sessions?region=eu-central-1&endpoint_url=http://127.0.0.1:{port}",
    "datastore": "datastore://project?emulator_host=127.0.0.1:{port}",
    "dogpile": "dogpile",
    "lmdb": "lmdb://{folder}/sessions.lmdb",
}
SETTINGS = {
    "encrypt": {PREFIX + "plug": "memory", PREFIX + "encrypt": "true"},
    "metrics": {
        PREFIX + "plug": "memory",
        "pyramid.includes": "pyramid_pluggable_session pyramid_pluggable_session.metrics",
    },
}


class Terminal(io.StringIO):
    """What a progress bar is drawn on."""

    def isatty(self):
        return True


def settings_for(extra, folder, port):
    if extra in SETTINGS:
        return SETTINGS[extra]
    settings = {PREFIX + "plug": PLUGS[extra].format(folder=folder, port=port)}
    if extra == "dogpile":
        settings[PREFIX + "dogpile.region"] = region
    return settings


def region(config):
    from dogpile.cache import make_region

    return make_region().configure("dogpile.cache.memory")


def application(settings):
    def visits(request):
        count = request.session["visits"] = request.session.get("visits", 0) + 1
        return {"visits": count}

    secret = {PREFIX + "secret": "only for the time of this check, and never used again"}
    with Configurator(settings={**secret, **settings}) as config:
        config.include("pyramid_pluggable_session")
        config.add_route("visits", "/")
        config.add_view(visits, route_name="visits", renderer="json")
        return config.make_wsgi_app()


def visit(wsgi, cookies=()):
    request = Request.blank("/", headers={"Cookie": "; ".join(cookies)} if cookies else {})
    response = request.get_response(wsgi)
    cookies = [each.partition(";")[0] for each in response.headers.getall("Set-Cookie")]
    return response, cookies


def sessions_last(wsgi):
    response, cookies = visit(wsgi)
    assert response.status_int == 200, response.status
    response, _ = visit(wsgi, cookies)
    assert json.loads(response.body) == {"visits": 2}, response.text


def bar_of_a_terminal():
    progress.BAR_AFTER = progress.BAR_EVERY = 0
    terminal = Terminal()
    assert list(progress.shown(range(3), "Reading", lambda: 3, stream=terminal)) == [0, 1, 2]
    return terminal.getvalue()


def bare(folder, port):
    for plug in ("memory", f"file://{folder}/files", f"sqlite://{folder}/sessions.db"):
        sessions_last(application({PREFIX + "plug": plug}))
    return f"{pyramid_pluggable_session.__version__} keeps sessions"


def with_extra(extra, folder, port):
    if extra == "psessions":
        assert "%" in bar_of_a_terminal()
        return "a terminal gets a progress bar"
    settings = settings_for(extra, folder, port)
    wsgi = application(settings)
    if "{port}" not in PLUGS.get(extra, ""):
        sessions_last(wsgi)
        return "keeps sessions"
    # No server is here. That its absence is an outage takes a driver that has tried.
    response, cookies = visit(wsgi)
    assert (response.status_int, cookies) == (503, []), (response.status, cookies)
    return "its driver looks for the server"


def without_extra(extra, folder, port):
    if extra == "psessions":
        assert bar_of_a_terminal() == ""  # work goes on without a bar
        return "does without"
    try:
        application(settings_for(extra, folder, port))
    except ConfigurationError as error:
        wanted = f"pip install 'pyramid_pluggable_session[{extra}]'"
        if wanted in str(error):
            return "the error names it"
        raise AssertionError(f"This does not name the extra {extra}: {error}") from error
    raise AssertionError(f"It works without the extra {extra}.")


if __name__ == "__main__":
    what, *extras = sys.argv[1:]
    # So that boto3 signs its request, and does not go and look for keys.
    os.environ |= {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"}
    do = {"bare": bare, "with": with_extra, "without": without_extra}[what]
    with tempfile.TemporaryDirectory() as folder, socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound without listening: whoever connects is refused
        for extra in extras or [None]:
            arguments = (folder, bound.getsockname()[1])
            said = do(*arguments) if extra is None else do(extra, *arguments)
    print(said)
