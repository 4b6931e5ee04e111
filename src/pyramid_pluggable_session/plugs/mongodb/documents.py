"""A record as a document of MongoDB: ``_id``, ``data`` and, if it ends, the date ``expires``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from bson.datetime_ms import DatetimeMS

from ... import clock
from ...errors import SessionTooLarge
from ...keys import SessionKey

if TYPE_CHECKING:
    from ...interfaces import Key

LARGEST: Final = 8 * 1024 * 1024 - 4096
"""Bytes in a record. MongoDB takes 16 MiB in a statement, and a swap has two records in it."""


def document(session: Key, data: bytes) -> dict[str, Any]:
    """Return all of the document but its ``_id``."""
    if len(data) > LARGEST:
        raise SessionTooLarge(
            f"the session has {len(data)} bytes, and MongoDB takes {LARGEST} at most",
            len(data),
            LARGEST,
        )
    if session.expires_at is None:
        return {"data": data}
    # A date has milliseconds: rounded up, as a record must not end early.
    return {"data": data, "expires": DatetimeMS(math.ceil(session.expires_at * 1000))}


def key(found: dict[str, Any]) -> SessionKey:
    """Return the key of a document, of which no more than ``expires`` must be there."""
    date = found.get("expires")
    return SessionKey(found["_id"], None if date is None else int(date) / 1000)


def expired() -> dict[str, Any]:
    """Return the condition that a record has expired."""
    return {"expires": {"$lte": DatetimeMS(math.floor(clock.now() * 1000))}}


def live() -> dict[str, Any]:
    """Return the condition that it has not, which also holds for one without ``expires``."""
    return {"expires": {"$not": expired()["expires"]}}
