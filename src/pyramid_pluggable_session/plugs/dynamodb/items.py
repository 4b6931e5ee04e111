"""How a record is kept as an item of a DynamoDB table, and the conditions to replace one.

``id`` is the session's id, ``data`` the record, ``expires`` the exact epoch seconds until which it
counts, and ``ttl`` the same rounded up to a whole second, some time after which DynamoDB deletes
the item. Without the latter two it never expires.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from ... import clock
from ...errors import SessionTooLarge

if TYPE_CHECKING:
    from ...interfaces import Key

# DynamoDB counts an item's names and values: 64 digits of the id, and up to 21 bytes for a number.
_LARGEST_ITEM: Final = 400 * 1024
LARGEST_RECORD: Final = _LARGEST_ITEM - len("id" + "data" + "expires" + "ttl") - 64 - 2 * 21


def key(session_id: str) -> dict[str, Any]:
    """Return the key of a session's item."""
    return {"id": {"S": session_id}}


def item(session: Key, data: bytes) -> dict[str, Any]:
    """Return a record as an item."""
    made = {**key(session.session_id), "data": {"B": data}}
    if session.expires_at is not None:
        made["expires"] = _number(session.expires_at)
        made["ttl"] = _number(math.ceil(session.expires_at))
    return made


def expires_at(found: dict[str, Any]) -> float | None:
    """Return the epoch seconds until which an item counts, or None for ever."""
    return float(found["expires"]["N"]) if "expires" in found else None


def is_live(until: float | None) -> bool:
    """Tell whether what counts until then counts now."""
    return until is None or until > clock.now()


def condition(expected: bytes | None) -> dict[str, Any]:
    """Return the condition that what is stored is ``expected``; None: that nothing live is."""
    names = {"#expires": "expires"}
    values: dict[str, Any] = {":now": _number(clock.now())}
    if expected is None:
        expression = "attribute_not_exists(#id) OR #expires <= :now"
        names["#id"] = "id"
    else:
        expression = "#data = :expected AND (attribute_not_exists(#expires) OR #expires > :now)"
        names["#data"] = "data"
        values[":expected"] = {"B": expected}
    return {
        "ConditionExpression": expression,
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
    }


def too_large(data: bytes) -> SessionTooLarge:
    """Return the error for a record that an item cannot hold."""
    return SessionTooLarge(
        f"The session has {len(data)} bytes, and DynamoDB takes {LARGEST_RECORD} at most: an item "
        "of 400 KB, less what the other attributes need.",
        len(data),
        LARGEST_RECORD,
    )


def _number(value: float) -> dict[str, str]:
    # The shortest text that reads as the same float, so that nothing is rounded.
    return {"N": repr(value)}
