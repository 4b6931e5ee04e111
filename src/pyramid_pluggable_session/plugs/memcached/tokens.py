"""What saves a compare-and-swap on memcached the question for the present value."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from .. import expiry

if TYPE_CHECKING:
    from .connection import Connection


class LastSeen(threading.local):
    """What each thread read last.

    A request loads its session and may swap it later. With the token of the loading the swap is one
    question to the server instead of two. What is remembered only saves that question: if the
    token is no longer good, memcached stores nothing.
    """

    def __init__(self) -> None:
        self.remember("", None, None, 0.0)

    def remember(
        self, session_id: str, stamped: bytes | None, token: bytes | None, asked: float
    ) -> None:
        """Remember an answer; ``asked`` is when, by the monotonic clock."""
        self._last = (session_id, stamped, token, asked)

    def token(
        self, connection: Connection, session_id: str, expected: bytes | None
    ) -> bytes | None:
        """Return the token for a swap on that connection, if one is known, and forget it."""
        (seen_id, stamped, token, asked), self._last = self._last, ("", None, None, 0.0)
        # A server that restarts gives the same tokens again, for other values. A connection that
        # was open before the question and still is shows that it did not.
        if seen_id != session_id or stamped is None or connection.opened >= asked:
            return None
        return token if expiry.live(stamped) == expected else None
