"""Sessions in a database of the standard library's ``dbm``."""

from __future__ import annotations

import dbm
import math
import os
import platform
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from pyramid.exceptions import ConfigurationError
from zope.interface import implementer

from ... import settings
from ...interfaces import IPurgePlug, IScanPlug, ISwapPlug
from ...keys import SessionKey, is_session_id
from ...settings import REQUIRED, Option
from .. import expiry
from ..common_options import PURGE_INTERVAL
from ..housekeeping import Housekeeping
from ..locking import check_available, locked
from ..paths import check_file, check_folder
from . import dumb_rollback, modules

if TYPE_CHECKING:
    from ...interfaces import Key

_WHERE = "pluggable_session.dbm.path"
_BATCH = 200  # records read or deleted under one lock; others get their turn in between
_WASTE = 1 << 20  # bytes of dbm.dumb's file that may lie idle


@implementer(ISwapPlug, IScanPlug, IPurgePlug)
class DbmPlug:
    """Keeps records in one database of ``dbm``, which is opened for each operation.

    For small sites that want no more than the standard library: one process or thread uses the
    database at a time, and ``dbm.dumb`` reads its whole index each time. What a kill in the middle
    of a write can harm depends on the module: with ``dumb`` and ``sqlite3`` nothing, that write
    happens or does not. ``gnu`` and ``ndbm`` may lose the database. No module is made to survive a
    loss of power; the sqlite plug can be.
    """

    name: ClassVar[str] = "dbm"
    options: ClassVar[tuple[Option, ...]] = (
        Option(
            "path",
            settings.path,
            REQUIRED,
            "The database, as dbm.open takes it; the module may add endings of its own. It is made "
            "if missing, in a directory that exists.",
            from_url="path",
        ),
        Option(
            "module",
            settings.one_of("auto", *modules.NAMES),
            "auto",
            "The module of dbm: sqlite3, gnu, ndbm or dumb; auto takes what the database was made "
            "with, or the first that this Python has.",
        ),
        PURGE_INTERVAL,
    )
    outages: ClassVar[tuple[type[Exception], ...]] = dbm.error

    def __init__(
        self,
        config: Any = None,
        *,
        path: str | os.PathLike[str],
        module: str = "auto",
        purge_interval: float | None = 300.0,
    ) -> None:
        check_available(self.name)
        self._path = os.path.abspath(path)
        self._housekeeping = Housekeeping(purge_interval)
        check_folder(self._path, _WHERE)
        self._lock = self._path + ".lock"
        check_file(self._lock, _WHERE)
        with locked(self._lock):
            # Only now: the files of a database come and go while another process changes it.
            for suffix in modules.SUFFIXES:
                check_file(self._path + suffix, _WHERE)
            try:
                dumb_rollback.recover(self._path)
                self._module = modules.module_of(self._path, module, _WHERE)
                self._dumb = self._module.__name__ == "dbm.dumb"
                with self._database() as database:
                    _keys(database)
            except dbm.error as error:
                raise ConfigurationError(
                    f"{_WHERE}: {self._path} cannot be used: {error}. It was left as it is. "
                    "Name a new file, or move this one away."
                ) from None

    def loads(self, session: Key, request: Any) -> bytes | None:
        """Return the record, or None when it is absent or expired."""
        with self._locked(write=False), self._database() as database:
            return _live(database, session.session_id.encode())

    def dumps(self, session: Key, request: Any, session_data: bytes) -> None:
        """Store the record until ``session.expires_at``."""
        with self._locked():
            self._change(session.session_id, expiry.stamp(session_data, session.expires_at))
        self._housekeeping.after_write(self._purge)

    def clear(self, session: Key, request: Any) -> None:
        """Forget the record."""
        with self._locked():
            self._change(session.session_id, None)

    def swap(self, session: Key, request: Any, expected: bytes | None, session_data: bytes) -> bool:
        """Store the record if what is stored equals ``expected``."""
        with self._locked():
            with self._database() as database:
                if _live(database, session.session_id.encode()) != expected:
                    return False
            self._change(session.session_id, expiry.stamp(session_data, session.expires_at))
        self._housekeeping.after_write(self._purge)
        return True

    def scan(self) -> Iterator[SessionKey]:
        """Yield the key of every live record."""
        for batch in self._batches():
            with self._locked(write=False), self._database() as database:
                found = [(key, database[key]) for key in batch if key in database]
            for key, record in found:
                if expiry.is_live(record):
                    yield SessionKey(key.decode(), expiry.expires(record))

    def versions(self) -> dict[str, str]:
        """Return which of the modules it is, and Python's version, which it comes with."""
        return {self._module.__name__: f"of Python {platform.python_version()}"}

    def purge(self) -> int:
        """Delete the expired records and return how many they were."""
        return self._purge(math.inf)

    def _purge(self, until: float) -> int:
        if self._dumb:
            return self._purge_dumb(until)
        count = 0
        for batch in self._batches():
            with self._locked(), self._database("w") as database:
                for key in batch:
                    if key in database and not expiry.is_live(database[key]):
                        del database[key]
                        count += 1
            if time.monotonic() > until:
                break
        return count

    def _purge_dumb(self, until: float) -> int:
        # dbm.dumb never uses the room of a deleted value again, and writes its index anew for each
        # deletion. So what is live is written to a new database, all in one go.
        with self._locked(), self._database() as database:
            keys = _keys(database)
            expired = {key for key in keys if _ours(key) and not expiry.is_live(database[key])}
            kept = [key for key in keys if key not in expired]
            room = sum(len(database[key]) + 512 for key in kept)
            if expired or os.path.getsize(self._path + ".dat") > 2 * room + _WASTE:
                dumb_rollback.replace(self._path, _records(database, kept, until))
        return len(expired)

    def _batches(self) -> Iterator[list[bytes]]:
        with self._locked(write=False), self._database() as database:
            keys = [key for key in _keys(database) if _ours(key)]
        for start in range(0, len(keys), _BATCH):
            yield keys[start : start + _BATCH]

    def _change(self, session_id: str, record: bytes | None) -> None:
        key = session_id.encode()
        if self._dumb:
            dumb_rollback.change(self._path, key, record)
            return
        with self._database("w") as database:
            if record is not None:
                database[key] = record
            elif key in database:
                del database[key]

    @contextmanager
    def _locked(self, write: bool = True) -> Iterator[None]:
        # Readers of dbm.dumb are alone as well: one of them may have to undo a change first.
        with locked(self._lock, shared=not (write or self._dumb)):
            if self._dumb:
                dumb_rollback.recover(self._path)
            yield

    @contextmanager
    def _database(self, flag: str = "r") -> Iterator[MutableMapping[bytes, bytes]]:
        if self._dumb:
            with dumb_rollback.opened(self._path, flag) as database:
                yield database
        else:
            with self._module.open(self._path, flag, 0o600) as database:
                yield database


def _live(database: MutableMapping[bytes, bytes], key: bytes) -> bytes | None:
    # Not get(): gdbm's objects once had none.
    return expiry.live(database[key]) if key in database else None


def _keys(database: MutableMapping[bytes, bytes]) -> list[bytes]:
    # Not an iteration over the database itself: gdbm's objects have none.
    return list(database.keys())


def _records(
    database: MutableMapping[bytes, bytes], keys: list[bytes], until: float
) -> Iterator[tuple[bytes, bytes]]:
    for key in keys:
        if time.monotonic() > until:
            raise TimeoutError("the database is too large to be purged on the side")
        yield key, database[key]


def _ours(key: bytes) -> bool:
    return is_session_id(key.decode("latin-1"))
