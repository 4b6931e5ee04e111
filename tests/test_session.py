"""The session as a dictionary and as an ISession."""

from __future__ import annotations

import json

import pytest
from pyramid.csrf import CookieCSRFStoragePolicy, SessionCSRFStoragePolicy
from pyramid.interfaces import ISession
from pyramid.renderers import render
from pyramid.request import Request
from zope.interface.verify import verifyObject

from apps import App
from pyramid_pluggable_session import SessionAuthenticationHelper
from pyramid_pluggable_session.session import Session


@pytest.fixture
def app():
    return App()


@pytest.fixture
def client(app):
    client = app.client()
    client.do(lambda session: session.update(a=1, b=[2]))
    return client


def result(client, action):
    return client.do(action).result


def after(client, action):
    """Return what is stored after ``action``."""
    client.do(action)
    return client.data()


class TestDictionary:
    def test_it_is_an_isession(self, client):
        assert result(client, lambda session: verifyObject(ISession, session))

    def test_reading(self, client):
        def read(session):
            assert session["a"] == 1
            assert session.get("c") is None
            assert session.get("c", 3) == 3
            assert "a" in session
            assert "c" not in session
            assert len(session) == 2
            assert list(session) == ["a", "b"]
            assert list(reversed(session)) == ["b", "a"]
            assert list(session.keys()) == ["a", "b"]
            assert list(session.values()) == [1, [2]]
            assert list(session.items()) == [("a", 1), ("b", [2])]
            assert dict(session) == {"a": 1, "b": [2]}
            assert {**session} == {"a": 1, "b": [2]}
            assert bool(session)
            with pytest.raises(KeyError):
                session["c"]

        client.do(read)

    def test_equality(self, client):
        def compare(session):
            assert session == {"a": 1, "b": [2]}
            assert session == {"a": 1, "b": [2]}
            assert session != {"a": 1}
            assert session == session.copy()
            assert session != 5
            other = Session(session.request, session._open_visit)
            assert session == other
            with pytest.raises(TypeError):
                hash(session)

        client.do(compare)

    def test_a_copy_is_a_plain_dict(self, client):
        copy = result(client, lambda session: session.copy())
        assert type(copy) is dict

    def test_changing_a_copy_changes_nothing(self, client):
        assert after(client, lambda session: session.copy().update(c=3)) == {"a": 1, "b": [2]}

    def test_union(self, client):
        assert result(client, lambda s: s | {"a": 9}) == {"a": 9, "b": [2]}
        assert result(client, lambda s: {"a": 9, "z": 0} | s) == {"a": 1, "z": 0, "b": [2]}
        assert client.data() == {"a": 1, "b": [2]}

    def test_union_in_place(self, client):
        def change(session):
            same = session
            session |= {"c": 3}
            assert session is same

        assert after(client, change) == {"a": 1, "b": [2], "c": 3}

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (lambda s: s.__setitem__("c", 3), {"a": 1, "b": [2], "c": 3}),
            (lambda s: s.__delitem__("a"), {"b": [2]}),
            (lambda s: s.pop("a"), {"b": [2]}),
            (lambda s: s.pop("c", None), {"a": 1, "b": [2]}),
            (lambda s: s.popitem(), {"a": 1}),
            (lambda s: s.setdefault("c", []).append(3), {"a": 1, "b": [2], "c": [3]}),
            (lambda s: s.setdefault("b", []).append(3), {"a": 1, "b": [2, 3]}),
            (lambda s: s.clear(), {}),
            (lambda s: s.update({"a": 5}, c=6), {"a": 5, "b": [2], "c": 6}),
            (lambda s: s.update([("a", 5)]), {"a": 5, "b": [2]}),
        ],
    )
    def test_changing(self, client, change, expected):
        assert after(client, change) == expected

    def test_popping_a_missing_key_is_a_key_error(self, client):
        def pop(session):
            with pytest.raises(KeyError):
                session.pop("c")
            with pytest.raises(KeyError):
                del session["c"]

        client.do(pop)

    def test_the_json_renderer_writes_it(self, client):
        text = result(client, lambda session: render("json", session, request=session.request))
        assert json.loads(text) == {"a": 1, "b": [2]}

    def test_repr_shows_no_data_and_does_not_look_inside(self, app, client):
        app.plug.taken()
        assert result(client, repr) == "<Session unread>"
        assert app.plug.taken() == []
        text = result(client, lambda session: session.get("a") and repr(session))
        assert text == f"<Session {result(client, lambda s: s.handle)} with 2 keys>"
        assert client.session_id not in text


class TestFlash:
    def test_flashes_come_in_order_and_once(self, client):
        client.do(lambda s: [s.flash(text) for text in "aba"])
        assert result(client, lambda s: s.peek_flash()) == ["a", "b", "a"]
        assert result(client, lambda s: s.pop_flash()) == ["a", "b", "a"]
        assert result(client, lambda s: s.pop_flash()) == []

    def test_queues_are_separate(self, client):
        client.do(lambda s: s.flash("x", "errors"))
        assert result(client, lambda s: s.peek_flash()) == []
        assert result(client, lambda s: s.peek_flash("errors")) == ["x"]

    def test_duplicates_can_be_refused(self, client):
        client.do(lambda s: [s.flash("x", allow_duplicate=False) for _ in range(2)])
        assert result(client, lambda s: s.peek_flash()) == ["x"]


class TestTimes:
    def test_they_are_whole_epoch_seconds(self, client):
        def read(session):
            times = (session.created, session.accessed, session.renewed)
            assert all(type(each) is int for each in times)
            assert session.created <= session.renewed <= session.accessed
            assert session.expires_at == pytest.approx(session.renewed + 1200, abs=1)
            assert session.timeout == 1200

        client.do(read)

    @pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
    def test_a_timeout_that_is_none(self, client, seconds):
        def change(session):
            with pytest.raises(ValueError, match="a number of seconds"):
                session.timeout = seconds

        client.do(change)


class TestCsrf:
    @pytest.mark.parametrize(
        "policy", [None, SessionCSRFStoragePolicy(), SessionCSRFStoragePolicy("x")]
    )
    def test_pyramids_policies_work(self, policy):
        def configure(config):
            config.set_default_csrf_options(require_csrf=True)
            if policy is not None:
                config.set_csrf_storage_policy(policy)

        from pyramid.csrf import get_csrf_token

        app = App(configure=configure)
        client = app.client()
        token = client.request(lambda request: get_csrf_token(request)).json
        response = client.request(
            lambda request: "fine", method="POST", headers={"X-CSRF-Token": token}
        )
        assert response.json == "fine"
        client.request(lambda r: "", method="POST", headers={"X-CSRF-Token": "no"}, status=400)

    @pytest.mark.parametrize("policy", [SessionCSRFStoragePolicy(), CookieCSRFStoragePolicy()])
    def test_what_a_refused_stranger_has_beside_a_token_is_kept(self, policy):
        def configure(config):
            config.set_default_csrf_options(require_csrf=True)
            config.set_csrf_storage_policy(policy)
            config.add_subscriber(
                lambda event: event.request.session.update(seen=True),
                "pyramid.interfaces.INewRequest",
            )

        app = App(configure=configure)
        client = app.client()
        client.request(lambda request: {}, method="POST", status=400)
        assert client.data()["seen"] is True

    def test_the_token_stays_until_a_new_one_is_asked_for(self, client):
        token = result(client, lambda s: s.get_csrf_token())
        assert result(client, lambda s: s.get_csrf_token()) == token
        assert result(client, lambda s: s.new_csrf_token()) != token


class TestLogin:
    helper = SessionAuthenticationHelper()

    def test_it_works_as_pyramids_does(self, app, client):
        client.request(lambda request: self.helper.remember(request, "ada"))
        assert client.request(lambda r: self.helper.authenticated_userid(r)).json == "ada"
        ended = client.session_id
        client.request(lambda request: self.helper.forget(request))
        assert client.request(lambda r: self.helper.authenticated_userid(r)).json is None
        assert ended not in app.plug.ids()

    def test_login_changes_id_and_token_and_keeps_the_cart(self, client):
        token = result(client, lambda s: s.get_csrf_token())
        before = client.session_id
        client.request(lambda request: self.helper.remember(request, "ada"))
        assert client.session_id != before
        data = client.data()
        assert data["_csrft_"] != token
        assert data["a"] == 1

    def test_another_user_gets_nothing_of_the_one_before(self, client):
        client.request(lambda request: self.helper.remember(request, "ada"))
        client.request(lambda request: self.helper.remember(request, "bob"))
        data = client.data()
        assert data.pop("_csrft_")
        assert data == {"auth.userid": "bob"}

    def test_what_comes_late_for_the_user_before_does_not_undo_the_login(self, app, client):
        client.request(lambda request: self.helper.remember(request, "ada"))
        late = app.client(client.cookie)
        client.request(lambda request: self.helper.remember(request, "bob"))
        app.event_names()
        response = late.do(lambda session: session.update(tab="of ada"))
        assert response.headers.getall("Set-Cookie") == []
        assert app.event_names() == ["SessionDropped:moved"]
        assert client.data()["auth.userid"] == "bob"

    def test_another_user_with_the_cookie_plug(self):
        client = App(plug="cookie").client()
        client.request(lambda request: self.helper.remember(request, "ada"))
        client.do(lambda session: session.update(a=1))
        client.request(lambda request: self.helper.remember(request, "bob"))
        assert set(client.data()) == {"auth.userid", "_csrft_"}

    def test_the_same_user_again_keeps_the_session(self, client):
        client.request(lambda request: self.helper.remember(request, "ada"))
        client.request(lambda request: self.helper.remember(request, "ada"))
        assert client.data()["a"] == 1

    def test_without_a_csrf_policy(self, client):
        def view(request):
            from pyramid.interfaces import ICSRFStoragePolicy

            request.registry.unregisterUtility(provided=ICSRFStoragePolicy)
            self.helper.remember(request, "ada")

        client.request(view)
        assert client.data() == {"a": 1, "b": [2], "auth.userid": "ada"}


class TestSubrequests:
    def test_changes_of_both_survive(self, app, client):
        def inner(request):
            request.session["inner"] = True
            return {}

        def outer(request):
            request.session["outer"] = True
            subrequest = Request.blank("/do/inner")
            subrequest.headers["Cookie"] = request.headers["Cookie"]
            request.invoke_subrequest(subrequest, use_tweens=True)
            return {}

        app.views["inner"] = inner
        client.request(outer)
        assert client.data() == {"a": 1, "b": [2], "inner": True, "outer": True}
