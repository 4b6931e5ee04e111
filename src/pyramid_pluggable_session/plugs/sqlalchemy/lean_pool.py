"""A pool that lends its connections with little ado."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import QueuePool
from sqlalchemy.exc import DBAPIError

_T = TypeVar("_T")


class LeanPool(QueuePool):
    """A pool of connections that have a ``direct`` way to the server (see ``psycopg.py``).

    SQLAlchemy's guard of a connection that is lent provides for events, nesting, transactions, and
    borrowers that give nothing back. It costs almost as much as the server takes to find a row.
    """

    def do(self, work: Callable[[Any], _T]) -> _T:
        """Do the work on a connection that is not known to be dead."""
        record = self._opening(self._do_get)
        try:
            return work(self._opening(lambda: _usable(record)))
        except BaseException as error:
            if not isinstance(error, DBAPIError):
                # It may have come in the middle of an answer.
                record.invalidate(error)
            elif error.connection_invalidated:
                # What befell this connection, silence even, befell those of the same age.
                if self._invalidate_time < record.starttime:
                    self._invalidate_time = time.time()
                record.invalidate(error)
            raise
        finally:
            self._do_return_conn(record)

    def _opening(self, what: Callable[[], Any]) -> Any:
        dialect: Any = self._dialect
        try:
            return what()
        except dialect.loaded_dbapi.Error as error:
            raise driver_error(error, dialect) from error


def _usable(record: Any) -> Any:
    direct = record.get_connection().direct
    if direct.has_ended():
        record.invalidate()
        direct = record.get_connection().direct
    return direct


def driver_error(error: Exception, dialect: Any, invalidated: bool = False) -> BaseException:
    """Return a driver's error as SQLAlchemy raises it."""
    return DBAPIError.instance(
        None,
        None,
        error,
        dialect.loaded_dbapi.Error,
        hide_parameters=True,
        connection_invalidated=invalidated,
        dialect=dialect,
    )
