import contextlib
import gc
import multiprocessing
import os
import sqlite3
import stat
import threading
import time

import pytest
from pyramid.exceptions import ConfigurationError

from pyramid_pluggable_session.plugs.sqlite import SqlitePlug
from pyramid_pluggable_session.plugs.sqlite import pool as sqlite_pool
from pyramid_pluggable_session.testing import PlugContract, session_key
from timing import PATIENCE, again_if_slow, wait_for_purges, within

NOBODY = 65534


class TestSqlitePlug(PlugContract):
    @pytest.fixture
    def make_plug(self, tmp_path):
        path = tmp_path / "sessions.db"
        return lambda: SqlitePlug(None, path=path, timeout=PATIENCE, purge_interval=0)


class TestDurableSqlitePlug(PlugContract):
    many = 50

    @pytest.fixture
    def make_plug(self, tmp_path):
        path = tmp_path / "sessions.db"
        return lambda: SqlitePlug(path=path, timeout=PATIENCE, durable=True, purge_interval=0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sessions.db"


@pytest.fixture
def plug(path):
    return SqlitePlug(path=path, purge_interval=0)


@contextlib.contextmanager
def other_application(path):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


class TestPlaces:
    @pytest.mark.parametrize("mask", [0o000, 0o022, 0o777])
    def test_modes_do_not_depend_on_the_umask(self, path, umask, mask):
        umask(mask)
        plug = SqlitePlug(path=path, purge_interval=0)
        plug.dumps(session_key(), None, b"record")
        files = list(path.parent.iterdir())
        assert len(files) == 3, "the database, its log and its shared memory"
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}

    def refused(self, path, *words):
        with pytest.raises(ConfigurationError) as caught:
            SqlitePlug(path=path)
        message = str(caught.value)
        for word in ("pluggable_session.sqlite.path", *words):
            assert word in message

    def test_in_memory(self):
        self.refused(":memory:", "memory plug")
        self.refused(os.path.abspath(":memory:"), "memory plug")

    def test_missing_parent(self, tmp_path):
        self.refused(tmp_path / "missing" / "sessions.db", "does not exist")
        assert not (tmp_path / "missing").exists()

    def test_directory(self, tmp_path):
        self.refused(tmp_path, "not a regular file")

    def test_symbolic_link(self, path, tmp_path):
        path.symlink_to(tmp_path / "nothing")
        self.refused(path, "symbolic link")
        assert not (tmp_path / "nothing").exists()

    def test_written_by_everybody(self, path):
        path.touch()
        path.chmod(0o666)
        self.refused(path, "everybody", "chmod o-w")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
    def test_of_another_user(self, path):
        path.touch()
        os.chown(path, NOBODY, NOBODY)
        self.refused(path, "another user")

    def test_directory_not_writable(self, open_folder, as_nobody):
        os.chmod(open_folder, 0o555)
        path = os.path.join(open_folder, "sessions.db")
        as_nobody(lambda: self.refused(path, "cannot be written"))

    @pytest.mark.parametrize("content", [b"no database, but a precious file" * 100, b"xy"])
    def test_no_database(self, path, content):
        path.write_bytes(content)
        self.refused(path, str(path), "not a database", "left as it is", "name another file")
        assert path.read_bytes() == content
        assert [file.name for file in path.parent.iterdir()] == [path.name]

    def test_damaged_database(self, path, plug):
        plug.dumps(session_key(), None, b"record")
        plug.close()
        damaged = path.read_bytes()[:100] + b"\xff" * 500
        path.write_bytes(damaged)
        self.refused(path, str(path), "damaged")
        assert path.read_bytes() == damaged

    def test_database_of_something_else(self, path):
        with other_application(path) as connection:
            connection.execute("CREATE TABLE sessions (precious)")
        content = path.read_bytes()
        self.refused(path, str(path), "something else", "name another file")
        assert path.read_bytes() == content

    def test_database_that_something_else_marked(self, path):
        with other_application(path) as connection:
            connection.execute("PRAGMA application_id = 77")
        content = path.read_bytes()
        self.refused(path, "something else")
        assert path.read_bytes() == content

    def test_empty_file(self, path):
        # As `touch` or a process killed right then leaves it.
        path.touch(0o600)
        plug, key = SqlitePlug(path=path), session_key()
        plug.dumps(key, None, b"record")
        assert plug.loads(key, None) == b"record"

    def test_characters_that_mean_something_in_a_uri(self, tmp_path):
        path, key = tmp_path / "100% a?b#c.db", session_key()
        SqlitePlug(path=path).dumps(key, None, b"record")
        assert SqlitePlug(path=path).loads(key, None) == b"record"
        assert path.exists()


class TestConcurrency:
    def test_processes_that_start_at_once(self, path):
        context = multiprocessing.get_context("fork")
        for _ in range(5):
            together, results = context.Barrier(8), context.SimpleQueue()

            def work(together=together, results=results):
                together.wait(PATIENCE)
                try:
                    plug = SqlitePlug(path=path, timeout=PATIENCE, purge_interval=0)
                    key = session_key()
                    plug.dumps(key, None, b"record")
                    results.put(repr(plug.loads(key, None)))
                except BaseException as error:
                    results.put(repr(error))

            children = [context.Process(target=work) for _ in range(8)]
            for child in children:
                child.start()
            found = {results.get() for _ in children}
            for child in children:
                child.join()
                child.close()
            results.close()
            assert found == {"b'record'"}
            for file in path.parent.iterdir():
                file.unlink()

    def test_a_lock_at_the_start_is_waited_for(self, path, monkeypatch):
        # Processes that start at once on a new file see this about once in a thousand times.
        prepare, errors = sqlite_pool._prepare_once, ["database is locked"] * 3

        def fail_at_first(connection):
            if errors:
                raise sqlite3.OperationalError(errors.pop())
            prepare(connection)

        monkeypatch.setattr(sqlite_pool, "_prepare_once", fail_at_first)
        plug = SqlitePlug(path=path, purge_interval=0)
        assert plug.loads(session_key(), None) is None
        errors.append("disk I/O error")
        with pytest.raises(ConfigurationError, match="I/O error"):
            SqlitePlug(path=path)

    def test_a_lock_that_stays_is_reported(self, path, plug):
        with other_application(path) as connection:
            connection.execute("BEGIN IMMEDIATE")
            with pytest.raises(ConfigurationError, match="locked"):
                SqlitePlug(path=path, timeout=0.1)
            connection.execute("ROLLBACK")

    def test_waits_for_another_writer(self, path):
        plug, key = SqlitePlug(path=path, timeout=PATIENCE, purge_interval=0), session_key()
        writer = threading.Thread(target=plug.dumps, args=(key, None, b"record"))
        with other_application(path) as connection:
            connection.execute("BEGIN IMMEDIATE")
            writer.start()
            writer.join(0.5)
            assert writer.is_alive()
            assert plug.loads(key, None) is None, "reading does not wait"
            connection.execute("COMMIT")
        writer.join()
        assert plug.loads(key, None) == b"record"

    @again_if_slow(2)
    def test_waits_no_longer_than_the_timeout(self, path):
        plug, key = SqlitePlug(path=path, timeout=0.2, purge_interval=0), session_key()
        with other_application(path) as connection:
            connection.execute("BEGIN IMMEDIATE")
            with (
                within(2, at_least=0.15),
                pytest.raises(plug.outages, match="locked") as caught,
            ):
                plug.dumps(key, None, b"record")
            connection.execute("ROLLBACK")
        assert key.session_id not in str(caught.value)
        plug.dumps(key, None, b"record")
        assert plug.loads(key, None) == b"record"

    def test_inherited_connections_are_not_touched(self, path, plug, in_child):
        plug.dumps(session_key(), None, b"record")
        inherited = set(plug._pool._open)
        assert inherited

        def use():
            plug.dumps(session_key(), None, b"record")
            plug.close()
            gc.collect()
            assert not inherited & plug._pool._open
            for connection in inherited:
                connection.execute("SELECT 1")  # raises if it was closed

        in_child(use)

    def test_what_has_been_read_keeps_nothing_back(self, path, plug):
        # A statement that is not finished keeps the write-ahead log from ever being emptied.
        key, other = session_key(), session_key()
        plug.dumps(key, None, b"record")
        for operation in (
            lambda: plug.loads(key, None),
            lambda: plug.loads(other, None),
            lambda: plug.swap(key, None, b"other", b"record"),
            lambda: plug.swap(key, None, None, b"record"),
            lambda: plug.clear(other, None),
            plug.stored,
            lambda: list(plug.scan()),
        ):
            operation()
            with other_application(path) as connection:
                connection.execute("PRAGMA user_version = 1")  # something to write
                checkpoint = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            assert checkpoint == (0, 0, 0)

    def test_connections_are_used_again(self, plug):
        for _ in range(50):
            plug.dumps(session_key(), None, b"record")
        assert len(plug._pool._open) == 1

    def test_a_burst_of_threads_leaves_few_connections(self, plug):
        together, key = threading.Barrier(40), session_key()

        def use():
            with plug._pool.connection():
                together.wait(30)

        threads = [threading.Thread(target=use) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(plug._pool._open) <= 16
        assert plug.loads(key, None) is None

    def test_nothing_is_left_open(self, path):
        # An unclosed connection is a ResourceWarning from Python 3.13 on, here an error.
        plug = SqlitePlug(path=path, purge_interval=0)
        plug.dumps(session_key(), None, b"record")
        pool = plug._pool
        del plug
        gc.collect()
        assert not pool._open

    def test_closed_plug_stays_usable(self, plug):
        key = session_key()
        plug.dumps(key, None, b"record")
        plug.close()
        assert plug.loads(key, None) == b"record"


class TestFailures:
    def test_the_file_has_gone(self, path, plug):
        plug.close()
        path.unlink()
        with pytest.raises(plug.outages):
            plug.loads(session_key(), None)
        with pytest.raises(plug.outages):
            plug.dumps(session_key(), None, b"record")
        assert not path.exists()

    def test_no_descriptors_left_is_not_absence(self, plug, without_descriptors):
        key = session_key()
        plug.dumps(key, None, b"record")
        plug.close()

        def read():
            with pytest.raises(plug.outages):
                plug.loads(key, None)

        without_descriptors(read)
        assert plug.loads(key, None) == b"record"

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

    def test_killed_writers(self, path, check_killed_writers):
        check_killed_writers(lambda: SqlitePlug(path=path, purge_interval=0))
        with other_application(path) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]

    def test_connection_is_not_lent_after_an_error(self, plug):
        plug.loads(session_key(), None)
        with pytest.raises(sqlite3.Error), plug._pool.connection() as connection:
            connection.execute("SELECT nonsense")
        assert connection not in plug._pool._open
        assert plug.loads(session_key(), None) is None

    def test_connection_is_not_used_after_an_error(self, path, plug):
        for operation in (
            lambda: plug.loads(session_key(), None),
            lambda: plug.dumps(session_key(), None, b"record"),
        ):
            operation()
            used = set(plug._pool._open)
            with other_application(path) as connection:
                connection.execute("ALTER TABLE sessions RENAME TO away")
                with pytest.raises(plug.outages):
                    operation()
                connection.execute("ALTER TABLE away RENAME TO sessions")
            assert used
            assert not used & plug._pool._open
            operation()


class TestPurge:
    def test_is_bounded(self, plug):
        expired = session_key(-1).expires_at
        with plug._pool.connection() as connection:
            rows = [(f"{number:064x}", b"", expired) for number in range(1700)]
            connection.executemany("INSERT INTO sessions VALUES (?, ?, ?)", rows)
        assert plug._purge(time.monotonic() - 1) == 30
        assert plug.purge() == 1670

    def test_leaves_as_much_time_to_others_as_it_takes(self, plug, monkeypatch):
        expired = session_key(-1).expires_at
        with plug._pool.connection() as connection:
            rows = [(f"{number:064x}", b"", expired) for number in range(300)]
            connection.executemany("INSERT INTO sessions VALUES (?, ?, ?)", rows)
        slow, now, pauses = plug._pool.write, [1000.0], []

        def write(statement, values):
            now[0] += 0.25  # seconds that the batch takes
            return slow(statement, values)

        monkeypatch.setattr(plug._pool, "write", write)
        monkeypatch.setattr("time.monotonic", lambda: now[0])
        monkeypatch.setattr("time.sleep", pauses.append)
        assert plug.purge() == 300
        assert pauses == [0.25] * 10

    def test_happens_beside_the_writing(self, path):
        plug = SqlitePlug(path=path, purge_interval=0.02)
        plug.dumps(session_key(-1), None, b"expired")
        until = time.monotonic() + PATIENCE
        while True:
            plug.dumps(session_key(), None, b"record")
            with plug._pool.connection() as connection:
                counting = "SELECT count(*) FROM sessions WHERE data = ?"
                (count,) = connection.execute(counting, (b"expired",)).fetchone()
            if not count:
                break
            assert time.monotonic() < until
            time.sleep(0.01)
        wait_for_purges()

    def test_uses_the_index(self, plug):
        with plug._pool.connection() as connection:
            plan = str(
                connection.execute(
                    "EXPLAIN QUERY PLAN SELECT rowid FROM sessions WHERE expires <= ? LIMIT 500",
                    (1.0,),
                ).fetchall()
            )
        assert "sessions_expires" in plan
