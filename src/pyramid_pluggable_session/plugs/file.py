"""Sessions in files, one for each."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, ClassVar

from zope.interface import implementer

from .. import settings
from ..interfaces import IPurgePlug, IScanPlug, ISwapPlug
from ..keys import SessionKey, is_session_id
from ..settings import REQUIRED, Option
from . import expiry, locking
from .housekeeping import Housekeeping
from .paths import private_directory

if TYPE_CHECKING:
    from ..interfaces import Key

_SHARDS = tuple(f"{number:02x}" for number in range(256))
_LOCK = ".lock"
_NEW = ".new"


@implementer(ISwapPlug, IScanPlug, IPurgePlug)
class FilePlug:
    """Keeps each record in a file ``<path>/<first two digits of the id>/<id>``.

    A record is replaced by renaming a complete file onto it, so that a reader sees the old one or
    the new one whole, and a writer that is killed or finds the disk full leaves the old one. With
    ``durable``, an acknowledged record also outlives a loss of power.
    """

    # Records of one shard are written by one writer at a time, which holds a lock on the shard:
    # that makes `swap` atomic, and what lies under the temporary name then is a dead writer's.
    # The lock is a file and not the directory itself, which NFS cannot lock.

    name: ClassVar[str] = "file"
    options: ClassVar[tuple[Option, ...]] = (
        Option(
            "path",
            settings.path,
            REQUIRED,
            "The directory to keep the sessions in. It is made if only its last part is missing.",
            from_url="path",
        ),
        Option(
            "durable",
            settings.boolean,
            False,
            "Whether a session survives a loss of power from the moment it is saved; slower.",
        ),
        Option(
            "purge_interval",
            settings.seconds,
            300.0,
            "After how many seconds each process deletes expired sessions again; 0 for never.",
        ),
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
        locking.check_available(self.name)
        self._path = os.path.abspath(path)
        self._durable = durable
        self._housekeeping = Housekeeping(purge_interval)
        self._purged_up_to = 0
        private_directory(self._path, "pluggable_session.file.path")

    def loads(self, session: Key, request: Any) -> bytes | None:
        """Return the record, or None when it is absent or expired."""
        session_id = session.session_id
        try:
            return self._read(os.path.join(self._path, session_id[:2], session_id))
        except FileNotFoundError:
            self._check_mounted()
            return None

    def dumps(self, session: Key, request: Any, session_data: bytes) -> None:
        """Store the record until ``session.expires_at``."""
        with self._locked(session.session_id[:2]) as folder:
            self._write(folder, session, session_data)
        self._housekeeping.after_write(self._purge)

    def clear(self, session: Key, request: Any) -> None:
        """Forget the record."""
        with self._locked(session.session_id[:2]) as folder:
            try:
                os.unlink(session.session_id, dir_fd=folder)
            except FileNotFoundError:
                return
            if self._durable:
                os.fsync(folder)

    def swap(self, session: Key, request: Any, expected: bytes | None, session_data: bytes) -> bool:
        """Store the record if what is stored equals ``expected``."""
        with self._locked(session.session_id[:2]) as folder:
            try:
                stored = self._read(session.session_id, folder)
            except FileNotFoundError:
                stored = None
            if stored != expected:
                return False
            self._write(folder, session, session_data)
        self._housekeeping.after_write(self._purge)
        return True

    def scan(self) -> Iterator[SessionKey]:
        """Yield the key of every live record."""
        self._check_mounted()
        for shard in _SHARDS:
            for session_id in self._ids(shard):
                try:
                    header = _header(os.path.join(self._path, shard, session_id))
                except FileNotFoundError:
                    continue
                if expiry.is_live(header):
                    yield SessionKey(session_id, expiry.expires(header))

    def purge(self) -> int:
        """Delete expired records and what killed writers left; return how many records."""
        self._check_mounted()
        return self._purge(math.inf)

    def _purge(self, until: float) -> int:
        count = 0
        for _ in _SHARDS:
            if time.monotonic() > until:
                break
            shard = _SHARDS[self._purged_up_to]
            # Moved on before the work: a shard that takes too long does not starve the others.
            self._purged_up_to = (self._purged_up_to + 1) % len(_SHARDS)
            for session_id in self._ids(shard):
                if time.monotonic() > until:
                    break
                count += self._purge_one(shard, session_id)
            if os.path.lexists(os.path.join(self._path, shard, _NEW)):
                with self._locked(shard) as folder, suppress(FileNotFoundError):
                    os.unlink(_NEW, dir_fd=folder)
        return count

    def _purge_one(self, shard: str, session_id: str) -> bool:
        # Looked at twice: without the lock, as most are live, and with it, as a writer may just
        # have made it live again. Too short for a header is a torn record, of no use to anybody.
        def is_garbage(folder: int | None = None) -> bool:
            name = session_id if folder is not None else os.path.join(self._path, shard, session_id)
            header = _header(name, folder)
            return len(header) < expiry.SIZE or not expiry.is_live(header)

        with suppress(FileNotFoundError):
            if is_garbage():
                with self._locked(shard) as folder:
                    if is_garbage(folder):
                        os.unlink(session_id, dir_fd=folder)
                        return True
        return False

    def _ids(self, shard: str) -> list[str]:
        # 0.0.0a2 kept its files in the directory itself, and people keep notes in places. Nothing
        # is ours but files with the name of a session in the shard of that session.
        try:
            names = os.listdir(os.path.join(self._path, shard))
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [name for name in names if is_session_id(name) and name.startswith(shard)]

    def _check_mounted(self) -> None:
        # If the directory itself is gone, no session is absent: the storage is.
        os.stat(self._path)

    @contextmanager
    def _locked(self, shard: str) -> Iterator[int]:
        """Lock the shard, made if missing, and give a descriptor of its directory."""
        path = os.path.join(self._path, shard)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            folder = os.open(path, flags)
        except FileNotFoundError:
            with suppress(FileExistsError):
                os.mkdir(path, 0o700)
                os.chmod(path, 0o700)  # mkdir's mode is cut by the umask
                if self._durable:
                    _sync_directory(self._path)
            folder = os.open(path, flags)
        try:
            with locking.locked(_LOCK, folder):
                yield folder
        finally:
            os.close(folder)

    def _read(self, name: str, folder: int | None = None) -> bytes | None:
        with open(_open(name, os.O_RDONLY, folder), "rb", buffering=0) as file:
            return expiry.live(file.readall() or b"")

    def _write(self, folder: int, session: Key, data: bytes) -> None:
        try:
            with open(_create(_NEW, folder), "wb") as file:
                file.write(expiry.stamp(data, session.expires_at))
                file.flush()
                if self._durable:
                    os.fsync(file.fileno())
            os.rename(_NEW, session.session_id, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(_NEW, dir_fd=folder)
            raise
        if self._durable:
            os.fsync(folder)


def _open(name: str, flags: int, folder: int | None) -> int:
    return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)


def _header(name: str, folder: int | None = None) -> bytes:
    with open(_open(name, os.O_RDONLY, folder), "rb", buffering=0) as file:
        return file.read(expiry.SIZE) or b""


def _create(name: str, folder: int) -> int:
    """Create the file for writing with mode 0600, in place of a dead writer's."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        descriptor = _open(name, flags, folder)
    except FileExistsError:
        # Not written into as it is: whatever it is, and whatever its mode, it goes.
        os.unlink(name, dir_fd=folder)
        descriptor = _open(name, flags, folder)
    os.fchmod(descriptor, 0o600)  # open's mode is cut by the umask
    return descriptor


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
