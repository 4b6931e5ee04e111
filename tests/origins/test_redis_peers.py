"""Sessions of pyramid_session_redis and pyramid_redis_sessions go on in ours."""

from __future__ import annotations

import base64
import json
import os
import pickle
from http.cookiejar import CookieJar

import pytest
from peers import DATA, RICH, SECRET, Theirs, check_moved, imported, names, ours, visit, with_value
from pyramid.exceptions import ConfigurationError

PICKLE = {"import.allow_pickle": "true"}

# pyramid_session_redis's, on redis-py 8.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")


@pytest.fixture
def server(running):
    server = running("valkey")
    server.flush()
    return server


def settings_of(given):
    return {f"redis.sessions.{name}": value for name, value in given.items()}


def session_redis(**given):
    imported("pyramid_session_redis")
    return Theirs(lambda config: config.include("pyramid_session_redis"), settings_of(given))


def importing(given, **options):
    return ours(settings_of(given), **{"import": "session_redis", **options})


@pytest.mark.parametrize(
    "more",
    [{}, {"prefix": "s:", "cookie_name": "old"}, {"python_expires": "false"}, {"timeout": "0"}],
)
def test_a_session_goes_on(server, more):
    given = {"secret": SECRET, "redis_url": server.url, **more}
    theirs, browser = session_redis(**given), CookieJar()
    theirs.log_in(browser, RICH)
    with server.client() as client:
        assert len(client.keys()) == 1
    check_moved(importing(given, **PICKLE), browser, more.get("cookie_name", "session"), RICH)
    with server.client() as client:
        assert client.keys() == []
    assert names(browser) == ["sid"]


def test_a_session_goes_on_where_host_and_port_are_set(server):
    given = {"secret": SECRET, "redis_host": server.host, "redis_port": str(server.port)}
    theirs, browser = session_redis(**given), CookieJar()
    theirs.log_in(browser)
    check_moved(importing(given, **PICKLE), browser, "session")


def dumps(value):
    return json.dumps(value).encode()


def test_a_session_in_json_goes_on_without_allow_pickle(server):
    given = {
        "secret": SECRET,
        "redis_url": server.url,
        "serialize": "test_redis_peers.dumps",
        "deserialize": "json.loads",
    }
    theirs, browser = session_redis(**given), CookieJar()
    theirs.log_in(browser)
    check_moved(importing(given), browser, "session")


class Signer:
    def dumps(self, text):
        return b"signed-" + text.encode()

    def loads(self, value):
        if not value.startswith(b"signed-"):
            raise ValueError("not signed")
        return value[7:].decode()


signer = Signer()
clients = []


def client_for(request, **options):
    import redis

    if not clients:
        clients.append(redis.Redis(host=options["host"], port=options["port"]))
    return clients[0]


def test_objects_of_the_application_are_used(server):
    given = {
        "cookie_signer": "test_redis_peers.signer",
        "redis_port": str(server.port),
        "redis_client_callable": "test_redis_peers.client_for",
    }
    theirs, browser = session_redis(**given), CookieJar()
    theirs.log_in(browser)
    check_moved(importing(given, **PICKLE), browser, "session")
    clients.pop().close()


def test_the_timeout_of_one_session_is_kept(server):
    given = {"secret": SECRET, "redis_url": server.url}
    theirs, browser = session_redis(**given), CookieJar()
    theirs.do(browser, lambda s: (s.update(DATA), s.adjust_session_timeout(7)))
    client = visit(importing(given, **PICKLE), browser)
    assert client.do(lambda session: session.timeout).result == 7


def test_an_expired_session_is_ignored(server, monkeypatch):
    import time

    from pyramid_pluggable_session import clock

    given = {"secret": SECRET, "redis_url": server.url}
    theirs, browser = session_redis(**given), CookieJar()
    theirs.log_in(browser)
    now = time.time()
    monkeypatch.setattr(clock, "now", lambda: now + 1203)
    assert visit(importing(given, **PICKLE), browser).data() == {}


@pytest.mark.parametrize("change", [lambda v: v[:-3] + "AAA", lambda v: v[:20], lambda v: v * 100])
def test_a_forged_cookie_is_ignored(server, change):
    given = {"secret": SECRET, "redis_url": server.url}
    theirs, browser = session_redis(**given), CookieJar()
    theirs.log_in(browser)
    app = importing(given, **PICKLE)
    assert visit(app, with_value(browser, "session", change)).data() == {}
    assert app.plug.calls == []


class Bomb:
    def __reduce__(self):
        return os.system, ("exit 3",)


@pytest.mark.parametrize(
    "stored", [b"", b"garbage", pickle.dumps([1]), pickle.dumps({"m": {}}), pickle.dumps(Bomb())]
)
def test_what_is_no_session_is_refused(server, stored, caplog, monkeypatch):
    ran = []
    monkeypatch.setattr(os, "system", ran.append)
    given = {"secret": SECRET, "redis_url": server.url}
    theirs, browser = session_redis(**given), CookieJar()
    theirs.log_in(browser)
    with server.client() as client:
        (key,) = client.keys()
        client.set(key, stored)
    assert visit(importing(given, **PICKLE), browser).data() == {}
    assert "not imported from session_redis" in caplog.text
    assert ran == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"redis_url": "redis://h"}, "secret is not set"),
        ({"secret": "s", "redis_url": "http://h"}, "redis_url is no URL"),
        ({"secret": "s", "redis_port": "x"}, "redis_port must be a number"),
        ({"secret": "s", "deserialize": "no.such"}, "deserialize must be a dotted name"),
        ({"cookie_signer": "json.dumps"}, "has no method loads"),
        ({"secret": "s", "deserialize": "pickle.loads"}, "allow_pickle = true"),
        ({"secret": "s"}, "allow_pickle = true"),
    ],
)
def test_mistakes_are_said_at_the_start(given, says):
    more = PICKLE if "allow_pickle" not in says else {}
    with pytest.raises(ConfigurationError, match=says):
        importing(given, **more)


# Made by pyramid_redis_sessions 1.0.1 on Pyramid 1.10.8 and redis-py 3.5.3, with
# redis.sessions.secret = SECRET and redis.sessions.prefix = session:
OLD_KEY = "session:5096a50a8310d877009be94c378e3d353155b089a38ebb973293a270aa63623e"
OLD_COOKIE = (
    "0e35c8ed16b73f9fdde1532f7c0e1fac7cb20f51gAWVTAAAAAAAAACMSHNlc3Npb246NTA5NmE1MGE4MzEwZDg3NzAwOW"
    "JlOTRjMzc4ZTNkMzUzMTU1YjA4OWEzOGViYjk3MzI5M2EyNzBhYTYzNjIzZZQu"
)
OLD_VALUE = (
    "gASV0QAAAAAAAAB9lCiMDG1hbmFnZWRfZGljdJR9lCiMC2F1dGgudXNlcmlklIwDYWRhlIwEY2FydJR9lCiMBWl0ZW1zlF"
    "2UKEsBSwJ9lIwEbmFtZZSMBsOkIHRlYZRzZYwFdG90YWyUR0ApAAAAAAAAdYwHX2NzcmZ0X5SMKHR0dHR0dHR0dHR0dHR0"
    "dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHSUjANfZl+UXZSMBXNhdmVklGF1jAdjcmVhdGVklEdB2sEcJ0Kil4wHdGltZW"
    "91dJRNsAR1Lg=="
)


@pytest.fixture
def redis_sessions(server):
    """Return settings and a browser; in Redis is what pyramid_redis_sessions has left there."""
    with server.client() as client:
        client.set(OLD_KEY, base64.b64decode(OLD_VALUE), ex=1200)
    app = ours({}, **{"import": "signed_cookie", "import.secret": "s"})
    browser = CookieJar()
    visit(app, browser).send_cookie(f"session={OLD_COOKIE}; Path=/")
    return {"secret": SECRET, "url": server.url, "prefix": "session:"}, browser


def test_a_session_of_redis_sessions_goes_on(redis_sessions, server):
    given, browser = redis_sessions
    app = importing(given, **{**PICKLE, "import": "redis_sessions"})
    check_moved(app, browser, "session")
    with server.client() as client:
        assert client.keys() == []


@pytest.mark.parametrize(
    "change",
    [lambda v: v[:-2] + "AA", lambda v: v[:30], lambda v: "0" * 40 + v[40:], lambda v: v * 99],
)
def test_a_forged_cookie_of_redis_sessions_is_ignored(redis_sessions, change):
    given, browser = redis_sessions
    app = importing(given, **{**PICKLE, "import": "redis_sessions"})
    assert visit(app, with_value(browser, "session", change)).data() == {}
    assert app.plug.calls == []


@pytest.mark.parametrize("stored", [None, b"garbage", pickle.dumps({"managed_dict": 3})])
def test_what_is_no_session_of_redis_sessions_is_refused(redis_sessions, stored, server):
    given, browser = redis_sessions
    with server.client() as client:
        client.delete(OLD_KEY) if stored is None else client.set(OLD_KEY, stored)
    app = importing(given, **{**PICKLE, "import": "redis_sessions"})
    assert visit(app, browser).data() == {}
