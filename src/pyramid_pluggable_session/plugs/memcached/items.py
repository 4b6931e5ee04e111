"""How memcached names, measures and times what it keeps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ... import clock
from ...errors import SessionTooLarge
from .. import expiry

if TYPE_CHECKING:
    from ...interfaces import Key
    from .connection import Connection

_LONGEST_PREFIX = 250 - 64  # characters
# What memcached adds to a key and a value, in bytes: 59 in version 1.6.
_OVERHEAD = 64
_ALWAYS_FITS = 1024  # bytes: memcached has no smaller limit
_MONTH = 30 * 86400  # seconds; memcached takes more for epoch seconds
_DAY = 86400
# Seconds for memcached's clock, which ticks once a second, and later on a busy machine.
_CLOCK = 5
_LATEST = 2**31 - 1  # epoch seconds; later ones wrap around


def prefix(value: Any) -> str:
    """Convert to the beginning of a name."""
    fits = isinstance(value, str) and 0 < len(value) <= _LONGEST_PREFIX
    if fits and value.isascii() and value.isprintable() and " " not in value:
        return str(value)
    raise ValueError(f"1 to {_LONGEST_PREFIX} printable ASCII characters without spaces")


def item(connection: Connection, name: str, session: Key, data: bytes) -> tuple[str, bytes, int]:
    """Return the name, the value and the expiry to store.

    Raises :class:`~pyramid_pluggable_session.errors.SessionTooLarge` for what the server would
    refuse. It must not come to that: before memcached refuses to set what is too large, it forgets
    what was there.
    """
    around = _OVERHEAD + len(name) + expiry.SIZE
    if around + len(data) > _ALWAYS_FITS and around + len(data) > connection.item_size():
        limit = connection.item_size() - around
        raise SessionTooLarge(
            f"The session has {len(data)} bytes, and this memcached takes no more than {limit}. "
            "Raise its limit (memcached -I), or keep less in the session.",
            len(data),
            limit,
        )
    return name, expiry.stamp(data, session.expires_at), exptime(session.expires_at)


def exptime(expires_at: float | None) -> int:
    """Return when memcached may forget what expires at that moment: never before it."""
    if expires_at is None:
        return 0
    left = expires_at - clock.now()
    if left <= 0:
        return -1
    if (seconds := math.ceil(left) + _CLOCK) <= _MONTH:
        return seconds
    # Epoch seconds are by the server's clock, which may be fast.
    moment = math.ceil(expires_at) + _DAY
    return moment if moment <= _LATEST else 0
