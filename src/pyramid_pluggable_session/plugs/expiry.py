"""The header that says until when a record counts, for storages that know no expiry themselves."""

from __future__ import annotations

import math
import struct

from .. import clock

_HEADER = struct.Struct(">d")
SIZE = _HEADER.size


def stamp(data: bytes, expires_at: float | None) -> bytes:
    """Return ``data`` behind a header of 8 bytes: epoch seconds as a double, infinity for never."""
    return _HEADER.pack(math.inf if expires_at is None else expires_at) + data


def expires(stamped: bytes) -> float | None:
    """Return the epoch seconds that the header names, or None for never."""
    if len(stamped) < SIZE:
        # Torn by a loss of power. See `live` for why it does not count as expired.
        return None
    (moment,) = _HEADER.unpack_from(stamped)
    return None if moment == math.inf else moment


def is_live(stamped: bytes) -> bool:
    """Tell whether the moment that the header names is still to come."""
    if len(stamped) < SIZE:
        return True
    (moment,) = _HEADER.unpack_from(stamped)
    return bool(moment > clock.now())


def live(stamped: bytes) -> bytes | None:
    """Return the data behind the header, or None when it has expired.

    What is too short for a header was torn. To call it absent would hide the damage, and to call it
    an outage would lock its user out for good; as the bytes that it is, which no sealed record
    equals, it is found unreadable, logged and cleared like any damaged record.
    """
    if len(stamped) < SIZE:
        return b"torn:" + stamped
    return stamped[SIZE:] if is_live(stamped) else None
