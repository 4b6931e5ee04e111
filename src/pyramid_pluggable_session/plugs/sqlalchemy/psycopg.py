"""Connections of psycopg that never wait longer than they should."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import psycopg


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that waits at most ``seconds`` for the server's answer."""

    # The server's statement_timeout is of no use when the server itself hangs, and the kernel's
    # timeouts none while it still acknowledges what is sent. psycopg wakes up every 0.1 s anyway.

    seconds: float

    @classmethod
    def open(cls, seconds: float, *args: Any, **kwargs: Any) -> BoundedConnection:
        """Connect, with the arguments of ``psycopg.connect``."""
        connection = cls.connect(*args, **kwargs)
        connection.seconds = seconds
        return connection

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
        """Let the generator speak with the server."""
        return super().wait(self._bounded(gen), *args, **kwargs)

    def _bounded(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        until = time.monotonic() + self.seconds
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
                wanted = gen.send(ready)
        except StopIteration as end:
            return end.value
