"""``psessions INI purge``: delete the expired records, for cron."""

from __future__ import annotations

import argparse
from typing import Final

from ...interfaces import IPurgePlug
from ...storage import describe
from ..context import Context, UsageError

HELP: Final = "delete expired records, and say how many if there were any"
EXAMPLES: Final = ("production.ini purge", "production.ini purge --json")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--json", action="store_true", help="print JSON, also if there were none")


def run(context: Context, args: argparse.Namespace) -> int:
    """Purge. Storages whose engine does that by itself have nothing to do, and say nothing."""
    if not IPurgePlug.providedBy(context.plug):
        where = (
            "in the browsers, which delete them when they expire"
            if context.storage.client_side
            else "where it cannot find those that have expired; see what its engine does with them"
        )
        raise UsageError(
            f"There is nothing to purge: the {describe(context.plug)} storage keeps sessions "
            f"{where}."
        )
    purged = context.storage.purge()
    if purged:
        context.output.line(f"{purged} expired {'record' if purged == 1 else 'records'} deleted")
    context.output.data({"purged": purged})
    return 0
