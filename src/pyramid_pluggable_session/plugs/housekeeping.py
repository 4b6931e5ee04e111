"""Purging expired records now and then, without a request having to wait for it."""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable

from .. import clock

logger = logging.getLogger("pyramid_pluggable_session")

RUN_SECONDS = 1.0
"""How long one run may take. It is also how long a run can hold up the end of the process."""


JUMP = 60.0
"""Seconds by which the computer's clock may go off the monotonic one between two runs."""


class Housekeeping:
    """Runs a plug's purge in a short-lived thread after a write, every ``interval`` seconds.

    ``interval`` None or 0 is for never. Each process has its own rhythm, and at most one run at a
    time for each plug.
    """

    # A thread for each run, not one that waits in between: it costs nothing in a process that does
    # not write, and there is nothing to stop when a plug is dropped. It is not a daemon, so the end
    # of the process does not tear it away in the middle; a run is bounded in time instead.

    def __init__(self, interval: float | None) -> None:
        self._interval = interval or 0.0
        self.start_over()
        _all.add(self)

    def start_over(self) -> None:
        """Forget a run that is under way, and choose anew when the next one is due."""
        self._running = threading.Lock()
        self._offset = clock.now() - time.monotonic()
        # Anywhere in the first interval: processes that are started together, or replaced before
        # an interval has passed, would otherwise purge all at once, or never.
        self._due = time.monotonic() + self._interval * _random()

    def after_write(self, purge_until: Callable[[float], object]) -> None:
        """Start a run if one is due.

        ``purge_until`` gets the moment, by ``time.monotonic()``, at which it should stop, and must
        see to that itself; the next run will do what it left.
        """
        # The monotonic clock: whoever sets the computer's clock back must not stop purging.
        if not self._interval or time.monotonic() < self._due:
            return
        if not self._running.acquire(blocking=False):
            return
        self._due = time.monotonic() + self._interval * (0.75 + _random() / 2)
        # A clock that has just jumped may soon be set right. What looks expired waits for the next
        # run, so that nobody is logged out by a mistake that lasted a minute.
        before, self._offset = self._offset, clock.now() - time.monotonic()
        if abs(self._offset - before) > JUMP:
            self._running.release()
            return
        running = self._running
        thread = threading.Thread(
            target=_run, args=(purge_until, running), name="pluggable_session-purge", daemon=False
        )
        try:
            thread.start()
        except RuntimeError:
            # No thread to be had: too many, or the interpreter is ending. The write was done.
            running.release()
            logger.warning("Expired sessions were not purged: no thread could be started.")


def _run(purge_until: Callable[[float], object], running: threading.Lock) -> None:
    try:
        purge_until(time.monotonic() + RUN_SECONDS)
    except Exception as error:  # whatever a driver raises: nobody is there to handle it
        name = getattr(getattr(purge_until, "__self__", None), "name", "a storage")
        logger.warning("Expired sessions of %s were not purged: %s", name, type(error).__name__)
    finally:
        running.release()


def _random() -> float:
    """Return a number from 0 up to 1.

    Not from the ``random`` module: an application may seed it, and forked children inherit it.
    """
    return secrets.randbelow(1 << 16) / (1 << 16)


_all: weakref.WeakSet[Housekeeping] = weakref.WeakSet()


def _after_fork() -> None:
    # The child has no thread but one, so nobody is left to release a lock that it inherits.
    for housekeeping in _all:
        housekeeping.start_over()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
