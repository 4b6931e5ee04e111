"""A directory of many small files, spread over 256 directories in it, that are replaced whole."""

from __future__ import annotations

import os
from contextlib import suppress

from ...keys import is_session_id
from .. import locking

NAMES = tuple(f"{number:02x}" for number in range(256))
_LOCK = ".lock"
_NEW = ".new"
_CHUNK = 65536


class Shards:
    """The files of sessions, by session id, each in the shard of its first two digits.

    The files of one shard are written by one writer at a time, which holds a lock on the shard:
    so what lies under the temporary name then is a dead writer's. With ``durable``, what was
    written outlives a loss of power.
    """

    # The lock is a file and not the directory itself, which NFS cannot lock.

    def __init__(self, path: str, durable: bool) -> None:
        self._path = path
        self._durable = durable

    def check_mounted(self) -> None:
        """Raise FileNotFoundError if the directory itself is gone.

        Then no session is absent: the storage is.
        """
        os.stat(self._path)

    def ids(self, shard: str) -> list[str]:
        """Return the session ids that there are files for."""
        # 0.0.0a2 kept its files in the directory itself, and people keep notes in places. Nothing
        # is ours but files with the name of a session in the shard of that session.
        try:
            names = os.listdir(os.path.join(self._path, shard))
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [name for name in names if is_session_id(name) and name.startswith(shard)]

    def locked(self, shard: str) -> _Locked:
        """Lock the shard for a ``with`` block, which gets a descriptor of its directory."""
        return _Locked(self, shard)

    def open(self, shard: str) -> int:
        """Return a descriptor of the directory of a shard, made if missing."""
        path = f"{self._path}/{shard}"
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(path, flags)
        except FileNotFoundError:
            with suppress(FileExistsError):
                os.mkdir(path, 0o700)
                os.chmod(path, 0o700)  # mkdir's mode is cut by the umask
                if self._durable:
                    _sync_directory(self._path)
            return os.open(path, flags)

    def read(self, session_id: str, folder: int | None = None, size: int | None = None) -> bytes:
        """Return the file, or its first ``size`` bytes. Raise FileNotFoundError if there is none.

        ``folder`` is what :meth:`locked` gave; without it, no lock is needed.
        """
        name = session_id
        if folder is None:
            name = f"{self._path}/{session_id[:2]}/{session_id}"
        descriptor = _open(name, os.O_RDONLY, folder)
        try:
            return _read(descriptor) if size is None else os.read(descriptor, size)
        finally:
            os.close(descriptor)

    def write(self, folder: int, session_id: str, data: bytes) -> None:
        """Put a file in place of the one that is there. If that fails, the old one stays whole."""
        try:
            descriptor = _create(_NEW, folder)
            try:
                _write(descriptor, data)
                if self._durable:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(_NEW, session_id, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(_NEW, dir_fd=folder)
            raise
        if self._durable:
            os.fsync(folder)

    def delete(self, folder: int, session_id: str) -> None:
        """Delete the file if there is one."""
        try:
            os.unlink(session_id, dir_fd=folder)
        except FileNotFoundError:
            return
        if self._durable:
            os.fsync(folder)

    def sweep(self, shard: str) -> None:
        """Delete what a writer left that was killed."""
        if os.path.lexists(os.path.join(self._path, shard, _NEW)):
            with self.locked(shard) as folder, suppress(FileNotFoundError):
                os.unlink(_NEW, dir_fd=folder)


def _open(name: str, flags: int, folder: int | None) -> int:
    return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)


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


def _read(descriptor: int) -> bytes:
    chunks = []
    while chunk := os.read(descriptor, _CHUNK):
        chunks.append(chunk)
    return b"".join(chunks)


def _write(descriptor: int, data: bytes) -> None:
    # A write may stop short, where a disk or a quota ends; the next one then says why.
    while data:
        data = data[os.write(descriptor, data) :]


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Locked:
    # A class, as every write needs one: a generator of @contextmanager takes longer to come and go.

    def __init__(self, shards: Shards, shard: str) -> None:
        self._shards = shards
        self._shard = shard

    def __enter__(self) -> int:
        self._folder = self._shards.open(self._shard)
        try:
            self._lock = locking.acquire(_LOCK, self._folder)
        except BaseException:
            os.close(self._folder)
            raise
        return self._folder

    def __exit__(self, *exception: object) -> None:
        try:
            locking.release(self._lock)
        finally:
            os.close(self._folder)
