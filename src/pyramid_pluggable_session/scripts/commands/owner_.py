"""``psessions INI owner USER``: a user's sessions, and logging the user out everywhere."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Final

from ... import clock, owners
from ...owners import OwnedSession
from .. import wording
from ..arguments import user
from ..context import Context, UsageError
from ..listing import fitting, print_table
from ..output import Output

HELP: Final = "list the sessions of a user, or end them all"
EXAMPLES: Final = (
    "production.ini owner ada",
    "production.ini owner ada --end",
    "production.ini owner ada --end --yes",
)

_COLUMNS: Final = {"handle": 12, "last seen": 10, "expires": 9, "created": 20, "from": 13}
_TIMES: Final = ("created", "last_seen", "expires_at")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "user", metavar="USER", type=user, help="the user's id, as session.owner has it"
    )
    parser.add_argument("--end", action="store_true", help="end all of them, after a question")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="print JSON, one object on each line")


def run(context: Context, args: argparse.Namespace) -> int:
    """Print the user's sessions, or end them; return 1 if there are none."""
    if args.end and not args.yes and not sys.stdin.isatty():
        raise UsageError("--end asks before it ends anything. Without a terminal, add --yes.")
    try:
        owned = owners.owned_sessions(context.request, args.user)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if not owned:
        print(f"psessions: {args.user!r} has no sessions", file=sys.stderr)
        return 1
    if args.end:
        return _end(context, args, len(owned))
    _print(context.output, owned)
    return 0


def _end(context: Context, args: argparse.Namespace, count: int) -> int:
    if not args.yes and not _agreed(f"End {_sessions(count)} of {args.user!r}? [y/N] "):
        print("Nothing was ended.", file=sys.stderr)
        return 1
    ended = owners.end_owner(context.request, args.user)
    context.output.data({"owner": args.user, "ended": ended})
    context.output.line(f"ended {_sessions(ended)} of {args.user}")
    return 0


def _sessions(count: int) -> str:
    return f"{count} session" + ("s" if count != 1 else "")


def _agreed(question: str) -> bool:
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _print(output: Output, owned: Iterable[OwnedSession]) -> None:
    now = clock.now()
    if output.json:
        for each in owned:
            times = {name: wording.iso(getattr(each, name)) for name in _TIMES}
            output.data({**_without_current(each), **times})
        return
    columns = fitting(_COLUMNS, "from", output.width)
    rows = (
        {
            "handle": each.handle,
            "last seen": wording.distance(each.last_seen, now),
            "expires": wording.distance(each.expires_at, now),
            "created": wording.iso(each.created) or "?",
            "from": " ".join(filter(None, (each.address, each.user_agent))) or "-",
        }
        for each in owned
    )
    print_table(output, columns, ([row[name] for name in columns] for row in rows))


def _without_current(owned: OwnedSession) -> dict[str, Any]:
    # No session is the one of a command.
    return {name: value for name, value in asdict(owned).items() if name != "current"}
