"""Session fixation over HTTP: nobody gets to choose the id of a session, by whatever way."""

from __future__ import annotations

import pytest
from attacked import Browser, request, send

INVENTED = "0123456789abcdef" * 4


@pytest.fixture(params=["invented", "invented and signed with zeros", "dead", "live", "a user's"])
def planted(request, site, mallory):
    """Return a cookie that the attacker made or has."""
    attacker = mallory
    if request.param in ("dead", "live"):
        attacker = Browser(site.port)
        attacker.get("/visit")
    cookie = attacker.cookies["session"]
    if request.param == "dead":
        attacker.post("/logout")
    return {
        "invented": INVENTED,
        "invented and signed with zeros": INVENTED + "0" * 64,
    }.get(request.param, cookie)


WAYS = {
    "cookie": lambda id: request("POST", "/login?user=alice", [b"Cookie: session=" + id]),
    "query": lambda id: request("POST", "/login?user=alice&session=" + id.decode()),
    "query as PHP does": lambda id: request("POST", "/login?user=alice&PHPSESSID=" + id.decode()),
    "path as Java does": lambda id: request("POST", f"/login;session={id.decode()}?user=alice"),
    "body": lambda id: request("POST", "/login?user=alice", body=b"session=" + id),
    "header": lambda id: request("POST", "/login?user=alice", [b"Session: " + id]),
    "header that sets": lambda id: request(
        "POST", "/login?user=alice", [b"Set-Cookie: session=" + id]
    ),
    "old version": lambda id: request("POST", "/login?user=alice", [b"Cookie2: session=" + id]),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_planted_id_is_of_no_use_after_a_login(site, planted, way):
    given = send(site.port, way(planted.encode()))
    if given.status == 404:  # such a path is another one here
        assert given.cookies == {}
        return
    assert given.status == 303
    assert given.cookies["session"][:64] != planted[:64]
    attacker = Browser(site.port, {"session": planted})
    assert "alice" not in attacker.get("/whoami").text
    assert Browser(site.port, given.cookies).get("/mine").text.startswith("for alice #")


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("planted", ["invented", "dead"], indirect=True)
def test_a_session_that_begins_gets_an_id_of_its_own(site, plug, planted, way):
    raw = way(planted.encode()).replace(b"POST /login", b"GET /visit")
    given = send(site.port, raw)
    if given.status == 200:
        assert given.cookies["session"][:64] != planted[:64]
    assert planted[:64] not in plug.ids()


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_an_invented_id_is_not_even_looked_up(site, plug, way):
    for cookie in (INVENTED, INVENTED + "0" * 64):
        send(site.port, way(cookie.encode()))
    assert INVENTED not in plug.looked_up
    assert INVENTED not in plug.ids()


@pytest.mark.parametrize("name", ["session", "Session", "sid"])
def test_a_session_cannot_be_had_without_its_cookie(site, alice, name):
    """So nobody can be sent a link that has one, and no Referer tells of it."""
    cookie = alice.cookies["session"]
    body = f"{name}={cookie}".encode()
    raw = request("POST", f"/whoami?{name}={cookie}", [f"{name}: {cookie}".encode()], body)
    assert send(site.port, raw).text == "{}"
    assert "alice" in alice.get("/whoami").text


def test_the_token_against_forged_requests_does_not_survive_the_login(site):
    attacker = Browser(site.port)
    known = attacker.get("/token").text
    victim = Browser(site.port, attacker.cookies)
    victim.post("/login?user=alice")
    assert victim.post("/form", f"csrf_token={known}".encode()).status == 400
    assert victim.post("/form", f"csrf_token={victim.get('/token').text}".encode()).text == "done"


def test_the_token_of_a_user_who_logged_out_is_of_no_use_to_the_next_one(site):
    shared = Browser(site.port)
    shared.post("/login?user=mallory")
    known = shared.get("/token").text
    shared.post("/logout")
    shared.post("/login?user=alice")
    assert shared.post("/form", f"csrf_token={known}".encode()).status == 400
