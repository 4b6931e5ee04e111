"""The errors that this package raises while an application runs.

Mistakes in the configuration are :class:`pyramid.exceptions.ConfigurationError`, when the
application is made. No message holds a session id, a secret or session data; a session is named by
its handle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class SessionError(Exception):
    """Whatever this package raises while an application runs."""


class PlugUnavailable(SessionError):
    """The storage could not be reached, or did not answer as it should.

    The driver's exception is the ``__cause__``. If no exception view of the application handles
    it, the client gets 503 Service Unavailable.
    """


class SessionConflict(SessionError):
    """Two requests changed the same keys, and ``on_conflict = fail`` asks for an error."""

    keys: tuple[str, ...]
    """What both changed, each as a path such as ``cart.items``."""

    def __init__(self, message: str, keys: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.keys = tuple(keys)


class SessionTooLarge(SessionError):
    """The record is larger than the storage, or the setting ``max_size``, admits."""

    size: int
    """Bytes of the record."""

    limit: int
    """Bytes that it may have."""

    def __init__(self, message: str, size: int, limit: int) -> None:
        super().__init__(message)
        self.size = size
        self.limit = limit


class TooManySessions(SessionError):
    """A user has as many sessions as ``max_sessions`` allows, and ``on_max_sessions`` is refuse."""


class UnserializableValue(SessionError, ValueError):
    """A value of a type that cannot be stored.

    It is a :class:`ValueError`, as Pyramid asks of session serializers.
    """

    path: tuple[Any, ...]
    """What leads to the value: the keys, from the outside in."""

    def __init__(self, message: str, path: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.path = tuple(path)
