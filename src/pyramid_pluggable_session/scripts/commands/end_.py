"""``psessions INI end HANDLE...``: log sessions out."""

from __future__ import annotations

import argparse
import sys
from typing import Final

from ...record import Unreadable
from ..context import Context

HELP: Final = "end sessions: the next click in each is anonymous"
EXAMPLES: Final = (
    "production.ini end 3f2a91c07b55",
    "production.ini end 3f2a 91c0",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "handles", metavar="HANDLE", nargs="+", help="a session's, or how it begins"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, one object on each line")


def run(context: Context, args: argparse.Namespace) -> int:
    """End the sessions and say which; return 1 if there is one that was not found."""
    missing = 0
    output = context.output
    for name, found in context.find(args.handles).items():
        if found is None:
            missing += 1
            output.data({"handle": name, "ended": False, "owner": None})
            print(f"psessions: there is no session {name}", file=sys.stderr)
            continue
        # With a mark in its place: what a request is doing with it at this moment is dropped.
        context.store.end(context.storage, found.key.session_id)
        owner = None if isinstance(found.record, Unreadable) else found.record.meta.owner
        output.data({"handle": found.handle, "ended": True, "owner": owner})
        output.line(f"ended {found.handle}" + (f" of {owner}" if owner is not None else ""))
    return int(missing > 0)
