"""A lock on a file, for storages that are plain files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from pyramid.exceptions import ConfigurationError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def check_available(plug: str) -> None:
    """Raise :class:`~pyramid.exceptions.ConfigurationError` where there are no such locks."""
    if fcntl is None:
        raise ConfigurationError(
            f"The {plug} plug needs file locks of a kind that this system does not have. "
            "Use the sqlite plug."
        )


@contextmanager
def locked(name: str, shared: bool = False) -> Iterator[None]:
    """Hold the lock file ``name``, made if missing."""
    descriptor = acquire(name, shared=shared)
    try:
        yield
    finally:
        release(descriptor)


def acquire(name: str, folder: int | None = None, shared: bool = False) -> int:
    """Lock the file ``name``, made if missing, and return what :func:`release` wants.

    The name is relative to the descriptor ``folder`` if that is given. The lock keeps processes and
    threads apart, and ends with its process, however that ends.
    """
    # flock and not lockf: lockf's lock belongs to the process, so it does not keep threads apart,
    # and it ends when any descriptor of the file is closed. flock's belongs to this opening.
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, dir_fd=folder)
    except FileNotFoundError:
        descriptor = os.open(name, flags | os.O_CREAT, 0o600, dir_fd=folder)
        os.fchmod(descriptor, 0o600)  # open's mode is cut by the umask
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    except BaseException:
        release(descriptor)
        raise
    return descriptor


def release(descriptor: int) -> None:
    """End a lock."""
    try:
        # Not left to closing: a child that another thread forks meanwhile has the file open, too.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)
