"""A real round trip to a storage, with a record of its own, and what it tells of itself."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final, NamedTuple

from ..errors import PlugUnavailable
from ..keys import SessionKey, new_session_id
from ..storage import Storage, explain

_ROUNDS: Final = 5
_LIVES: Final = 60.0  # seconds, if we are killed before it is deleted
_BYTES: Final = 512


class Wrong(Exception):
    """The storage did not do what it was asked to. The message says what."""


class Latencies(NamedTuple):
    """How long operations took, in seconds: the first one, with connecting, and medians by name."""

    first: float
    medians: dict[str, float]


def round_trips(storage: Storage) -> Latencies:
    """Store, read, change and delete records under random ids; return how long that took.

    Raises PlugUnavailable, or Wrong if the storage does not do as it is told.
    """
    for _ in range(_ROUNDS):
        key = SessionKey(new_session_id(), time.time() + _LIVES)
        try:
            _round_trip(storage, key)
        except PlugUnavailable:
            # Not asked once more, which may take long: what it may have stored expires by itself.
            raise
        except BaseException:
            with suppress(Exception):  # it is in the way of what went wrong
                storage.clear(key)
            raise
    operations = storage.operations
    names = dict.fromkeys(each.name for each in operations)
    return Latencies(
        operations[0].seconds,
        {
            name: statistics.median(each.seconds for each in operations if each.name == name)
            for name in names
        },
    )


def _round_trip(storage: Storage, key: SessionKey) -> None:
    first, second, other = (os.urandom(_BYTES) for _ in range(3))
    storage.dumps(key, first)
    _expect(storage.loads(key) == first, "what was stored did not come back as it was")
    if storage.can_swap:
        _expect(storage.swap(key, first, second), "a swap was refused")
        _expect(not storage.swap(key, first, other), "a swap did not compare")
        _expect(storage.loads(key) == second, "what was swapped did not come back as it was")
    storage.clear(key)
    _expect(storage.loads(key) is None, "what was deleted is still there")


def _expect(right: bool, otherwise: str) -> None:
    if not right:
        raise Wrong(otherwise)


def versions(plug: Any) -> dict[str, str] | str:
    """Return the versions of a plug's server and driver, or why they are not known."""
    if not hasattr(plug, "versions"):
        return "the storage tells none"
    try:
        return dict(plug.versions())
    except Exception as error:  # whatever it is, sessions do not depend on it
        return explain(error)


def skew(plug: Any) -> float | None:
    """Return by how many seconds the clock of a plug's server is ahead, None if it is not known."""
    ask: Callable[[], float | None] | None = getattr(plug, "server_time", None)
    if ask is None:
        return None
    try:
        return min(_skews(ask), key=abs, default=None)
    except Exception:  # as above: a user who may not ask, say
        return None


def _skews(ask: Callable[[], float | None]) -> Iterator[float]:
    # The answer that came fastest tells best; of several, so does the one nearest to zero.
    for _ in range(3):
        before = time.time()
        there = ask()
        if there is None:
            return
        yield there - (before + time.time()) / 2
