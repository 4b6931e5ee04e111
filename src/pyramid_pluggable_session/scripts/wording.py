"""How times and sizes are told to people."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86400
_THOUSAND: Final = 1000


def iso(moment: float | None) -> str | None:
    """Return a moment (epoch seconds) in UTC, to the second; None for none."""
    if moment is None or not math.isfinite(moment):
        return None
    try:
        return (_EPOCH + timedelta(seconds=int(moment))).strftime("%Y-%m-%dT%H:%M:%SZ")
    except OverflowError:
        return None


def distance(moment: float | None, now: float) -> str:
    """Return how far away a moment is, in at most ten characters."""
    if moment is None or not math.isfinite(moment):
        return "never"
    span = duration(abs(moment - now))
    return f"{span} ago" if moment <= now else f"in {span}"


def moment(at: float | None, now: float) -> str:
    """Return a moment and how far away it is."""
    text = iso(at)
    return "never" if text is None else f"{text} ({distance(at, now)})"


def duration(seconds: float) -> str:
    """Return a number of seconds in the largest unit of which there are two, or nearly."""
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    if seconds < 2 * _DAY:
        return f"{seconds / _HOUR:.0f} h"
    return f"{seconds / _DAY:.0f} d"


def size(count: int) -> str:
    """Return a number of bytes, in at most seven characters."""
    if count < _THOUSAND:
        return f"{count} B"
    value = float(count)
    units = iter(("KiB", "MiB", "GiB", "TiB"))
    unit = "B"
    while value >= _THOUSAND:
        value, unit = value / 1024, next(units)
    return f"{value:.0f} {unit}" if value >= 9.95 else f"{value:.1f} {unit}"  # noqa: PLR2004
