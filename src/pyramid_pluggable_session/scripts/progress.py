"""How far long work has come: a bar on a terminal, a line now and then in a pipe."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TextIO, TypeVar

_T = TypeVar("_T")

BAR_AFTER: Final = 1.0
"""Seconds of work that nothing is shown of, nor of work that is done by then."""

BAR_EVERY: Final = 0.2
"""Seconds between two looks of the bar."""

LINE_EVERY: Final = 10.0
"""Seconds between two lines where there is no terminal, or no tqdm for the bar."""

_NARROW: Final = 60
_WIDE_BAR: Final = "{l_bar}{bar}| {n_fmt}/{total_fmt}, {rate_fmt}, {remaining} left"
_NARROW_BAR: Final = "{percentage:3.0f}% {bar} {remaining} left"
_WITHOUT_TOTAL: Final = "{desc}: {n_fmt}, {rate_fmt}, {elapsed}"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the argument of a command that shows its progress."""
    parser.add_argument("-q", "--quiet", action="store_true", help="do not show the progress")


def shown(
    items: Iterable[_T],
    what: str,
    total: Callable[[], int | None],
    *,
    quiet: bool = False,
    stream: TextIO | None = None,
) -> Iterator[_T]:
    """Yield the items, and show on standard error, or ``stream``, how far that has come.

    ``what`` says what is being done. ``total`` returns about how many items there are, None if
    that is not known; it is not called if nothing is shown.
    """
    stream = sys.stderr if stream is None else stream
    if quiet:
        return iter(items)
    bar = _bar_class() if stream.isatty() else None
    if bar is None:
        return _with_lines(items, what, total, stream)
    return _with_bar(bar, items, what, total(), stream)


def _with_bar(
    bar_class: Any, items: Iterable[_T], what: str, total: int | None, stream: TextIO
) -> Iterator[_T]:
    narrow = shutil.get_terminal_size().columns < _NARROW
    bar_format = _WITHOUT_TOTAL if total is None else _NARROW_BAR if narrow else _WIDE_BAR
    with bar_class(
        desc=what, total=total, bar_format=bar_format, unit="", unit_scale=True, file=stream,
        delay=BAR_AFTER, dynamic_ncols=True, mininterval=BAR_EVERY, miniters=1, leave=False,
    ) as bar:  # fmt: skip
        for item in items:
            yield item
            bar.update()


def _with_lines(
    items: Iterable[_T], what: str, total: Callable[[], int | None], stream: TextIO
) -> Iterator[_T]:
    began = time.monotonic()
    due = began + LINE_EVERY
    of = None
    for done, item in enumerate(items):
        now = time.monotonic()
        if now >= due:
            due = now + LINE_EVERY
            if of is None:
                of = f" of about {most}" if (most := total()) else ""
            rate = done / (now - began)
            print(f"{what}: {done}{of}, {rate:.0f} a second", file=stream, flush=True)
        yield item


def _bar_class() -> Any:
    """Return tqdm's class; None if it is not installed, which is no reason to do without work."""
    try:
        from tqdm import tqdm  # noqa: PLC0415 (an extra)
    except ImportError:
        return None

    class Bar(tqdm):  # type: ignore[type-arg]  # only generic for type checkers
        # No thread that looks after a bar that is not updated: this one is, with each record.
        monitor_interval = 0

    return Bar
