"""The end of a migration: what nobody has used meanwhile is moved, too."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from functools import partial

from ..errors import SessionTooLarge
from ..plugs.migration import MigrationPlug
from . import progress
from .context import Context, UsageError
from .records import Named, count_in, read_from, reported


def promote_all(context: Context, args: argparse.Namespace) -> int:
    """Let the migration plug move what its old storage still has."""
    plug = context.plug
    if not isinstance(plug, MigrationPlug):
        raise UsageError(
            "Say where to copy the sessions to: --to PLUG. (Without it, copy moves what the old "
            "storage of the migration plug still has, and that is not what the application uses.)"
        )
    moved: Counter[bool] = Counter()
    failed = Named()

    def report(finished: bool) -> None:
        output = context.output
        output.data(
            {
                "finished": finished,
                "moved": moved[True],
                "ended": moved[False],
                "failed": failed.count,
                "failed_handles": list(failed.first),
            }
        )
        if not output.json:
            pairs = {"moved": moved[True], "ended meanwhile": moved[False]}
            if failed.count:
                pairs["not moved"] = failed.count
            output.pairs({name: f"{count:,}" for name, count in pairs.items()})
        for line in failed.lines():
            print(line, file=sys.stderr)

    with reported(report):
        for key in progress.shown(
            plug.unpromoted(),
            "moving",
            partial(count_in, read_from(plug.old)),
            quiet=args.quiet,
        ):
            try:
                moved[plug.promote(key)] += 1
            except SessionTooLarge as error:
                failed.add(key.session_id, str(error))
    return 1 if failed.count else 0
