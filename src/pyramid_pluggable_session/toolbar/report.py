"""What is known of a session when its request is over, as texts and numbers without values."""

from __future__ import annotations

import time
from collections.abc import Sized
from typing import Any, Final, NamedTuple

from .. import clock
from ..credentials import hide_credentials
from ..keys import handle
from ..serializers import Serializer
from ..store import Outcome
from ..visit import Visit

_DROPPED: Final = {
    Outcome.ENDED: "no: another request ended the session, so the changes were dropped",
    Outcome.MOVED: "no: the session goes on under another id, so the changes were dropped",
    Outcome.UNAVAILABLE: "no: the storage could not be reached, so the changes were dropped",
}

_AFTER_A_LOST_SWAP: Final = (
    ("swap", "loads", "swap"),
    ("swap", "loads", "loads", "swap", "swap"),
    ("swap", "loads"),
)
"""The last operations of a save that found what another request had stored meanwhile."""


class Key(NamedTuple):
    """A key of the session. ``size`` is what it adds to the record in bytes; None if it cannot."""

    name: str
    kind: str
    size: int | None
    change: str


def summary_of(visit: Visit) -> list[tuple[str, str]]:
    """Return what became of the session, as names and texts."""
    summary = [("Session", _origin(visit)), ("Stored", _stored(visit))]
    stored = visit.outcome is Outcome.STORED
    came_with = visit.found.session_id
    sizes = [each.size for each in visit.operations if each.size]
    if stored or not visit.new:
        summary.insert(0, ("Handle", handle(visit.session_id)))
        if not visit.new and came_with is not None and came_with != visit.session_id:
            # The last one that was written is the mark under the former id.
            sizes.clear()
            summary.append(("Id", f"new; before, the handle was {handle(came_with)}"))
    if stored and not visit.new and _has_merged(visit):
        summary.append(("Merged", "yes, another request had stored changes meanwhile"))
    if visit.conflicts:
        keys = ", ".join(visit.conflicts)
        summary.append(("Conflicts", f"{keys}: another request's values were overwritten"))
    if sizes and (stored or not visit.new):
        summary.append(("Record", f"{sizes[-1]} bytes"))
    summary.append(("Ends", _end(visit)))
    if visit.meta.persistent is not None:
        outlives = "outlives" if visit.meta.persistent else "ends with"
        summary.append(("Cookie", f"{outlives} the browser"))
    return summary


def _origin(visit: Visit) -> str:
    if visit.rejected is not None:
        return f"new: what the client came with was refused ({visit.rejected})"
    if visit.moved:
        return "none: the client came with an id that was given up a moment ago"
    if visit.ended:
        return "ended by the application"
    if not visit.new:
        return "loaded"
    if visit.found.session_id is None:
        return "new: the client came without one"
    return "new: there was none any more, or none could be read, for the client's id"


def _stored(visit: Visit) -> str:
    if visit.outcome is None:
        if visit.changed_keys():
            return "no: the request failed"
        return "no, as nothing changed"
    if visit.outcome is not Outcome.STORED:
        return _DROPPED[visit.outcome]
    if visit.new:
        return "yes, for the first time"
    return "yes" if visit.changed_keys() else "yes: nothing changed, but the session was renewed"


def _has_merged(visit: Visit) -> bool:
    names = tuple(each.name for each in visit.operations)
    return any(names[-len(last) :] == last for last in _AFTER_A_LOST_SWAP)


def _end(visit: Visit) -> str:
    at = visit.expires_at
    if at is None:
        return "never"
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    return f"{when}, in {at - clock.now():.0f} seconds, unless it is renewed"


def operations_of(visit: Visit) -> list[dict[str, Any]]:
    """Return what was done to the storage, oldest first; times in milliseconds."""
    return [
        {
            "name": each.name,
            "size": each.size,
            "milliseconds": f"{each.seconds * 1000:.2f}",
            "error": each.error or "",
        }
        for each in visit.operations
    ]


def keys_of(visit: Visit, serializer: Serializer) -> list[Key]:
    """Return the keys as the request left them, and those that it removed."""
    changed = set(visit.changed_keys())
    empty = len(serializer.dumps({}))
    keys = []
    for name, value in visit.state.items():
        try:
            size = len(serializer.dumps({name: value})) - empty
        except Exception:  # whatever the serializer of an application says of a bad value
            size = None
        keys.append(Key(name, _kind(value), size, "changed" if name in changed else ""))
        changed.discard(name)
    return keys + [Key(name, "", 0, "removed") for name in sorted(changed)]


def _kind(value: Any) -> str:
    kind = type(value).__qualname__
    return f"{kind} of {len(value)}" if isinstance(value, Sized) else kind


def options_of(introspector: Any) -> list[tuple[str, str]]:
    """Return the options of the plug without secrets, as Pyramid's introspection has them."""
    shown: list[tuple[str, str]] = []
    for item in introspector.get_category("session plug", ()):
        options = item["introspectable"].get("options", {})
        shown += [(name, _text(value)) for name, value in options.items()]
    return shown


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_text, value))
    if value is None or isinstance(value, (str, int, float)):
        return hide_credentials(str(value))
    # An object of the application's own; what it prints is not known.
    return f"({type(value).__qualname__})"
