"""The connections to a database of sessions, and the table in it."""

from __future__ import annotations

import os
import pathlib
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_APPLICATION_ID = 0x50504C53  # marks a database as ours in its header (PRAGMA application_id)
_TABLE = """
    CREATE TABLE sessions (id TEXT NOT NULL PRIMARY KEY, data BLOB NOT NULL, expires REAL)
"""
_INDEX = "CREATE INDEX sessions_expires ON sessions (expires) WHERE expires IS NOT NULL"

_IDLE_AT_MOST = 16


class UnusableError(Exception):
    """What is wrong with a database that SQLite itself has nothing against."""


class Pool:
    """The connections of one plug. Each is used by one thread at a time."""

    def __init__(self, path: str, timeout: float, durable: bool) -> None:
        self._path = path
        self._timeout = timeout
        self._synchronous = "FULL" if durable else "NORMAL"
        self._process = os.getpid()
        # The cursor stands for its connection: to make one for each statement would take a fifth of
        # the time that reading a record takes. Taken from and put back to the end, so that a few
        # connections stay warm.
        self._idle: deque[sqlite3.Cursor] = deque()
        self._open: set[sqlite3.Connection] = set()
        self._inherited: list[object] = []
        self._writer = threading.Lock()

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection. After an error it is closed, not lent again."""
        self._check_process()
        cursor = self._take()
        try:
            yield cursor.connection
        except BaseException:
            self._discard(cursor)
            raise
        self._put_back(cursor)

    def read(self, statement: str, values: tuple[Any, ...]) -> Any:
        """Run the statement, which finds one row at most, and return that row or None."""
        self._check_process()
        return self._run(statement, values)[0]

    def write(self, statement: str, values: tuple[Any, ...]) -> int:
        """Run the statement and return how many rows it changed."""
        self._check_process()
        # SQLite lets one writer in at a time, and the others look again every now and then, up to
        # 0.1 s later. Threads of one process queue up here instead, which wakes the next at once.
        writer = self._writer
        queued = writer.acquire(timeout=self._timeout)
        try:
            return self._run(statement, values)[1]
        finally:
            if queued:
                writer.release()

    def prepare(self) -> None:
        """Make the table if the database is empty, and check that it is ours."""
        # Several processes may start at once. Some steps, the change to WAL above all, do not wait
        # for each other as statements do, but fail at once: so all of it is tried again.
        until = time.monotonic() + max(self._timeout, 1.0)
        while True:
            try:
                with self.connection() as connection:
                    _prepare_once(connection)
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > until:
                    raise
                time.sleep(0.02)
            else:
                return

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._check_process()
        while self._idle:
            self._discard(self._idle.pop())

    def _check_process(self) -> None:
        # SQLite forbids to carry a connection into a forked child, even to close it there: the
        # locks that it believes to hold are the parent's. So a child puts what it inherited away
        # without touching it, as the last reference to go would close it.
        if self._process != os.getpid():
            self._inherited.append((self._open, self._idle))
            self._idle, self._open = deque(), set()
            self._writer = threading.Lock()
            self._process = os.getpid()

    def _run(self, statement: str, values: tuple[Any, ...]) -> tuple[Any, int]:
        cursor = self._take()
        try:
            cursor.execute(statement, values)
            row, changed = cursor.fetchone(), cursor.rowcount
        except BaseException:
            self._discard(cursor)
            raise
        self._put_back(cursor)
        return row, changed

    def _take(self) -> sqlite3.Cursor:
        try:
            return self._idle.pop()
        except IndexError:
            return self._connect()

    def _put_back(self, cursor: sqlite3.Cursor) -> None:
        if len(self._idle) < _IDLE_AT_MOST:
            self._idle.append(cursor)
        else:
            self._discard(cursor)

    def _connect(self) -> sqlite3.Cursor:
        connection = sqlite3.connect(
            # Mode rw: if the file has gone, that is an error, not a new and empty storage.
            f"{pathlib.Path(self._path).as_uri()}?mode=rw",
            uri=True,
            timeout=self._timeout,
            isolation_level=None,
            check_same_thread=False,
        )
        self._open.add(connection)
        cursor = connection.cursor()
        try:
            cursor.execute(f"PRAGMA synchronous = {self._synchronous}")
        except BaseException:
            self._discard(cursor)
            raise
        return cursor

    def _discard(self, cursor: sqlite3.Cursor) -> None:
        self._open.discard(cursor.connection)
        cursor.connection.close()


def _prepare_once(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        (mark,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not tables and mark == 0:
            connection.execute(_TABLE)
            connection.execute(_INDEX)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            mark = _APPLICATION_ID
    except BaseException:
        if connection.in_transaction:  # pragma: no branch (a full disk has ended it already)
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    if mark != _APPLICATION_ID:
        raise UnusableError("it is a database of something else")
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise UnusableError("its file system lacks the shared memory that SQLite needs for WAL")
