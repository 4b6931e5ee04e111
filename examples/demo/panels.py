"""What the page shows of the session: from values to words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any, NamedTuple

from pyramid.csrf import get_csrf_token
from pyramid.interfaces import ISessionFactory

from pyramid_pluggable_session.interfaces import (
    IClientSidePlug,
    IPlugSession,
    IPurgePlug,
    IScanPlug,
    ISwapPlug,
)
from pyramid_pluggable_session.plugs.chain import ChainPlug
from pyramid_pluggable_session.storage import describe

ABILITIES = (
    (ISwapPlug, "swap", "Two requests at once are merged; neither is lost."),
    (IScanPlug, "scan", "Can list the sessions that are alive."),
    (IPurgePlug, "purge", "Deletes expired records on request."),
    (IClientSidePlug, "client side", "The record travels in cookies, encrypted."),
)

NOTES = {
    "_csrft_": "the token in this page's forms, not shown",
    "cart": "changes at any depth are found",
}


class Row(NamedTuple):
    """One line of the session's contents; ``depth`` is 0 for the session's own keys."""

    depth: int
    key: str
    value: str
    type: str
    note: str = ""


def panels(request: Any, under_way: bool = False) -> dict[str, Any]:
    """Return what the panels' templates want.

    ``under_way``: the request that is being answered is shown as well, as far as it has come.
    """
    session = request.session
    token = get_csrf_token(request)  # Before anything is shown: it may be the first thing in there.
    plug = request.registry.getUtility(IPlugSession)
    visits = request.registry.journal.visits(session.handle)
    last_slow = next((visit for visit in visits if visit.path == "/slow"), None)
    if under_way:
        visits.insert(0, replace(request.visit, operations=session.operations))
    return {
        "session": session,
        "csrf_token": token,
        "user": request.identity,
        "storage": _storage_name(plug),
        "abilities": [
            (name, text) for ability, name, text in ABILITIES if ability.providedBy(plug)
        ],
        "merges": ISwapPlug.providedBy(plug),
        "client_side": IClientSidePlug.providedBy(plug),
        "record_size": _record_size(session),
        "cookie_age": _cookie_age(request),
        "rows": list(_rows(session)),
        "cart": session.get("cart", {}),
        "visits": visits,
        "under_way": under_way,
        "last_slow": last_slow,
        "duration": duration,
        "size": size,
        "milliseconds": milliseconds,
        "clock": clock,
    }


def duration(seconds: float) -> str:
    """Say so many seconds in the unit that people would use."""
    units = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))
    unit, length = next((each for each in units if seconds >= each[1]), units[-1])
    count = round(seconds / length)
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


def size(count: int) -> str:
    """Say so many bytes."""
    return f"{count} B" if count < 10_000 else f"{count / 1000:.1f} kB"


def milliseconds(seconds: float) -> str:
    """Say how long something short took."""
    return f"{seconds * 1000:.2f} ms"


def clock(epoch: float) -> str:
    """Say what time it is then. The page's script puts the reader's own time in its place."""
    return datetime.fromtimestamp(epoch, timezone.utc).strftime("%H:%M:%S UTC")


def _storage_name(plug: Any) -> str:
    if isinstance(plug, ChainPlug):
        return "chain: " + " in front of ".join(map(describe, (*plug.front, plug.authority)))
    return describe(plug)


def _record_size(session: Any) -> int | None:
    sizes = [operation.size for operation in session.operations if operation.name == "loads"]
    return sizes[-1] if sizes and sizes[-1] else None


def _cookie_age(request: Any) -> str:
    session = request.session
    if session.persistent:
        age = session.timeout
    elif session.persistent is None:
        age = request.registry.getUtility(ISessionFactory).options["max_age"]
    else:
        age = None
    return "until the browser is closed" if age is None else f"{duration(age)} from the last change"


def _rows(values: Mapping[Any, Any], depth: int = 0) -> Iterator[Row]:
    for key, value in values.items():
        note = NOTES.get(key, "") if depth == 0 else ""
        if isinstance(value, dict):
            yield Row(depth, key, "", f"dict of {len(value)}", note)
            yield from _rows(value, depth + 1)
        elif isinstance(value, list):
            text = ", ".join(map(_text, value))
            yield Row(depth, key, text, f"list of {len(value)}", note)
        else:
            # The token is in the forms anyway, but need not be in screenshots.
            text = "" if key == "_csrft_" else _text(value)
            yield Row(depth, key, text, type(value).__name__, note)


def _text(value: Any) -> str:
    return f"{value:%H:%M:%S}" if isinstance(value, datetime) else str(value)
