"""Sessions of Beaker in files."""

from __future__ import annotations

import contextlib
import dbm
import glob
import os
from collections.abc import Mapping
from typing import Any

from .entries import ENTRY, Old, needed, text_in_dict


class FileStorage(Old):
    """A file for each session."""

    name = "of Beaker (file)"

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._folder = _folder(given, "file_dir", "container_file")

    def loads(self, session: Any, request: Any) -> bytes | None:
        """Return the file's content. Beaker replaces files whole."""
        try:
            with open(_path(self._folder, session.session_id, ".cache"), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def clear(self, session: Any, request: Any) -> None:
        """Delete the file."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_path(self._folder, session.session_id, ".cache"))

    def unpack(self, stored: bytes) -> Any:
        """Return the entry."""
        return text_in_dict(stored)


class DbmStorage(Old):
    """A database of one key for each session, in one file or several."""

    name = "of Beaker (dbm)"
    outages = dbm.error

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._folder = _folder(given, "dbm_dir", "container_dbm")
        module = given.get("dbmmodule")
        self._open = dbm.open if module is None else module.open

    def loads(self, session: Any, request: Any) -> bytes | None:
        """Return the value of the one key."""
        path = _path(self._folder, session.session_id, ".dbm")
        if not _files(path):
            return None
        with self._open(path, "r") as database:
            found: bytes | None = database.get(ENTRY.encode())
            return found

    def clear(self, session: Any, request: Any) -> None:
        """Delete the files."""
        for path in _files(_path(self._folder, session.session_id, ".dbm")):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def _folder(given: Mapping[str, Any], own: str, below: str) -> str:
    where = needed(given, own, "data_dir")
    return where if given.get(own) else f"{where}/{below}"


def _path(folder: str, session_id: str, ending: str) -> str:
    return os.path.join(folder, session_id[:1], session_id[:2], session_id + ending)


def _files(path: str) -> list[str]:
    # Each of the modules has endings of its own: none, .db, .dat and .dir and .bak, .pag and .dir.
    return glob.glob(glob.escape(path)) + glob.glob(glob.escape(path) + ".*")
