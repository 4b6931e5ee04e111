"""Sessions as lines of a table, or as JSON."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from .. import clock
from ..record import Kind, Record, Unreadable
from . import wording
from .context import Context, Found
from .output import Output

_COLUMNS: Final = {
    "handle": 12, "owner": 12, "last seen": 10, "expires": 9, "size": 7, "created": 20,
}  # fmt: skip
"""Names and widths. Where there is no room for all, the last ones are left out."""

_GAP: Final = 2
_WIDEST: Final = 30
_KINDS: Final = {"owner": "index of an owner"}


class Line(NamedTuple):
    """A session in a list. Times are epoch seconds, None for what is not known."""

    handle: str
    kind: str
    owner: str | None
    created: float | None
    last_seen: float | None
    expires_at: float | None
    size: int
    problem: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it for programs, with times in UTC."""
        times = {name: wording.iso(getattr(self, name)) for name in _TIMES}
        return {**self._asdict(), **times}


_TIMES: Final = ("created", "last_seen", "expires_at")


def line_of(context: Context, found: Found) -> Line:
    """Return a record as a line."""
    record, size = found.record, len(found.sealed)
    if isinstance(record, Unreadable):
        expires_at = found.key.expires_at
        return Line(found.handle, "unreadable", None, None, None, expires_at, size, str(record))
    meta = record.meta
    expires_at = found.key.expires_at
    if record.kind is Kind.SESSION:
        expires_at = context.store.lifetimes.expires_at(meta)
    return Line(
        found.handle,
        record.kind.name.lower(),
        meta.owner,
        meta.created,
        meta.renewed,
        expires_at,
        size,
    )


def is_over(context: Context, record: Record, now: float) -> bool:
    """Tell whether a session has ended, and is only kept for a moment more."""
    return (
        record.kind is Kind.SESSION and context.store.lifetimes.ended(record.meta, now) is not None
    )


def print_lines(output: Output, lines: Iterable[Line]) -> int:
    """Print sessions as they come; return how many they were."""
    count = 0
    columns = fitting(_COLUMNS, "owner", output.width)

    def rows() -> Iterator[list[str]]:
        nonlocal count
        for count, line in enumerate(lines, 1):  # noqa: B007 (it is what is returned)
            if output.json:
                output.data(line.as_json())
            else:
                yield _cells(output, columns, line)

    print_table(output, columns, rows())
    return count


def print_table(output: Output, columns: Mapping[str, int], rows: Iterable[Sequence[str]]) -> None:
    """Print rows as they come, in columns of these names and widths; nothing of it as JSON."""
    if output.json:
        deque(rows, maxlen=0)
    else:
        output.table([f"{name:<{width}}" for name, width in columns.items()], rows)


def fitting(columns: Mapping[str, int], elastic: str, width: int) -> dict[str, int]:
    """Return the columns that there is room for, the first ones, with their widths.

    What is left goes to the ``elastic`` one.
    """
    fit = dict(columns)
    while len(fit) > 1 and _width(fit) > width:
        fit.popitem()
    if elastic in fit:
        fit[elastic] = min(fit[elastic] + max(width - _width(fit), 0), _WIDEST)
    return fit


def _width(columns: Mapping[str, int]) -> int:
    return sum(columns.values()) + _GAP * (len(columns) - 1)


def _cells(output: Output, columns: Mapping[str, int], line: Line) -> list[str]:
    now = clock.now()
    cells = {
        "handle": line.handle,
        "owner": _fit(output, _owner(line), columns.get("owner", 1)),
        "last seen": "?" if line.last_seen is None else wording.distance(line.last_seen, now),
        "expires": wording.distance(line.expires_at, now),
        "size": wording.size(line.size),
        "created": wording.iso(line.created) or "?",
    }
    return [cells[name] for name in columns]


def _fit(output: Output, text: str, width: int) -> str:
    # In a pipe nothing is cut: somebody may search for it.
    return output.cut(text, width) if output.on_terminal else text


def _owner(line: Line) -> str:
    if line.problem is not None:
        return f"({line.problem})"
    if line.kind != "session":
        return f"({_KINDS.get(line.kind, line.kind)})"
    return "-" if line.owner is None else line.owner
