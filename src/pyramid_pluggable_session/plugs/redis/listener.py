"""The connection on which a Redis server announces what changes."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any, Final

import hiredis
from redis.exceptions import ConnectionError, InvalidResponse, NoPermissionError, ResponseError

_CHUNK: Final = 1 << 16  # bytes


class Listener:
    """Asks a server, and hears what has come from it without waiting.

    ``connection`` is one of redis-py in RESP 3, where announcements come on the connection that
    asked for them. redis-py itself would wait for the rest of an announcement that has only begun
    to come: it logs in, and is not used after that.
    """

    def __init__(self, connection: Any) -> None:
        """Connect and log in."""
        self._connection = connection
        connection.connect()
        try:
            self._socket = connection._sock
            self._socket.setblocking(False)
            self._reader = hiredis.Reader(protocolError=InvalidResponse, replyError=_error)
        except BaseException:
            self.close()
            raise

    def ask(self, *command: Any) -> None:
        """Send a command. Its answer is an item of :meth:`receive`."""
        self._socket.sendall(hiredis.pack_command(command))

    def receive(self) -> Iterator[Any]:
        """Yield what has come: an announcement as a list, an answer as bytes.

        Raise redis-py's errors, after which some announcements may be missing.
        """
        while True:
            try:
                data = self._socket.recv(_CHUNK)
            except (BlockingIOError, ssl.SSLWantReadError):
                return
            except OSError as error:
                raise ConnectionError(f"The connection is lost: {error}") from error
            if not data:
                raise ConnectionError("The server closed the connection.")
            self._reader.feed(data)
            while (message := self._reader.gets()) is not False:
                if isinstance(message, Exception):
                    raise message
                yield message

    def close(self) -> None:
        """Close the connection."""
        self._connection.disconnect()


def _error(message: str) -> ResponseError:
    kind = NoPermissionError if message.startswith("NOPERM") else ResponseError
    return kind(message)
