"""The connections to a memcached server."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from pymemcache.exceptions import MemcacheError

from ...storage import explain
from .connection import Connecting, Connection
from .servers import Address

_IDLE_AT_MOST = 32  # connections; as many as there are threads may be in use
# Firewalls forget connections on which nothing happens, and let packets on them vanish.
_IDLE_SECONDS = 60.0

# Answers are trusted to be well formed: a line with a word too many is a ValueError, and to
# pymemcache a wrong key is a KeyError.
_ERRORS = (OSError, MemcacheError, LookupError, ValueError)


class ServerError(Exception):
    """What went wrong with which server; the ``__cause__`` is the driver's exception."""


class Pool:
    """The connections of one process to one server.

    pymemcache has a pool as well, but it keeps a connection as "used" forever when what ends its
    use is no Exception, as a gevent timeout or KeyboardInterrupt is, and it lends those that the
    server has closed.
    """

    # A deque needs no lock, which a fork could leave locked.

    def __init__(self, address: Address, how: Connecting) -> None:
        self._address = address
        self._how = how
        self._idle: deque[Connection] = deque()
        self._closed = False

    def __str__(self) -> str:
        return str(self._address)

    def connection(self) -> _Use:
        """Lend a connection. After an error it is closed: its answer may still be on the way."""
        return _Use(self)

    def put(self, connection: Connection) -> None:
        """Take a connection back, on which every question was answered."""
        if self._closed or len(self._idle) >= _IDLE_AT_MOST:
            connection.close()
        else:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)

    def close(self) -> None:
        """Close the connections: idle ones now, those in use afterwards."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _new_one(self) -> Connection:
        return Connection(self._address, self._how)

    def _idle_one(self) -> Connection | None:
        while True:
            try:
                # From the end where they are put, so that a few stay in use and the rest get old.
                connection = self._idle.pop()
            except IndexError:
                return None
            if time.monotonic() - connection.idle_since < _IDLE_SECONDS and connection.is_quiet():
                return connection
            connection.close()


class _Use:
    """The use of a connection, for ``with``. A generator would take longer than the pool."""

    __slots__ = ("_connection", "_pool")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def __enter__(self) -> Connection:
        try:
            self._connection = self._pool._idle_one() or self._pool._new_one()
        except _ERRORS as error:
            raise self._explained(error) from error
        return self._connection

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if error is None:
            self._pool.put(self._connection)
            return
        self._connection.close()
        if isinstance(error, _ERRORS):
            raise self._explained(error) from error

    def _explained(self, error: BaseException) -> ServerError:
        return ServerError(f"{self._pool}: {explain(error)}")
