"""A circuit breaker: requests do not wait for a storage that has just not answered others."""

from __future__ import annotations

import time
from typing import Any, Final
from weakref import WeakKeyDictionary

from .logs import PlugLog

SLOW: Final = 0.25
"""Seconds from which on a failure counts as slow. A storage that fails at once costs nothing."""

FAILURES: Final = 3
"""So many slow failures, with no success in between, open the breaker."""

PAUSE: Final = 1.0
"""Seconds for which an open breaker lets nobody through. Then it lets one, to see."""


class CircuitBreaker:
    """Watches the operations on one storage, in one process.

    Only slow failures count. One that comes at once (a refused connection, a full server) is
    cheaper to repeat than to guess at, and then the first request after the storage is back works.
    Where a plug has several servers and one of them is dead, the others' successes keep it closed.

    ``log`` says what happens to the storage.
    """

    def __init__(self, log: PlugLog) -> None:
        self.log = log
        self._failures = 0
        self._until: float | None = None

    def wait(self) -> float:
        """Return how many seconds the storage is still left alone; 0 if it may be asked."""
        if self._until is None:
            return 0.0
        now = time.monotonic()
        if now < self._until:
            return self._until - now
        # This one is let through. The others wait for what it finds, or for the next one's turn.
        self._until = now + PAUSE
        return 0.0

    def succeeded(self) -> None:
        """Note that the storage has answered."""
        self._failures = 0
        self._until = None

    def failed(self, seconds: float) -> None:
        """Note that it has failed, after so many seconds."""
        if seconds < SLOW:
            self.succeeded()
            return
        self._failures += 1
        if self._failures >= FAILURES:
            self._until = time.monotonic() + PAUSE


_breakers: WeakKeyDictionary[Any, CircuitBreaker] = WeakKeyDictionary()
_logs_by_class: WeakKeyDictionary[type, PlugLog] = WeakKeyDictionary()


def breaker_of(plug: Any) -> CircuitBreaker:
    """Return the breaker of a plug, the same one for every request."""
    try:
        breaker = _breakers.get(plug)
        if breaker is None:
            breaker = _breakers.setdefault(plug, CircuitBreaker(PlugLog()))
    except TypeError:  # somebody's plug that has no hash or takes no weak references
        return CircuitBreaker(_logs_by_class.setdefault(type(plug), PlugLog()))
    return breaker
