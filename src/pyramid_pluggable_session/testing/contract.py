"""The contract of a plug, as tests.

A plug's own tests subclass the suite and say how a plug is made::

    import pytest
    from pyramid_pluggable_session.testing import PlugContract

    class TestMyPlug(PlugContract):
        @pytest.fixture
        def make_plug(self, tmp_path):
            return lambda: MyPlug(None, path=tmp_path / "sessions")

Every call of ``make_plug`` returns a plug on the same storage, which is empty when a test begins.
What the storage can and cannot do is said in class attributes, see :class:`PlugContract`. What a
plug does not provide (``swap``, ``scan``, ``purge``) is skipped.

The suite needs pytest to run and ``fork`` for the tests with several processes; they are skipped
where there is none.
"""

# ruff: noqa: S101, PLR2004
# A test suite: it asserts, and its numbers are examples.

from __future__ import annotations

import multiprocessing
import sys
import threading
import time
import unittest
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from zope.interface import implementer, providedBy
from zope.interface.verify import verifyObject

from .. import clock
from ..interfaces import IPlugSession, IPurgePlug, IScanPlug, ISessionKey, ISwapPlug
from ..keys import SessionKey, is_session_id, new_session_id

MakePlug = Callable[[], Any]

_LIFETIME = 0.3  # seconds: short enough to wait for, long enough for a slow machine to read twice
_SLACK = 0.05
_PATIENCE = 120.0
_REPLACING = 0.5  # seconds


class PlugContract:
    """What every plug must do; subclass it and define the fixture ``make_plug``."""

    shared_between_processes: ClassVar[bool] = True
    """Whether plugs of several processes see the same records."""

    survives_restart: ClassVar[bool] = True
    """Whether a new plug sees the records of one that is gone."""

    enforces_expiry: ClassVar[bool] = True
    """Whether ``loads`` finds expired records absent, as it should wherever it can know."""

    expiry_resolution: ClassVar[float] = 0.0
    """How many seconds late the storage may notice an expiry. It must never be early."""

    max_record: ClassVar[int] = 1_000_000
    """The largest record that the storage takes, in bytes."""

    many: ClassVar[int] = 600
    """How many records are many: more than the storage handles in one batch."""

    increments: ClassVar[int] = 100
    """How many times each of eight threads adds to one number. Fewer for a slow storage."""

    def close_plug(self, plug: Any) -> None:
        """Let go of a plug; override it if there is more to do than calling ``close()``."""
        close = getattr(plug, "close", None)
        if close is not None:
            close()

    # What every plug does

    def test_provides_what_it_declares(self, make_plug: MakePlug) -> None:
        """The plug provides IPlugSession, and has every method of what it provides."""
        plug = make_plug()
        assert IPlugSession.providedBy(plug), "the class needs @implementer(IPlugSession)"
        for interface in providedBy(plug):
            if interface.isOrExtends(IPlugSession):  # pragma: no branch
                verifyObject(interface, plug)
        # What is known of its outages is kept beside it for as long as it lives.
        assert hash(weakref.ref(plug)) == hash(plug)

    def test_absent(self, make_plug: MakePlug) -> None:
        """What was never stored is None, not an error."""
        assert make_plug().loads(_key(), None) is None

    def test_roundtrip(self, make_plug: MakePlug) -> None:
        """What is stored comes back, to the same plug and to another one."""
        plug, key = make_plug(), _key()
        assert plug.dumps(key, None, b"record") is None
        assert plug.loads(key, None) == b"record"
        assert plug.loads(key, None) == b"record", "reading must not consume"
        other = make_plug()
        assert other.loads(key, None) == b"record", "make_plug() must lead to the same storage"
        self.close_plug(other)

    def test_reads_nothing_else_of_the_session(self, make_plug: MakePlug) -> None:
        """A plug reads ``session_id`` and ``expires_at`` of its session, and changes nothing."""
        plug, key = make_plug(), _BareKey(new_session_id(), clock.now() + 60)
        plug.dumps(key, None, b"record")
        assert plug.loads(key, None) == b"record"
        if ISwapPlug.providedBy(plug):
            assert plug.swap(key, None, b"record", b"other") is True
        plug.clear(key, None)
        assert plug.loads(key, None) is None

    def test_any_bytes(self, make_plug: MakePlug) -> None:
        """A record is bytes, whatever their values, and comes back as ``bytes``."""
        plug, key = make_plug(), _key()
        for record in (
            bytes(range(256)),
            b"\0",
            b"\0\0end",
            b"begin\0",
            b" spaces\t\r\n ",
            b"'\"\\%s{}$;--",
            "Größe".encode("latin-1"),
            b"\x80\x04N.",  # a pickle: a driver must not take it for one
            b"17",
        ):
            plug.dumps(key, None, record)
            found = plug.loads(key, None)
            assert type(found) is bytes, f"a record of type {type(found).__name__}"
            assert found == record

    def test_sizes(self, make_plug: MakePlug) -> None:
        """Every size up to the limit is stored whole."""
        plug, key = make_plug(), _key()
        for size in (1, 255, 4096, 65_535, 65_536, self.max_record):
            record = (bytes(range(251)) * (size // 251 + 1))[: min(size, self.max_record)]
            plug.dumps(key, None, record)
            assert plug.loads(key, None) == record, f"a record of {len(record)} bytes"

    def test_overwriting(self, make_plug: MakePlug) -> None:
        """A record replaces what was there, be it longer or shorter."""
        plug, key = make_plug(), _key()
        for record in (b"middle" * 100, b"short", b"long" * 2000, b"s", b"middle" * 100):
            plug.dumps(key, None, record)
            assert plug.loads(key, None) == record

    def test_replacing_is_one_step(self, make_plug: MakePlug) -> None:
        """Who reads while a record is replaced gets the old one or the new one, whole."""
        # 50 KB: what is large is what storages keep in files beside, or in pieces. The reader's
        # plug is another one, as that of another process would be.
        plug, other, key = make_plug(), make_plug(), _key()
        size = min(50_000, self.max_record)
        records = [bytes([digit]) * size for digit in b"01"]
        plug.dumps(key, None, records[0])
        written = threading.Event()

        def write() -> None:
            until = time.monotonic() + _REPLACING
            try:
                for number in range(1, 1000):
                    plug.dumps(key, None, records[number % 2])
                    if time.monotonic() > until:
                        break
            finally:
                written.set()
                self.close_plug(plug)  # here: it may have a connection for each thread

        def read() -> None:
            try:
                while not written.is_set():
                    found = other.loads(key, None)
                    assert found is not None, "a record was absent while it was replaced"
                    # Not by ==, whose report of such records is slow and long.
                    assert any(found == record for record in records), "a record was half replaced"
            finally:
                self.close_plug(other)

        interval = sys.getswitchinterval()
        sys.setswitchinterval(interval / 100)
        try:
            _in_threads([write, read])
        finally:
            sys.setswitchinterval(interval)

    def test_clear(self, make_plug: MakePlug) -> None:
        """What is cleared is absent, and can be stored again."""
        plug, key = make_plug(), _key()
        plug.dumps(key, None, b"record")
        plug.clear(key, None)
        assert plug.loads(key, None) is None
        plug.dumps(key, None, b"again")
        assert plug.loads(key, None) == b"again"

    def test_clear_absent(self, make_plug: MakePlug) -> None:
        """To clear what is not there is not an error."""
        plug, key = make_plug(), _key()
        plug.clear(key, None)
        plug.dumps(key, None, b"record")
        plug.clear(key, None)
        plug.clear(key, None)
        assert plug.loads(key, None) is None

    def test_neighbours(self, make_plug: MakePlug) -> None:
        """Ids that differ in one digit are different sessions."""
        plug, expires_at = make_plug(), clock.now() + 60
        keys = [
            SessionKey(digits, expires_at)
            for digits in ("0" * 64, "1" + "0" * 63, "0" * 63 + "1", "0" * 31 + "1" + "0" * 32)
        ]
        for number, key in enumerate(keys):
            assert plug.loads(key, None) is None
            plug.dumps(key, None, b"record %d" % number)
        plug.clear(keys[0], None)
        assert plug.loads(keys[0], None) is None
        for number, key in enumerate(keys[1:], 1):
            assert plug.loads(key, None) == b"record %d" % number

    # Expiry

    def test_expiry(self, make_plug: MakePlug) -> None:
        """A record is there until it expires, and then absent; without an expiry it stays."""
        self._need_expiry()
        plug, never = make_plug(), _key(None)
        plug.dumps(never, None, b"never")
        key = _key(_LIFETIME)
        plug.dumps(key, None, b"record")
        found = plug.loads(key, None)
        if clock.now() < key.expires_at:  # a machine that slow proves nothing
            assert found == b"record", "expired early"
        self._wait_for(key)
        # Whoever asks does not know when it expires: the plug keeps that, with the record.
        assert plug.loads(_unknown(key), None) is None, "did not expire"
        assert plug.loads(key, None) is None, "did not expire"
        assert plug.loads(never, None) == b"never"

    def test_rewriting_changes_the_expiry(self, make_plug: MakePlug) -> None:
        """The expiry is the one of the last writing, be it later, earlier or none."""
        self._need_expiry()
        plug = make_plug()
        soon, later = clock.now() + _LIFETIME, clock.now() + 60
        names = {soon: "soon", later: "later", None: "never"}
        cases = [(soon, later), (soon, None), (later, soon), (None, soon)]
        ids = [new_session_id() for _ in cases]
        for session_id, (first, second) in zip(ids, cases, strict=True):
            plug.dumps(SessionKey(session_id, first), None, b"first")
            plug.dumps(SessionKey(session_id, second), None, b"second")
        self._wait_for(SessionKey("", soon))
        for session_id, (first, second) in zip(ids, cases, strict=True):
            found = plug.loads(SessionKey(session_id, None), None)
            assert found == (None if second == soon else b"second"), (
                f"stored to expire {names[first]}, then {names[second]}: the last one counts"
            )

    def test_stored_expired(self, make_plug: MakePlug) -> None:
        """A record that is stored after its expiry is absent, and so is what it replaced."""
        self._need_expiry()
        plug, key = make_plug(), _key(-10)
        plug.dumps(key, None, b"late")
        assert plug.loads(_unknown(key), None) is None
        plug.dumps(SessionKey(key.session_id, clock.now() + 60), None, b"live")
        plug.dumps(key, None, b"late")
        assert plug.loads(_unknown(key), None) is None, "the record before it is still there"

    # Compare and swap

    def test_swap(self, make_plug: MakePlug) -> None:
        """It stores exactly if what is stored is what is expected."""
        plug, key = self._need(ISwapPlug, make_plug), _key()
        assert plug.swap(key, None, b"one", b"two") is False, "nothing is stored"
        assert plug.loads(key, None) is None
        assert plug.swap(key, None, None, b"one") is True
        assert plug.loads(key, None) == b"one"
        assert plug.swap(key, None, None, b"two") is False, "something is stored"
        assert plug.loads(key, None) == b"one"
        assert plug.swap(key, None, b"other", b"two") is False, "something else is stored"
        assert plug.loads(key, None) == b"one"
        assert plug.swap(key, None, b"one", b"two") is True
        assert plug.loads(key, None) == b"two"
        assert type(plug.loads(key, None)) is bytes
        plug.clear(key, None)
        assert plug.swap(key, None, b"two", b"three") is False, "it was cleared"
        assert plug.loads(key, None) is None

    def test_swap_for_the_same(self, make_plug: MakePlug) -> None:
        """To store what is stored already counts as stored."""
        # A database that counts changed rows counts none here.
        plug, key = self._need(ISwapPlug, make_plug), _key()
        plug.dumps(key, None, b"same")
        assert plug.swap(key, None, b"same", b"same") is True
        assert plug.swap(key, None, b"same", b"same") is True
        assert plug.loads(key, None) == b"same"

    def test_swap_compares_every_byte(self, make_plug: MakePlug) -> None:
        """What is nearly the same, as text or to a collation, is not."""
        plug, key = self._need(ISwapPlug, make_plug), _key()
        stored = b"\0Abc\xff" + b"x" * 5000
        plug.dumps(key, None, stored)
        for expected in (
            b"",
            stored[:-1],
            stored + b"x",
            stored + b" ",
            stored + b"\0",
            stored[1:],
            stored.lower(),
            stored[:-1] + b"y",
            b"\0",
        ):
            assert plug.swap(key, None, expected, b"wrong") is False, expected[:10]
        assert plug.loads(key, None) == stored
        assert plug.swap(key, None, stored, b"right") is True
        plug.dumps(key, None, stored[:-1])
        assert plug.swap(key, None, stored, b"wrong") is False

    def test_swap_large(self, make_plug: MakePlug) -> None:
        """It compares and stores records up to the limit."""
        plug, key = self._need(ISwapPlug, make_plug), _key()
        one, two = b"1" * self.max_record, b"2" * self.max_record
        assert plug.swap(key, None, None, one) is True
        assert plug.swap(key, None, two, b"wrong") is False
        assert plug.swap(key, None, one, two) is True
        assert plug.loads(key, None) == two

    def test_swap_and_expiry(self, make_plug: MakePlug) -> None:
        """An expired record is absent to it, and it sets the expiry as any writing does."""
        self._need_expiry()
        plug = self._need(ISwapPlug, make_plug)
        now = clock.now()
        soon, later = now + _LIFETIME, now + 60
        expired_none, expired_equal = new_session_id(), new_session_id()
        extended, kept, shortened, limited = (new_session_id() for _ in range(4))
        for session_id in (expired_none, expired_equal):
            plug.dumps(SessionKey(session_id, soon), None, b"old")
        for session_id, first, second in (
            (extended, soon, later),
            (kept, soon, None),
            (shortened, later, soon),
            (limited, None, soon),
        ):
            stored = plug.swap(SessionKey(session_id, first), None, None, b"one")
            assert stored is True, "nothing was stored, as expected"
            stored = plug.swap(SessionKey(session_id, second), None, b"one", b"two")
            if clock.now() >= soon:
                raise unittest.SkipTest("the machine is too slow for this test")
            assert stored is True, "what was expected was stored"
        self._wait_for(SessionKey("", soon))
        for session_id, result in (
            (extended, b"two"),
            (kept, b"two"),
            (shortened, None),
            (limited, None),
        ):
            found = plug.loads(SessionKey(session_id, later), None)
            assert found == result, "the expiry is not that of the last swap"
        key = SessionKey(expired_equal, later)
        assert plug.swap(key, None, b"old", b"new") is False, "the expired record was expected"
        assert plug.loads(key, None) is None
        key = SessionKey(expired_none, later)
        assert plug.swap(key, None, None, b"new") is True, "an expired record was in the way"
        assert plug.loads(key, None) == b"new"
        assert plug.swap(key, None, None, b"newer") is False

    def test_swap_between_threads(self, make_plug: MakePlug) -> None:
        """Of the increments of many threads none is lost."""
        plug, key = self._need(ISwapPlug, make_plug), _key()
        plug.dumps(key, None, b"0")
        _in_threads([lambda: _increment(plug, key, self.increments)] * 8)
        _check_count(plug, key, 8 * self.increments)

    def test_swap_has_one_winner(self, make_plug: MakePlug) -> None:
        """Of many threads that store what is absent exactly one does."""
        plug = self._need(ISwapPlug, make_plug)
        for _ in range(20):
            key = _key()
            winners: list[bytes] = []

            def store(record: bytes, key: Any = key, winners: list[bytes] = winners) -> None:
                if plug.swap(key, None, None, record):
                    winners.append(record)

            _in_threads([lambda n=n: store(b"thread %d" % n) for n in range(8)])  # type: ignore[misc]
            assert len(winners) == 1, f"{len(winners)} of 8 threads were told that they stored"
            assert plug.loads(key, None) == winners[0]

    def test_swap_never_resurrects(self, make_plug: MakePlug) -> None:
        """What was cleared stays so, however late a swap for the old record comes."""
        plug = self._need(ISwapPlug, make_plug)
        for round_ in range(30):
            key = _key()
            plug.dumps(key, None, b"0")

            def swap_until_cleared(key: Any = key) -> None:
                number, until = 0, time.monotonic() + _PATIENCE / 4
                while plug.swap(key, None, b"%d" % number, b"%d" % (number + 1)):
                    number += 1
                    assert time.monotonic() < until, "the record was cleared, and swaps go on"

            def clear(key: Any = key, delay: float = round_ / 10_000) -> None:
                time.sleep(delay)
                plug.clear(key, None)

            _in_threads([swap_until_cleared, clear])
            assert plug.loads(key, None) is None, "a swap brought a cleared record back"

    # Looking at all of them, and deleting the expired ones

    def test_scan(self, make_plug: MakePlug) -> None:
        """It yields the key of every live record, and no other."""
        plug = self._need(IScanPlug, make_plug)
        assert list(plug.scan()) == [], "nothing is stored"
        keys = [_key(60.0 + number) for number in range(5)] + [_key(None)]
        for key in keys:
            plug.dumps(key, None, b"record")
        gone, expired = _key(), _key(_LIFETIME)
        plug.dumps(gone, None, b"record")
        plug.clear(gone, None)
        if self.enforces_expiry:  # pragma: no branch
            plug.dumps(expired, None, b"record")
            self._wait_for(expired)
        scan = plug.scan()
        assert isinstance(scan, Iterator), "scan() must be lazy: an iterator"
        expected = {key.session_id: key.expires_at for key in keys}
        for found in scan:
            assert ISessionKey.providedBy(found)
            assert is_session_id(found.session_id)
            assert found.session_id in expected, "yielded twice, expired, cleared or never stored"
            expires_at = expected.pop(found.session_id)
            wrong = "the key's expires_at is not the record's"
            if expires_at is None or found.expires_at is None:
                assert found.expires_at is expires_at, wrong
            else:
                late = found.expires_at - expires_at
                assert -0.001 <= late <= self.expiry_resolution + 0.001, wrong
        assert not expected, f"{len(expected)} records were not found"

    def test_scan_many(self, make_plug: MakePlug) -> None:
        """Records that stay are yielded once, while others come and go."""
        plug = self._need(IScanPlug, make_plug)
        keys = [_key() for _ in range(self.many)]
        for key in keys:
            plug.dumps(key, None, b"record")
        going, found = set(keys[::5]), []
        for number, key in enumerate(plug.scan()):
            found.append(key.session_id)
            if number % 5 == 0 and going:
                plug.clear(going.pop(), None)
                # Bounded: records that come meanwhile may be yielded, which brings more of them.
                plug.dumps(_key(), None, b"record")
        assert len(found) == len(set(found)), "yielded twice"
        staying = {key.session_id for key in keys} - {key.session_id for key in keys[::5]}
        assert staying <= set(found), "missed"

    def test_purge(self, make_plug: MakePlug) -> None:
        """It deletes the expired records, says how many, and leaves the live ones."""
        plug = self._need(IPurgePlug, make_plug)
        live, never, soon = _key(), _key(None), _key(_LIFETIME)
        for key in (live, never):
            plug.dumps(key, None, b"live")
        # Most of them are stored live: a plug may delete at once what comes expired.
        for _ in range(self.many):
            plug.dumps(SessionKey(new_session_id(), soon.expires_at), None, b"record")
            if clock.now() > soon.expires_at:
                soon = _key(_LIFETIME)
        self._wait_for(soon)
        before = plug.purge()
        assert isinstance(before, int), "purge() must return a number"
        assert before == self.many, f"{before} deleted of {self.many}"
        assert plug.purge() == 0
        assert plug.loads(live, None) == b"live"
        assert plug.loads(never, None) == b"live"
        plug.clear(live, None)
        assert plug.purge() == 0, "a cleared record is not an expired one"

    # Processes

    def test_restart(self, make_plug: MakePlug) -> None:
        """Records outlive the plug."""
        if not self.survives_restart:
            raise unittest.SkipTest("the storage ends with its plug")
        key = _key()
        plug = make_plug()
        plug.dumps(key, None, b"record")
        self.close_plug(plug)
        del plug
        assert make_plug().loads(key, None) == b"record"

    def test_swap_between_processes(self, make_plug: MakePlug) -> None:
        """Of the increments of many processes none is lost."""
        if not self.shared_between_processes:
            raise unittest.SkipTest("the storage is not shared between processes")
        plug, key = self._need(ISwapPlug, make_plug), _key()
        plug.dumps(key, None, b"0")

        def work() -> None:
            own = make_plug()
            _increment(own, key, 50)
            self.close_plug(own)

        _in_processes([work] * 4)
        _check_count(plug, key, 4 * 50)

    def test_fork(self, make_plug: MakePlug) -> None:
        """A plug that was used before a fork works on both sides of it, at the same time."""
        # Web servers import the application, and some make it, before they fork their workers. A
        # connection that both sides use mixes up their answers.
        plug, shared = make_plug(), _key()
        plug.dumps(shared, None, b"before")
        assert plug.loads(shared, None) == b"before"

        def work(name: bytes) -> None:
            own = _key()
            for number in range(100):
                record = name + b"%d" % number
                plug.dumps(own, None, record)
                assert plug.loads(own, None) == record
                assert plug.loads(shared, None) == b"before"

        _in_processes([lambda: work(b"child"), lambda: work(b"sibling")], lambda: work(b"parent"))
        work(b"parent, later")
        if self.shared_between_processes:
            _in_processes([lambda: plug.dumps(shared, None, b"after")])
            assert plug.loads(shared, None) == b"after"

    # Tools

    def _need(self, interface: Any, make_plug: MakePlug) -> Any:
        plug = make_plug()
        if not interface.providedBy(plug):
            raise unittest.SkipTest(f"the plug does not provide {interface.__name__}")
        return plug

    def _need_expiry(self) -> None:
        if not self.enforces_expiry:
            raise unittest.SkipTest("the storage does not enforce expiry")

    def _wait_for(self, key: Any) -> None:
        """Wait until the storage must have noticed that the key has expired."""
        until = key.expires_at + self.expiry_resolution + _SLACK
        while (left := until - clock.now()) > 0:
            time.sleep(left)


@implementer(ISessionKey)
class _BareKey:
    """Nothing but what :class:`ISessionKey` promises, and that cannot be changed."""

    __slots__ = ("_id", "_until")

    def __init__(self, session_id: str, expires_at: float | None) -> None:
        self._id = session_id
        self._until = expires_at

    @property
    def session_id(self) -> str:
        return self._id

    @property
    def expires_at(self) -> float | None:
        return self._until


def _unknown(key: SessionKey) -> SessionKey:
    """Return the key as a request that loads the session has it."""
    return key._replace(expires_at=None)


def _key(expires_in: float | None = 60.0) -> Any:
    return SessionKey(new_session_id(), None if expires_in is None else clock.now() + expires_in)


def _increment(plug: Any, key: Any, times: int) -> None:
    """Add 1 to the number in the record, so many times, however often others come first."""
    until = time.monotonic() + _PATIENCE / 2
    for _ in range(times):
        while True:
            assert time.monotonic() < until, "a swap fails and fails"
            record = plug.loads(key, None)
            assert record is not None, "a record vanished"
            if plug.swap(key, None, record, b"%d" % (int(record) + 1)):
                break


def _check_count(plug: Any, key: Any, expected: int) -> None:
    found = int(plug.loads(key, None) or 0)
    assert found == expected, f"{expected - found} of {expected} updates were lost"


def _in_threads(works: list[Callable[[], None]]) -> None:
    """Do the works, each in a thread of its own and all at once, and raise what one raised."""
    together = threading.Barrier(len(works))
    errors: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            together.wait(_PATIENCE)
            work()
        except BaseException as error:  # pragma: no cover (a plug that fails)
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_PATIENCE)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    if errors:  # pragma: no cover (a plug that fails)
        raise errors[0]


def _in_processes(
    works: list[Callable[[], None]], meanwhile: Callable[[], None] | None = None
) -> None:
    """Do the works, each in a forked process, and ``meanwhile`` in this one."""
    # fork, as make_plug is usually a closure, which cannot be handed to a new interpreter.
    if "fork" not in multiprocessing.get_all_start_methods():
        raise unittest.SkipTest("this system cannot fork")
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=work) for work in works]
    with warnings.catch_warnings():
        # From Python 3.12 on, a fork beside running threads is warned of. A driver may have some;
        # whether its plug survives the fork is what is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        for process in processes:
            process.start()
    try:
        if meanwhile is not None:
            meanwhile()
        for process in processes:
            process.join(_PATIENCE)
        assert not any(process.is_alive() for process in processes), "a process hangs"
        assert not any(process.exitcode for process in processes), (
            "a process failed, see its output"
        )
    finally:
        for process in processes:
            process.kill()
            process.join()
            process.close()
