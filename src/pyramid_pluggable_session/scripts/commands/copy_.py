"""``psessions INI copy --to PLUG``: copy all sessions to another storage."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from pyramid.config import Configurator

from ...interfaces import IClientSidePlug, IScanPlug
from ...loader import make_plug, show
from ...storage import Storage, describe
from .. import progress
from ..context import Context, UsageError
from ..copying import Copier
from ..promoting import promote_all
from ..records import count_in, read_from, reported

HELP: Final = "copy all sessions to another storage, or what has changed since the last time"
EXAMPLES: Final = (
    "production.ini copy --to redis://localhost:6379/0",
    "production.ini copy --to sqlite:///var/lib/app/sessions.db --mirror",
    "production.ini copy   # with the migration plug: the rest of the old storage",
)

COUNTED: Final = {
    "copied": "copied",
    "updated": "updated",
    "present": "already there",
    "newer": "newer in the target",
    "ended": "ended meanwhile",
    "deleted": "deleted in the target",
    "foreign": "others' in the target",
    "failed": "not copied",
}
"""What becomes of records, as it is told to people."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--to",
        metavar="PLUG",
        help="the target, as in pluggable_session.plug; its options are read from the ini file, "
        "or from its URL",
    )
    parser.add_argument(
        "--mirror",
        action="store_true",
        help="make the target as the application's storage is: also delete what that has no "
        "more. For a target that no site writes to yet; without it, sessions that have ended "
        "since an earlier copy come back",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    progress.configure(parser)


def run(context: Context, args: argparse.Namespace) -> int:
    """Copy, and print what became of the records, also if it ends in the middle."""
    if args.to is None:
        return promote_all(context, args)
    if context.storage.client_side:
        raise UsageError(
            f"The {describe(context.plug)} storage keeps sessions in the browsers, so there is "
            "nothing to copy here."
        )
    if not IScanPlug.providedBy(context.plug):
        raise UsageError(
            f"The {describe(context.plug)} storage cannot list its sessions, so they cannot be "
            "copied from it."
        )
    with _target(context, args.to) as target:
        _check_target(target, mirror=args.mirror)
        copier = Copier(context.store, context.plug, target, mirror=args.mirror)
        if copier.are_the_same():
            raise UsageError(
                f"{show(args.to)} is the storage that the application uses already, so there is "
                "nothing to copy."
            )
        with reported(partial(_print, context, copier)):
            _copy_all(context, copier, target, args)
    return 1 if copier.failed.count else 0


@contextmanager
def _target(context: Context, spec: str) -> Iterator[Any]:
    target = make_plug(Configurator(registry=context.registry), spec)
    try:
        yield target
    finally:
        getattr(target, "close", lambda: None)()


def _check_target(target: Any, *, mirror: bool) -> None:
    name = describe(target)
    if IClientSidePlug.providedBy(target):
        raise UsageError(
            f"The {name} storage keeps sessions in the browsers, so they cannot be copied to it."
        )
    if mirror and not IScanPlug.providedBy(target):
        raise UsageError(
            f"The {name} storage cannot list its sessions, so --mirror cannot delete those that "
            "have ended. Begin with an empty one and leave --mirror out."
        )
    if caution := getattr(read_from(target), "caution", None):
        raise UsageError(f"Copies would end with this command. {caution}")
    if not Storage(target, None).can_swap:
        print(
            f"psessions: the {name} storage cannot compare and swap: what a site writes to it "
            "during the copy may be overwritten",
            file=sys.stderr,
        )


def _copy_all(context: Context, copier: Copier, target: Any, args: argparse.Namespace) -> None:
    for key in progress.shown(
        context.scan(), "copying", partial(count_in, copier.source), quiet=args.quiet
    ):
        copier.copy(key)
    if args.mirror:
        for key in progress.shown(
            Storage(target, None).scan(), "mirroring", partial(count_in, target), quiet=args.quiet
        ):
            copier.remove(key)


def _print(context: Context, copier: Copier, finished: bool) -> None:
    counts = copier.counts
    context.output.data(
        {
            "finished": finished,
            **{name: counts[name] for name in COUNTED},
            "failed_handles": list(copier.failed.first),
        }
    )
    if not context.output.json:
        always = ("copied", "updated", "present")
        context.output.pairs(
            {
                text: f"{counts[name]:,}"
                for name, text in COUNTED.items()
                if counts[name] or name in always
            }
        )
    for line in copier.failed.lines():
        print(line, file=sys.stderr)
