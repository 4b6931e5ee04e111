"""A storage that does not answer: what requests get, and how long they wait."""

from __future__ import annotations

import time

import pytest
from pyramid.csrf import get_csrf_token
from pyramid.exceptions import ConfigurationError
from webob import Response

from apps import App, CountingPlug, PlainPlug, set_cookies
from pyramid_pluggable_session import breaker, storage
from pyramid_pluggable_session.plugs.chain import ChainPlug

REFUSED = ConnectionRefusedError(111, "refused")


class UnreliablePlug(CountingPlug):
    """A memory plug that fails while ``error`` is set, after ``delay`` seconds."""

    error = None
    delay = 0.0
    time = time

    def _maybe_fail(self):
        if self.error is not None:
            self.time.sleep(self.delay)
            raise self.error

    def loads(self, session, request):
        found = super().loads(session, request)
        self._maybe_fail()
        return found

    def clear(self, session, request):
        self._maybe_fail()
        super().clear(session, request)

    def swap(self, session, request, expected, session_data):
        self._maybe_fail()
        return super().swap(session, request, expected, session_data)


def put(**values):
    return lambda session: session.update(values)


@pytest.fixture
def app():
    return App(plug=UnreliablePlug(), on_outage="anonymous")


@pytest.fixture
def client(app):
    client = app.client()
    client.do(put(user="ada"))
    app.event_names()
    return client


class TestAnonymous:
    def test_a_read_sees_an_empty_session_and_the_login_comes_back(self, app, client):
        app.plug.error = REFUSED
        response = client.do(lambda session: (dict(session), session.new))
        assert response.result == ({}, True)
        assert set_cookies(response) == []
        assert response.headers["Vary"] == "Cookie"
        app.plug.error = None
        assert client.data() == {"user": "ada"}

    def test_a_write_is_dropped_with_an_event(self, app, client):
        app.plug.error = REFUSED
        app.plug.taken()
        response = client.do(put(user="eve"))
        assert set_cookies(response) == []
        assert app.event_names() == ["SessionDropped:outage"]
        assert app.plug.taken() == ["loads"], "what could not be read is not written over"
        app.plug.error = None
        assert client.data() == {"user": "ada"}

    def test_a_visitor_gets_no_cookie_for_what_was_not_saved(self, app):
        app.plug.error = REFUSED
        response = app.client().do(put(a=1))
        assert set_cookies(response) == []
        assert app.event_names() == ["SessionDropped:outage"]

    def test_an_outage_that_begins_between_reading_and_saving(self, app, client):
        def view(request):
            request.session["user"] = "eve"
            app.plug.error = REFUSED
            return {}

        assert set_cookies(client.request(view)) == []
        assert app.event_names() == ["SessionDropped:outage"]
        app.plug.error = None
        assert client.data() == {"user": "ada"}

    def test_a_login_is_dropped_as_well(self, app, client):
        def login(session):
            session.regenerate_id()
            session["user"] = "eve"

        app.plug.error = REFUSED
        assert set_cookies(client.do(login)) == []
        app.plug.error = None
        assert client.data() == {"user": "ada"}

    def test_a_logout_is_never_said_to_be_done(self, app, client):
        app.plug.error = REFUSED
        response = client.do(lambda session: session.invalidate(), status=503)
        assert set_cookies(response) == []
        app.plug.error = None
        assert client.data() == {"user": "ada"}

    def test_a_logout_that_fails_after_reading_is_not_either(self, app, client):
        def view(request):
            assert request.session["user"] == "ada"
            app.plug.error = REFUSED
            request.session.invalidate()

        assert set_cookies(client.request(view, status=503)) == []

    def test_a_form_is_refused_as_its_token_cannot_be_checked(self):
        def configure(config):
            config.set_default_csrf_options(require_csrf=True)
            config.add_exception_view(lambda request: Response("refused", status=400))

        app = App(plug=UnreliablePlug(), on_outage="anonymous", configure=configure)
        client, tokens = app.client(), []
        client.request(lambda request: tokens.append(get_csrf_token(request)) or {})
        app.plug.error = REFUSED
        done = []
        response = client.request(
            lambda request: done.append(1), "POST", POST={"csrf_token": tokens[0]}, status=400
        )
        assert done == []
        assert set_cookies(response) == []

    def test_the_log_says_so(self, app, client, caplog):
        app.plug.error = REFUSED
        client.do(dict)
        assert "going on without a session: session storage memory failed to do loads" in (
            caplog.text
        )
        app.client().do(put(a=1))
        assert "going on without saving: session storage memory failed to do swap" in caplog.text

    def test_other_errors_are_errors(self, app, client):
        app.plug.error = TypeError("bug")
        with pytest.raises(TypeError, match="bug"):
            client.do(dict)


class TestPolicy:
    def test_fail_is_the_default(self):
        app = App(plug=UnreliablePlug())
        app.plug.error = REFUSED
        app.client().do(put(a=1), status=503)

    @pytest.mark.parametrize("spec", ["test_outages.reads_go_on", None])
    def test_a_function_of_the_request(self, spec):
        app = App(plug=UnreliablePlug(), on_outage=spec or reads_go_on)
        client = app.client()
        client.do(put(user="ada"))
        app.plug.error = REFUSED
        assert client.do(dict).result == {}
        client.do(dict, method="POST", status=503)

    @pytest.mark.parametrize("value", ["ignore", "no.such.name", "test_outages.REFUSED"])
    def test_anything_else_is_refused(self, value):
        with pytest.raises(ConfigurationError, match=r"pluggable_session\.on_outage must be"):
            App(on_outage=value)


def reads_go_on(request):
    return "anonymous" if request.method in ("GET", "HEAD") else "fail"


class FakeTime:
    """Stands for the module ``time``: nothing takes any time but its ``sleep``."""

    now = 1000.0

    def monotonic(self):
        return self.now

    perf_counter = monotonic

    def sleep(self, seconds):
        self.now += seconds


class TestBreaker:
    @pytest.fixture
    def fake_time(self, monkeypatch):
        fake = FakeTime()
        for module in (breaker, storage):
            monkeypatch.setattr(module, "time", fake)
        return fake

    @pytest.fixture
    def plug(self, fake_time):
        plug = UnreliablePlug()
        plug.time = fake_time
        plug.error, plug.delay = TimeoutError("too slow"), breaker.SLOW + 0.01
        return plug

    @pytest.fixture
    def client(self, plug):
        app = App(plug=plug)
        plug.error, error = None, plug.error
        client = app.client()
        client.do(put(a=1))
        plug.taken()
        plug.error = error
        return client

    def fail(self, client, times):
        for _ in range(times):
            client.do(dict, status=503)

    def test_a_storage_that_was_slow_to_fail_is_left_alone(self, plug, client, caplog):
        self.fail(client, 10)
        assert plug.taken() == ["loads"] * 3
        assert "did not answer others and is left alone for another 1.0 sec" in caplog.text

    def test_one_request_looks_whether_it_is_back(self, plug, client, fake_time):
        self.fail(client, 3)
        plug.taken()
        fake_time.sleep(breaker.PAUSE - 0.01)
        self.fail(client, 5)
        assert plug.taken() == []
        fake_time.sleep(0.02)
        self.fail(client, 5)
        assert plug.taken() == ["loads"], "one looked, and the others did not wait for it"
        plug.error = None
        fake_time.sleep(breaker.PAUSE + 0.01)
        assert client.data() == {"a": 1}
        assert client.data() == {"a": 1}

    def test_a_success_in_between_keeps_it_closed(self, plug, client):
        for _ in range(4):
            self.fail(client, 2)
            plug.error, error = None, plug.error
            client.do(dict)
            plug.error = error
        assert len(plug.taken()) == 12

    def test_quick_failures_do_not_count(self, plug, client):
        plug.delay = breaker.SLOW - 0.01
        self.fail(client, 10)
        assert len(plug.taken()) == 10

    def test_a_quick_failure_closes_it(self, plug, client, fake_time):
        self.fail(client, 3)
        plug.delay = 0
        fake_time.sleep(breaker.PAUSE + 0.01)
        plug.taken()
        self.fail(client, 5)
        assert len(plug.taken()) == 5

    def test_a_front_plug_of_a_chain_has_its_own(self, plug):
        behind = CountingPlug()
        app = App(plug=ChainPlug(None, plugs=[plug, behind]))
        client = app.client()
        for _ in range(6):
            client.do(put(a=1))
        assert len(plug.taken()) == 3
        assert client.data() == {"a": 1}

    def test_a_plug_that_cannot_be_remembered_has_none(self, plug):
        calls = []

        class Forgettable(PlainPlug):
            __hash__ = None

            def dumps(self, session, request, session_data):
                calls.append("dumps")
                plug.swap(session, request, None, session_data)

        app = App(plug=Forgettable())
        for _ in range(5):
            app.client().do(put(a=1), status=503)
        assert len(calls) == 5
