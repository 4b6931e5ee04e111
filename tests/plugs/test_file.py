import errno
import fcntl
import os
import stat
import time

import pytest
from pyramid.exceptions import ConfigurationError

from pyramid_pluggable_session import clock
from pyramid_pluggable_session.keys import SessionKey
from pyramid_pluggable_session.plugs import expiry, locking
from pyramid_pluggable_session.plugs.file import FilePlug
from pyramid_pluggable_session.testing import PlugContract, session_key
from timing import PATIENCE

NOBODY = 65534


class TestFilePlug(PlugContract):
    @pytest.fixture
    def make_plug(self, tmp_path):
        return lambda: FilePlug(None, path=tmp_path / "sessions", purge_interval=0)


class TestDurableFilePlug(PlugContract):
    many = 50

    @pytest.fixture
    def make_plug(self, tmp_path):
        return lambda: FilePlug(path=tmp_path / "sessions", durable=True, purge_interval=0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sessions"


@pytest.fixture
def plug(path):
    return FilePlug(path=path, purge_interval=0)


def place(path, key):
    return path / key.session_id[:2] / key.session_id


def snapshot(path):
    return {
        str(file): (stat.S_IMODE(file.lstat().st_mode), file.is_file() and file.read_bytes())
        for file in path.rglob("*")
    }


class TestPlaces:
    @pytest.mark.parametrize("mask", [0o000, 0o022, 0o777])
    def test_modes_do_not_depend_on_the_umask(self, path, umask, mask):
        umask(mask)
        key = session_key()
        plug = FilePlug(path=path, purge_interval=0)
        plug.dumps(key, None, b"record")
        plug.dumps(key, None, b"other")
        umask(0o022)
        for folder in (path, path / key.session_id[:2]):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        files = [file for file in path.rglob("*") if file.is_file()]
        assert place(path, key) in files
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}

    def test_existing_directory(self, path):
        path.mkdir(mode=0o750)
        plug, key = FilePlug(path=path), session_key()
        plug.dumps(key, None, b"record")
        assert plug.loads(key, None) == b"record"

    def refused(self, path, *words):
        with pytest.raises(ConfigurationError) as caught:
            FilePlug(path=path)
        message = str(caught.value)
        for word in ("pluggable_session.file.path", str(path), *words):
            assert word in message

    def test_missing_parent(self, tmp_path):
        self.refused(tmp_path / "missing" / "sessions", "no such file", "must exist")
        assert not (tmp_path / "missing").exists()

    def test_symbolic_link(self, tmp_path):
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "real")
        self.refused(tmp_path / "link", "symbolic link")

    def test_dangling_symbolic_link(self, tmp_path):
        (tmp_path / "link").symlink_to(tmp_path / "nothing")
        self.refused(tmp_path / "link", "symbolic link")
        assert not (tmp_path / "nothing").exists()

    def test_not_a_directory(self, path):
        path.write_bytes(b"precious")
        self.refused(path, "not a directory")
        assert path.read_bytes() == b"precious"

    def test_written_by_everybody(self, path):
        path.mkdir()
        path.chmod(0o1777)
        self.refused(path, "everybody", "chmod o-w")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
    def test_of_another_user(self, path):
        path.mkdir()
        os.chown(path, NOBODY, NOBODY)
        self.refused(path, "another user")

    def test_not_writable(self, open_folder, as_nobody):
        path = os.path.join(open_folder, "sessions")
        os.mkdir(path)
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)
        os.chmod(path, 0o500)
        as_nobody(lambda: self.refused(path, "cannot be written"))

    def test_parent_not_writable(self, open_folder, as_nobody):
        os.chmod(open_folder, 0o555)
        path = os.path.join(open_folder, "sessions")
        as_nobody(lambda: self.refused(path, "permission denied"))

    def test_no_locks(self, path, monkeypatch):
        monkeypatch.setattr(locking, "fcntl", None)
        with pytest.raises(ConfigurationError, match="sqlite"):
            FilePlug(path=path)


class TestFailures:
    def test_the_directory_has_gone(self, plug, path):
        path.rmdir()
        for operation in (
            lambda: plug.loads(session_key(), None),
            lambda: plug.dumps(session_key(), None, b"record"),
            lambda: plug.swap(session_key(), None, None, b"record"),
            lambda: plug.clear(session_key(), None),
            lambda: list(plug.scan()),
            plug.purge,
        ):
            with pytest.raises(FileNotFoundError):
                operation()
        assert not path.exists()

    def test_no_descriptors_left_is_not_absence(self, plug, without_descriptors):
        key = session_key()
        plug.dumps(key, None, b"record")

        def read():
            with pytest.raises(OSError, match="Too many") as caught:
                plug.loads(key, None)
            with pytest.raises(OSError, match="Too many"):
                plug.swap(key, None, None, b"lost")
            with pytest.raises(OSError, match="Too many"):
                list(plug.scan())
            with pytest.raises(OSError, match="Too many"):
                plug.purge()
            return caught.value.errno

        assert without_descriptors(read) == errno.EMFILE
        assert plug.loads(key, None) == b"record"

    def test_full_disk_leaves_the_old_record(self, plug, path, with_file_size_limit):
        key = session_key()
        plug.dumps(key, None, b"old")
        before = snapshot(path)

        def write(lift_limit):
            for operation in (
                lambda: plug.dumps(key, None, b"n" * 5000),
                lambda: plug.swap(key, None, b"old", b"n" * 50_000),
            ):
                with pytest.raises(OSError, match="large"):
                    operation()
                assert plug.loads(key, None) == b"old"
                assert snapshot(path) == before
            lift_limit()
            plug.dumps(key, None, b"n" * 5000)

        with_file_size_limit(1000, write)
        assert plug.loads(key, None) == b"n" * 5000

    def test_writes_that_stop_short(self, plug, monkeypatch):
        key, write = session_key(), os.write
        monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:1000]))
        plug.dumps(key, None, b"record" * 1000)
        assert plug.loads(key, None) == b"record" * 1000

    def test_reads_that_stop_short(self, plug, monkeypatch):
        # As those of network file systems may.
        key, read = session_key(), os.read
        plug.dumps(key, None, b"record" * 1000)
        monkeypatch.setattr(os, "read", lambda descriptor, size: read(descriptor, min(size, 1000)))
        assert plug.loads(key, None) == b"record" * 1000
        assert plug.swap(key, None, b"record" * 1000, b"new") is True

    @pytest.mark.parametrize("broken", ["record", "lock", "locking"])
    def test_failures_leave_no_descriptors_open(self, plug, path, monkeypatch, broken):
        key = session_key()
        plug.dumps(key, None, b"record")
        if broken == "record":
            place(path, key).unlink()
            place(path, key).mkdir()
        elif broken == "lock":
            lock = path / key.session_id[:2] / ".lock"
            lock.unlink()
            lock.symlink_to("nothing")
        else:
            monkeypatch.setattr(locking, "fcntl", NoLocks)
        before = os.listdir("/proc/self/fd")
        for operation in (
            lambda: plug.dumps(key, None, b"new"),
            lambda: plug.swap(key, None, b"record", b"new"),
            lambda: plug.clear(key, None),
        ):
            with pytest.raises(OSError, match=r"directory|symbolic|No locks"):
                operation()
        assert os.listdir("/proc/self/fd") == before

    def test_killed_writers(self, path, check_killed_writers):
        plug = check_killed_writers(lambda: FilePlug(path=path, purge_interval=0))
        assert plug.purge() == 0
        assert not list(path.rglob(".new"))

    @pytest.mark.parametrize("mode", [0o000, 0o600])
    def test_leftover_of_a_killed_writer(self, plug, path, mode):
        keys = [session_key(), session_key()]
        for key in keys:
            plug.dumps(key, None, b"record")
            leftover = path / key.session_id[:2] / ".new"
            leftover.write_bytes(b"a long and unfinished record")
            leftover.chmod(mode)
        plug.dumps(keys[0], None, b"new")
        assert plug.loads(keys[0], None) == b"new"
        assert plug.purge() == 0
        assert plug.loads(keys[1], None) == b"record"
        assert not list(path.rglob(".new"))

    def test_leftover_that_is_a_link(self, plug, path, tmp_path):
        key, precious = session_key(), tmp_path / "precious"
        precious.write_bytes(b"precious")
        plug.dumps(key, None, b"record")
        (path / key.session_id[:2] / ".new").symlink_to(precious)
        plug.dumps(key, None, b"new")
        assert plug.loads(key, None) == b"new"
        assert precious.read_bytes() == b"precious"

    def test_record_that_is_a_link(self, plug, path, tmp_path):
        key, secret = session_key(), tmp_path / "secret"
        secret.write_bytes(b"x" * 100)
        plug.dumps(key, None, b"record")
        place(path, key).unlink()
        place(path, key).symlink_to(secret)
        with pytest.raises(OSError, match="symbolic"):
            plug.loads(key, None)
        plug.dumps(key, None, b"new")
        assert plug.loads(key, None) == b"new"
        assert secret.read_bytes() == b"x" * 100

    @pytest.mark.parametrize("size", [0, 1, 7])
    def test_torn_record_is_neither_absent_nor_an_outage(self, plug, path, size):
        key = session_key()
        plug.dumps(key, None, b"record")
        os.truncate(place(path, key), size)
        found = plug.loads(key, None)
        assert found
        assert plug.swap(key, None, None, b"new") is False
        assert plug.swap(key, None, b"", b"new") is False
        assert plug.swap(key, None, found, b"new") is True
        assert plug.loads(key, None) == b"new"

    def test_torn_record_is_purged(self, plug, path):
        key = session_key()
        plug.dumps(key, None, b"record")
        os.truncate(place(path, key), 3)
        assert plug.purge() == 1
        assert plug.loads(key, None) is None

    def test_errors_do_not_show_the_id(self, plug, path):
        key = session_key()
        path.rmdir()
        with pytest.raises(OSError, match="No such file") as caught:
            plug.loads(key, None)
        assert key.session_id not in str(caught.value)
        assert key.session_id not in repr(plug)


class NoLocks:
    LOCK_EX, LOCK_UN = fcntl.LOCK_EX, fcntl.LOCK_UN

    @staticmethod
    def flock(descriptor, operation):
        if operation != fcntl.LOCK_UN:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


class TestPurge:
    def test_touches_nothing_else(self, plug, path, monkeypatch):
        digits = "ab" + "0" * 62
        (path / "ab").mkdir()
        others = [
            path / digits,  # 0.0.0a2 kept its records like this
            path / ("tmpx1y2" + digits),  # and left these
            path / "README",
            path / "ab" / "README",
            path / "ab" / ("cd" + "0" * 62),
            path / "ab" / digits.upper(),
            path / "ab" / (digits + "0"),
        ]
        for other in others:
            other.write_bytes(b"\0" * 20)  # expired in 1970, if it were a record
        (path / "cd").write_bytes(b"a file with the name of a shard")
        (path / "expired").mkdir()
        plug.dumps(SessionKey(digits, 1.0), None, b"expired")
        assert plug.purge() == 1
        assert not (path / "ab" / digits).exists()
        assert all(other.read_bytes() == b"\0" * 20 for other in others)
        assert (path / "cd").exists()
        assert (path / "expired").exists()
        assert list(plug.scan()) == []

    def test_a_record_revived_meanwhile_stays(self, plug, path, monkeypatch):
        # It is found expired, and written anew before it can be locked.
        key = session_key(-1)
        plug.dumps(key, None, b"expired")
        shards = plug._shards
        locked = shards.locked

        def revive_and_lock(shard):
            with locked(shard) as folder:
                record = expiry.stamp(b"revived", session_key_of(key, 60).expires_at)
                shards.write(folder, key.session_id, record)
            return locked(shard)

        monkeypatch.setattr(shards, "locked", revive_and_lock)
        assert plug.purge() == 0
        assert plug.loads(key, None) == b"revived"

    def test_is_bounded_and_goes_on_where_it_stopped(self, plug):
        keys = [SessionKey(f"{number:02x}" + "0" * 62, 1.0) for number in range(256)]
        for key in keys:
            plug.dumps(key, None, b"expired")
        assert plug._purge(time.monotonic() - 1) == 0
        counts = []
        for _ in range(10_000):
            counts.append(plug._purge(time.monotonic() + 0.0005))
            if sum(counts) == 256:
                break
        assert sum(counts) == 256
        assert len(counts) > 1

    def test_happens_beside_the_writing(self, path):
        plug, expired = FilePlug(path=path, purge_interval=0.02), session_key(-1)
        plug.dumps(expired, None, b"expired")
        until = time.monotonic() + PATIENCE
        while place(path, expired).exists():
            assert time.monotonic() < until
            plug.dumps(session_key(), None, b"record")
            time.sleep(0.01)


def session_key_of(key, expires_in):
    return SessionKey(key.session_id, clock.now() + expires_in)


def test_a_record_that_goes_while_others_are_listed_is_left_out(tmp_path, monkeypatch):
    plug = FilePlug(path=tmp_path / "sessions")
    key = session_key(60)
    plug.dumps(key, None, b"record")
    ids = plug._shards.ids
    monkeypatch.setattr(
        plug._shards,
        "ids",
        lambda shard: [*ids(shard), *([shard + "0" * 62] if shard == "00" else [])],
    )
    assert [each.session_id for each in plug.scan()] == [key.session_id]
