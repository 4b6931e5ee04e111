"""Executing a statement, and what a database's error codes say."""

from __future__ import annotations

from typing import Any

import sqlalchemy
from sqlalchemy import Connection, CursorResult, Executable
from sqlalchemy.exc import DBAPIError

_ATTEMPTS = 5
_DEADLOCKS = frozenset({"40001", "40P01", 1213})  # SQLSTATEs, and MySQL's number
_TOO_LARGE = 1153  # MySQL's number

Values = dict[str, Any]
"""What statements are told: ``key``, ``record``, ``until``, ``expected``, ``now``, ``after``."""


def execute(connection: Connection, statement: Executable, values: Values) -> CursorResult[Any]:
    """Execute the statement, again if the database undid it to end a deadlock."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return connection.execute(statement, values)
        except DBAPIError as error:
            if _DEADLOCKS.isdisjoint(_codes(error)):
                raise
    return connection.execute(statement, values)


def is_too_large(error: DBAPIError) -> bool:
    """Tell whether the server says that the statement is too large."""
    return _TOO_LARGE in _codes(error)


def versions(connection: Connection) -> dict[str, str]:
    """Return the versions of the server, the driver and SQLAlchemy, as far as they are known."""
    dialect = connection.dialect
    mariadb = getattr(dialect, "is_mariadb", False)
    found = {
        "MariaDB" if mariadb else dialect.name: getattr(dialect, "server_version_info", None),
        dialect.driver: getattr(dialect.loaded_dbapi, "__version__", None),
        "SQLAlchemy": sqlalchemy.__version__,
    }
    return {name: _dotted(version) for name, version in found.items() if version}


def _dotted(version: Any) -> str:
    return version if isinstance(version, str) else ".".join(map(str, version))


def _codes(error: DBAPIError) -> set[Any]:
    """Return what the driver tells of SQLSTATE and the server's own number."""
    orig: Any = error.orig
    return {getattr(orig, "sqlstate", None), getattr(orig, "pgcode", None), *orig.args[:1]}
