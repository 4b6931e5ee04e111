"""Records as entities of Datastore."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final

from google.api_core.exceptions import BadRequest
from google.cloud.datastore import Entity

from ... import clock
from ...errors import SessionTooLarge

if TYPE_CHECKING:
    from ...interfaces import Key

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LAST: Final = datetime.max.replace(tzinfo=timezone.utc)

_PROPERTY_LIMIT: Final = 1_048_487  # bytes
_ENTITY_LIMIT: Final = 1_048_572  # bytes
# What counts of an entity beside its data and the names of its kind and namespace; it is about 190.
_BESIDES: Final = 256
_TOO_LARGE: Final = re.compile("longer than|too (big|large)|maximum .*size", re.IGNORECASE)

_Entity: Any = Entity  # comes without type hints


def make_entity(key: Any, session: Key, data: bytes) -> Any:
    """Return the entity for a record.

    It has no ``expires`` if the session does not expire: an index holds no entity that lacks the
    property, so no query for expired ones can find it.
    """
    if len(data) > size_limit(key):
        raise _too_large(key, data)
    entity: Any = _Entity(key, exclude_from_indexes=("data",))
    entity["data"] = bytes(data)
    if session.expires_at is not None:
        entity["expires"] = moment(session.expires_at)
    return entity


def size_limit(key: Any) -> int:
    """Return how many bytes the record at a key may have."""
    names = len(key.kind.encode()) + len((key.namespace or "").encode())
    return min(_PROPERTY_LIMIT, _ENTITY_LIMIT - _BESIDES - names)


@contextlib.contextmanager
def size_refused(entity: Any) -> Iterator[None]:
    """Make ours of the error in which Datastore finds an entity too large after all."""
    try:
        yield
    except BadRequest as error:
        if _TOO_LARGE.search(str(error)) is None:
            raise
        raise _too_large(entity.key, entity["data"]) from None


def _too_large(key: Any, data: bytes) -> SessionTooLarge:
    limit = size_limit(key)
    return SessionTooLarge(
        f"The session is too large for Datastore: its record has {len(data)} bytes, and an entity "
        f"can have {limit} of data.",
        len(data),
        limit,
    )


def moment(seconds: float) -> datetime:
    """Return epoch seconds as Datastore keeps them: in whole microseconds, here rounded up."""
    try:
        return _EPOCH + timedelta(microseconds=math.ceil(seconds * 1_000_000))
    except OverflowError:
        return _LAST


def expires_at(entity: Any) -> float | None:
    """Return the epoch seconds at which the record expires, or None for never."""
    expires = entity.get("expires")
    return None if expires is None else (expires - _EPOCH) / timedelta(seconds=1)


def is_live(entity: Any) -> bool:
    """Tell whether the record has not expired."""
    expires = expires_at(entity)
    return expires is None or expires > clock.now()


def live_data(found: list[Any]) -> bytes | None:
    """Return the data of what was found, or None when that is nothing or has expired."""
    for entity in found:
        if is_live(entity):
            data: bytes = entity["data"]
            return data
    return None
