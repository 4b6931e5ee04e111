"""The one place that asks what time it is, so that a test can stop the clock."""

from __future__ import annotations

import time

_time = time.time


def now() -> float:
    """Return the current time in epoch seconds."""
    return _time()
