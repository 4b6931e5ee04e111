"""The helpers for the tests of applications."""

from __future__ import annotations

import re
import time

import pytest
from pyramid.testing import DummyRequest
from webtest import TestApp
from zope.interface import implementer

from apps import App
from pyramid_pluggable_session import SessionAuthenticationHelper, clock
from pyramid_pluggable_session.interfaces import IPlugSession
from pyramid_pluggable_session.session import Session
from pyramid_pluggable_session.testing import (
    FakeClock,
    PlugContract,
    assert_logged_in,
    assert_no_session,
    log_in,
    open_session,
    session_key,
    session_of,
)
from snippets import DOCS, snippets

DOCUMENT = DOCS / "testing.md"


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
    assert clock.now() == pytest.approx(time.time(), abs=30)


@implementer(IPlugSession)
class NoExpiryPlug:
    """A plug that keeps no expiry, and asks whoever loads instead."""

    def __init__(self):
        self.records = {}

    def loads(self, session, request):
        if session.expires_at is not None and session.expires_at <= clock.now():
            return None
        return self.records.get(session.session_id)

    def dumps(self, session, request, session_data):
        self.records[session.session_id] = session_data

    def clear(self, session, request):
        self.records.pop(session.session_id, None)


@pytest.mark.parametrize(
    "name", ["test_expiry", "test_rewriting_changes_the_expiry", "test_stored_expired"]
)
def test_the_suite_finds_a_plug_that_does_not_keep_the_expiry(name):
    plug = NoExpiryPlug()
    with pytest.raises(AssertionError):
        getattr(PlugContract(), name)(lambda: plug)


def test_the_suite_shows_the_values():
    plug = NoExpiryPlug()
    plug.loads = lambda session, request: b"another one"
    with pytest.raises(AssertionError, match="b'another one' == b'record'"):
        PlugContract().test_roundtrip(lambda: plug)


def test_a_key_of_a_new_session():
    assert session_key(None).expires_at is None
    assert session_key(60).expires_at == pytest.approx(time.time() + 60, abs=30)
    assert session_key().session_id != session_key().session_id


class Policy:
    """Keeps who is logged in in the session, and a cookie beside it."""

    def __init__(self):
        self.helper = SessionAuthenticationHelper()

    def remember(self, request, userid, **kw):
        return [*self.helper.remember(request, userid), ("Set-Cookie", "greeting=hello; Path=/")]

    def forget(self, request, **kw):
        return self.helper.forget(request)

    def authenticated_userid(self, request):
        return self.helper.authenticated_userid(request)

    identity = authenticated_userid

    def permits(self, request, context, permission):
        return True


@pytest.fixture
def app():
    return App(configure=lambda config: config.set_security_policy(Policy()))


class TestLogIn:
    def test_is_what_the_security_policy_does(self, app):
        client = app.client()
        log_in(client.testapp, "ada", cart=["tea"])
        box = []
        client.request(lambda request: box.append(request.authenticated_userid))
        assert box == ["ada"]
        assert session_of(client.testapp)["auth.userid"] == "ada"
        assert session_of(client.testapp)["cart"] == ["tea"]
        assert client.testapp.cookies["greeting"] == "hello"

    def test_assertions(self, app):
        testapp = app.client().testapp
        assert_no_session(testapp)
        with pytest.raises(AssertionError, match="the session is nobody's, and not ada's"):
            assert_logged_in(testapp, "ada")
        log_in(testapp, "ada")
        assert_logged_in(testapp, "ada")
        with pytest.raises(AssertionError, match="the session is ada's, and not bob's"):
            assert_logged_in(testapp, "bob")
        with pytest.raises(
            AssertionError, match=r"there is a session, with the keys .*'auth.userid'"
        ):
            assert_no_session(testapp)
        with open_session(testapp) as session:
            session.invalidate()
        assert_no_session(testapp)

    def test_looking_changes_nothing(self, app):
        testapp = app.client().testapp
        log_in(testapp, "ada")
        before = [app.plug.loads(key, None) for key in app.plug.scan()]
        session_of(testapp)
        assert_logged_in(testapp, "ada")
        assert [app.plug.loads(key, None) for key in app.plug.scan()] == before


class TestFixtures:
    def test_are_used_as_documented(self, pytester):
        pytester.makeconftest(
            """
            import pytest
            from pyramid.config import Configurator
            from pyramid_pluggable_session import SessionAuthenticationHelper

            pytest_plugins = ["pyramid_pluggable_session.testing.fixtures"]

            @pytest.fixture
            def app():
                settings = {
                    "pluggable_session.secret": "0123456789abcdef" * 3,
                    "pluggable_session.plug": "memory",
                }
                with Configurator(settings=settings) as config:
                    config.include("pyramid_pluggable_session")
                    config.set_security_policy(Policy())
                    config.add_route("cart", "/cart")
                    config.add_view(
                        lambda request: {
                            "cart": request.session.get("cart"),
                            "user": request.authenticated_userid,
                        },
                        route_name="cart",
                        renderer="json",
                    )
                    return config.make_wsgi_app()

            class Policy:
                helper = SessionAuthenticationHelper()

                def remember(self, request, userid, **kw):
                    return self.helper.remember(request, userid)

                def authenticated_userid(self, request):
                    return self.helper.authenticated_userid(request)
            """
        )
        pytester.makepyfile(
            """
            def test_logged_in(app, logged_in):
                testapp = logged_in(app, "ada", cart=["tea"])
                assert testapp.get("/cart").json == {"cart": ["tea"], "user": "ada"}

            def test_with_data_alone(app, logged_in):
                assert logged_in(app, cart=["tea"]).get("/cart").json["cart"] == ["tea"]
                assert logged_in(app).get("/cart").json["cart"] is None

            def test_session_ends(app, logged_in, session_clock):
                testapp = logged_in(app, "ada")
                session_clock.advance(1201)
                assert testapp.get("/cart").json["user"] is None
            """
        )
        pytester.runpytest_subprocess("-W", "ignore::UserWarning").assert_outcomes(passed=3)


def pages_application(*includes):
    """Return the files of the application in docs/login.md, with more of it included."""
    page, end = DOCS / "login.md", "        return config.make_wsgi_app()\n"
    code = "\n".join(each.text for each in snippets(page, "python"))
    more = "".join(f'        config.include("{each}")\n' for each in includes)
    assert code.count(end) == 1
    files = {f"myapp/{each.caption}": each.text for each in snippets(page, "html")}
    return {**files, "myapp/__init__.py": code.replace(end, more + end)}


class TestTheDocumentation:
    def test_its_tests_pass(self, pytester):
        files = {each.caption: each.text for each in snippets(DOCUMENT, "python")}
        tests = sum(text.count("\ndef test_") for text in files.values())
        (pytester.path / "tests").mkdir()
        for name, text in {**files, **pages_application(".cart")}.items():
            (pytester.path / name).parent.mkdir(exist_ok=True)
            (pytester.path / name).write_text(text)
        done = pytester.runpytest_subprocess("-W", "ignore::UserWarning", "-p", "no:cacheprovider")
        done.assert_outcomes(passed=tests)
        assert tests == 11

    def test_what_a_dummy_request_has(self):
        session = DummyRequest().session
        for name in re.findall(
            r"`(\w+)(?:\(\))?`",
            re.search(r"It\s+has no (.*?);", DOCUMENT.read_text(), re.DOTALL)[1],
        ):
            assert hasattr(Session, name)
            assert not hasattr(session, name)

    def test_a_login_stores_two_records(self, app):
        log_in(app.client().testapp, "ada")
        assert len(list(app.plug.scan())) == 2
