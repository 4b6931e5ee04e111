"""``psessions INI show HANDLE``: what is in a session."""

from __future__ import annotations

import argparse
import json
from typing import Any, Final

from ... import clock
from ...errors import SessionError
from ...record import DEFAULT, Record, Unreadable
from ...serializers.base import type_name
from .. import wording
from ..context import Context, Found
from ..listing import line_of

HELP: Final = "show a session: what is known of it, and what is in it"
EXAMPLES: Final = (
    "production.ini show 3f2a91c07b55",
    "production.ini show 3f2a",
    "production.ini show 3f2a --reveal",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("handle", metavar="HANDLE", help="the session's, or how it begins")
    parser.add_argument(
        "--reveal", action="store_true", help="show the values, which may be personal or secret"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(context: Context, args: argparse.Namespace) -> int:
    """Print the session. Raise SessionError if there is none, or it cannot be read."""
    found = context.find([args.handle])[args.handle]
    if found is None:
        raise SessionError(f"there is no session {args.handle}")
    if isinstance(found.record, Unreadable):
        raise SessionError(
            f"the session {found.handle} cannot be read: {found.record} "
            f"({wording.size(len(found.sealed))}). Was it sealed with a secret that is not in "
            "pluggable_session.secret any more?"
        )
    content = _content(context, found)
    about = _about(context, found, found.record)
    output = context.output
    if output.json:
        output.data({**about, "content": _as_json(content, args.reveal)})
        return 0
    output.pairs(about)
    output.line()
    names = [output.printable(str(key)) for key in content]
    width = max(map(len, names), default=0)
    for name, value in zip(names, content.values(), strict=True):
        shown = f": {value!r}" if args.reveal else ""
        output.wrapped(_kind(value) + shown, f"{name:<{width}}  ", "    ")
    if not content:
        output.line("(nothing in it)")
    elif not args.reveal:
        output.wrapped("(--reveal shows the values)")
    return 0


def _content(context: Context, found: Found) -> dict[str, Any]:
    try:
        stored = context.load_session(found.key.session_id)
        if stored is not None:
            return stored.state()
    except Unreadable as error:
        raise SessionError(f"the session {found.handle} cannot be read: {error}") from None
    raise SessionError(f"the session {found.handle} has just ended")


def _about(context: Context, found: Found, record: Record) -> dict[str, Any]:
    line, meta, now = line_of(context, found), record.meta, clock.now()
    timeout = context.store.lifetimes.timeout(meta)
    current = context.store.is_current(found.sealed)
    if context.output.json:
        return {
            **line.as_json(),
            "timeout": timeout,
            "persistent": meta.persistent,
            "serializer": record.serializer,
            "sealed_as_new_ones": current,
        }
    own = "" if meta.timeout is DEFAULT else " (its own)"
    return {
        "handle": line.handle,
        "owner": "nobody" if line.owner is None else line.owner,
        "created": wording.moment(line.created, now),
        "last seen": wording.moment(line.last_seen, now),
        "expires": wording.moment(line.expires_at, now),
        "timeout": ("none" if timeout is None else wording.duration(timeout)) + own,
        "persistent": {None: "as configured", True: "yes", False: "no"}[meta.persistent],
        "size": wording.size(line.size),
        "serializer": record.serializer,
        "sealed": "as new ones are" if current else "in an old way; see psessions INI rekey",
    }


def _kind(value: Any) -> str:
    """Return the type of a value, and how many things are in it."""
    name = type_name(value)
    return f"{name}, {len(value)}" if hasattr(value, "__len__") else name


def _as_json(content: dict[str, Any], reveal: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for key, value in content.items():
        shown[str(key)] = {"type": type_name(value)}
        if hasattr(value, "__len__"):
            shown[str(key)]["length"] = len(value)
        if reveal:
            shown[str(key)]["value"] = _json_value(value)
    return shown


def _json_value(value: Any) -> Any:
    """Return a value that JSON has, or what Python calls it."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return repr(value)
    return value
