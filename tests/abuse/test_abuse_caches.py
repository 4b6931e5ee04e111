"""Real shared caches: nobody gets from one what was meant for somebody else."""

from __future__ import annotations

import re
from contextlib import ExitStack

import pytest
from attacked import Browser, Site, request, send
from caching import Nginx, Varnish

pytestmark = pytest.mark.slow

CACHES = ["nginx", "nginx, careless", "varnish", "varnish, eager"]
# What an application may say of a page, also of one that it should not say it of.
SAYS = ["", "?cache=public,max-age=60", "?cache=s-maxage=60", "?cache=max-age=60"]


@pytest.fixture(scope="module", params=CACHES)
def cache(request, require_program, tmp_path_factory):
    """Return a cache with a site behind it."""
    kind = request.param
    if "nginx" in kind:
        program = require_program("nginx", "/usr/sbin/nginx")
    else:
        program = require_program("varnishd", "/usr/sbin/varnishd")
    folder = tmp_path_factory.mktemp("cache")
    with ExitStack() as stack:
        site = stack.enter_context(Site())
        if "nginx" in kind:
            server = Nginx(folder, program, site.port, careless="careless" in kind)
        else:
            server = Varnish(folder, program, site.port, eager="eager" in kind)
        server.kind, server.origin = kind, site.port
        yield stack.enter_context(server)


@pytest.fixture
def users(cache):
    """Return two users and a visitor, who all come through the cache."""
    browsers = {user: Browser(cache.port) for user in ("alice", "bob", "None")}
    for user in ("alice", "bob"):
        browsers[user].post(f"/login?user={user}")
    return browsers


@pytest.fixture
def page(request):
    """Return a query that no other test asks the cache for."""
    return re.sub(r"\W", "-", request.node.name)


def numbers(answers):
    """Return the numbers of pages, by which copies are known."""
    return [each.text.partition("#")[2] for each in answers]


def test_a_page_without_a_session_is_shared(cache, users, page):
    """So that the tests below do not pass because nothing is ever kept."""
    path = f"/public?cache=public,max-age=60&{page}"
    users["None"].get(path)
    given = [user.get(path) for user in users.values()]
    first = numbers(given)[0 if cache.kind != "varnish" else -1]
    shared = [number == first for number in numbers(given)]
    # As it comes, Varnish passes on whatever has a cookie.
    assert shared == [cache.kind != "varnish", cache.kind != "varnish", True]
    assert not any(each.all("Set-Cookie") for each in given)
    assert not any(each.all("Vary") for each in given)


def test_the_page_of_a_session_is_kept_for_those_with_the_same_cookie(cache, users, page):
    """So that the tests below do not pass because such pages are never kept."""
    path = f"/mine?cache=public,max-age=60&{page}"
    for user in users.values():
        once, twice = numbers([user.get(path), user.get(path)])
        assert (once == twice) == (cache.kind != "varnish" or not user.cookies)


@pytest.mark.parametrize("says", SAYS)
def test_the_page_of_a_session_is_nobody_elses(cache, users, page, says):
    path = f"/mine{says or '?'}&{page}"
    for _ in range(3):
        for name, user in users.items():
            given = user.get(path)
            assert given.text.startswith(f"for {name} #")
            assert "Cookie" in given.all("Vary")


@pytest.mark.parametrize("says", SAYS)
def test_what_sets_a_cookie_is_never_kept(cache, page, says):
    path = f"/visit{says or '?'}&{page}"
    visitors = [Browser(cache.port) for _ in range(4)]
    answers = [visitor.get(path) for visitor in visitors]
    assert len(set(numbers(answers))) == len(visitors)
    assert len({visitor.cookies["session"] for visitor in visitors}) == len(visitors)
    for visitor in visitors:
        assert visitor.get(path).text.startswith("visit 2 #")
    assert Browser(cache.port).get(path).text.startswith("visit 1 #")


@pytest.mark.parametrize("says", SAYS)
def test_a_login_and_a_logout_are_seen_at_once(cache, page, says):
    path = f"/mine{says or '?'}&{page}"
    user = Browser(cache.port)
    for _ in range(2):
        assert user.get(path).text.startswith("for None #")
        user.post("/login?user=alice")
        assert user.get(path).text.startswith("for alice #")
        user.post("/logout")
        assert user.get(path).text.startswith("for None #")


@pytest.mark.parametrize(
    "line",
    [
        b"Cookie: session=",
        b"Cookie: session=garbage",
        b"cookie: session=" + b"0" * 128,
        b"X-Forwarded-Host: evil.example",
    ],
)
def test_a_stranger_cannot_have_the_page_of_a_user_kept_for_others(cache, users, page, line):
    path = f"/mine?cache=public,max-age=60&{page}"
    users["alice"].get(path)
    assert send(cache.port, request("GET", path, [line])).text.startswith("for None #")
    assert users["None"].get(path).text.startswith("for None #")
    assert users["alice"].get(path).text.startswith("for alice #")


def test_an_error_page_is_nobody_elses(cache, users, page):
    given = [user.get(f"/fail?{page}") for user in users.values()]
    assert [each.status for each in given] == [500, 500, 500]
    assert not any(each.all("Set-Cookie") for each in given)


def test_a_kept_page_outlives_the_session_for_who_has_the_old_cookie(cache, page):
    """No surprise: an application that says ``public, max-age=60`` of a user's page gets that.

    It is the page only, and only for the same cookie. A page about which nothing is said, behind a
    cache that keeps nothing of the kind, is gone at once.
    """
    user = Browser(cache.port)
    user.post("/login?user=alice")
    thief = Browser(cache.port, user.cookies)
    path = f"/mine?cache=public,max-age=60&{page}"
    user.get(path)
    user.post("/logout")
    kept = "None" if cache.kind == "varnish" else "alice"
    assert thief.get(path).text.startswith(f"for {kept} #")
    assert thief.get(f"/mine?another-{page}").text.startswith("for None #")


@pytest.mark.parametrize(
    ("settings", "names"),
    [({"plug": "cookie"}, ["session", "session.0"]), ({"reissue_time": "0"}, ["session"])],
    ids=["the client as the storage", "a renewal with each request"],
)
def test_other_responses_with_cookies_are_never_kept(
    serve, tmp_path, require_program, settings, names
):
    site = serve(**settings)
    program = require_program("nginx", "/usr/sbin/nginx")
    with Nginx(tmp_path, program, site.port, careless=True) as server:
        visitors = [Browser(server.port) for _ in range(3)]
        for round_ in (1, 2, 3):
            for visitor in visitors:
                given = visitor.get("/visit?cache=public,max-age=60")
                assert given.text.startswith(f"visit {round_} #")
                assert sorted(given.cookies) == names
        for visitor in visitors * 2:
            given = visitor.get("/mine?cache=public,max-age=60")
            assert given.text.startswith("for None #")
            assert given.cookies.get("session") in (None, visitor.cookies["session"])
        for name in names:
            assert len({visitor.cookies[name] for visitor in visitors}) == 3
