"""Sessions in a table of an SQL database: PostgreSQL, MariaDB, MySQL, whatever SQLAlchemy knows."""

from __future__ import annotations

import functools
import math
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pyramid.exceptions import ConfigurationError
from sqlalchemy import Connection, Dialect, Engine
from sqlalchemy.exc import SQLAlchemyError
from zope.interface import implementer

from ... import clock
from ...interfaces import IPurgePlug, IScanPlug, ISwapPlug
from ...keys import SessionKey
from ...settings import Option
from ..common_options import from_application
from ..housekeeping import Housekeeping
from ..per_process import PerProcess
from . import remedies
from .database import Database
from .dialects import statements
from .engine import make_engine, parse_url
from .execution import execute, versions
from .options import OPTIONS
from .table import ddl, sessions_table

if TYPE_CHECKING:
    from ...interfaces import Key

_PREFIX = "pluggable_session.sqlalchemy."


@implementer(ISwapPlug, IScanPlug, IPurgePlug)
class SqlalchemyPlug:
    """Keeps records as rows of a table in an SQL database.

    Each operation is one statement that is committed by itself, on a connection of its own: it
    takes no part in a transaction of the application's, and needs no transaction manager.
    """

    name: ClassVar[str] = "sqlalchemy"
    options: ClassVar[tuple[Option, ...]] = OPTIONS
    outages: ClassVar[tuple[type[Exception], ...]] = (SQLAlchemyError,)

    def __init__(
        self,
        config: Any = None,
        *,
        url: str | None = None,
        engine: Any = None,
        table: str = "sessions",
        schema: str | None = None,
        create: bool = True,
        connect_timeout: float = 2.0,
        timeout: float = 5.0,
        pool_size: int = 20,
        purge_interval: float | None = 300.0,
    ) -> None:
        if (url is None) == (engine is None):
            raise ConfigurationError(f"Set one of {_PREFIX}url and {_PREFIX}engine.")
        if pool_size == 0:
            raise ConfigurationError(f"{_PREFIX}pool_size must be 1 or more.")
        self._engine: Callable[[], Engine]
        self._own: PerProcess[Engine] | None = None
        if url is not None:
            parsed = parse_url(url)
            self._dialect: Dialect = parsed.get_dialect()()
            make = functools.partial(make_engine, parsed, connect_timeout, timeout, pool_size)
            self._engine = self._own = PerProcess(make)
            weakref.finalize(self, _dispose, self._own)
        else:
            given = from_application(config, engine)
            if not isinstance(given, Engine):
                raise ConfigurationError(
                    f"{_PREFIX}engine must be an Engine of SQLAlchemy, not {type(given).__name__}."
                )
            self._dialect = given.dialect
            committing = given.execution_options(isolation_level="AUTOCOMMIT")
            self._engine = lambda: committing
        self._table = sessions_table(table, schema)
        self._statements = statements(self._dialect.name, self._table)
        self._database = Database(self._engine, self._table, create, self._statements)
        self._housekeeping = Housekeeping(purge_interval)

    def close(self) -> None:
        """Close the connections that are not in use. The plug stays usable."""
        if self._own is not None:
            _dispose(self._own)

    def ddl(self) -> str:
        """Return the statements that create the table and its index."""
        return ddl(self._dialect, self._table)

    def loads(self, session: Key, request: Any) -> bytes | None:
        """Return the record, or None when it is absent or expired."""
        values = {"key": session.session_id, "now": clock.now()}
        rows = self._database.repeatable(
            lambda c: execute(c, self._statements.select, values).fetchall()
        )
        return bytes(rows[0][0]) if rows else None

    def dumps(self, session: Key, request: Any, session_data: bytes) -> None:
        """Store the record until ``session.expires_at``."""
        values = _values(session, session_data, None)
        self._database.write(values, lambda c: self._statements.store(c, values))
        self._housekeeping.after_write(self._purge)

    def clear(self, session: Key, request: Any) -> None:
        """Forget the record."""
        values = {"key": session.session_id}
        self._database.repeatable(lambda c: execute(c, self._statements.delete, values))

    def swap(self, session: Key, request: Any, expected: bytes | None, session_data: bytes) -> bool:
        """Store the record if what is stored equals ``expected``."""
        values = _values(session, session_data, expected)
        if expected is None:
            stored = self._database.write(values, lambda c: self._statements.store_new(c, values))
        else:
            stored = self._database.write(
                values, lambda c: execute(c, self._statements.replace, values).rowcount == 1
            )
        self._housekeeping.after_write(self._purge)
        return stored

    def scan(self) -> Iterator[SessionKey]:
        """Yield the key of every live record."""
        # In pages: one long reading would hold its connection, and a snapshot in the server.
        after = ""
        while rows := self._database.repeatable(
            functools.partial(self._page, after), self._database.connected
        ):
            for session_id, expires_at in rows:
                yield SessionKey(session_id, expires_at)
            after = rows[-1][0]

    def versions(self) -> dict[str, str]:
        """Return the versions of the server and the driver."""
        return self._database.repeatable(versions, self._database.connected)

    def server_time(self) -> float | None:
        """Return what time it is to the server, in epoch seconds; None if it is not known."""
        database = self._database
        return database.repeatable(self._statements.server_time, database.connected)

    def purge(self) -> int:
        """Delete the expired records and return how many they were."""
        return self._purge(math.inf)

    def remedy(self, error: BaseException) -> str | None:
        """Return what to change so that the error goes away."""
        if remedies.is_missing_table(error):
            return f"set {_PREFIX}create = true, or create the table yourself: " + " ".join(
                self.ddl().split()
            )
        return remedies.remedy(error)

    def _page(self, after: str, connection: Connection) -> Sequence[Any]:
        values = {"after": after, "now": clock.now()}
        return execute(connection, self._statements.page, values).all()

    def _purge(self, until: float) -> int:
        # In batches: a deletion of them all at once would keep every writer waiting.
        total = 0
        while deleted := self._database.connected(
            lambda c: self._statements.purge(c, {"now": clock.now()})
        ):
            total += deleted
            if time.monotonic() > until:
                break
        return total


def _values(session: Key, data: bytes, expected: bytes | None) -> dict[str, Any]:
    return {
        "key": session.session_id,
        "record": data,
        "until": session.expires_at,
        "now": clock.now(),
        "expected": expected,
    }


def _dispose(own: PerProcess[Engine]) -> None:
    engine = own.take()
    if engine is not None:
        engine.dispose()
