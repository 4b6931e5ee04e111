"""What an operator must see in the log: outages, and what was refused, however much there is of it.

Each line has fields for programs, attributes of the :class:`logging.LogRecord` whose names begin
with ``session_``; ``session_event`` says what the line is about. Neither an outage nor a flood of
forged cookies fills the disk.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from dataclasses import dataclass
from typing import Final

from .limited_log import LimitedLog, fields, log

SETTLED: Final = 10.0
"""Seconds without a failure after which an outage is over, so that one that flickers is one."""

_QUOTED = re.compile(r"""(['"]).*\1 """)


@dataclass
class Outage:
    """An outage that is not known to be over. Times are those of ``time.monotonic``.

    ``answered`` is when the storage answered again after the last failure.
    """

    plug: str
    began: float
    failures: int = 0
    failed_last: float = 0.0
    answered: float = math.inf

    def is_over(self, now: float) -> bool:
        """Tell whether the storage answers, and has not failed for a while."""
        return self.answered <= now and now - self.failed_last >= SETTLED


class PlugLog:
    """Says in the log what happens to one plug, in one process.

    ``outage`` is the one under way. ``outages`` counts those that began, and ``failures`` the
    operations that failed or were not tried because the storage could not be reached.
    """

    def __init__(self) -> None:
        self.outage: Outage | None = None
        self.outages = 0
        self.failures = 0
        self._limited = LimitedLog()
        self._lock = threading.Lock()

    def failed(self, plug: str, operation: str, error: Exception) -> None:
        """Note that an operation failed, or was not tried, as the storage cannot be reached."""
        now = time.monotonic()
        with self._lock:
            before = outage = self.outage
            if outage is None or outage.is_over(now):
                self.outage = outage = Outage(plug, now)
                self.outages += 1
            outage.failures += 1
            outage.failed_last = now
            outage.answered = math.inf
            self.failures += 1
        if outage is before:
            return
        if before is not None:
            self._tell_end(before)
        # No error yet: requests may well do without this storage. Those that cannot say so.
        log.warning(
            "an outage of the session storage %s begins: %s",
            # Not the error itself: a handler that keeps lines would keep what its traceback holds.
            *(plug, str(error)),
            extra=fields("outage_began", plug=plug, operation=operation, error=str(error)),
        )

    def succeeded(self) -> None:
        """Note that the storage has answered. Only needed while there is an outage."""
        now = time.monotonic()
        with self._lock:
            outage = self.outage
            if outage is None:
                return
            outage.answered = min(outage.answered, now)
            if not outage.is_over(now):
                return
            self.outage = None
        self._tell_end(outage)

    def _tell_end(self, outage: Outage) -> None:
        about = {"seconds": outage.answered - outage.began, "operations": outage.failures}
        log.warning(
            "the outage of the session storage %s is over: it lasted %.1f seconds, and %d "
            "operations failed",
            *(outage.plug, *about.values()),
            extra=fields("outage_ended", plug=outage.plug, **about),
        )
        self._limited.tell_left_out()

    def request_failed(self, error: Exception) -> None:
        """Say that a request is answered with 503."""
        self._limited.write(
            logging.ERROR,
            "request_failed",
            "",
            "%s",
            str(error),
            traceback_of=error,
            error=str(error),
        )

    def goes_on(self, without: str, error: Exception) -> None:
        """Say that a request goes on without its session, or without saving it."""
        text = f"going on without {without}: %s"
        self._limited.write(logging.ERROR, "went_on", without, text, str(error), error=str(error))

    def refused_cookie(self, reason: str) -> None:
        """Say that a cookie was refused. Anybody may send any, so that is no warning."""
        self._limited.write(
            logging.INFO, "cookie_refused", reason, "refused a %s", reason, reason=reason
        )

    def refused_record(self, handle: str, reason: str) -> None:
        """Say that a record was refused."""
        self._limited.write(
            logging.WARNING,
            *("record_refused", label(reason)),
            *("refused the record of session %s: %s", handle, reason),
            handle=handle,
            reason=reason,
        )


def label(reason: str) -> str:
    """Return the reason of a refusal without the names in it: one of a few texts."""
    return _QUOTED.sub("", reason)
