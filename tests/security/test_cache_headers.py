"""Caches: nobody gets from one what was meant for somebody else."""

from __future__ import annotations

import re

import pytest
from attacks import put, visitor
from pyramid.httpexceptions import HTTPFound, HTTPNotFound
from pyramid.response import Response

from apps import App, set_cookies
from pyramid_pluggable_session.testing import FakeClock


@pytest.fixture
def app():
    return App()


def answering(headers, action=lambda session: None):
    """Return a view that does ``action`` and answers with exactly these headers."""

    def view(request):
        action(request.session)
        response = Response("hello")
        for name, value in headers:
            response.headerlist.append((name, value))
        return response

    return view


def tokens(response, name):
    """Return the comma-separated items of a header, in all of its lines, lower-cased."""
    joined = ", ".join(response.headers.getall(name)).lower()
    return sorted(item.strip() for item in re.findall(r'(?:[^,"]|"[^"]*")+', joined))


LOOKS = {
    "get": lambda session: session.get("a"),
    "in": lambda session: "a" in session,
    "dict": dict,
    "len": len,
    "keys": lambda session: session.keys(),
    "new": lambda session: session.new,
    "created": lambda session: session.created,
    "accessed": lambda session: session.accessed,
    "renewed": lambda session: session.renewed,
    "expires_at": lambda session: session.expires_at,
    "timeout": lambda session: session.timeout,
    "persistent": lambda session: session.persistent,
    "id": lambda session: session.session_id,
    "comparison": lambda session: session == {},
    "peek_flash": lambda session: session.peek_flash(),
    "csrf token": lambda session: session.get_csrf_token(),
    "set": put(a=1),
    "invalidate": lambda session: session.invalidate(),
    "regenerate_id": lambda session: session.regenerate_id(),
}

NO_LOOKS = {
    "naming it": lambda session: session,
    "repr": repr,
    "operations": lambda session: session.operations,
}


class TestVary:
    @pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
    @pytest.mark.parametrize("has_session", [False, True])
    def test_names_the_cookie_after_a_look_into_the_session(self, app, look, has_session):
        client = visitor(app, b=2) if has_session else app.client()
        assert client.do(look).headers.getall("Vary") == ["Cookie"]

    @pytest.mark.parametrize("look", NO_LOOKS.values(), ids=NO_LOOKS)
    def test_is_not_there_without_a_look(self, app, look):
        client = visitor(app, b=2)
        assert "Vary" not in client.do(look).headers

    def test_is_not_there_if_the_session_is_not_named(self, app):
        client = visitor(app, b=2)
        assert "Vary" not in client.request(lambda request: {}).headers

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ([], ["cookie"]),
            (["Accept-Encoding"], ["accept-encoding", "cookie"]),
            (["Accept-Encoding, Origin"], ["accept-encoding", "cookie", "origin"]),
            (["cookie"], ["cookie"]),
            (["COOKIE, Origin"], ["cookie", "origin"]),
            (["*"], ["*"]),
            (
                ["Accept-Encoding", "Accept-Language"],
                ["accept-encoding", "accept-language", "cookie"],
            ),
            (["Cookie", "Accept-Language"], ["accept-language", "cookie"]),
        ],
    )
    def test_keeps_what_the_application_said(self, app, before, after):
        view = answering([("Vary", value) for value in before], dict)
        assert tokens(visitor(app, b=2).request(view), "Vary") == after

    def test_names_the_cookie_on_a_response_without_success(self, app):
        def view(request):
            if request.session.get("b"):
                raise HTTPNotFound
            return {}

        response = visitor(app, b=2).request(view, status=404)
        assert response.headers["Vary"] == "Cookie"

    def test_names_the_cookie_on_a_redirect(self, app):
        def view(request):
            request.session["b"] = 3
            return HTTPFound("/")

        response = visitor(app, b=2).request(view)
        assert response.headers["Vary"] == "Cookie"
        assert response.status_int == 302

    def test_names_the_cookie_if_a_tween_looked(self):
        app = App(configure=lambda config: config.add_tween(f"{__name__}.looking_tween_factory"))
        response = visitor(app, b=2).request(lambda request: {})
        assert response.headers["Vary"] == "Cookie"

    def test_names_the_cookie_if_a_response_callback_looked(self, app):
        def view(request):
            request.add_response_callback(lambda request, response: request.session.get("b"))
            return {}

        assert visitor(app, b=2).request(view).headers["Vary"] == "Cookie"

    def test_names_the_cookie_if_the_session_was_not_accepted(self, app):
        assert app.client(cookie="garbage").do(dict).headers["Vary"] == "Cookie"


def looking_tween_factory(handler, registry):
    def tween(request):
        request.session.get("b")
        return handler(request)

    return tween


class TestAResponseThatSetsTheCookie:
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ([], ["private"]),
            (["public"], ["private"]),
            (["private"], ["private"]),
            (["no-store"], ["no-store"]),
            (["no-store, private"], ["no-store", "private"]),
            (["no-cache"], ["no-cache", "private"]),
            (["max-age=60"], ["max-age=60", "private"]),
            (["public, max-age=60"], ["max-age=60", "private"]),
            (["s-maxage=60"], ["private"]),
            (["public, s-maxage=60, max-age=5"], ["max-age=5", "private"]),
            (["max-age=0, must-revalidate"], ["max-age=0", "must-revalidate", "private"]),
            (["public, immutable, max-age=9"], ["immutable", "max-age=9", "private"]),
            (["public, no-transform"], ["no-transform", "private"]),
            (
                ["public, stale-while-revalidate=30"],
                ["private", "stale-while-revalidate=30"],
            ),
            # The names of directives have no case (RFC 9111, section 5.2).
            (["Public, S-MaxAge=60, Max-Age=5"], ["max-age=5", "private"]),
            (["No-Store"], ["no-store"]),
            # Several lines are one list (RFC 9110, section 5.3).
            (["no-store", "max-age=5"], ["max-age=5", "no-store"]),
            (["max-age=5", "no-store"], ["max-age=5", "no-store"]),
            (["public", "s-maxage=60"], ["private"]),
            (["no-cache", "public, max-age=5"], ["max-age=5", "no-cache", "private"]),
        ],
    )
    def test_is_kept_out_of_shared_caches_and_nothing_else_changes(self, app, before, after):
        view = answering([("Cache-Control", value) for value in before], put(a=1))
        response = app.client().request(view)
        assert len(set_cookies(response)) == 1
        found = tokens(response, "Cache-Control")
        if "no-store" in after:
            # Stronger than `private`, which may or may not stand beside it.
            found = [item for item in found if item != "private"]
            after = [item for item in after if item != "private"]
        assert [item for item in found if item not in ("public", "s-maxage=60")] == after
        if "no-store" not in after:
            assert "public" not in found
            assert "s-maxage=60" not in found

    def test_private_for_some_headers_becomes_private_as_a_whole(self, app):
        view = answering([("Cache-Control", 'private="x-secret", max-age=5')], put(a=1))
        assert "private" in tokens(app.client().request(view), "Cache-Control")

    def test_keeps_headers_that_are_not_about_caches(self, app):
        view = answering([("X-One", "1"), ("X-One", "2"), ("Set-Cookie", "other=1")], put(a=1))
        response = app.client().request(view)
        assert response.headers.getall("X-One") == ["1", "2"]
        assert "other=1" in set_cookies(response)

    def test_that_deletes_it_is_kept_out_of_shared_caches_too(self, app):
        view = answering([("Cache-Control", "public")], lambda session: session.invalidate())
        response = visitor(app, a=1).request(view)
        assert len(set_cookies(response)) == 1
        assert tokens(response, "Cache-Control") == ["private"]

    def test_because_a_session_was_renewed_is_kept_out_of_shared_caches_too(self):
        with FakeClock() as clock:
            client = visitor(App(), a=1)
            clock.advance(600)
            response = client.request(answering([("Cache-Control", "public")], dict))
        assert len(set_cookies(response)) == 1
        assert tokens(response, "Cache-Control") == ["private"]

    def test_is_a_redirect_that_is_kept_out_of_shared_caches(self, app):
        def view(request):
            request.session["a"] = 1
            response = HTTPFound("/")
            response.cache_control.public = True
            return response

        assert tokens(app.client().request(view), "Cache-Control") == ["private"]


class TestAResponseThatDoesNot:
    @pytest.fixture(autouse=True)
    def clock(self):
        with FakeClock() as fake:
            yield fake

    @pytest.mark.parametrize("value", ["public, max-age=60", "s-maxage=5", "Public"])
    def test_keeps_the_cache_control_of_the_application(self, clock, value):
        client = visitor(App(), a=1)
        response = client.request(answering([("Cache-Control", value)], dict))
        assert response.headers.getall("Cache-Control") == [value]

    def test_is_one_that_changed_nothing(self, clock):
        client = visitor(App(), a=1)
        assert set_cookies(client.do(dict)) == []
        assert set_cookies(client.do(put(a=1))) == []

    def test_is_one_that_changed_something_if_the_cookie_ends_with_the_browser(self, clock):
        client = visitor(App(max_age="none"), a=1)
        assert set_cookies(client.do(put(a=2))) == []
        clock.advance(500)
        assert set_cookies(client.do(dict)) == []

    def test_is_one_whose_view_failed(self, clock):
        def view(request):
            request.session["a"] = 2
            raise RuntimeError

        client = visitor(App(), a=1)
        with pytest.raises(RuntimeError):
            client.request(view)
        assert client.data() == {"a": 1}
