"""Guessing ids: however many somebody tries, the storage is not asked and nothing is left."""

from __future__ import annotations

import secrets
import time

import pytest
from attacked import Wire, request

MANY = 20_000
IN_ONE_HEADER = 200
IN_ONE_PACKET = 50


def guess():
    return secrets.token_hex(64)


GUESSES = {
    "of the right form": guess,
    "with an id of all zeros": lambda: "0" * 64 + guess()[:64],
    "without a signature": lambda: guess()[:64],
    "with half a signature": lambda: guess()[:96],
    "with a digit too few": lambda: guess()[:-1],
}


@pytest.mark.parametrize("make", GUESSES.values(), ids=GUESSES)
def test_as_many_in_a_header_as_there_is_room_for(site, plug, alice, make):
    """The fastest way: a header may have many cookies of one name."""
    begin = time.monotonic()
    with Wire(site.port) as wire:
        for _ in range(0, MANY, IN_ONE_HEADER):
            guesses = "; ".join(f"session={make()}" for _ in range(IN_ONE_HEADER))
            (given,) = wire.send(request("GET", "/mine", [f"Cookie: {guesses}".encode()]))
            assert given.text.startswith("for None #")
            assert given.cookies == {}
    assert plug.taken() == []
    assert len(plug.ids()) == 1
    assert time.monotonic() - begin < 120, "a guess takes milliseconds"


@pytest.mark.parametrize("make", GUESSES.values(), ids=GUESSES)
def test_one_after_the_other(site, plug, alice, make):
    begin = time.monotonic()
    with Wire(site.port) as wire:
        for _ in range(0, 500, IN_ONE_PACKET):
            packet = [
                request("POST", "/logout", [f"Cookie: session={make()}".encode()])
                for _ in range(IN_ONE_PACKET)
            ]
            assert {each.status for each in wire.send(*packet)} == {303}
    assert plug.taken() == []
    assert len(plug.ids()) == 1
    assert time.monotonic() - begin < 120, "a guess takes tens of milliseconds"


def test_the_right_one_among_many_is_found(site, alice):
    """So that the tests above do not pass for another reason."""
    good = alice.cookies["session"]
    values = [guess() for _ in range(IN_ONE_HEADER)]
    values[IN_ONE_HEADER // 2] = good
    header = "; ".join(f"session={value}" for value in values).encode()
    with Wire(site.port) as wire:
        (given,) = wire.send(request("GET", "/mine", [b"Cookie: " + header]))
    assert given.text.startswith("for alice #")
