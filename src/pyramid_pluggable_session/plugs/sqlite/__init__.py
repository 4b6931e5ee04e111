"""Sessions in an SQLite database."""

from __future__ import annotations

import math
import os
import sqlite3
import time
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from pyramid.exceptions import ConfigurationError
from zope.interface import implementer

from ... import clock, settings
from ...interfaces import IPurgePlug, IScanPlug, ISwapPlug
from ...keys import SessionKey
from ...settings import REQUIRED, Option
from ..common_options import DURABLE, PURGE_INTERVAL
from ..housekeeping import Housekeeping
from ..paths import private_file
from .pool import Pool, UnusableError

if TYPE_CHECKING:
    from ...interfaces import Key

_WHERE = "pluggable_session.sqlite.path"

_LOADS = "SELECT data FROM sessions WHERE id = ? AND (expires IS NULL OR expires > ?)"
_DUMPS = """
    INSERT INTO sessions (id, data, expires) VALUES (?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET data = excluded.data, expires = excluded.expires
"""
_CLEAR = "DELETE FROM sessions WHERE id = ?"
_SWAP_NONE = _DUMPS + "WHERE sessions.expires <= ?"
_SWAP = """
    UPDATE sessions SET data = ?, expires = ?
    WHERE id = ? AND data = ? AND (expires IS NULL OR expires > ?)
"""
_SCAN = """
    SELECT id, expires FROM sessions WHERE id > ? AND (expires IS NULL OR expires > ?)
    ORDER BY id LIMIT 500
"""
_STORED = "SELECT count(*) FROM sessions"
_EXPIRED = "SELECT count(*) FROM sessions WHERE expires <= ?"
_PURGE = """
    DELETE FROM sessions WHERE rowid IN (SELECT rowid FROM sessions WHERE expires <= ? LIMIT 30)
"""


@implementer(ISwapPlug, IScanPlug, IPurgePlug)
class SqlitePlug:
    """Keeps records as rows of the table ``sessions`` in a database file.

    A committed record survives a killed process; with ``durable``, also a loss of power. SQLite's
    write-ahead log wants a local disk, so machines cannot share one.
    """

    # Every operation is one statement in autocommit, so none ever upgrades from reading to writing:
    # that would be the one case in which SQLite fails at once instead of waiting `timeout`.

    name: ClassVar[str] = "sqlite"
    options: ClassVar[tuple[Option, ...]] = (
        Option(
            "path",
            settings.path,
            REQUIRED,
            "The database file. It is made if missing, in a directory that exists.",
            from_url="path",
        ),
        Option(
            "timeout",
            settings.seconds,
            5.0,
            "How many seconds to wait for another process that is writing.",
        ),
        DURABLE,
        PURGE_INTERVAL,
    )
    outages: ClassVar[tuple[type[Exception], ...]] = (sqlite3.Error,)

    def __init__(
        self,
        config: Any = None,
        *,
        path: str | os.PathLike[str],
        timeout: float = 5.0,
        durable: bool = False,
        purge_interval: float | None = 300.0,
    ) -> None:
        if os.path.basename(path) == ":memory:":
            raise ConfigurationError(f"{_WHERE} must be a file. For memory, use the memory plug.")
        self._path = os.path.abspath(path)
        self._housekeeping = Housekeeping(purge_interval)
        private_file(self._path, _WHERE)
        self._pool = Pool(self._path, timeout, durable)
        try:
            self._pool.prepare()
        except (sqlite3.Error, UnusableError) as error:
            self.close()
            raise ConfigurationError(
                f"{_WHERE}: {self._path} cannot be used: {error}. It was left as it is. "
                "If it is not a database of sessions, name another file; else see that nothing "
                "else keeps it locked, or move it away if it is damaged."
            ) from None
        weakref.finalize(self, self._pool.close)

    def close(self) -> None:
        """Close the connections that are not in use. The plug stays usable."""
        self._pool.close()

    def loads(self, session: Key, request: Any) -> bytes | None:
        """Return the record, or None when it is absent or expired."""
        row = self._pool.read(_LOADS, (session.session_id, clock.now()))
        return None if row is None else row[0]

    def dumps(self, session: Key, request: Any, session_data: bytes) -> None:
        """Store the record until ``session.expires_at``."""
        self._pool.write(_DUMPS, (session.session_id, session_data, session.expires_at))
        self._housekeeping.after_write(self._purge)

    def clear(self, session: Key, request: Any) -> None:
        """Forget the record."""
        self._pool.write(_CLEAR, (session.session_id,))

    def swap(self, session: Key, request: Any, expected: bytes | None, session_data: bytes) -> bool:
        """Store the record if what is stored equals ``expected``."""
        session_id, expires_at, now = session.session_id, session.expires_at, clock.now()
        if expected is None:
            stored = self._pool.write(_SWAP_NONE, (session_id, session_data, expires_at, now))
        else:
            stored = self._pool.write(_SWAP, (session_data, expires_at, session_id, expected, now))
        self._housekeeping.after_write(self._purge)
        return stored == 1

    def scan(self) -> Iterator[SessionKey]:
        """Yield the key of every live record."""
        # In pages: one long reading would keep the write-ahead log growing until it ends.
        last = ""
        while True:
            with self._pool.connection() as connection:
                rows = connection.execute(_SCAN, (last, clock.now())).fetchall()
            if not rows:
                return
            for session_id, expires_at in rows:
                yield SessionKey(session_id, expires_at)
            last = rows[-1][0]

    def stored(self) -> tuple[int, int]:
        """Return how many records there are, and how many of them have expired."""
        (stored,) = self._pool.read(_STORED, ())
        (expired,) = self._pool.read(_EXPIRED, (clock.now(),))
        return stored, expired

    def versions(self) -> dict[str, str]:
        """Return the version of SQLite."""
        return {"SQLite": sqlite3.sqlite_version}

    def purge(self) -> int:
        """Delete the expired records and return how many they were."""
        return self._purge(math.inf)

    def _purge(self, until: float) -> int:
        # In batches: a deletion of them all at once would keep every writer waiting. What expires
        # together lies on different pages, so a batch takes a millisecond or two. And not without a
        # pause as long as that: a writer in another process finds a lock free only by chance.
        total = 0
        while True:
            began = time.monotonic()
            deleted = self._pool.write(_PURGE, (clock.now(),))
            total += deleted
            ended = time.monotonic()
            if not deleted or ended > until:
                return total
            time.sleep(max(ended - began, 0.001))
