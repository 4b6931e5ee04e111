import contextlib
import dbm
import dbm.dumb
import errno
import importlib.util
import os
import stat
import threading
import time

import pytest
from pyramid.exceptions import ConfigurationError

from pyramid_pluggable_session.keys import SessionKey, new_session_id
from pyramid_pluggable_session.plugs import locking
from pyramid_pluggable_session.plugs.dbm import DbmPlug, dumb_rollback
from pyramid_pluggable_session.testing import PlugContract, session_key
from timing import PATIENCE, wait_for_purges

NOBODY = 65534
HAS_SQLITE3 = importlib.util.find_spec("dbm.sqlite3") is not None


class TestDumb(PlugContract):
    many = 150  # every operation reads the whole index

    @pytest.fixture
    def make_plug(self, tmp_path):
        return lambda: DbmPlug(None, path=tmp_path / "sessions", module="dumb", purge_interval=0)


class TestAuto(PlugContract):
    many = 150

    @pytest.fixture
    def make_plug(self, tmp_path):
        return lambda: DbmPlug(None, path=tmp_path / "sessions", purge_interval=0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sessions"


@pytest.fixture
def plug(path):
    return DbmPlug(path=path, module="dumb", purge_interval=0)


def contents(path):
    return {
        file.name: file.read_bytes()
        for file in path.parent.iterdir()
        if file.is_file() and file.suffix != ".lock"
    }


class TestPlaces:
    @pytest.mark.parametrize("module", ["dumb", "auto"])
    @pytest.mark.parametrize("mask", [0o000, 0o022, 0o777])
    def test_modes_do_not_depend_on_the_umask(self, path, umask, mask, module):
        umask(mask)
        plug = DbmPlug(path=path, module=module, purge_interval=0)
        keys = [session_key() for _ in range(3)]
        for key in keys:
            plug.dumps(key, None, b"record")
        plug.clear(keys[0], None)
        plug.dumps(session_key(-1), None, b"expired")
        plug.purge()
        plug.dumps(keys[0], None, b"record")
        assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}

    def test_leaves_the_umask_alone(self, plug, umask):
        # dbm.dumb.open sets it to 0 for a moment. Two threads that do may leave it so.
        umask(0o027)
        stop = threading.Event()

        def read():
            while not stop.is_set():
                plug.loads(session_key(), None)

        thread = threading.Thread(target=read)
        thread.start()
        seen = set()
        for _ in range(2000):
            with open("/proc/self/status") as status:
                seen.update(line for line in status if line.startswith("Umask"))
        stop.set()
        thread.join()
        assert seen == {"Umask:\t0027\n"}

    def refused(self, path, *words, **options):
        with pytest.raises(ConfigurationError) as caught:
            DbmPlug(path=path, **options)
        message = str(caught.value)
        for word in ("pluggable_session.dbm", str(path), *words):
            assert word in message

    def test_missing_parent(self, tmp_path):
        self.refused(tmp_path / "missing" / "sessions", "does not exist")

    def test_directory(self, tmp_path):
        self.refused(tmp_path, "not a regular file")

    @pytest.mark.parametrize("suffix", ["", ".dat", ".dir", ".lock"])
    def test_symbolic_link(self, path, tmp_path, suffix):
        path.with_suffix(suffix).symlink_to(tmp_path / "nothing")
        self.refused(path, "symbolic link")

    @pytest.mark.parametrize("suffix", ["", ".dat", ".dir", ".lock"])
    def test_written_by_everybody(self, path, suffix):
        path.with_suffix(suffix).touch()
        path.with_suffix(suffix).chmod(0o666)
        self.refused(path, "everybody")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
    def test_of_another_user(self, path, plug):
        os.chown(path.with_suffix(".dat"), NOBODY, NOBODY)
        self.refused(path, "another user")

    def test_directory_not_writable(self, open_folder, as_nobody):
        os.chmod(open_folder, 0o555)
        path = os.path.join(open_folder, "sessions")
        as_nobody(lambda: self.refused(path, "cannot be written"))

    def test_no_locks(self, path, monkeypatch):
        monkeypatch.setattr(locking, "fcntl", None)
        with pytest.raises(ConfigurationError, match="sqlite"):
            DbmPlug(path=path)

    def test_no_database(self, path):
        path.write_bytes(b"precious")
        self.refused(path, "not a database", "left as it is")
        assert contents(path) == {"sessions": b"precious"}

    @pytest.mark.parametrize("damage", [b"'half a li", b"nonsense\n", b"\xff\n", b"'key', \0\n"])
    def test_damaged_index(self, path, plug, damage):
        plug.dumps(session_key(), None, b"record")
        with open(path.with_suffix(".dir"), "ab") as file:
            file.write(damage)
        before = contents(path)
        self.refused(path, "left as it is")
        assert contents(path) == before
        with pytest.raises(plug.outages):
            plug.loads(session_key(), None)

    def test_another_module_than_the_one_asked_for(self, path, plug):
        before = contents(path)
        self.refused(path, "dbm.dumb", "pluggable_session.dbm.module", module="gnu")
        assert contents(path) == before

    @pytest.mark.skipif(
        importlib.util.find_spec("_gdbm") is not None, reason="this Python has dbm.gnu"
    )
    def test_module_that_this_python_lacks(self, path):
        self.refused(path, "dbm.gnu", "lacks", module="gnu")

    def test_auto_keeps_to_what_is_there(self, path, plug):
        key = session_key()
        plug.dumps(key, None, b"record")
        assert DbmPlug(path=path).loads(key, None) == b"record"

    @pytest.mark.skipif(not HAS_SQLITE3, reason="this Python lacks dbm.sqlite3")
    def test_auto_takes_the_best(self, path):
        DbmPlug(path=path)
        assert dbm.whichdb(path) == "dbm.sqlite3"

    def test_keys_of_others_stay(self, path, plug):
        with dbm.dumb.open(str(path), "w") as database:
            database[b"someone's"] = b"precious"
        plug.dumps(session_key(-1), None, b"expired")
        assert plug.purge() == 1
        assert list(plug.scan()) == []
        with dbm.dumb.open(str(path), "r") as database:
            assert database[b"someone's"] == b"precious"


class TestFailures:
    def test_the_files_have_gone(self, path, plug):
        for file in path.parent.iterdir():
            file.unlink()
        with pytest.raises(plug.outages):
            plug.loads(session_key(), None)
        with pytest.raises(plug.outages):
            plug.dumps(session_key(), None, b"record")

    def test_no_descriptors_left_is_not_absence(self, plug, without_descriptors):
        key = session_key()
        plug.dumps(key, None, b"record")

        def read():
            with pytest.raises(plug.outages):
                plug.loads(key, None)

        without_descriptors(read)
        assert plug.loads(key, None) == b"record"

    @pytest.mark.parametrize("limit", [100, 3000, 6500, 7000])
    def test_full_disk_leaves_the_old_records(self, path, plug, limit, with_file_size_limit):
        # The limits let it fail at the journal, at the index and at the value.
        keys = [session_key() for _ in range(12)]
        for key in keys:
            plug.dumps(key, None, b"old" * 100)

        size = path.with_suffix(".dat").stat().st_size

        def write(lift_limit):
            for record in (b"n" * 5000, b"n" * 400_000):
                with pytest.raises(plug.outages):
                    plug.dumps(keys[0], None, record)
                with pytest.raises(plug.outages):
                    plug.dumps(session_key(), None, record)
            lift_limit()
            for key in keys:
                assert plug.loads(key, None) == b"old" * 100
            assert len(list(plug.scan())) == len(keys)
            assert path.with_suffix(".dat").stat().st_size == size, "room that nobody uses"
            plug.dumps(keys[0], None, b"n" * 5000)

        with_file_size_limit(limit, write)
        assert plug.loads(keys[0], None) == b"n" * 5000
        assert plug.loads(keys[1], None) == b"old" * 100

    @pytest.mark.parametrize("module", ["dumb", "auto"])
    def test_killed_writers(self, path, module, check_killed_writers):
        plug = check_killed_writers(
            lambda: DbmPlug(path=path, module=module, purge_interval=0), times=30
        )
        assert not path.with_suffix(".journal").exists()
        assert plug.purge() == 0


class Cut(BaseException):
    """Stands for the end of the process: nothing that follows is done."""


class TestRollback:
    """A change is cut off before every single thing that it does to a file."""

    CALLS = ("open", "replace", "rename", "unlink", "truncate")

    def cut_at(self, monkeypatch, step, work):
        """Call ``work``, and cut it off at the given step. Tell whether it came that far."""
        steps = iter(range(10_000))

        def cutting(call):
            def function(*args, **keywords):
                nonlocal cut
                if cut or next(steps) == step:
                    cut = True
                    raise Cut
                return call(*args, **keywords)

            return function

        cut = False
        with monkeypatch.context() as patch:
            for name in self.CALLS:
                patch.setattr(os, name, cutting(getattr(os, name)))
            patch.setattr(dbm.dumb._io, "open", cutting(open))
            patch.setattr(dbm.dumb._os, "chmod", cutting(os.chmod))
            with contextlib.suppress(Cut):
                work()
        return cut

    def after_every_step(self, monkeypatch, path, prepare, work, check):
        for step in range(1000):
            for file in path.parent.iterdir():
                file.unlink()
            plug = DbmPlug(path=path, module="dumb", purge_interval=0)
            prepare(plug)
            cut = self.cut_at(monkeypatch, step, lambda plug=plug: work(plug))
            for fresh in (plug, DbmPlug(path=path, purge_interval=0)):
                check(fresh, cut)
            assert not list(path.parent.glob("*.journal"))
            if not cut:
                break
        assert step > 5, "nothing was cut off"

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (None, b"new"),
            (b"old", b"new"),
            (b"old" * 100, b"new" * 1000),
            (b"old" * 1000, b"new"),
            (b"old" * 5, b"new" * 170),
            (b"old", None),
        ],
    )
    def test_one_change(self, path, monkeypatch, old, new):
        key, other = session_key(), session_key()

        def prepare(plug):
            plug.dumps(other, None, b"other" * 300)
            if old is not None:
                plug.dumps(key, None, old)

        def work(plug):
            if new is None:
                plug.clear(key, None)
            else:
                plug.dumps(key, None, new)

        def check(plug, cut):
            assert plug.loads(other, None) == b"other" * 300
            found = plug.loads(key, None)
            assert found in (old, new)
            if not cut:
                assert found == new

        self.after_every_step(monkeypatch, path, prepare, work, check)

    def test_purge(self, path, monkeypatch):
        live = [session_key() for _ in range(3)]

        def prepare(plug):
            for number, key in enumerate(live):
                plug.dumps(SessionKey(new_session_id(), 1.0), None, b"expired" * 200)
                plug.dumps(key, None, b"live%d" % number)

        def check(plug, cut):
            for number, key in enumerate(live):
                assert plug.loads(key, None) == b"live%d" % number
            if not cut:
                assert plug.purge() == 0

        self.after_every_step(monkeypatch, path, prepare, lambda plug: plug.purge(), check)

    def test_undoing_may_be_cut_off_too(self, path, monkeypatch):
        key, other = session_key(), session_key()
        for first in range(1000):
            for second in range(1000):
                for file in path.parent.iterdir():
                    file.unlink()
                plug = DbmPlug(path=path, module="dumb", purge_interval=0)
                plug.dumps(other, None, b"other" * 300)
                plug.dumps(key, None, b"old" * 100)
                was_cut = self.cut_at(
                    monkeypatch, first, lambda plug=plug: plug.dumps(key, None, b"new" * 150)
                )
                cut = self.cut_at(monkeypatch, second, lambda plug=plug: plug.loads(key, None))
                assert plug.loads(key, None) in (b"old" * 100, b"new" * 150)
                assert plug.loads(other, None) == b"other" * 300
                if not cut:
                    break
            if not was_cut:
                break
        assert first > 5

    def test_damaged_journal_is_an_outage(self, path, plug):
        path.with_suffix(".journal").write_bytes(b"")
        with pytest.raises(plug.outages):
            plug.loads(session_key(), None)
        with pytest.raises(ConfigurationError, match="journal"):
            DbmPlug(path=path)


class TestPurge:
    def test_wins_space_back(self, path, plug):
        key = session_key()
        for number in range(1, 91):
            plug.dumps(key, None, b"x" * 600 * number)  # outgrows its place again and again
        size = path.with_suffix(".dat").stat().st_size
        assert size > 2_000_000
        assert plug.purge() == 0
        assert path.with_suffix(".dat").stat().st_size < 60_000
        assert plug.loads(key, None) == b"x" * 600 * 90

    def test_is_bounded(self, path, plug):
        live = session_key()
        plug.dumps(live, None, b"live")
        for _ in range(10):
            plug.dumps(session_key(-1), None, b"expired")
        before = set(contents(path))
        with pytest.raises(TimeoutError):
            plug._purge(time.monotonic() - 1)
        assert set(contents(path)) == before
        assert plug.loads(live, None) == b"live"
        assert plug.purge() == 10

    @pytest.mark.parametrize("module", ["dumb", "auto"])
    def test_happens_beside_the_writing(self, path, module):
        plug = DbmPlug(path=path, module=module, purge_interval=0.02)
        expired = session_key(-1)
        plug.dumps(expired, None, b"expired")
        until = time.monotonic() + PATIENCE
        while True:
            plug.dumps(session_key(), None, b"record")
            with plug._locked(), plug._database() as database:
                if expired.session_id.encode() not in list(database.keys()):
                    break
            assert time.monotonic() < until
            time.sleep(0.01)
        wait_for_purges()


def test_dumb_has_the_class_that_is_used():
    # It is not public; dumb_rollback says why it is used all the same.
    assert issubclass(dumb_rollback.dumb._Database, dumb_rollback.MutableMapping)


class TestErrorsInTheMiddle:
    @pytest.fixture
    def plug(self, path):
        return DbmPlug(path=path, module="dumb", purge_interval=None)

    def test_no_journal_no_change(self, plug, monkeypatch):
        key = session_key()
        plug.dumps(key, None, b"old")

        def fail(*args):
            raise OSError(errno.ENOSPC, "no space")

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", fail)
            with pytest.raises(OSError, match="no space"):
                plug.dumps(key, None, b"new")
        assert plug.loads(key, None) == b"old"

    def test_a_change_that_fails_is_undone_at_once(self, plug, path, monkeypatch):
        key = session_key()
        plug.dumps(key, None, b"old")

        def fail(self, key, value):
            raise OSError(errno.EIO, "input/output error")

        with monkeypatch.context() as patch:
            patch.setattr("dbm.dumb._Database.__setitem__", fail)
            with pytest.raises(OSError, match="input/output"):
                plug.dumps(key, None, b"new")
        assert plug.loads(key, None) == b"old"
        assert not os.path.exists(f"{path}.journal")


def test_an_empty_file_of_a_process_that_was_killed_is_no_hindrance(path):
    open(path, "wb").close()
    os.chmod(path, 0o600)
    plug, key = DbmPlug(path=path), session_key()
    plug.dumps(key, None, b"record")
    assert plug.loads(key, None) == b"record"


@pytest.mark.skipif(not HAS_SQLITE3, reason="this Python lacks dbm.sqlite3")
def test_a_purge_of_another_module_is_bounded(path):
    plug = DbmPlug(path=path, module="sqlite3", purge_interval=None)
    for _ in range(2 * 200 + 1):
        plug.dumps(session_key(-1), None, b"expired")
    assert plug._purge(time.monotonic() - 1) == 200
    assert plug.purge() == 201
