"""Sessions in files, one for each."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any, ClassVar

from zope.interface import implementer

from ... import settings
from ...interfaces import IPurgePlug, IScanPlug, ISwapPlug
from ...keys import SessionKey
from ...settings import REQUIRED, Option
from .. import expiry
from ..common_options import DURABLE, PURGE_INTERVAL
from ..housekeeping import Housekeeping
from ..locking import check_available
from ..paths import private_directory
from . import shards

if TYPE_CHECKING:
    from ...interfaces import Key


@implementer(ISwapPlug, IScanPlug, IPurgePlug)
class FilePlug:
    """Keeps each record in a file ``<path>/<first two digits of the id>/<id>``.

    A record is replaced by renaming a complete file onto it, so that a reader sees the old one or
    the new one whole, and a writer that is killed or finds the disk full leaves the old one. With
    ``durable``, an acknowledged record also outlives a loss of power.
    """

    name: ClassVar[str] = "file"
    options: ClassVar[tuple[Option, ...]] = (
        Option(
            "path",
            settings.path,
            REQUIRED,
            "The directory to keep the sessions in. It is made if only its last part is missing.",
            from_url="path",
        ),
        DURABLE,
        PURGE_INTERVAL,
    )
    outages: ClassVar[tuple[type[Exception], ...]] = ()

    def __init__(
        self,
        config: Any = None,
        *,
        path: str | os.PathLike[str],
        durable: bool = False,
        purge_interval: float | None = 300.0,
    ) -> None:
        check_available(self.name)
        path = os.path.abspath(path)
        private_directory(path, "pluggable_session.file.path")
        self._shards = shards.Shards(path, durable)
        self._housekeeping = Housekeeping(purge_interval)
        self._purged_up_to = 0

    def loads(self, session: Key, request: Any) -> bytes | None:
        """Return the record, or None when it is absent or expired."""
        try:
            return expiry.live(self._shards.read(session.session_id))
        except FileNotFoundError:
            self._shards.check_mounted()
            return None

    def dumps(self, session: Key, request: Any, session_data: bytes) -> None:
        """Store the record until ``session.expires_at``."""
        record = expiry.stamp(session_data, session.expires_at)
        with self._locked(session.session_id) as folder:
            self._shards.write(folder, session.session_id, record)
        self._housekeeping.after_write(self._purge)

    def clear(self, session: Key, request: Any) -> None:
        """Forget the record."""
        with self._locked(session.session_id) as folder:
            self._shards.delete(folder, session.session_id)

    def swap(self, session: Key, request: Any, expected: bytes | None, session_data: bytes) -> bool:
        """Store the record if what is stored equals ``expected``."""
        record = expiry.stamp(session_data, session.expires_at)
        with self._locked(session.session_id) as folder:
            try:
                stored = expiry.live(self._shards.read(session.session_id, folder))
            except FileNotFoundError:
                stored = None
            if stored != expected:
                return False
            self._shards.write(folder, session.session_id, record)
        self._housekeeping.after_write(self._purge)
        return True

    def scan(self) -> Iterator[SessionKey]:
        """Yield the key of every live record."""
        self._shards.check_mounted()
        for shard in shards.NAMES:
            for session_id in self._shards.ids(shard):
                try:
                    header = self._shards.read(session_id, size=expiry.SIZE)
                except FileNotFoundError:
                    continue
                if expiry.is_live(header):
                    yield SessionKey(session_id, expiry.expires(header))

    def purge(self) -> int:
        """Delete expired records and what killed writers left; return how many records."""
        self._shards.check_mounted()
        return self._purge(math.inf)

    def _locked(self, session_id: str) -> AbstractContextManager[int]:
        return self._shards.locked(session_id[:2])

    def _purge(self, until: float) -> int:
        count = 0
        for _ in shards.NAMES:
            if time.monotonic() > until:
                break
            shard = shards.NAMES[self._purged_up_to]
            # Moved on before the work: a shard that takes too long does not starve the others.
            self._purged_up_to = (self._purged_up_to + 1) % len(shards.NAMES)
            for session_id in self._shards.ids(shard):
                if time.monotonic() > until:
                    break
                count += self._purge_one(session_id)
            self._shards.sweep(shard)
        return count

    def _purge_one(self, session_id: str) -> bool:
        # Looked at twice: without the lock, as most are live, and with it, as a writer may just
        # have made it live again.
        with suppress(FileNotFoundError):
            if self._is_garbage(session_id):
                with self._locked(session_id) as folder:
                    if self._is_garbage(session_id, folder):
                        self._shards.delete(folder, session_id)
                        return True
        return False

    def _is_garbage(self, session_id: str, folder: int | None = None) -> bool:
        # Too short for a header is a torn record, of no use to anybody.
        header = self._shards.read(session_id, folder, expiry.SIZE)
        return len(header) < expiry.SIZE or not expiry.is_live(header)
