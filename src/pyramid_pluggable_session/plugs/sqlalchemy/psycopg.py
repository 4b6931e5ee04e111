"""Connections of psycopg that never wait longer than they should, and the shortest way to them."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Generator
from typing import Any, Final

import psycopg
from sqlalchemy import Dialect, Executable

from .lean_pool import driver_error

_wait: Final[Callable[..., Any]] = psycopg.Connection.wait  # super() costs more than it looks
_KEPT: Final = 65536  # bytes; a cursor keeps the last records until it is used again


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that waits at most ``seconds`` for the server's answer."""

    # The server's statement_timeout is of no use when the server itself hangs, and the kernel's
    # timeouts none while it still acknowledges what is sent. psycopg wakes up every 0.1 s anyway.

    seconds: float
    direct: Direct

    @classmethod
    def open(cls, seconds: float, *args: Any, **kwargs: Any) -> BoundedConnection:
        """Connect, with the arguments of ``psycopg.connect``."""
        connection = cls.connect(*args, **kwargs)
        connection.seconds = seconds
        return connection

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
        """Let the generator speak with the server."""
        return _wait(self, self._bounded(gen), *args, **kwargs)

    def _bounded(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        until = time.monotonic() + self.seconds
        send = gen.send
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if time.monotonic() > until:
                    # The answer may still come, and nobody may take it for that to the next query.
                    self.pgconn.finish()
                    raise psycopg.OperationalError(
                        f"timeout: the server gave no answer within {self.seconds:g} s"
                    )
                wanted = send(ready)
        except StopIteration as end:
            return end.value


class Direct:
    """Executes statements as a Connection of SQLAlchemy does, for a fraction of the cost.

    The connection must commit by itself. What a statement selects first, if anything, is a record.
    """

    def __init__(self, connection: BoundedConnection, dialect: Dialect) -> None:
        self._connection = connection
        self._dialect = dialect
        # A cursor that has executed a statement need not look up again how its types are written.
        self._cursors: dict[Executable, tuple[str, psycopg.Cursor[Any]]] = {}
        # poll, as select cannot take descriptors above 1023.
        self._poll = select.poll()
        self._poll.register(connection.fileno(), select.POLLIN)

    def has_ended(self) -> bool:
        """Tell whether the server has closed the connection while it was idle."""
        return bool(self._poll.poll(0))

    def execute(self, statement: Any, values: dict[str, Any]) -> Answer:
        """Execute the statement."""
        found = self._cursors.get(statement)
        if found is None:
            sql = str(statement.compile(dialect=self._dialect))
            # Binary, as bytes would come as twice as many hexadecimal digits.
            found = self._cursors[statement] = (sql, self._connection.cursor(binary=True))
        sql, cursor = found
        try:
            cursor.execute(sql, values)
            result = cursor.pgresult
            rows = cursor.fetchall() if result is not None and result.ntuples else []
        except psycopg.Error as error:
            raise driver_error(error, self._dialect, self._connection.closed) from error
        size = len(values.get("record") or b"") + len(values.get("expected") or b"")
        if size > _KEPT or (rows and len(rows[0][0]) > _KEPT):
            del self._cursors[statement]
        return Answer(rows, cursor.rowcount)


class Answer:
    """The rows, and how many rows there were or were changed."""

    __slots__ = ("rowcount", "rows")

    def __init__(self, rows: list[Any], rowcount: int) -> None:
        self.rows = rows
        self.rowcount = rowcount

    def fetchall(self) -> list[Any]:
        """Return the rows."""
        return self.rows
