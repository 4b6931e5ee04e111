"""How long a bad signature takes to refuse tells nothing of how much of it is right."""

from __future__ import annotations

import hmac
import statistics
import time
from types import SimpleNamespace

import pytest
from attacked import SECRET

from pyramid_pluggable_session.cookie import CookieAttributes, SessionCookie
from pyramid_pluggable_session.keyring import Keyring
from pyramid_pluggable_session.keys import new_session_id
from pyramid_pluggable_session.record import Kind, Meta, Record, Sealer, Unreadable

RIGHT = [0, 1, 16, 32, 63]  # digits of the signature, of 64
KEYRING = Keyring([SECRET.encode(), b"an older one"], "salt", "sha512")


def attempts():
    """Return a cookie for each number of right digits, all with one id."""
    cookie = SessionCookie(CookieAttributes(), KEYRING)
    session_id = new_session_id()
    ((_, line),) = cookie.set_headers(SimpleNamespace(scheme="http"), session_id, None)
    signature = line.partition("=")[2][64:128]
    other = "".join("0" if digit != "0" else "1" for digit in signature)
    headers = [f"session={session_id}{signature[:n]}{other[n:]}" for n in RIGHT]
    return cookie, [SimpleNamespace(environ={"HTTP_COOKIE": header}) for header in headers]


@pytest.fixture
def compared(monkeypatch):
    """Return a list of what is compared in constant time from now on, as lengths."""
    lengths = []
    compare = hmac.compare_digest

    def spy(a, b):
        lengths.append((len(a), len(b)))
        return compare(a, b)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    return lengths


def test_the_whole_signature_is_compared_in_constant_time_with_every_key(compared):
    cookie, requests = attempts()
    for request in requests:
        assert cookie.read(request).session_id is None
        assert compared == [(64, 64), (64, 64)]
        compared.clear()


def test_so_is_the_tag_of_a_record(compared):
    session_id = new_session_id()
    sealer = Sealer(KEYRING, encrypt=False)
    sealed = sealer.seal(session_id, Record(Kind.SESSION, Meta(0, 0), "msgpack", b"body"))
    for n in range(1, 33):
        with pytest.raises(Unreadable, match="bad signature"):
            sealer.unseal(session_id, sealed[:-n] + bytes(byte ^ 1 for byte in sealed[-n:]))
    assert compared == [(32, 32)] * 32


def medians(action, inputs, rounds):
    """Return the median nanoseconds of ``action`` for each input, all of them in turns."""
    samples = [[] for _ in inputs]
    for _ in range(rounds):
        for each, sample in zip(inputs, samples, strict=True):
            begin = time.perf_counter_ns()
            action(each)
            sample.append(time.perf_counter_ns() - begin)
    return [statistics.median(sample) for sample in samples]


@pytest.mark.soak
def test_the_time_is_the_same_however_much_is_right(record_property):
    """A measurement: it sees a comparison digit by digit, and not one of the C library's.

    The C library compares 64 bytes within a few nanoseconds, which nobody sees from outside; so
    the tests above look at which comparison it is.
    """
    cookie, requests = attempts()
    ours = medians(cookie.read, requests, 50_000)
    record_property("nanoseconds by digits that are right", dict(zip(RIGHT, ours, strict=True)))
    print(dict(zip(RIGHT, ours, strict=True)))
    assert max(ours) - min(ours) < 200

    def digit_by_digit(request):
        value = request.environ["HTTP_COOKIE"].partition("=")[2]
        wanted = requests[-1].environ["HTTP_COOKIE"].partition("=")[2]
        return all(a == b for a, b in zip(value, wanted, strict=True))

    naive = medians(digit_by_digit, requests, 5_000)
    assert max(naive) - min(naive) > 400, "the measurement sees nothing"
