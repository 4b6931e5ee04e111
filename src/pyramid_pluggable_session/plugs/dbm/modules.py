"""Which of the modules of ``dbm`` a database is of."""

from __future__ import annotations

import dbm
import importlib
import os
from contextlib import suppress
from typing import Any

from pyramid.exceptions import ConfigurationError

from ..paths import private_file

NAMES = ("sqlite3", "gnu", "ndbm", "dumb")  # what `auto` tries, best first, as `dbm` itself does
SUFFIXES = ("", ".db", ".pag", ".dir", ".dat", ".bak", ".lock")  # whatever the module makes


def module_of(path: str, wanted: str, where: str) -> Any:
    """Return the module that the database is of, and make the database if there is none."""
    found = dbm.whichdb(path)
    if found == "" and os.path.getsize(path) == 0:
        found = None  # made by a process that was killed right then
    if found == "":
        raise dbm.error[0]("it is not a database of dbm's, as far as this Python knows")
    if found is not None:
        if wanted not in ("auto", found.removeprefix("dbm.")):
            raise dbm.error[0](f"it is of {found}, and pluggable_session.dbm.module is {wanted}")
        wanted = found.removeprefix("dbm.")
    modules = filter(None, map(_import, NAMES if wanted == "auto" else (wanted,)))
    module = next(modules, None)
    if module is None:
        raise ConfigurationError(f"{where}: {path} needs dbm.{wanted}, which this Python lacks.")
    if found is not None:
        return module
    if module.__name__ == "dbm.dumb":
        private_file(path + ".dat", where)
        private_file(path + ".dir", where)
    else:
        module.open(path, "c", 0o600).close()
        for suffix in SUFFIXES:
            with suppress(FileNotFoundError):
                os.chmod(path + suffix, 0o600)  # open's mode is cut by the umask
    return module


def _import(name: str) -> Any:
    try:
        return importlib.import_module(f"dbm.{name}")
    except ImportError:
        return None
