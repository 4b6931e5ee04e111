"""Log lines with fields, of which only so many a minute are written; the others are counted."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import Any, Final

log = logging.getLogger("pyramid_pluggable_session")

LINES: Final = 5
"""So many lines of one kind are written in a period."""

PERIOD: Final = 60.0
"""Seconds after which as many again are written."""


@dataclass
class _Kind:
    """The lines of one kind in one period."""

    level: int
    began: float
    lines: int = 0
    left_out: int = 0


class LimitedLog:
    """Writes few lines of each kind, and then how many more there were.

    A kind is an event, and a sort where the event has sorts. Both are of few values: what a client
    sends is in neither.
    """

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str], _Kind] = {}
        self._lock = threading.Lock()

    def write(
        self,
        level: int,
        event: str,
        sort: str,
        text: str,
        *args: Any,
        traceback_of: Exception | None = None,
        **about: Any,
    ) -> None:
        """Write a line unless there were many of its kind; with a traceback only once a period."""
        if not log.isEnabledFor(level):
            return
        self.tell_left_out(PERIOD)
        with self._lock:
            kind = self._kinds.setdefault((event, sort), _Kind(level, time.monotonic()))
            if kind.lines == LINES:
                kind.left_out += 1
                return
            kind.lines += 1
            # Those of a minute are much alike, and each is as long as fifty lines.
            exc_info = traceback_of if kind.lines == 1 else None
        log.log(level, text, *args, exc_info=exc_info, extra=fields(event, **about))

    def tell_left_out(self, age: float = 0.0) -> None:
        """Write how many lines were left out of the periods that began ``age`` seconds ago."""
        told = []
        with self._lock:
            now = time.monotonic()
            for (event, sort), kind in list(self._kinds.items()):
                seconds = now - kind.began
                if kind.left_out and seconds >= age:
                    name = f"{event} ({sort})" if sort else event
                    told.append((kind.level, name, kind.left_out, seconds))
                    kind.left_out = 0
                if seconds >= PERIOD:
                    del self._kinds[event, sort]
        for level, name, count, seconds in told:
            log.log(
                level,
                "left out %d more lines of %s in %.0f seconds",
                *(count, name, seconds),
                extra=fields("lines_left_out", of=name, count=count, seconds=seconds),
            )


def fields(event: str, **about: Any) -> dict[str, Any]:
    """Return the fields of a line, for ``extra``."""
    return {"session_event": event, **{f"session_{name}": value for name, value in about.items()}}
