"""Cookies that somebody kept: after a logout, a login, an end. What the server promises, it keeps.

The ``cookie`` plug promises less: nothing on the server knows that a session has ended.
"""

from __future__ import annotations

import pytest
from attacked import Browser

from pyramid_pluggable_session.testing import FakeClock

PLUGS = ["memory", "file", "sqlite", "dbm"]


@pytest.fixture
def spec(request, tmp_path):
    return request.param if request.param == "memory" else f"{request.param}://{tmp_path / 'them'}"


@pytest.fixture
def two(serve, spec):
    """Return a user, and a thief who has the same cookies."""
    site = serve(spec)
    user = Browser(site.port)
    user.post("/login?user=alice")
    thief = Browser(site.port, user.cookies)
    assert thief.get("/mine").text.startswith("for alice #")
    return user, thief


ENDS = {
    "a logout": "/logout",
    "a login of somebody else": "/login?user=bob",
    "another login": "/login?user=alice",
}


@pytest.mark.parametrize("spec", PLUGS, indirect=True)
@pytest.mark.parametrize("path", ENDS.values(), ids=ENDS)
def test_a_stolen_cookie_ends_with(two, path):
    user, thief = two
    user.post(path)
    assert thief.get("/mine").text.startswith("for None #")
    thief.get("/visit")
    assert thief.get("/mine").text.startswith("for None #")
    assert user.get("/mine").text.startswith(f"for {path.partition('=')[2] or None} #")


class TestWithTheClientAsTheStorage:
    @pytest.fixture
    def clock(self):
        with FakeClock() as clock:
            yield clock

    @pytest.fixture
    def two(self, serve, clock):
        site = serve("cookie", timeout="1200", reissue_time="0")
        user = Browser(site.port)
        user.post("/login?user=alice")
        return user, Browser(site.port, user.cookies)

    def test_a_logout_leaves_the_browser_nothing(self, two):
        user, _ = two
        user.post("/logout")
        assert user.cookies == {}
        assert user.get("/mine").text.startswith("for None #")

    def test_a_login_gives_another_id(self, two):
        user, thief = two
        user.post("/login?user=alice")
        assert user.cookies["session"] != thief.cookies["session"]
        # The new id is not good for the old record, nor the old one for the new record.
        for mixed in (
            {**user.cookies, "session": thief.cookies["session"]},
            {**thief.cookies, "session": user.cookies["session"]},
        ):
            assert Browser(thief._port, mixed).get("/mine").text.startswith("for None #")

    def test_a_kept_cookie_works_until_the_timeout_and_no_longer(self, two, clock):
        """As documented: whoever must end sessions for good needs a storage on the server."""
        user, thief = two
        user.post("/logout")
        kept = Browser(thief._port, thief.cookies)
        clock.advance(1199)
        assert kept.get("/mine").text.startswith("for alice #")
        clock.advance(2)
        assert thief.get("/mine").text.startswith("for None #")

    def test_nobody_can_read_or_change_what_is_in_it(self, two):
        user, _ = two
        user.post("/put", b"word=plaintext")
        value = user.cookies["session.0"]
        assert "plaintext" not in value
        for at in range(0, len(value), 7):
            other = "A" if value[at] != "A" else "B"
            changed = {**user.cookies, "session.0": value[:at] + other + value[at + 1 :]}
            given = Browser(user._port, changed).get("/whoami")
            assert (given.status, given.text) == (200, "{}")
