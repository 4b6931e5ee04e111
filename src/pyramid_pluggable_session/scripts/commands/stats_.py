"""``psessions INI stats``: how many sessions are stored, how large and how old."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from ...keys import SessionKey
from ...record import Kind
from ...storage import Storage
from .. import progress
from ..census import Census, Distribution
from ..context import Context
from ..records import count_in, read_from, stored_in
from ..wording import duration, size

HELP: Final = "count what is stored, and tell how large and how old it is"
EXAMPLES: Final = ("production.ini stats", "production.ini stats --json | jq .sessions")

_KINDS: Final = {
    Kind.SESSION: ("sessions", "sessions"),
    Kind.OWNER: ("owner_indexes", "owners' indexes"),
    Kind.MOVED: ("moved_marks", "moved marks"),
    Kind.ENDED: ("ended_marks", "ended marks"),
    Kind.IMPORTED: ("imported_marks", "imported marks"),
}
"""What the kinds of records are called in JSON, and by people."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    progress.configure(parser)


def run(context: Context, args: argparse.Namespace) -> int:
    """Read all records and print what there is of them."""
    plug = read_from(context.plug)
    census = Census(context.store, context.factory.options)
    for key in progress.shown(context.scan(), "reading", partial(count_in, plug), quiet=args.quiet):
        # A new storage each time: it notes what is done with it.
        sealed = Storage(plug, None).loads(SessionKey(key.session_id, None))
        if sealed is not None:
            census.add(key.session_id, sealed)
    _, expired = stored_in(plug)
    if context.output.json:
        context.output.data(_as_json(census, expired))
    else:
        context.output.pairs(_as_text(census, expired))
    return 0


def _as_json(census: Census, expired: int | None) -> dict[str, Any]:
    return {
        "records": census.records,
        **{name: census.kinds[kind] for kind, (name, _) in _KINDS.items()},
        "unreadable": census.unreadable.total(),
        "unreadable_because": dict(census.unreadable),
        "unreadable_handles": list(census.named.first),
        "bytes": census.bytes,
        "over": census.over,
        "expired": expired,
        "secrets": dict(census.secrets),
        "encrypted": census.encrypted,
        "serializers": dict(census.serializers),
        "age": _distribution(census.age),
        "size": _distribution(census.size),
    }


def _distribution(distribution: Distribution) -> dict[str, Any]:
    quantiles = distribution.quantiles()
    return {
        **{name: None if each is None else round(each) for name, each in quantiles.items()},
        "counts": [
            {"up_to": bound, "count": count} for bound, count in distribution.counts().items()
        ],
    }


def _as_text(census: Census, expired: int | None) -> dict[str, str]:
    pairs = {text: f"{census.kinds[kind]:,}" for kind, (_, text) in _KINDS.items()}
    pairs["unreadable"] = f"{census.unreadable.total():,}"
    for reason, count in census.unreadable.most_common():
        pairs[f"  {reason}"] = f"{count:,}"
    for name, why in census.named.first.items():
        pairs[f"  {name}"] = why
    pairs["bytes"] = f"{census.bytes:,}"
    # Storages keep a record a little longer than its session lives.
    pairs["over, still stored"] = f"{census.over:,}"
    pairs["expired, not purged"] = "not known" if expired is None else f"{expired:,}"
    for number, count in census.secrets.items():
        what = "secret 1, seals new" if number == 1 else f"secret {number}"
        pairs[what] = f"{count:,}"
    pairs["encrypted"] = f"{census.encrypted:,}"
    for name, count in census.serializers.most_common():
        pairs[f"as {name}"] = f"{count:,}"
    if census.kinds[Kind.SESSION]:
        pairs |= _distribution_as_text("age", census.age, duration)
        pairs |= _distribution_as_text("size", census.size, size)
    return pairs


def _distribution_as_text(
    what: str, distribution: Distribution, in_words: Callable[[int], str]
) -> dict[str, str]:
    pairs = {
        f"{what}, {name}": in_words(round(number or 0))
        for name, number in distribution.quantiles().items()
    }
    total = distribution.count
    last = 0
    for bound, count in distribution.counts().items():
        where = f"above {in_words(last)}" if bound is None else f"up to {in_words(bound)}"
        last = bound or last
        if count:
            pairs[f"{what} {where}"] = f"{count:<12,} {count / total:4.0%}"
    return pairs
