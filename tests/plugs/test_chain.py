"""The chain plug."""

from __future__ import annotations

import logging

import pytest
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError

from apps import SECRET, App, CountingPlug, PlainPlug
from pyramid_pluggable_session.errors import PlugUnavailable
from pyramid_pluggable_session.interfaces import IPurgePlug, IScanPlug, ISwapPlug
from pyramid_pluggable_session.plugs.chain import ChainPlug
from pyramid_pluggable_session.plugs.memory import MemoryPlug
from pyramid_pluggable_session.plugs.sqlite import SqlitePlug
from pyramid_pluggable_session.testing import FakeClock, PlugContract, session_key


class TestContract(PlugContract):
    @pytest.fixture
    def make_plug(self, tmp_path):
        return lambda: ChainPlug(None, plugs=[SqlitePlug(path=tmp_path / "s.db")], fresh=5)


class TestContractWithAFrontPlug(PlugContract):
    # What another process changes is seen after `fresh` seconds, which the suite does not wait for.
    shared_between_processes = False

    @pytest.fixture
    def make_plug(self, tmp_path):
        front = MemoryPlug()
        return lambda: ChainPlug(None, plugs=[front, SqlitePlug(path=tmp_path / "s.db")])


class TestContractWithAFrontPlugOfThreeMethods(PlugContract):
    shared_between_processes = False

    @pytest.fixture
    def make_plug(self, tmp_path):
        front = PlainPlug()
        return lambda: ChainPlug(None, plugs=[front, SqlitePlug(path=tmp_path / "s.db")])


@pytest.fixture
def clock():
    with FakeClock() as fake:
        yield fake


@pytest.fixture
def front():
    return CountingPlug()


@pytest.fixture
def authority():
    return CountingPlug()


@pytest.fixture
def chain(front, authority):
    return ChainPlug(None, plugs=[front, authority])


@pytest.mark.usefixtures("clock")
class TestReading:
    def test_the_first_hit_wins(self, chain, front, authority):
        key = session_key()
        chain.dumps(key, None, b"data")
        authority.taken()
        assert chain.loads(key, None) == b"data"
        assert authority.taken() == []

    def test_a_hit_further_back_is_copied_forward(self, chain, front, authority):
        key = session_key()
        authority.dumps(key, None, b"data")
        chain.loads(key, None)
        authority.taken()
        assert chain.loads(key, None) == b"data"
        assert authority.taken() == []

    def test_a_hit_in_the_middle_is_copied_to_the_front_only(self, clock, authority):
        first, second = CountingPlug(), CountingPlug()
        chain = ChainPlug(None, plugs=[first, second, authority])
        key = session_key()
        chain.dumps(key, None, b"data")
        first.clear(key, None)
        authority.taken()
        assert chain.loads(key, None) == b"data"
        assert authority.taken() == []
        assert first.loads(key, None) == second.loads(key, None)

    def test_a_copy_is_used_for_fresh_seconds_only(self, clock, chain, authority):
        key = session_key()
        chain.dumps(key, None, b"data")
        authority.dumps(key, None, b"changed by another process")
        clock.advance(4.9)
        assert chain.loads(key, None) == b"data"
        clock.advance(0.2)
        assert chain.loads(key, None) == b"changed by another process"

    def test_reading_a_copy_does_not_make_it_fresh_again(self, clock, chain, authority):
        key = session_key()
        chain.dumps(key, None, b"data")
        authority.clear(key, None)
        for _ in range(5):
            clock.advance(0.9)
            assert chain.loads(key, None) == b"data"
        clock.advance(0.9)
        assert chain.loads(key, None) is None

    def test_a_front_plug_that_never_forgets_does_no_harm(self, clock, authority):
        chain = ChainPlug(None, plugs=[PlainPlug(), authority])
        key = session_key()
        chain.dumps(key, None, b"data")
        authority.clear(key, None)
        clock.advance(6)
        assert chain.loads(key, None) is None

    def test_a_front_plug_that_garbles_does_no_harm(self, chain, front, authority):
        key = session_key()
        authority.dumps(key, None, b"data")
        front.dumps(key, None, b"short")
        assert chain.loads(key, None) == b"data"

    def test_what_was_read_late_does_not_replace_what_was_written_meanwhile(
        self, chain, front, authority
    ):
        key = session_key()
        authority.dumps(key, None, b"old")

        class Slow(CountingPlug):
            def loads(self, session, request):
                data = authority.loads(session, request)
                other_request.dumps(key, None, b"new")
                return data

        other_request = ChainPlug(None, plugs=[front, authority])
        slow = ChainPlug(None, plugs=[front, Slow()])
        assert slow.loads(key, None) == b"old"
        assert other_request.loads(key, None) == b"new"


class TestWriting:
    def test_a_lost_swap_forgets_the_copies(self, chain, front, authority):
        key = session_key()
        chain.dumps(key, None, b"old")
        authority.dumps(key, None, b"new")
        assert not chain.swap(key, None, b"old", b"mine")
        assert chain.loads(key, None) == b"new"
        assert chain.swap(key, None, b"new", b"mine")
        assert chain.loads(key, None) == authority.loads(key, None) == b"mine"

    def test_clearing_clears_all(self, chain, front, authority):
        key = session_key()
        chain.dumps(key, None, b"data")
        chain.clear(key, None)
        assert chain.loads(key, None) is None
        assert front.ids() == authority.ids() == []

    def test_purging_purges_all(self, chain, front, authority):
        for plug in (authority, front):
            plug.dumps(session_key(-1), None, b"expired")
        assert chain.purge() == 1
        assert front.purge() == authority.purge() == 0

    def test_purging_leaves_out_those_that_cannot(self, authority):
        chain = ChainPlug(None, plugs=[PlainPlug(), authority])
        authority.dumps(session_key(-1), None, b"expired")
        assert chain.purge() == 1


class TestFailures:
    class Down(CountingPlug):
        def loads(self, *args):
            raise ConnectionRefusedError(111, "refused")

        dumps = clear = swap = loads

    def test_a_front_plug_that_fails_is_logged_and_skipped(self, authority, caplog):
        chain = ChainPlug(None, plugs=[self.Down(), authority])
        key = session_key()
        chain.dumps(key, None, b"a")
        assert chain.loads(key, None) == b"a"
        assert chain.swap(key, None, b"a", b"b")
        assert not chain.swap(key, None, b"a", b"b")
        chain.clear(key, None)
        assert authority.ids() == []
        (told,) = caplog.records  # once, however often it fails
        assert told.levelno == logging.WARNING
        assert "an outage of the session storage memory begins" in told.getMessage()

    def test_a_front_plug_that_cannot_be_purged_does_not_keep_the_authority_from_it(
        self, authority
    ):
        class Stuck(CountingPlug):
            def purge(self):
                raise OSError(5, "input/output error")

        chain = ChainPlug(None, plugs=[Stuck(), authority])
        authority.dumps(session_key(-1), None, b"expired")
        assert chain.purge() == 1

    def test_an_authority_that_fails_is_an_outage(self, front):
        chain = ChainPlug(None, plugs=[front, self.Down()])
        key = session_key()
        for operation in (
            lambda: chain.loads(key, None),
            lambda: chain.dumps(key, None, b"a"),
            lambda: chain.swap(key, None, None, b"a"),
            lambda: chain.clear(key, None),
        ):
            with pytest.raises(PlugUnavailable):
                operation()
        assert front.ids() == []


class TestAbilities:
    @pytest.mark.parametrize("ability", [ISwapPlug, IScanPlug, IPurgePlug])
    def test_are_those_of_the_authority(self, ability):
        assert ability.providedBy(ChainPlug(None, plugs=[PlainPlug(), CountingPlug()]))
        assert not ability.providedBy(ChainPlug(None, plugs=[CountingPlug(), PlainPlug()]))


class TestConfiguration:
    def make(self, **settings):
        named = {f"pluggable_session.{name}": value for name, value in settings.items()}
        config = Configurator(settings={"pluggable_session.secret": SECRET, **named})
        config.include("pyramid_pluggable_session")
        return config.make_wsgi_app()

    @pytest.mark.parametrize(
        "members",
        ["memory apps.PlainPlug", "memory\napps.PlainPlug", "\n  memory\n  apps.PlainPlug"],
    )
    def test_members_are_on_lines_or_between_spaces(self, members):
        App(plug="chain", **{"chain.plugs": members})

    def test_two_members_of_one_kind(self, tmp_path):
        plugs = f"file://{tmp_path}/one\nfile://{tmp_path}/two"
        app = App(plug="chain", **{"chain.plugs": plugs})
        app.client().do(lambda session: session.update(a=1))
        assert len(list((tmp_path / "one").glob("*/" + "?" * 64))) == 1
        assert len(list((tmp_path / "two").glob("*/" + "?" * 64))) == 1

    @pytest.mark.parametrize(
        ("members", "message"),
        [
            ("", "chain.plugs must be the plugs, front to back"),
            ("memory\nchain", "names the chain itself"),
            ("memory\ncookie", "which keeps sessions in the client"),
            ("memory\nsqlit", "Did you mean pluggable_session.plug = sqlite"),
        ],
    )
    def test_mistakes(self, members, message):
        with pytest.raises(ConfigurationError, match=message):
            self.make(plug="chain", **{"chain.plugs": members})

    def test_without_members(self):
        with pytest.raises(ConfigurationError, match=r"pluggable_session\.chain\.plugs is not set"):
            self.make(plug="chain")


class TestWritesThatOverlap:
    """The copies that they leave in front may come in any order."""

    class Authority(MemoryPlug):
        after = None

        def swap(self, session, request, expected, session_data):
            stored = super().swap(session, request, expected, session_data)
            self._interrupt()
            return stored

        def loads(self, session, request):
            found = super().loads(session, request)
            self._interrupt()
            return found

        def _interrupt(self):
            after, self.after = self.after, None
            if after is not None:
                after()

    @pytest.fixture
    def chain(self):
        return ChainPlug(None, plugs=[MemoryPlug(), self.Authority()], fresh=60)

    def test_the_older_copy_does_not_stay(self, chain):
        key = session_key()
        chain.dumps(key, None, b"1")
        chain.authority.after = lambda: chain.swap(key, None, b"2", b"3")
        assert chain.swap(key, None, b"1", b"2")
        assert chain.loads(key, None) == b"3"

    def test_a_late_reader_does_not_bring_the_older_copy_back(self, chain):
        key = session_key()
        chain.authority.dumps(key, None, b"1")
        chain.authority.after = lambda: chain.swap(key, None, b"1", b"2")
        assert chain.loads(key, None) == b"1", "it was asked before the change"
        assert chain.loads(key, None) == b"2"

    def test_nor_after_a_failed_change(self, chain):
        key = session_key()
        chain.authority.dumps(key, None, b"1")

        def change_and_fail():
            chain.authority.dumps(key, None, b"2")
            assert not chain.swap(key, None, b"1", b"3")

        chain.authority.after = change_and_fail
        assert chain.loads(key, None) == b"1"
        assert chain.loads(key, None) == b"2"

    def test_a_write_that_fails_leaves_no_copy(self, chain):
        key = session_key()
        chain.dumps(key, None, b"1")

        def fail():
            raise OSError("no answer")

        chain.authority.after = fail
        with pytest.raises(PlugUnavailable):
            chain.swap(key, None, b"1", b"2")
        assert chain.loads(key, None) == b"2", "it was stored all the same"
