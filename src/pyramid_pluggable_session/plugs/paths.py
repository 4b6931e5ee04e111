"""The checks of a directory or file that sessions are to be kept in, made when a plug is made.

Each mistake is a :class:`~pyramid.exceptions.ConfigurationError` that names the setting
(``where``), what is wrong with its value, and what would be right.
"""

from __future__ import annotations

import logging
import os
import stat

from pyramid.exceptions import ConfigurationError

log = logging.getLogger("pyramid_pluggable_session")

# Windows has none of these, and gives files an owner and rights in another way.
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_geteuid = getattr(os, "geteuid", None)


def private_directory(path: str, where: str) -> None:
    """Check the directory ``path``, or make it with mode 0700.

    Only the last part of the path is made. More would turn a slip in the path, or a volume that is
    not mounted, into a new and empty storage.
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise _mistake(where, path, f"cannot be made: {_reason(error)}", _PARENT) from None
    else:
        os.chmod(path, 0o700)  # mkdir's mode is cut by the umask
    status = _status(path, where)
    if not stat.S_ISDIR(status.st_mode):
        raise _mistake(where, path, "is not a directory", "Name a directory.")
    _check_hands(status, path, where)
    if not _is_writable(path):
        raise _mistake(where, path, "cannot be written by this process", _OWN)


def private_file(path: str, where: str) -> None:
    """Check the file ``path``, or make it empty and with mode 0600; and the directory it is in."""
    check_folder(path, where)
    # A file that exists is not opened here: for SQLite, closing any descriptor of a database file
    # drops all locks that this process holds on it.
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW, 0o600)
    except FileExistsError:
        pass
    except OSError as error:
        raise _mistake(where, path, f"cannot be made: {_reason(error)}", _PARENT) from None
    else:
        os.close(descriptor)
        os.chmod(path, 0o600)  # open's mode is cut by the umask
    check_file(path, where)


def check_folder(path: str, where: str) -> None:
    """Check the directory that the file ``path`` is in."""
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise _mistake(where, path, "is in a directory that does not exist", _PARENT)
    if not _is_writable(folder):
        raise _mistake(where, path, "is in a directory that cannot be written", _PARENT)


def check_file(path: str, where: str) -> None:
    """Check the file ``path`` if there is one."""
    try:
        status = _status(path, where)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(status.st_mode):
        raise _mistake(where, path, "is not a regular file", "Name a file.")
    _check_hands(status, path, where)
    if not os.access(path, os.R_OK | os.W_OK):
        raise _mistake(where, path, "cannot be written by this process", _OWN)


_PARENT = "The directory that it is to be in must exist, and be writable for this process."
_OWN = "Name one that belongs to the user that the application runs as."


def _status(path: str, where: str) -> os.stat_result:
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        raise _mistake(where, path, "is a symbolic link", "Name what it leads to.")
    return status


def _check_hands(status: os.stat_result, path: str, where: str) -> None:
    if _geteuid is None:
        return
    if status.st_uid != _geteuid():
        raise _mistake(where, path, "belongs to another user", _OWN)
    if status.st_mode & stat.S_IWOTH:
        raise _mistake(where, path, "can be written by everybody", f"Run chmod o-w {path}")
    if status.st_mode & stat.S_IROTH:
        log.warning("%s: %s can be read by everybody. Run chmod o-rwx %s", where, path, path)


def _is_writable(folder: str) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


def _mistake(where: str, path: str, wrong: str, right: str) -> ConfigurationError:
    return ConfigurationError(f"{where}: {path} {wrong}. {right}")
