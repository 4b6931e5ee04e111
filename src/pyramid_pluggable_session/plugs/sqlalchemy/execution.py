"""Executing a statement, and what a database's error codes say."""

from __future__ import annotations

from typing import Any

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


def _codes(error: DBAPIError) -> set[Any]:
    """Return what the driver tells of SQLSTATE and the server's own number."""
    orig: Any = error.orig
    return {getattr(orig, "sqlstate", None), getattr(orig, "pgcode", None), *orig.args[:1]}
