"""Changes of a ``dbm.dumb`` database that happen wholly or not at all.

``dbm.dumb`` keeps values in ``<path>.dat`` and an index of them in ``<path>.dir``, and writes the
index anew when it is closed: a process that is killed meanwhile, or finds the disk full, leaves no
index or half of one, and all sessions are lost. So what a change overwrites is first set aside in
``<path>.journal``. While that file exists, a change is under way; whoever finds it on getting the
lock sees a change that was cut off, and undoes it. A loss of power is another matter: nothing here
waits for the disk.

All of this is to be called with the database locked for writing.
"""

from __future__ import annotations

import dbm
import os
import struct
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from dbm import dumb

Database = MutableMapping[bytes, bytes]

_UNDO = struct.Struct(">4sQIq")  # what is to be done, size of .dat, lengths of key and old value
_INSTALL = b"inst"
_NOTHING = -1  # for the length of an old value that was not there


@contextmanager
def opened(path: str, flag: str = "w") -> Iterator[Database]:
    """Open the database. To change it, use :func:`change` or :func:`replace`."""
    # Not dumb.open: it sets the umask of the whole process to 0 and back to see what it is, so that
    # two threads that open at once may leave it at 0, for whatever the application writes then.
    try:
        database = dumb._Database(path, 0o600, flag)  # type: ignore[arg-type]
    except (ValueError, SyntaxError, TypeError) as error:
        raise dbm.error[0]("the index of the dbm.dumb database is damaged") from error
    try:
        yield database  # type: ignore[misc]
    finally:
        database.close()


def recover(path: str) -> None:
    """Bring a change that was cut off to its end or its beginning."""
    try:
        with open(path + ".journal", "rb") as file:
            journal = file.read()
    except FileNotFoundError:
        return
    if journal == _INSTALL:
        _install(path)
    else:
        _undo(path, journal)
    os.unlink(path + ".journal")


def change(path: str, key: bytes, value: bytes | None) -> None:
    """Store the value under the key, or delete the key for None."""
    with opened(path) as database:
        old = database.get(key)
    if value is None and old is None:
        return
    with open(path + ".dir", "rb") as file:
        index = file.read()
    old_size = _NOTHING if old is None else len(old)
    header = _UNDO.pack(b"undo", os.path.getsize(path + ".dat"), len(key), old_size)
    _write(path + ".journal", header + key + (old or b"") + index)
    try:
        with opened(path) as database:
            if value is None:
                del database[key]
            else:
                database[key] = value
    except BaseException:
        # If not even that works now, the journal stays, and the next one to get the lock tries.
        with suppress(*dbm.error):
            recover(path)
        raise
    os.unlink(path + ".journal")


def replace(path: str, records: Iterator[tuple[bytes, bytes]]) -> None:
    """Replace the database by one with these records. It is how space is won back."""
    try:
        with opened(path + ".new", "n") as database:
            for key, value in records:
                database[key] = value
    except BaseException:
        for suffix in (".dat", ".dir", ".bak"):
            with suppress(OSError):
                os.unlink(f"{path}.new{suffix}")
        raise
    _write(path + ".journal", _INSTALL)
    recover(path)


def _install(path: str) -> None:
    for suffix in (".dat", ".dir"):
        # What is not there any more was put in its place before the cut.
        with suppress(FileNotFoundError):
            os.replace(f"{path}.new{suffix}", path + suffix)


def _undo(path: str, journal: bytes) -> None:
    try:
        _, dat_size, key_size, old_size = _UNDO.unpack_from(journal)
    except struct.error:
        raise dbm.error[0]("the journal of the dbm.dumb database is damaged") from None
    key_end = _UNDO.size + key_size
    old_end = key_end + max(old_size, 0)
    key, old = journal[_UNDO.size : key_end], journal[key_end:old_end]
    os.truncate(path + ".dat", dat_size)
    with suppress(FileNotFoundError):
        os.unlink(path + ".bak")  # on a full disk, the index may need its room
    _write(path + ".dir", journal[old_end:])
    if old_size != _NOTHING:
        # Its place is the one it had, so it cannot harm another value if cut off in turn.
        with opened(path) as database:
            database[key] = old


def _write(path: str, data: bytes) -> None:
    """Write a file that is there whole or not at all."""
    temporary = path + ".tmp"
    with suppress(FileNotFoundError):
        os.unlink(temporary)
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            os.fchmod(file.fileno(), 0o600)  # open's mode is cut by the umask
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
