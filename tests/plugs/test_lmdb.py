import gc
import os
import stat
import threading
import time

import lmdb
import pytest
from pyramid.exceptions import ConfigurationError

from pyramid_pluggable_session.errors import PlugUnavailable
from pyramid_pluggable_session.loader import find_plug
from pyramid_pluggable_session.plugs.lmdb import LmdbPlug
from pyramid_pluggable_session.storage import Storage
from pyramid_pluggable_session.testing import PlugContract, session_key
from timing import PATIENCE, wait_for_purges


class TestLmdbPlug(PlugContract):
    @pytest.fixture
    def make_plug(self, tmp_path):
        return lambda: LmdbPlug(None, path=tmp_path / "sessions.lmdb", purge_interval=0)


class TestDurableLmdbPlug(PlugContract):
    many = 50

    @pytest.fixture
    def make_plug(self, tmp_path):
        path = tmp_path / "sessions.lmdb"
        return lambda: LmdbPlug(path=path, durable=True, purge_interval=0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sessions.lmdb"


@pytest.fixture
def plug(path):
    return LmdbPlug(path=path, purge_interval=0)


class TestPlaces:
    @pytest.mark.parametrize("mask", [0o000, 0o022, 0o777])
    def test_modes_do_not_depend_on_the_umask(self, path, umask, mask):
        umask(mask)
        plug = LmdbPlug(path=path, purge_interval=0)
        plug.dumps(session_key(), None, b"record")
        files = sorted(path.parent.iterdir())
        assert [file.name for file in files] == ["sessions.lmdb", "sessions.lmdb-lock"]
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}

    def refused(self, path, *words):
        with pytest.raises(ConfigurationError) as caught:
            LmdbPlug(path=path)
        for word in ("pluggable_session.lmdb.path", str(path), *words):
            assert word in str(caught.value)

    def test_missing_parent(self, tmp_path):
        self.refused(tmp_path / "missing" / "sessions.lmdb", "does not exist")

    def test_directory(self, tmp_path):
        self.refused(tmp_path, "not a regular file")

    def test_symbolic_link(self, path, tmp_path):
        path.symlink_to(tmp_path / "nothing")
        self.refused(path, "symbolic link")

    def test_lock_file_written_by_everybody(self, path):
        lock = path.with_name(path.name + "-lock")
        lock.touch()
        lock.chmod(0o666)
        self.refused(path, "-lock", "everybody")

    def test_no_database(self, path):
        content = b"no database, but a precious file" * 500
        path.write_bytes(content)
        self.refused(path, "cannot be used", "not an LMDB file")
        assert path.read_bytes() == content

    def test_database_of_something_else(self, path):
        environment = lmdb.open(str(path), subdir=False, mode=0o600)
        with environment, environment.begin(write=True) as transaction:
            transaction.put(b"precious\xff", b"value")
        self.refused(path, "something else")

    def test_existing_sessions(self, path, plug):
        key = session_key()
        plug.dumps(key, None, b"record")
        assert LmdbPlug(path=path).loads(key, None) == b"record"

    def test_settings(self, path):
        found = find_plug(None, f"lmdb://{path}?map_size=1000000&durable=yes")
        assert found.options == {
            "path": str(path),
            "map_size": 1_000_000,
            "durable": True,
            "purge_interval": 300.0,
        }
        environment = found.make(None)._environment()
        assert 1_000_000 <= environment.info()["map_size"] < 1_010_000
        assert environment.flags()["metasync"] is True

    def test_not_durable(self, plug):
        flags = plug._environment().flags()
        assert flags["metasync"] is False
        assert flags["sync"] is True, "a loss of power could damage the database"


class TestEnvironments:
    def test_one_in_a_process(self, path, plug, tmp_path):
        (tmp_path / "link").symlink_to(tmp_path)
        other = LmdbPlug(path=tmp_path / "link" / path.name, purge_interval=0)
        assert other._environment() is plug._environment()

    def test_closes_with_the_last_plug(self, path, plug):
        key, other = session_key(), LmdbPlug(path=path, purge_interval=0)
        plug.close()
        other.dumps(key, None, b"record")
        with pytest.raises(lmdb.Error, match="already open"):
            lmdb.open(str(path), subdir=False)
        del other
        gc.collect()
        lmdb.open(str(path), subdir=False).close()
        assert plug.loads(key, None) == b"record", "a closed plug stays usable"

    def test_threads_that_begin_at_once(self, path):
        LmdbPlug(path=path, purge_interval=0).close()
        plugs = [LmdbPlug(path=path, purge_interval=0) for _ in range(8)]
        for plug in plugs:
            plug.close()
        together, found = threading.Barrier(8), []

        def use(plug):
            together.wait(PATIENCE)
            found.append(plug._environment())

        threads = [threading.Thread(target=use, args=(plug,)) for plug in plugs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(map(id, found))) == 1
        assert len(found) == 8

    def test_child_has_its_own(self, plug, in_child):
        key = session_key()
        plug.dumps(key, None, b"record")
        inherited = plug._environment()

        def use():
            assert plug._environment() is not inherited
            assert plug.loads(key, None) == b"record"
            plug.dumps(key, None, b"child")
            plug.close()

        in_child(use)
        assert plug._environment() is inherited
        assert plug.loads(key, None) == b"child"

    def test_many_threads_read(self, plug):
        # More than the 126 that LMDB admits if it is not told otherwise.
        together = threading.Barrier(200)
        key, errors = session_key(), []
        plug.dumps(key, None, b"record")

        def read():
            try:
                with plug._environment().begin():
                    together.wait(PATIENCE)
                    assert plug.loads(key, None) == b"record"
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=read) for _ in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []


class TestFailures:
    def test_killed_writers(self, path, check_killed_writers):
        check_killed_writers(lambda: LmdbPlug(path=path, purge_interval=0))

    def test_killed_reader_does_not_keep_its_slot(self, path, plug, in_child):
        plug.dumps(session_key(), None, b"record")

        def read():
            reading = plug._environment().begin()
            reading.get(b"key")
            os.kill(os.getpid(), 9)

        with pytest.raises((AssertionError, EOFError)):
            in_child(read)
        assert plug._environment().info()["num_readers"] > 0
        assert "-" not in plug._environment().readers().splitlines()[-1].split()[0]
        plug.purge()
        assert plug._environment().readers().count("\n") <= 1

    def test_full(self, path):
        plug, key = LmdbPlug(path=path, map_size=1 << 18, purge_interval=0), session_key()
        plug.dumps(key, None, b"old" * 1000)
        for operation in (
            lambda storage: storage.dumps(key, b"n" * 250_000),
            lambda storage: storage.swap(key, b"old" * 1000, b"n" * 250_000),
        ):
            with pytest.raises(PlugUnavailable, match=r"raise pluggable_session\.lmdb\.map_size"):
                operation(Storage(plug, None))
            assert plug.loads(key, None) == b"old" * 1000
        plug.dumps(key, None, b"new")
        plug.close()
        larger = LmdbPlug(path=path, map_size=1 << 20, purge_interval=0)
        larger.dumps(key, None, b"n" * 250_000)
        assert larger.loads(key, None) == b"n" * 250_000

    def test_grown_by_another_process(self, path, in_child):
        plug, key = LmdbPlug(path=path, map_size=1 << 18, purge_interval=0), session_key()
        plug.close()

        def grow():
            other = LmdbPlug(path=path, map_size=1 << 22, purge_interval=0)
            other.dumps(key, None, b"n" * 2_000_000)

        plug.loads(key, None)
        in_child(lambda: (plug.close(), grow()))
        with pytest.raises(PlugUnavailable, match="restart this one"):
            Storage(plug, None).loads(key)

    def test_full_disk_leaves_the_old_record(self, plug, with_file_size_limit):
        key = session_key()
        plug.dumps(key, None, b"old")

        def write(lift_limit):
            for operation in (
                lambda: plug.dumps(key, None, b"n" * 500_000),
                lambda: plug.swap(key, None, b"old", b"n" * 500_000),
            ):
                with pytest.raises(plug.outages):
                    operation()
                assert plug.loads(key, None) == b"old"
            lift_limit()
            plug.dumps(key, None, b"n" * 500_000)

        with_file_size_limit(200_000, write)
        assert plug.loads(key, None) == b"n" * 500_000

    def test_other_errors_have_no_remedy(self, plug):
        assert plug.remedy(lmdb.DiskError("broken")) is None


class TestPurge:
    def fill(self, plug, number):
        with plug._environment().begin(write=True) as transaction:
            for each in range(number):
                transaction.put(b"%064x" % each, b"\0" * 8 + b"expired")

    def test_is_bounded(self, plug):
        self.fill(plug, 1700)
        assert plug._purge(time.monotonic() - 1) == 500
        assert plug.purge() == 1200

    def test_spares_what_is_written_anew(self, plug, monkeypatch):
        self.fill(plug, 3)
        pages = plug._pages

        def write_meanwhile():
            for page in pages():
                plug.dumps(session_key()._replace(session_id="0" * 64), None, b"new")
                plug.clear(session_key()._replace(session_id="0" * 63 + "1"), None)
                yield page

        monkeypatch.setattr(plug, "_pages", write_meanwhile)
        assert plug.purge() == 1
        assert [key.session_id for key in plug.scan()] == ["0" * 64]

    def test_what_is_torn_is_kept(self, plug):
        with plug._environment().begin(write=True) as transaction:
            transaction.put(b"a" * 64, b"torn")
        assert plug.purge() == 0
        assert plug.loads(session_key()._replace(session_id="a" * 64), None) == b"torn:torn"

    def test_happens_beside_the_writing(self, path):
        plug = LmdbPlug(path=path, purge_interval=0.02)
        expired, key = session_key(-1), session_key()
        plug.dumps(expired, None, b"expired")
        until = time.monotonic() + PATIENCE
        while plug._environment().stat()["entries"] > 1 or plug.loads(key, None) is None:
            plug.dumps(key, None, b"record")
            plug.swap(key, None, b"record", b"record")
            assert time.monotonic() < until
            time.sleep(0.01)
        wait_for_purges()
