"""The helpers for the tests of applications."""

from __future__ import annotations

import time

import pytest
from webtest import TestApp

from apps import App
from pyramid_pluggable_session import clock
from pyramid_pluggable_session.testing import FakeClock, open_session, session_key


@pytest.fixture(params=["memory", "cookie"])
def client(request):
    return App(plug=request.param).client()


def test_a_session_is_there_before_the_first_request(client):
    with open_session(client.testapp) as session:
        session["user"] = "ada"
    assert client.data() == {"user": "ada"}


def test_what_the_application_stored_can_be_read(client):
    client.do(lambda session: session.update(a=[1]))
    with open_session(client.testapp) as session:
        assert session == {"a": [1]}


def test_what_is_written_is_seen_by_the_application(client):
    client.do(lambda session: session.update(a=1))
    with open_session(client.testapp) as session:
        session["a"] = 2
    assert client.data() == {"a": 2}


def test_ending_it_takes_the_cookie_away(client):
    client.do(lambda session: session.update(a=1))
    with open_session(client.testapp) as session:
        session.invalidate()
    assert client.testapp.cookies == {}


def test_an_error_in_the_block_saves_nothing(client):
    def fail():
        with open_session(client.testapp) as session:
            session["a"] = 1
            raise ZeroDivisionError

    pytest.raises(ZeroDivisionError, fail)
    assert client.data() == {}


def test_the_application_may_be_behind_middleware():
    class Middleware:
        def __init__(self, app):
            self.app = app

        def __call__(self, environ, start_response):
            return self.app(environ, start_response)

    testapp = TestApp(Middleware(App().wsgi))
    with open_session(testapp) as session:
        session["a"] = 1
    with open_session(testapp) as session:
        assert session == {"a": 1}


def test_without_a_pyramid_application_it_says_so():
    with (
        pytest.raises(TypeError, match="no Pyramid application"),
        open_session(TestApp(lambda environ, start_response: [])),
    ):
        pass


def test_a_cookie_for_https_is_sent_back():
    app = App(secure="true")
    client = app.client(**{"wsgi.url_scheme": "https", "HTTP_HOST": "localhost:443"})
    with open_session(client.testapp) as session:
        session["a"] = 1
    with open_session(client.testapp) as session:
        assert session == {"a": 1}


def test_the_fake_clock_stands_still_and_is_put_back():
    with FakeClock(1000) as fake:
        assert clock.now() == 1000
        fake.advance(5)
        assert clock.now() == 1005
    assert clock.now() == pytest.approx(time.time(), abs=5)


def test_a_key_of_a_new_session():
    assert session_key(None).expires_at is None
    assert session_key(60).expires_at == pytest.approx(time.time() + 60, abs=5)
    assert session_key().session_id != session_key().session_id
