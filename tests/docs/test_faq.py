"""What docs/faq.md says of this package's behaviour is so: one small test for each answer."""

from __future__ import annotations

import datetime
import re
import time
from decimal import Decimal

import pytest
from pyramid import authentication
from pyramid.httpexceptions import HTTPFound, HTTPSeeOther
from pyramid.response import Response
from pyramid.tweens import EXCVIEW

from apps import App, UnreliablePlug, set_cookies
from pyramid_pluggable_session import (
    SessionAuthenticationHelper,
    SessionTooLarge,
    UnserializableValue,
    end_other_sessions,
)
from pyramid_pluggable_session.errors import PlugUnavailable
from pyramid_pluggable_session.plugs.memory import MemoryPlug
from pyramid_pluggable_session.testing import FakeClock
from snippets import DOCS

TEXT = (DOCS / "faq.md").read_text()
QUESTIONS = re.findall(r"(?m)^### (.*)$", TEXT)


@pytest.fixture
def app():
    return App()


@pytest.fixture
def client(app):
    return app.client()


def fill(client, **data):
    client.do(lambda session: session.update(data or {"a": 1}))
    return client


def answer(question):
    """Return the answer to the one question that begins so, in one line."""
    (found,) = re.findall(rf"(?ms)^### {re.escape(question)}[^\n]*\n\n(.*?)(?=\n##|\Z)", TEXT)
    return " ".join(found.split())


def test_every_anchor_is_unique():
    headings = re.findall(r"(?m)^#+ (.*)$", TEXT)
    slugs = [re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings]
    assert len(set(slugs)) == len(slugs)


@pytest.mark.parametrize("question", QUESTIONS, ids=range(len(QUESTIONS)))
def test_an_answer_is_short_and_leads_on(question):
    text = answer(question)
    assert re.search(r"\]\([\w.-]+\.md(#[\w-]+)?\)", text), "no link"
    sentences = re.split(r"(?<=[.?]) (?=[A-Z`\[])", text)
    assert len(sentences) <= 5, sentences
    assert len(text) < 700


class TestItIsNotThere:
    @pytest.mark.parametrize("raised", [False, True])
    def test_a_redirect_saves(self, client, raised):
        def view(request):
            request.session["a"] = 1
            if raised:
                raise HTTPFound("/")
            return HTTPFound("/")

        assert client.request(view).status_code == 302
        assert client.data() == {"a": 1}

    def test_secure_over_plain_http(self):
        client = fill(App(secure="true").client())
        assert client.data() == {}

    @pytest.mark.parametrize("options", [{}, {"domain": "example.org"}], ids=["host", "domain"])
    def test_another_host(self, options):
        client = App(**options).client()
        client.do(lambda session: session.update(a=1), base_url="http://www.example.org")
        found = client.do(dict, base_url="http://example.org").result
        assert found == ({"a": 1} if options else {})
        assert client.do(dict, base_url="http://www.example.org").result == {"a": 1}

    def test_memory_is_seen_by_one_process(self):
        client = fill(App(MemoryPlug()).client())
        assert App(MemoryPlug()).client(client.cookie).data() == {}

    def test_key_errors(self, client):
        fill(client)
        for action in (lambda session: session["b"], lambda session: session.pop("b")):
            with pytest.raises(KeyError):
                client.do(action)
        assert client.do(lambda session: session.setdefault("b", 2)).result == 2

    def test_changes_inside_are_found(self, client):
        fill(client, cart=["tea"])
        client.do(lambda session: session["cart"].append("cup"))
        assert client.data() == {"cart": ["tea", "cup"]}

    def test_two_requests_are_merged(self, app, client):
        fill(client, n=1)

        def first(session):
            session["a"] = session["n"] = session["n"] + 1
            app.client(client.cookie).do(lambda s: s.update(b=1, n=s["n"] + 1))

        client.do(first)
        assert client.data() == {"a": 2, "b": 1, "n": 2}

    def test_too_late(self):
        def configure(config):
            config.add_subscriber(late, "pyramid.events.NewResponse")

        def late(event):
            event.request.session["late"] = True

        client = App(configure=configure).client()
        with pytest.raises(RuntimeError, match="after it had been saved"):
            client.do(lambda session: session.update(a=1))


class TestLoggedOut:
    def test_after_20_minutes(self, client):
        with FakeClock() as clock:
            fill(client)
            clock.advance(1190)
            assert client.data() == {"a": 1}
            clock.advance(1210)
            assert client.data() == {}
            # It counts from when it was stored, and to read it does not always store it.
            fill(client)
            clock.advance(119)
            assert client.data() == {"a": 1}
            clock.advance(1100)
            assert client.data() == {}

    def test_one_session_has_its_own(self, client):
        with FakeClock() as clock:
            fill(client).do(lambda session: setattr(session, "timeout", 9000))
            clock.advance(8000)
            assert client.data() == {"a": 1}

    def test_lifetime(self):
        with FakeClock() as clock:
            client = fill(App(lifetime="3000").client())
            for _ in range(4):
                clock.advance(700)
                assert client.data() == {"a": 1}
            clock.advance(700)
            assert client.data() == {}

    def test_what_does_not_touch_it_does_not_renew_it(self, client):
        with FakeClock() as clock:
            fill(client)
            clock.advance(1000)
            client.request(lambda request: {})
            clock.advance(1000)
            assert client.data() == {}

    @pytest.mark.parametrize("other", ["secret", "salt"])
    def test_another_secret(self, app, client, other):
        fill(client)
        assert App(app.plug).client(client.cookie).data() == {"a": 1}
        options = {other: "another one " * 4}
        assert App(app.plug, **options).client(client.cookie).data() == {}

    def test_a_logout_stays(self, app, client):
        fill(client)
        cookie = client.cookie

        def still_running(session):
            session["b"] = 2
            app.client(cookie).do(lambda other: other.invalidate())

        client.do(still_running)
        assert app.client(cookie).data() == {}
        assert app.plug.ids() == []

    def test_end_other_sessions(self, app):
        clients = [app.client(), app.client()]
        for each in clients:
            each.do(lambda session: session.update(a=1) or setattr(session, "owner", "ada"))
        clients[0].request(lambda request: end_other_sessions(request) or {})
        assert [each.data() for each in clients] == [{"a": 1}, {}]

    @pytest.mark.parametrize(
        ("helper", "changes"),
        [(SessionAuthenticationHelper, True), (authentication.SessionAuthenticationHelper, False)],
        ids=["ours", "Pyramid's"],
    )
    def test_a_new_id_at_login(self, client, helper, changes):
        before = fill(client).session_id
        client.request(lambda request: {"headers": helper().remember(request, "ada")})
        assert (client.session_id != before) is changes


class TestTheCookie:
    def test_there_is_none_without_data(self, app, client):
        response = client.do(lambda session: (session.get("a"), session.new))
        assert set_cookies(response) == []
        assert app.plug.taken() == []

    def test_one_for_each_domain(self):
        client = App(domain="a.example.org b.example.org").client()
        assert len(set_cookies(client.do(lambda session: session.update(a=1)))) == 2

    def test_two_for_a_large_session_in_cookies(self):
        pytest.importorskip("cryptography")
        from pyramid_pluggable_session.loader import make_plug

        client = App(make_plug(None, "cookie")).client()
        big = "".join(chr(33 + number * number % 90) for number in range(4500))
        response = client.do(lambda session: session.update(a=big))
        assert len(set_cookies(response)) > 1

    @pytest.mark.parametrize(("max_age", "sent"), [("none", 0), ("600", 1)])
    def test_it_is_sent_again_if_it_has_an_age(self, max_age, sent):
        client = fill(App(max_age=max_age).client())
        assert len(set_cookies(client.do(lambda session: session.update(a=2)))) == sent

    def test_caches(self, client):
        response = client.do(lambda session: session.update(a=1))
        assert response.headers["Vary"] == "Cookie"
        assert "private" in response.headers["Cache-Control"] or "no-" in str(
            response.headers["Cache-Control"]
        )
        assert client.do(dict).headers["Vary"] == "Cookie"
        response = client.request(lambda request: {})
        assert {"Vary", "Cache-Control"}.isdisjoint(response.headers)

    def test_scripts_cannot_read_it(self, client):
        (cookie,) = set_cookies(client.do(lambda session: session.update(a=1)))
        assert "HttpOnly" in cookie

    def test_two_applications(self, app, client):
        fill(client)
        assert App(app.plug).client(client.cookie).data() == {"a": 1}

    def test_for_another_site(self):
        app = App(samesite="None", secure="true", partitioned="true")
        (cookie,) = set_cookies(app.client().do(lambda session: session.update(a=1)))
        assert {"SameSite=None", "Secure", "Partitioned"} <= set(cookie.split("; "))

    def test_a_client_cannot_choose_the_id(self, app, client):
        chosen = "0" * 64
        assert fill(app.client(chosen + "0" * 64)).session_id != chosen
        # Signed, but not stored.
        cookie = fill(client).cookie
        app.plug.clear(type("Key", (), {"session_id": client.session_id}), None)
        other = fill(app.client(cookie))
        assert other.session_id != cookie[:64]


class Model:
    pass


class TestWhatMayBeInIt:
    def test_model_objects(self, client):
        with pytest.raises(UnserializableValue, match="'user'"):
            client.do(lambda session: session.update(user=Model()))

    def test_types(self, client):
        data = {
            "at": datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc),
            "day": datetime.date(2026, 1, 2),
            "price": Decimal("1.10"),
            "tags": {1, 2},
            "pair": (1, 2),
        }
        assert fill(client, **data).data() == data
        assert fill(App(serializer="json").client(), pair=(1, 2)).data() == {"pair": [1, 2]}

    def test_size(self, client):
        fill(client, a="x" * 1_000_000)
        with pytest.raises(SessionTooLarge):
            fill(client, a="x" * 1_100_000)

    @pytest.mark.parametrize(
        ("answered", "set_on_exception", "saved"),
        [(True, "true", True), (True, "false", False), (False, "true", False)],
    )
    def test_when_the_view_raises(self, answered, set_on_exception, saved):
        app = App(
            configure=with_exception_view if answered else None, set_on_exception=set_on_exception
        )
        client = fill(app.client())

        def view(request):
            request.session["b"] = 2
            raise LookupError("of the view")

        if answered:
            client.request(view, status=418)
        else:
            with pytest.raises(LookupError):
                client.request(view)
        assert ("b" in client.data()) is saved

        def logout(request):
            request.session.invalidate()
            raise HTTPSeeOther("/")

        client.request(logout)
        assert client.data() == {}

    def test_not_encrypted_unless_asked_for(self):
        for encrypt, readable in (("false", True), ("true", False)):
            app = App(encrypt=encrypt)
            client = fill(app.client(), word="rosebud")
            key = type("Key", (), {"session_id": client.session_id})
            assert (b"rosebud" in app.plug.loads(key, None)) is readable


def with_exception_view(config):
    config.add_exception_view(lambda error, request: Response(status=418), LookupError)


class TestTheStorage:
    def test_down(self):
        plug = UnreliablePlug()
        client = fill(App(plug).client())
        plug.error = PlugUnavailable("down")
        client.do(dict, status=503)
        client.request(lambda request: {}, status=200)
        plug.error = None
        for _ in range(300):  # it is left alone for a second
            if client.do(dict, expect_errors=True).status_code == 200:
                break
            time.sleep(0.1)
        assert client.data() == {"a": 1}

    def test_anonymous(self):
        plug = UnreliablePlug()
        client = fill(App(plug, on_outage="anonymous").client())
        plug.error = PlugUnavailable("down")
        assert client.data() == {}

    def test_a_record_that_cannot_be_read(self, app, client):
        fill(client)
        key = type("Key", (), {"session_id": client.session_id, "expires_at": None})
        app.plug.dumps(key, None, b"nonsense")
        assert client.data() == {}
        assert app.plug.ids() == []
        assert [name.partition(":")[0] for name in app.event_names()] == [
            "SessionCreated",
            "SessionRejected",
        ]


class TestWithOtherThings:
    @pytest.mark.parametrize("set_on_exception", ["true", "false"])
    def test_a_commit_that_fails(self, set_on_exception):
        """The commit is in a tween below the one with exception views, as pyramid_tm's is."""
        order = []

        def configure(config):
            with_exception_view(config)
            config.add_tween(f"{__name__}.commit_tween_factory", under=EXCVIEW)
            config.registry.settings["order"] = order

        app = App(configure=configure, set_on_exception=set_on_exception)
        client = app.client()
        client.request(lambda request: request.session.update(a=1) or {}, status=418)
        saved = app.plug.ids() != []
        assert saved is (set_on_exception == "true")
        assert order == [[]], "at the time of the commit nothing was saved"


def commit_tween_factory(handler, registry):
    def tween(request):
        handler(request)
        registry.settings["order"].append(registry.settings["app"].plug.ids())
        raise LookupError("of the commit")

    return tween
