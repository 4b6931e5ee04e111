"""What the contract suite says to plugs that break it."""

from __future__ import annotations

import dataclasses
import re
import time

import pytest
from zope.interface import implementer

from pyramid_pluggable_session import clock
from pyramid_pluggable_session.interfaces import IPlugSession, IPurgePlug, IScanPlug, ISwapPlug
from pyramid_pluggable_session.keys import SessionKey
from pyramid_pluggable_session.testing import PlugContract


@implementer(ISwapPlug, IScanPlug, IPurgePlug)
class Plug:
    """A dict that passes what the tests below call, and that the broken ones are made of."""

    def __init__(self):
        self.records = {}

    def loads(self, session, request):
        data, until = self.records.get(session.session_id, (None, None))
        return None if until is not None and until <= clock.now() else data

    def dumps(self, session, request, session_data):
        self.records[session.session_id] = (session_data, session.expires_at)

    def clear(self, session, request):
        self.records.pop(session.session_id, None)

    def swap(self, session, request, expected, session_data):
        if self.loads(session, request) != expected:
            return False
        self.dumps(session, request, session_data)
        return True

    def scan(self):
        for session_id, (_, until) in list(self.records.items()):
            if until is None or until > clock.now():
                yield SessionKey(session_id, until)

    def purge(self):
        live = {key.session_id for key in self.scan()}
        expired = [session_id for session_id in self.records if session_id not in live]
        for session_id in expired:
            del self.records[session_id]
        return len(expired)


class AbsentMeanwhile(Plug):
    def dumps(self, session, request, session_data):
        self.clear(session, request)
        time.sleep(0.001)
        super().dumps(session, request, session_data)


class HalfReplaced(Plug):
    def dumps(self, session, request, session_data):
        old = self.loads(session, request) or b""
        half = len(session_data) // 2
        super().dumps(session, request, session_data[:half] + old[half:])
        time.sleep(0.001)
        super().dumps(session, request, session_data)


class ErrorMeanwhile(AbsentMeanwhile):
    def loads(self, session, request):
        return self.records[session.session_id][0]


@implementer(IPlugSession)
class WithoutWeakReferences:
    __slots__ = ()
    loads, dumps, clear = Plug.loads, Plug.dumps, Plug.clear


@dataclasses.dataclass
class WithoutHash(Plug):
    records: dict = dataclasses.field(default_factory=dict)


class FirstExpiry(Plug):
    def dumps(self, session, request, session_data):
        _, until = self.records.get(session.session_id, (None, session.expires_at))
        self.records[session.session_id] = (session_data, until)


class LosingSwap(Plug):
    def swap(self, session, request, expected, session_data):
        return True


class ForgetfulSwap(Plug):
    def swap(self, session, request, expected, session_data):
        _, until = self.records.get(session.session_id, (None, session.expires_at))
        return super().swap(session._replace(expires_at=until), request, expected, session_data)


class BlockedSwap(Plug):
    def swap(self, session, request, expected, session_data):
        if expected is None and session.session_id in self.records:
            return False
        return super().swap(session, request, expected, session_data)


class RefusingSwap(Plug):
    def swap(self, session, request, expected, session_data):
        return False


class RoundedScan(Plug):
    def scan(self):
        for key in super().scan():
            yield key._replace(expires_at=key.expires_at and key.expires_at // 10 * 10)


class SilentPurge(Plug):
    def purge(self):
        super().purge()


class Suite(PlugContract):
    __test__ = False
    many = 10


def run(kind, test):
    plug = kind()
    getattr(Suite(), test)(lambda: plug)


@pytest.mark.parametrize(
    "test",
    [
        "test_provides_what_it_declares",
        "test_replacing_is_one_step",
        "test_rewriting_changes_the_expiry",
        "test_swap_and_expiry",
        "test_scan",
        "test_purge",
    ],
)
def test_a_good_plug_passes(test):
    run(Plug, test)


@pytest.mark.parametrize(
    ("kind", "test", "says"),
    [
        (
            AbsentMeanwhile,
            "test_replacing_is_one_step",
            "a record was absent while it was replaced",
        ),
        (HalfReplaced, "test_replacing_is_one_step", "a record was half replaced"),
        (FirstExpiry, "test_rewriting_changes_the_expiry", "stored to expire soon, then later: "),
        (LosingSwap, "test_swap_between_threads", "800 of 800 updates were lost"),
        (ForgetfulSwap, "test_swap_and_expiry", "the expiry is not that of the last swap"),
        (BlockedSwap, "test_swap_and_expiry", "an expired record was in the way"),
        (RefusingSwap, "test_swap_and_expiry", "nothing was stored, as expected"),
        (RoundedScan, "test_scan", "the key's expires_at is not the record's"),
        (SilentPurge, "test_purge", "purge() must return a number"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_says_what_is_wrong(kind, test, says):
    # The words come first, and then the values.
    with pytest.raises(AssertionError, match=f"^{re.escape(says)}"):
        run(kind, test)


def test_an_error_of_who_reads_meanwhile_is_seen():
    with pytest.raises(KeyError):
        run(ErrorMeanwhile, "test_replacing_is_one_step")


@pytest.mark.parametrize(
    ("kind", "says"),
    [(WithoutWeakReferences, "weak reference"), (WithoutHash, "unhashable")],
    ids=["weak references", "hash"],
)
def test_needs_a_hash_and_weak_references(kind, says):
    with pytest.raises(TypeError, match=says):
        run(kind, "test_provides_what_it_declares")
