"""The migration plug: what it does with one session, and real processes at work with it.

``test_migration_steps.py`` has every order in which its steps may come.
"""

from __future__ import annotations

import multiprocessing
import random
import time

import pytest
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError

from apps import SECRET, App, CountingPlug, PlainPlug
from pyramid_pluggable_session import clock
from pyramid_pluggable_session.errors import PlugUnavailable, SessionConflict
from pyramid_pluggable_session.interfaces import IPlugSession, IPurgePlug, IScanPlug
from pyramid_pluggable_session.keys import SessionKey
from pyramid_pluggable_session.loader import make_plug as plug_of
from pyramid_pluggable_session.plugs.file import FilePlug
from pyramid_pluggable_session.plugs.memory import MemoryPlug
from pyramid_pluggable_session.plugs.migration import MigrationPlug
from pyramid_pluggable_session.plugs.migration.places import Place
from pyramid_pluggable_session.plugs.sqlite import SqlitePlug
from pyramid_pluggable_session.testing import FakeClock, PlugContract, session_key
from storages import ON_DISK, ON_SERVERS
from timing import again_if_slow, wait_for

fork = multiprocessing.get_context("fork")


class Contract(PlugContract):
    @pytest.fixture(params=["old", "new"])
    def write(self, request):
        return request.param


class TestFromSqliteToFile(Contract):
    @pytest.fixture
    def make_plug(self, tmp_path, write):
        return lambda: MigrationPlug(
            None, SqlitePlug(path=tmp_path / "s.db"), FilePlug(path=tmp_path / "files"), write
        )


class TestFromMemoryToMemory(Contract):
    shared_between_processes = False
    survives_restart = False
    # The memory plug sweeps the expired ones out after a thousand writes; here each takes two.
    many = 300

    @pytest.fixture
    def make_plug(self, write):
        plug = MigrationPlug(None, MemoryPlug(), MemoryPlug(), write)
        return lambda: plug


class TestFromSqliteToValkey(Contract):
    # See the tests of the redis plug for what a server's own clock means to these.
    expiry_resolution = 0.2
    test_expiry = again_if_slow(0.5)(PlugContract.test_expiry)
    test_rewriting_changes_the_expiry = again_if_slow(0.5)(
        PlugContract.test_rewriting_changes_the_expiry
    )
    test_swap_and_expiry = again_if_slow(0.5)(PlugContract.test_swap_and_expiry)

    @pytest.fixture
    def server(self, running):
        server = running("valkey")
        server.flush()
        return server

    @pytest.fixture
    def write(self):
        return "new"

    @pytest.fixture
    def make_plug(self, tmp_path, server, write):
        return lambda: MigrationPlug(
            None, SqlitePlug(path=tmp_path / "s.db"), plug_of(None, server.url), write
        )

    @again_if_slow(0.5)
    def test_scan(self, make_plug, server):
        server.flush()
        super().test_scan(make_plug)

    def test_purge(self, make_plug):
        """The new server deletes expired records by itself, the old storage does not."""
        plug = make_plug()
        gone, live = session_key(0.01), session_key()
        for key in (gone, live):
            plug.old.dumps(key, None, b"record")
            plug.dumps(session_key(0.01), None, b"record")
        wait_for(lambda: clock.now() > gone.expires_at)
        assert plug.purge() == 1
        assert plug.loads(live, None) == b"record"


@pytest.fixture
def key():
    return session_key()


@pytest.fixture
def old():
    return CountingPlug()


@pytest.fixture
def new():
    return CountingPlug()


@pytest.fixture
def first(old, new):
    return MigrationPlug(None, old, new, "old")


@pytest.fixture
def second(old, new):
    return MigrationPlug(None, old, new)


class TestWhereASessionIs:
    def test_the_first_phase_leaves_it_in_the_old_storage(self, first, old, new, key):
        assert first.swap(key, None, None, b"1")
        assert first.swap(key, None, b"1", b"2")
        first.dumps(key, None, b"3")
        assert old.loads(key, None) == b"3"
        assert new.ids() == []

    def test_the_second_phase_moves_what_is_written(self, second, old, new, key):
        old.dumps(key, None, b"1")
        assert second.loads(key, None) == b"1"
        assert new.ids() == [], "reading writes nothing"
        assert second.swap(key, None, b"1", b"2")
        assert new.loads(key, None) == b"2"
        assert old.ids() == []

    def test_the_second_phase_begins_sessions_in_the_new_storage(self, second, old, new, key):
        assert second.swap(key, None, None, b"1")
        assert new.loads(key, None) == b"1"
        assert old.ids() == []

    def test_the_first_phase_changes_what_has_moved_where_it_is(self, first, old, new, key):
        new.dumps(key, None, b"1")
        assert first.loads(key, None) == b"1"
        assert first.swap(key, None, b"1", b"2")
        assert new.loads(key, None) == b"2"
        assert old.ids() == []

    def test_an_untouched_one_is_promoted_with_its_expiry(self, second, old, new):
        keys = [session_key(each) for each in (50, 5000, None)]
        for number, each in enumerate(keys):
            old.dumps(each, None, b"%d" % number)
        assert second.remaining() == 3
        assert second.promote_all() == 3
        assert second.remaining() == 0
        assert list(old.scan()) == []
        assert set(new.scan()) == set(keys)
        assert [new.loads(each, None) for each in keys] == [b"0", b"1", b"2"]
        assert not second.promote(keys[0]), "it has been"
        assert not second.promote(session_key()), "there is none"

    def test_a_mark_that_expires_leaves_nothing_behind(self, second, old):
        # As when an id is given up at a login: the session before it must not come back.
        with FakeClock() as time:
            key = session_key()
            old.dumps(key, None, b"before the login")
            mark = SessionKey(key.session_id, time.now + 1)
            assert second.swap(mark, None, b"before the login", b"moved")
            time.advance(2)
            assert second.loads(key, None) is None


class TestCost:
    """In operations on the two storages."""

    @pytest.fixture
    def cost(self, old, new):
        def cost(operation):
            old.taken(), new.taken()
            operation()
            return len(old.taken()), len(new.taken())

        return cost

    def test_second_phase(self, cost, second, old, key):
        assert cost(lambda: second.swap(key, None, None, b"1")) == (1, 2)
        assert cost(lambda: second.loads(key, None)) == (0, 1)
        assert cost(lambda: second.swap(key, None, b"1", b"2")) == (1, 1)
        assert cost(lambda: second.clear(key, None)) == (2, 1)
        assert cost(lambda: second.loads(key, None)) == (1, 2)
        old.dumps(key, None, b"1")
        assert cost(lambda: second.loads(key, None)) == (1, 1)
        assert cost(lambda: second.swap(key, None, b"1", b"2")) == (3, 2)

    def test_first_phase(self, cost, first, key):
        assert cost(lambda: first.swap(key, None, None, b"1")) == (2, 1)
        assert cost(lambda: first.loads(key, None)) == (1, 1)
        assert cost(lambda: first.swap(key, None, b"1", b"2")) == (2, 1)


class TestWhatIsLeftBehind:
    def leave(self, plug, key, steps):
        """Kill a process that moves a session before it has done so many steps."""
        left = [steps]

        class Killed(BaseException):
            pass

        def counting(operation):
            def count(*arguments):
                if not left[0]:
                    raise Killed
                left[0] -= 1
                return operation(*arguments)

            return count

        with pytest.MonkeyPatch.context() as patch:
            for name in ("read", "swap"):
                patch.setattr(Place, name, counting(getattr(Place, name)))
            with pytest.raises(Killed):
                plug.promote(key)

    @pytest.mark.parametrize("steps", range(5))
    def test_a_move_is_finished_by_the_next_one(self, second, first, old, new, key, steps):
        old.dumps(key, None, b"1")
        self.leave(second, key, steps)
        assert first.loads(key, None) == second.loads(key, None) == b"1"
        assert [each.session_id for each in second.scan()] == [key.session_id]
        second.promote_all()
        assert new.loads(key, None) == b"1"
        assert old.ids() == []
        assert list(new.scan()) == [key]

    @pytest.mark.parametrize("steps", range(5))
    def test_or_undone_when_old_and_new_are_exchanged(self, second, old, new, key, steps):
        old.dumps(key, None, b"1")
        self.leave(second, key, steps)
        back = MigrationPlug(None, new, old)
        assert back.loads(key, None) == b"1"
        # A fence hides it from those who have that storage only.
        assert back.remaining() == (steps >= 3)
        back.promote_all()
        assert back.remaining() == 0
        assert old.loads(key, None) == b"1"
        assert Place(new, key, None).read().record is None


class TestConflicts:
    def test_a_session_in_both_is_an_error_and_nothing_is_deleted(self, second, old, new, key):
        for plug in (old, new):
            plug.dumps(key, None, b"1")
        with pytest.raises(ConfigurationError, match="It must be empty then") as caught:
            second.promote(key)
        assert key.session_id not in str(caught.value)
        assert old.loads(key, None) == new.loads(key, None) == b"1"

    def test_one_and_the_same_storage(self, tmp_path, key):
        one, other = (SqlitePlug(path=tmp_path / "s.db") for _ in range(2))
        one.dumps(key, None, b"1")
        with pytest.raises(ConfigurationError, match="one and the same storage"):
            MigrationPlug(None, one, other).swap(key, None, b"1", b"2")
        assert one.loads(key, None) == b"1"

    def test_an_unconditional_write_gives_up_some_time(self, second, old, new, key, monkeypatch):
        monkeypatch.setattr(Place, "swap", lambda *_: False)
        new.dumps(key, None, b"1")
        with pytest.raises(SessionConflict, match="in each of 100 attempts"):
            second.dumps(key, None, b"2")

    def test_the_first_phase_promotes_nothing(self, first, old, key):
        old.dumps(key, None, b"1")
        with pytest.raises(ConfigurationError, match="Set it to new, on every process"):
            first.promote(key)

    @pytest.mark.parametrize("member", ["old", "new"])
    def test_an_outage_of_either_is_one(self, old, new, key, member, monkeypatch):
        def fail(*_):
            raise OSError("no answer")

        plug = MigrationPlug(None, old, new)
        monkeypatch.setattr(getattr(plug, member), "loads", fail)
        with pytest.raises(PlugUnavailable, match="failed to do loads"):
            plug.loads(key, None)


class TestScan:
    def test_one_that_moves_meanwhile_is_yielded_once(self, second, old, new):
        keys = {session_key() for _ in range(10)}
        for each in keys:
            old.dumps(each, None, b"1")
        new.dumps(also := session_key(), None, b"1")
        found = []
        for each in second.scan():
            found.append(each)
            second.promote_all()
        assert sorted(found) == sorted({*keys, also})


@pytest.mark.parametrize("storage", [*ON_DISK, *ON_SERVERS])
def test_every_storage_can_delete_what_is_compared(storage, url_of, key):
    """By storing something that has expired in its place."""
    plug = plug_of(None, url_of(storage))
    place = Place(plug, key, None)
    plug.dumps(key, None, b"1")
    place.discard(b"2")
    assert plug.loads(key, None) == b"1"
    place.discard(b"1")
    assert plug.loads(key, None) is None
    assert key.session_id not in [each.session_id for each in plug.scan()]
    assert plug.swap(key, None, None, b"again")
    plug.clear(key, None)
    getattr(plug, "close", lambda: None)()


class TestConfiguration:
    def make(self, **settings):
        named = {f"pluggable_session.{name}": value for name, value in settings.items()}
        with Configurator(settings={"pluggable_session.secret": SECRET, **named}) as config:
            config.include("pyramid_pluggable_session")
        return config.registry.getUtility(IPlugSession)

    def test_from_settings(self, tmp_path):
        plug = self.make(
            plug="migration",
            **{
                "migration.old": "sqlite",
                "migration.new": f"file://{tmp_path}/files",
                "sqlite.path": str(tmp_path / "s.db"),
                "migration.write": "old",
            },
        )
        assert (type(plug.old), type(plug.new), plug.write) == (SqlitePlug, FilePlug, "old")
        plug.close()

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("memory", None, r"migration\.new is not set"),
            ("memory", "memory", "are the same storage"),
            ("memory", "migration", "names the migration itself"),
            ("cookie", "memory", r"migration\.old: the plug cookie keeps sessions in the client"),
            ("memory", "apps.PlainPlug", "the plug PlainPlug cannot compare and swap"),
            ("memory", "sqlit", "Did you mean pluggable_session.plug = sqlite"),
            (" ", "memory", r"migration\.old must be a text"),
        ],
    )
    def test_mistakes(self, old, new, message):
        given = {"migration.old": old, "migration.new": new}
        with pytest.raises(ConfigurationError, match=message):
            self.make(plug="migration", **{name: each for name, each in given.items() if each})

    def test_passwords_are_not_shown(self):
        for option in MigrationPlug.options[:2]:
            assert "secret" not in option.shown("redis://app:secret@localhost/0")

    def test_abilities_are_those_of_both(self, old):
        class Bare(PlainPlug):
            def swap(self, session, request, expected, session_data):
                raise NotImplementedError

        from zope.interface import directlyProvides

        from pyramid_pluggable_session.interfaces import ISwapPlug

        bare, another = Bare(), Bare()
        for plug in (bare, another):
            directlyProvides(plug, ISwapPlug)
        assert IScanPlug.providedBy(MigrationPlug(None, old, CountingPlug()))
        assert not IScanPlug.providedBy(MigrationPlug(None, old, bare))
        assert IPurgePlug.providedBy(MigrationPlug(None, old, bare))
        assert not IPurgePlug.providedBy(MigrationPlug(None, bare, another))
        assert MigrationPlug(None, old, bare).purge() == 0


KINDS = {
    "plain old": lambda old, new: {"plug": old},
    "phase 1": lambda old, new: migration(old, new, "old"),
    "phase 2": lambda old, new: migration(old, new, "new"),
    "exchanged, phase 1": lambda old, new: migration(new, old, "old"),
    "exchanged, phase 2": lambda old, new: migration(new, old, "new"),
}
MIXES = [
    ("plain old", "phase 1"),
    ("phase 1", "phase 2"),
    ("phase 2", "phase 2"),
    ("phase 1", "exchanged, phase 2"),
    ("phase 2", "exchanged, phase 1"),
]


def migration(old, new, write):
    prefix = "pluggable_session.migration."
    settings = {prefix + "old": old, prefix + "new": new, prefix + "write": write}
    return {"plug": "migration", "settings": settings}


@pytest.mark.parametrize("mix", MIXES, ids=" + ".join)
class TestProcesses:
    """Real ones of two kinds, on one session."""

    @pytest.fixture
    def make_app(self, tmp_path):
        old, new = f"sqlite:///{tmp_path}/old.db", f"sqlite:///{tmp_path}/new.db"
        return lambda kind: App(**KINDS[kind](old, new))

    def run(self, *works):
        processes = [fork.Process(target=work, daemon=True) for work in works]
        for process in processes:
            process.start()
        for process in processes:
            process.join(200)
        assert [process.exitcode for process in processes] == [0] * len(processes)

    def test_no_change_is_lost(self, mix, make_app):
        sessions, rounds = 10, 3
        app = make_app(mix[0])
        cookies = []
        for _ in range(sessions):
            client = app.client()
            client.do(lambda session: session.update(log=[]))
            cookies.append(client.cookie)

        def work(number):
            mine = make_app(mix[number % 2])
            for round_ in range(rounds):
                for cookie in cookies:
                    change = number * rounds + round_
                    mine.client(cookie).do(lambda session, c=change: session["log"].append(c))

        def promote():
            if "phase 2" in mix[1]:
                plug = make_app(mix[1]).registry.getUtility(IPlugSession)
                for each in plug.unpromoted():
                    # No early expiry: others still write to the old storage.
                    plug.promote(SessionKey(each.session_id, each.expires_at + 60))

        self.run(*(lambda n=n: work(n) for n in range(4)), promote)
        for kind in mix:
            for cookie in cookies:
                log = make_app(kind).client(cookie).data()["log"]
                assert sorted(log) == list(range(4 * rounds))

    def test_what_ended_stays_so(self, mix, make_app):
        rounds = 40
        mine, theirs = fork.Pipe()
        barrier = fork.Barrier(2)

        def write():
            app, other = (make_app(kind) for kind in mix)
            for number in range(rounds):
                client = (app, other)[number % 2].client()
                client.do(lambda session: session.update(old=True))
                ended = client.cookie
                mine.send(ended)
                barrier.wait(60)
                time.sleep(random.uniform(0, 0.002))
                client.do(lambda session: session.update(late=True))
                barrier.wait(60)
                for each in (app, other):
                    assert each.client(ended).data() == {}

        def end():
            app = make_app(mix[1])
            for _ in range(rounds):
                client = app.client(theirs.recv())
                barrier.wait(60)
                time.sleep(random.uniform(0, 0.002))
                client.do(lambda session: session.invalidate())
                barrier.wait(60)

        self.run(write, end)
