"""Work done on connections that are lent, with errors that tell no secrets."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Table
from sqlalchemy.exc import DBAPIError, SQLAlchemyError, StatementError

from ...errors import SessionTooLarge
from .dialects import Statements
from .execution import is_too_large
from .lean_pool import LeanPool
from .table import create

_T = TypeVar("_T")
_Once = Callable[[Callable[[Any], _T]], _T]

_LARGE = 1_000_000  # bytes; no server has a lower limit for a statement, unless somebody set it
_STATEMENT = 1024  # bytes, with all but the records
_STATEMENT_PER_BYTE = 2  # at most: PyMySQL writes hexadecimal digits
_AT_ONCE = 0.5  # seconds; what takes longer to fail was no connection that had been dropped before


class Database:
    """Lends connections of an engine, and sees at the first one that there is a table."""

    def __init__(
        self,
        engine: Callable[[], Engine],
        table: Table,
        create: bool,
        statements: Statements,
    ) -> None:
        self._engine = engine
        self._table = table
        self._create = create
        self._statements = statements
        self._looked = False

    def once(self, work: Callable[[Any], _T]) -> _T:
        """Do the work, which is not done again whatever happens: it may have been done.

        It gets what has ``execute``: a Connection of SQLAlchemy, or the direct way to psycopg.
        """
        engine = self._engine()
        pool = engine.pool
        if not (self._looked and isinstance(pool, LeanPool)) or _is_watched(engine):
            return self.connected(work)
        try:
            return pool.do(work)
        except SQLAlchemyError as error:
            self._failed(error)
            raise

    def connected(self, work: Callable[[Connection], _T]) -> _T:
        """Do the work once, on a Connection of SQLAlchemy, which can do more than execute."""
        try:
            with self._engine().connect() as connection:
                if not self._looked:
                    if self._create:
                        create(connection, self._table)
                    self._looked = True
                return work(connection)
        except SQLAlchemyError as error:
            self._failed(error)
            raise

    def _failed(self, error: SQLAlchemyError) -> None:
        # The table may be what is missing: gone with its database, say.
        self._looked = False
        if isinstance(error, StatementError):
            # An engine of the application's own would show the parameters: session ids and
            # records. The rest says nothing that helps: the statement is ours.
            error.hide_parameters = True
            error.params = error.statement = error.code = None

    def repeatable(self, work: Callable[[Any], _T], once: _Once[_T] | None = None) -> _T:
        """Do work that may be done twice; twice, if the connection had been dropped before."""
        do = once or self.once
        began = time.monotonic()
        try:
            return do(work)
        except DBAPIError as error:
            if not error.connection_invalidated or time.monotonic() > began + _AT_ONCE:
                raise
        return do(work)

    def write(self, values: dict[str, Any], work: Callable[[Connection], _T]) -> _T:
        """Do the work of storing ``values``, once."""
        try:
            return self.once(work)
        except DBAPIError as error:
            self._check_size(values, error)
            raise

    def _check_size(self, values: dict[str, Any], error: DBAPIError) -> None:
        # A server that finds a statement too large may say so, or just drop the connection.
        size = len(values["record"])
        longest = _STATEMENT + _STATEMENT_PER_BYTE * (size + len(values["expected"] or b""))
        if longest < _LARGE or not (error.connection_invalidated or is_too_large(error)):
            return
        try:
            limit = self.connected(self._statements.packet_limit)
        except SQLAlchemyError:
            return
        if limit is not None and longest > limit:
            raise SessionTooLarge(
                f"The session's record has {size} bytes. The statement that stores it is longer "
                f"than max_allowed_packet of the database server, {limit} bytes: it holds the "
                "record and may hold the one before it, at up to two bytes for each.",
                size,
                limit,
            ) from None


def _is_watched(engine: Engine) -> bool:
    # Who listens to SQLAlchemy, or logs what it says, is to hear of sessions as well.
    return (
        engine._has_events
        or bool(engine.dialect.dispatch.handle_error)
        or bool(engine.pool.dispatch.checkin)
        or engine.logger.isEnabledFor(logging.INFO)
    )
