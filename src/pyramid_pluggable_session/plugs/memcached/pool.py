"""The connections to a memcached server."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from pymemcache.exceptions import MemcacheError

from ...storage import explain
from .connection import Connecting, Connection
from .servers import Address

_IDLE_AT_MOST = 32  # connections; as many as there are threads may be in use
# Firewalls forget connections on which nothing happens, and let packets on them vanish.
_IDLE_SECONDS = 60.0


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

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a connection. After an error it is closed: its answer may still be on the way."""
        try:
            connection = self._idle_one() or Connection(self._address, self._how)
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
        # The client trusts answers to be well formed: to it a wrong key is a KeyError, and a line
        # with a word too many a ValueError.
        except (OSError, MemcacheError, LookupError, ValueError) as error:
            raise ServerError(f"{self}: {explain(error)}") from error
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
