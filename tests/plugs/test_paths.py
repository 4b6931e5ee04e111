"""Where embedded storages refuse to keep sessions."""

from __future__ import annotations

import errno
import os
import sqlite3

import pytest
from pyramid.exceptions import ConfigurationError

from pyramid_pluggable_session.plugs import expiry, paths
from pyramid_pluggable_session.plugs.sqlite import pool as sqlite_pool


def refused(check, path):
    with pytest.raises(ConfigurationError) as caught:
        check(str(path), "pluggable_session.x.path")
    message = str(caught.value)
    assert message.startswith(f"pluggable_session.x.path: {path} ")
    return message


class TestDirectories:
    def test_one_whose_parent_is_missing(self, tmp_path):
        message = refused(paths.private_directory, tmp_path / "no" / "where")
        assert "cannot be made: no such file or directory" in message

    def test_a_file(self, tmp_path):
        (tmp_path / "file").touch()
        assert "is not a directory" in refused(paths.private_directory, tmp_path / "file")

    def test_one_that_this_process_cannot_write(self, tmp_path, monkeypatch):
        monkeypatch.setattr(os, "access", lambda *args: False)
        assert "cannot be written by this process" in refused(paths.private_directory, tmp_path)


class TestFiles:
    def test_in_a_directory_that_is_missing(self, tmp_path):
        assert "does not exist" in refused(paths.private_file, tmp_path / "no" / "where")

    def test_in_a_directory_that_cannot_be_written(self, tmp_path, monkeypatch):
        monkeypatch.setattr(os, "access", lambda *args: False)
        assert "in a directory that cannot be written" in refused(
            paths.private_file, tmp_path / "file"
        )

    def test_that_cannot_be_made(self, tmp_path):
        message = refused(paths.private_file, tmp_path / ("x" * 300))
        assert "cannot be made: file name too long" in message

    def test_that_are_directories(self, tmp_path):
        assert "is not a regular file" in refused(paths.check_file, tmp_path)

    def test_that_cannot_be_written(self, tmp_path, monkeypatch):
        (tmp_path / "file").touch(mode=0o600)
        monkeypatch.setattr(os, "access", lambda *args: False)
        assert "cannot be written by this process" in refused(paths.check_file, tmp_path / "file")

    def test_where_files_have_no_owner_nobody_asks_for_it(self, tmp_path, monkeypatch):
        (tmp_path / "file").touch()
        os.chmod(tmp_path / "file", 0o666)
        monkeypatch.setattr(paths, "_geteuid", None)
        paths.check_file(str(tmp_path / "file"), "x")


def test_an_error_without_a_text_is_named():
    assert paths._reason(OSError()) == "oserror"
    assert paths._reason(OSError(errno.ENOSPC, "No space")) == "no space"


def test_what_is_too_short_for_a_header_never_expires_by_itself():
    assert expiry.expires(b"short") is None
    assert expiry.live(b"short") == b"torn:short"


class TestPreparingADatabase:
    @pytest.fixture
    def connection(self, tmp_path):
        connection = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
        yield connection
        connection.close()

    def test_an_error_in_the_middle_leaves_nothing(self, connection):
        def forbid_indexes(action, *about):
            made = action == sqlite3.SQLITE_CREATE_INDEX
            return sqlite3.SQLITE_DENY if made else sqlite3.SQLITE_OK

        connection.set_authorizer(forbid_indexes)
        with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
            sqlite_pool._prepare_once(connection)
        assert not connection.in_transaction
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)

    def test_without_wal_it_is_of_no_use(self):
        connection = sqlite3.connect(":memory:", isolation_level=None)
        with pytest.raises(sqlite_pool.UnusableError, match="WAL"):
            sqlite_pool._prepare_once(connection)
        connection.close()
