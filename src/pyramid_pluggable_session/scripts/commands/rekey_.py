"""``psessions INI rekey``: seal all records with the first secret."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from functools import partial
from typing import Final

from ... import clock
from ...errors import SessionTooLarge
from ...keys import SessionKey
from ...record import Kind, Meta, Unreadable
from ...storage import Storage, describe
from ...store import ATTEMPTS, pause
from .. import progress
from ..context import Context, UsageError
from ..records import Expiry, Named, count_in, read_from, reported
from ..wording import moment

HELP: Final = "seal all records as new ones are: with the first secret, encrypted or not"
EXAMPLES: Final = ("production.ini rekey", "production.ini rekey --json")

_COUNTED: Final = {
    "sealed": "sealed anew",
    "current": "as new ones already",
    "ended": "ended meanwhile",
    "failed": "left as they are",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    progress.configure(parser)


def run(context: Context, args: argparse.Namespace) -> int:
    """Seal anew what is sealed otherwise, and print the counts, also if it ends in the middle."""
    if not context.storage.can_swap:
        raise UsageError(
            f"The {describe(context.plug)} storage cannot compare and swap, so what a request "
            "writes at the same moment could be lost. Its records are sealed with the first "
            "secret as they are renewed: leave the old one in place until then."
        )
    rekeyer = Rekeyer(context)
    with reported(partial(_print, context, rekeyer)):
        for key in progress.shown(
            context.scan(), "sealing", partial(count_in, rekeyer.plug), quiet=args.quiet
        ):
            rekeyer.seal(key)
    return 1 if rekeyer.failed.count else 0


class Rekeyer:
    """Seals records one by one."""

    def __init__(self, context: Context) -> None:
        self._store = context.store
        self._expiry = Expiry(context.store)
        self.plug = read_from(context.plug)
        self.counts: Counter[str] = Counter()
        self.failed = Named()
        self.last_end: float | None = 0.0
        """When the last of the sessions ends that were sealed with an old secret."""

    def seal(self, key: SessionKey) -> None:
        """Seal what is stored under a key, unless it is as it should be."""
        self.counts[self._seal(key)] += 1

    def _seal(self, key: SessionKey) -> str:
        for attempt in range(ATTEMPTS):
            sealed = Storage(self.plug, None).loads(key)
            if sealed is None:
                return "ended"
            try:
                record = self._store.unseal(key.session_id, sealed)
            except Unreadable as error:
                return self._fail(key, f"unreadable ({error.reason})")
            if self._store.is_current(sealed):
                return "current"
            anew = self._store.reseal(key.session_id, sealed)
            try:
                # Only over what was read: what has been ended meanwhile does not come back.
                stored = Storage(self.plug, None).swap(self._expiry.key(key, record), sealed, anew)
            except SessionTooLarge as error:
                # An encrypted one has a few bytes more.
                return self._fail(key, str(error))
            if stored:
                if record.kind is Kind.SESSION:
                    self._note(record.meta)
                return "sealed"
            pause(attempt)
        return self._fail(key, f"changed by others in each of {ATTEMPTS} attempts")

    def _note(self, meta: Meta) -> None:
        if self.last_end is None:
            return
        expires_at = self._store.lifetimes.expires_at(meta)
        self.last_end = None if expires_at is None else max(self.last_end, expires_at)

    def _fail(self, key: SessionKey, why: str) -> str:
        self.failed.add(key.session_id, why)
        return "failed"


def _print(context: Context, rekeyer: Rekeyer, finished: bool) -> None:
    output, counts = context.output, rekeyer.counts
    output.data(
        {
            "finished": finished,
            **{name: counts[name] for name in _COUNTED},
            "failed_handles": list(rekeyer.failed.first),
            "cookies_until": rekeyer.last_end,
        }
    )
    if not output.json:
        output.pairs({text: f"{counts[name]:,}" for name, text in _COUNTED.items()})
        if rekeyer.last_end != 0:
            output.wrapped(_about_cookies(rekeyer.last_end))
    for line in rekeyer.failed.lines():
        print(line, file=sys.stderr)


def _about_cookies(last_end: float | None) -> str:
    until = "they do; some have no end"
    if last_end is not None:
        until = f"{moment(last_end, clock.now())}, when the last of them has ended"
    return (
        "The browsers' cookies are signed anew as their users come back. To drop an old secret "
        f"logs out those who have not, so keep it until {until}."
    )
