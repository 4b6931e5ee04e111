"""``psessions INI list``: the sessions that there are."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterable, Iterator
from typing import Final

from ... import clock
from ...record import Unreadable
from ..arguments import user
from ..context import Context, Found, UsageError, is_session
from ..listing import Line, is_over, line_of, print_lines

HELP: Final = "list the sessions, as the storage comes by them"
EXAMPLES: Final = (
    "production.ini list",
    "production.ini list --limit 20",
    "production.ini list --owner ada",
    "production.ini list --json | jq -r .handle",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--owner", metavar="USER", type=user, help="those of this user only")
    parser.add_argument("--limit", metavar="N", type=int, help="no more than so many")
    parser.add_argument(
        "--all",
        action="store_true",
        help="other records as well: marks of sessions that moved or were ended, owners' indexes",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, one object on each line")


def run(context: Context, args: argparse.Namespace) -> int:
    """Print a line for each session."""
    if args.limit is not None and args.limit < 1:
        raise UsageError("--limit must be 1 or more.")
    lines = itertools.islice(_lines(context, context.records(), args), args.limit)
    if print_lines(context.output, lines) == 0:
        caution = getattr(context.plug, "caution", None)
        print("No sessions." + (f" {caution}" if caution else ""), file=sys.stderr)
    return 0


def _lines(context: Context, records: Iterable[Found], args: argparse.Namespace) -> Iterator[Line]:
    for found in records:
        record = found.record
        if not args.all:
            if not is_session(found):
                continue
            if not isinstance(record, Unreadable) and is_over(context, record, clock.now()):
                continue
        line = line_of(context, found)
        if args.owner is None or line.owner == args.owner:
            yield line
