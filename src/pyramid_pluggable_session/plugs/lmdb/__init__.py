"""Sessions in an LMDB database."""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import lmdb
from pyramid.exceptions import ConfigurationError
from zope.interface import implementer

from ... import clock, settings
from ...interfaces import IPurgePlug, IScanPlug, ISwapPlug
from ...keys import SessionKey, is_session_id
from ...settings import REQUIRED, Option
from .. import expiry
from ..common_options import DURABLE, PURGE_INTERVAL
from ..housekeeping import Housekeeping
from ..paths import private_file
from ..per_process import PerProcess
from .environments import open_environment

if TYPE_CHECKING:
    from ...interfaces import Key

_WHERE = "pluggable_session.lmdb.path"
_PAGE = 500


@implementer(ISwapPlug, IScanPlug, IPurgePlug)
class LmdbPlug:
    """Keeps records in a database file that every process maps into its memory.

    Reading waits for nobody. One process at a time writes, and the others wait for as long as it
    takes. A stored record survives a killed process; with ``durable``, also a loss of power. LMDB
    wants a local disk, so machines cannot share one.
    """

    name: ClassVar[str] = "lmdb"
    options: ClassVar[tuple[Option, ...]] = (
        Option(
            "path",
            settings.path,
            REQUIRED,
            "The database file. It is made if missing, in a directory that exists.",
            from_url="path",
        ),
        Option(
            "map_size",
            settings.integer,
            1 << 30,
            "How many bytes the database may grow to. It takes on disk only what it needs.",
        ),
        DURABLE,
        PURGE_INTERVAL,
    )
    outages: ClassVar[tuple[type[Exception], ...]] = (lmdb.Error,)

    def __init__(
        self,
        config: Any = None,
        *,
        path: str | os.PathLike[str],
        map_size: int = 1 << 30,
        durable: bool = False,
        purge_interval: float | None = 300.0,
    ) -> None:
        file = os.path.realpath(path)
        self._housekeeping = Housekeeping(purge_interval)
        # LMDB makes both with a mode that is cut by the umask.
        private_file(os.path.abspath(path), _WHERE)
        private_file(f"{os.path.abspath(path)}-lock", _WHERE)
        self._environment = PerProcess(lambda: open_environment(file, map_size, durable))
        try:
            with self._environment().begin() as transaction, transaction.cursor() as cursor:
                foreign = cursor.first() and not is_session_id(cursor.key().decode("latin-1"))
        except lmdb.Error as error:
            raise ConfigurationError(f"{_WHERE}: {file} cannot be used: {error}.") from None
        if foreign:
            raise ConfigurationError(f"{_WHERE}: {file} is a database of something else.")

    def close(self) -> None:
        """Let go of the database, which closes with the last plug on it. This one stays usable."""
        self._environment.take()

    def loads(self, session: Key, request: Any) -> bytes | None:
        """Return the record, or None when it is absent or expired."""
        with self._environment().begin() as transaction:
            return _live(transaction.get(session.session_id.encode()))

    def dumps(self, session: Key, request: Any, session_data: bytes) -> None:
        """Store the record until ``session.expires_at``."""
        stamped = expiry.stamp(session_data, session.expires_at)
        with self._environment().begin(write=True) as transaction:
            transaction.put(session.session_id.encode(), stamped)
        self._housekeeping.after_write(self._purge)

    def clear(self, session: Key, request: Any) -> None:
        """Forget the record."""
        with self._environment().begin(write=True) as transaction:
            transaction.delete(session.session_id.encode())

    def swap(self, session: Key, request: Any, expected: bytes | None, session_data: bytes) -> bool:
        """Store the record if what is stored equals ``expected``."""
        key, stamped = session.session_id.encode(), expiry.stamp(session_data, session.expires_at)
        with self._environment().begin(write=True) as transaction:
            if _live(transaction.get(key)) != expected:
                return False
            transaction.put(key, stamped)
        self._housekeeping.after_write(self._purge)
        return True

    def scan(self) -> Iterator[SessionKey]:
        """Yield the key of every live record."""
        for page in self._pages():
            yield from filter(_is_live, page)

    def versions(self) -> dict[str, str]:
        """Return the versions of LMDB and its Python package."""
        return {"LMDB": ".".join(map(str, lmdb.version())), "lmdb": lmdb.__version__}

    def purge(self) -> int:
        """Delete the expired records and return how many they were."""
        return self._purge(math.inf)

    def remedy(self, error: BaseException) -> str | None:
        """Return what to change so that the error does not come again, if that can be told."""
        if isinstance(error, lmdb.MapFullError):
            return "raise pluggable_session.lmdb.map_size and restart the application"
        if isinstance(error, lmdb.MapResizedError):
            return "another process has a larger pluggable_session.lmdb.map_size: restart this one"
        return None

    def _purge(self, until: float) -> int:
        # What a killed process was reading counts as in use, and makes the file grow.
        self._environment().reader_check()
        total = 0
        for page in self._pages():
            if expired := [key.session_id.encode() for key in page if not _is_live(key)]:
                with self._environment().begin(write=True) as transaction:
                    for key in expired:
                        # It may be gone or written anew by now.
                        if not expiry.is_live(transaction.get(key, b"")):
                            total += transaction.delete(key)
            if time.monotonic() > until:
                break
        return total

    def _pages(self) -> Iterator[list[SessionKey]]:
        """Yield the keys of all records, some at a time."""
        # One long reading would keep what is deleted meanwhile from being used again.
        last = b""
        while True:
            # Buffers show where a record begins, instead of copying all of it.
            transaction = self._environment().begin(buffers=True)
            with transaction, transaction.cursor() as cursor:
                if not cursor.set_range(last + b"\0"):
                    return
                page = [
                    SessionKey(str(key, "ascii"), expiry.expires(bytes(stamped[: expiry.SIZE])))
                    for key, stamped in itertools.islice(cursor.iternext(), _PAGE)
                ]
            yield page
            last = page[-1].session_id.encode()


def _live(stamped: bytes | None) -> bytes | None:
    return None if stamped is None else expiry.live(stamped)


def _is_live(key: SessionKey) -> bool:
    return key.expires_at is None or key.expires_at > clock.now()
