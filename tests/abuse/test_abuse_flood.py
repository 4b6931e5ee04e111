"""A flood of strangers: whatever they send, nothing is left in the storage."""

from __future__ import annotations

import pytest
from attacked import Wire, request

MANY = 1000
IN_ONE_PACKET = 50

FLOODS = {
    "pages": (request("GET", "/mine"), 200),
    "missing pages": (request("GET", "/no-such-page"), 404),
    "logouts": (request("POST", "/logout"), 303),
    "forms without a token": (request("POST", "/form"), 400),
    "forms with a wrong token": (request("POST", "/form", body=b"csrf_token=wrong"), 400),
    "forms with a token in a header": (request("POST", "/form", [b"X-CSRF-Token: wrong"]), 400),
    "bad cookies": (request("GET", "/whoami", [b"Cookie: session=" + b"0" * 128]), 200),
    "failing pages": (request("GET", "/fail"), 500),
}


@pytest.mark.parametrize(("raw", "status"), FLOODS.values(), ids=FLOODS)
def test_of_strangers_leaves_nothing(site, plug, raw, status, caplog):
    caplog.set_level("CRITICAL")  # a thousand tracebacks otherwise
    answers = []
    for _ in range(0, MANY, IN_ONE_PACKET):
        with Wire(site.port) as wire:
            if status == 500:  # after which the server closes the connection
                answers += wire.send(raw)
            else:
                answers += wire.send(*[raw] * IN_ONE_PACKET)
    assert {each.status for each in answers} == {status}
    assert [each.cookies for each in answers if each.cookies] == []
    assert plug.taken() == []
    assert plug.ids() == []


def test_of_logins_and_logouts_leaves_nothing(site, plug):
    with Wire(site.port) as wire:
        for number in range(MANY // 5):
            (given,) = wire.send(request("POST", f"/login?user={number}"))
            cookie = f"Cookie: session={given.cookies['session']}".encode()
            wire.send(request("POST", "/logout", [cookie]))
    assert plug.ids() == []


def test_that_writes_leaves_a_record_for_each(site, plug):
    """So that the tests above do not pass for another reason."""
    with Wire(site.port) as wire:
        wire.send(*[request("GET", "/visit")] * IN_ONE_PACKET)
    assert len(plug.ids()) == IN_ONE_PACKET
