"""Pools of connections to Redis servers that cost less than those of redis-py."""

from __future__ import annotations

from typing import Any

from redis import ConnectionPool
from redis.exceptions import ConnectionError, RedisError
from redis.sentinel import SentinelConnectionPool


class Pool(ConnectionPool):
    """Lends connections that are good, and does nothing else.

    To lend a connection takes redis-py longer than to ask the server for a session: it counts for
    statistics that somebody might want, and looks for tokens to renew and servers that are about
    to move, of which a connection by this package knows nothing.
    """

    def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        """Lend a connection that is open, and on which there is nothing to read."""
        # Not whether the process is another one by now: each has a pool for itself.
        with self._lock:
            idle = self._available_connections
            connection: Any = idle.pop() if idle else self.make_connection()
            self._in_use_connections.add(connection)
        try:
            if connection._sock is None:  # which connect() finds out, too, but not at once
                connection.connect()
            if not _is_quiet(connection):
                # The server has closed it, or an answer came too late for whoever asked.
                connection.disconnect()
                connection.connect()
                if connection.can_read():
                    raise ConnectionError("The server speaks before it is asked.")
        except BaseException:
            self.release(connection)
            raise
        return connection

    def release(self, connection: Any) -> None:
        """Take a connection back."""
        if not self.owns_connection(connection):
            # It leads to what was the primary until the Sentinels named another one.
            connection.disconnect()
        with self._lock:
            self._in_use_connections.discard(connection)
            self._available_connections.append(connection)


class SentinelPool(Pool, SentinelConnectionPool):
    """The same for the primary that Sentinels name."""


def _is_quiet(connection: Any) -> bool:
    try:
        return not connection.can_read()
    except (OSError, RedisError):
        return False
