"""Strangers cannot fill the storage: what nobody will come back for is not stored."""

from __future__ import annotations

import pytest
from attacks import INVENTED_ID, visitor
from pyramid.csrf import LegacySessionCSRFStoragePolicy, SessionCSRFStoragePolicy, get_csrf_token
from pyramid.exceptions import BadCSRFToken
from pyramid.response import Response

from apps import App, set_cookies
from pyramid_pluggable_session import SessionAuthenticationHelper

TIMES = 100
helper = SessionAuthenticationHelper()

POLICIES = [
    LegacySessionCSRFStoragePolicy,
    SessionCSRFStoragePolicy,
    lambda: SessionCSRFStoragePolicy(key="another key"),
]


def requiring_csrf(policy, exception_view=None):
    """Return a ``configure`` for ``App`` that refuses every POST without a token."""

    def configure(config):
        config.set_csrf_storage_policy(policy())
        config.set_default_csrf_options(require_csrf=True)
        if exception_view is not None:
            config.add_exception_view(exception_view, context=BadCSRFToken)

    return configure


def show_form(context, request):
    """Show the form again, with a token: what an exception view for BadCSRFToken is for."""
    return Response(get_csrf_token(request), status=400)


def nothing(request):
    return {}


READS = {
    "get": lambda session: session.get("a"),
    "in": lambda session: "a" in session,
    "iteration": list,
    "length": len,
    "new": lambda session: session.new,
    "created": lambda session: session.created,
    "id": lambda session: session.session_id,
    "handle": lambda session: session.handle,
    "repr": repr,
    "peek_flash": lambda session: session.peek_flash(),
    "pop_flash": lambda session: session.pop_flash(),
    "pop": lambda session: session.pop("a", None),
    "clear": lambda session: session.clear(),
    "update with nothing": lambda session: session.update({}),
    "changed": lambda session: session.changed(),
    "invalidate": lambda session: session.invalidate(),
    "regenerate_id": lambda session: session.regenerate_id(),
    "set and delete": lambda session: (session.update(a=1), session.pop("a")),
    "timeout": lambda session: setattr(session, "timeout", 5),
    "persistent": lambda session: setattr(session, "persistent", True),
}


class TestARequestWithoutACookie:
    @pytest.mark.parametrize("action", READS.values(), ids=READS)
    def test_that_writes_nothing_leaves_nothing_however_often_it_comes(self, action):
        app = App()
        sent = [set_cookies(app.client().do(action)) for _ in range(TIMES)]
        assert sent == [[]] * TIMES
        assert app.plug.ids() == []

    @pytest.mark.parametrize("action", READS.values(), ids=READS)
    def test_that_writes_nothing_does_nothing_in_the_storage(self, action):
        app = App()
        app.client().do(action)
        assert app.plug.taken() == []

    @pytest.mark.parametrize(
        "cookie", ["garbage", INVENTED_ID, INVENTED_ID * 2], ids=["garbage", "unsigned", "forged"]
    )
    def test_or_with_a_bad_one_leaves_nothing(self, cookie):
        app = App()
        sent = [set_cookies(app.client(cookie=cookie).do(dict)) for _ in range(TIMES)]
        assert sent == [[]] * TIMES
        assert app.plug.ids() == []

    def test_that_writes_leaves_a_record(self):
        """So that the tests above do not pass for another reason."""
        app = App()
        visitor(app, a=1)
        assert len(app.plug.ids()) == 1


class TestALogout:
    @staticmethod
    def log_out(request):
        helper.forget(request)
        return {}

    def test_of_nobody_leaves_nothing_and_sends_no_cookie(self):
        app = App()
        sent = [set_cookies(app.client().request(self.log_out)) for _ in range(TIMES)]
        assert sent == [[]] * TIMES
        assert app.plug.ids() == []

    def test_leaves_no_record(self):
        app = App()
        client = visitor(app, who="alice")
        client.request(self.log_out)
        assert app.plug.ids() == []

    def test_a_hundred_times_leaves_no_record(self):
        app = App()
        client = app.client()
        for _ in range(TIMES):
            client.do(lambda session: session.update(who="alice"))
            client.request(self.log_out)
        assert app.plug.ids() == []

    def test_deletes_the_cookie_once(self):
        app = App()
        client = visitor(app, who="alice")
        (header,) = set_cookies(client.request(self.log_out))
        assert header.startswith("session=; ")
        assert "Max-Age=0" in header
        assert set_cookies(client.request(self.log_out)) == []

    def test_by_a_captured_cookie_finds_nothing_more_to_delete(self):
        app = App()
        client = visitor(app, who="alice")
        stolen = client.cookie
        client.request(self.log_out)
        app.client(cookie=stolen).request(self.log_out)
        assert app.event_names().count("SessionEnded:invalidated") == 1


@pytest.mark.parametrize("policy", POLICIES, ids=["legacy", "session", "session with a key"])
class TestARefusedPost:
    def test_leaves_nothing_and_sends_no_cookie(self, policy):
        app = App(configure=requiring_csrf(policy))
        sent = [
            set_cookies(app.client().request(nothing, "POST", status=400)) for _ in range(TIMES)
        ]
        assert sent == [[]] * TIMES
        assert app.plug.ids() == []
        assert app.plug.taken() == []

    def test_with_a_wrong_token_leaves_nothing(self, policy):
        app = App(configure=requiring_csrf(policy))
        for token in ("", "wrong", "\xff", "x" * 5000, INVENTED_ID):
            response = app.client().request(nothing, "POST", POST={"csrf_token": token}, status=400)
            assert set_cookies(response) == []
        assert app.plug.ids() == []

    def test_with_a_dead_cookie_leaves_nothing(self, policy):
        app = App(configure=requiring_csrf(policy))
        client = visitor(app, who="alice")
        dead = client.cookie
        client.do(lambda session: session.invalidate())
        for _ in range(TIMES):
            app.client(cookie=dead).request(nothing, "POST", status=400)
        assert app.plug.ids() == []

    def test_leaves_nothing_if_the_exception_view_shows_no_form(self, policy):
        app = App(configure=requiring_csrf(policy, lambda context, request: Response("no")))
        sent = [set_cookies(app.client().request(nothing, "POST")) for _ in range(TIMES)]
        assert sent == [[]] * TIMES
        assert app.plug.ids() == []

    def test_does_not_cost_a_user_what_is_in_the_session(self, policy):
        app = App(configure=requiring_csrf(policy))
        client = visitor(app, cart=[1])
        client.request(nothing, "POST", status=400)
        assert client.data()["cart"] == [1]

    def test_does_not_change_the_token_that_a_user_has(self, policy):
        app = App(configure=requiring_csrf(policy))
        client = app.client()
        token = token_of(client)
        client.request(nothing, "POST", status=400)
        assert token_of(client) == token

    def test_keeps_what_another_part_of_the_application_wrote(self, policy):
        """A tween that counts visits, say: the session is more than a token then."""

        def tween_factory(handler, registry):
            def tween(request):
                request.session["visits"] = 1
                return handler(request)

            return tween

        def configure(config):
            requiring_csrf(policy)(config)
            config.registry.settings["tween"] = tween_factory
            config.add_tween(f"{__name__}.visits_tween_factory")

        app = App(configure=configure)
        client = app.client()
        client.request(nothing, "POST", status=400)
        assert client.data()["visits"] == 1

    def test_can_be_sent_again_with_the_token_of_the_form_that_was_shown(self, policy):
        app = App(configure=requiring_csrf(policy, show_form))
        client = app.client()
        token = client.request(nothing, "POST", status=400).text
        client.request(nothing, "POST", POST={"csrf_token": token}, status=200)

    def test_whose_form_is_shown_again_leaves_one_record_for_each_client(self, policy):
        app = App(configure=requiring_csrf(policy, show_form))
        client = app.client()
        for _ in range(TIMES):
            client.request(nothing, "POST", status=400)
        assert len(app.plug.ids()) == 1

    def test_is_accepted_with_the_token_in_a_header(self, policy):
        app = App(configure=requiring_csrf(policy))
        client = app.client()
        headers = {"X-CSRF-Token": token_of(client)}
        client.request(nothing, "POST", headers=headers, status=200)


def visits_tween_factory(handler, registry):
    return registry.settings["tween"](handler, registry)


def token_of(client):
    box = []

    def view(request):
        box.append(get_csrf_token(request))
        return {}

    client.request(view)
    return box[0]
