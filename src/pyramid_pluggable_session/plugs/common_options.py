"""Options that several storages have."""

from __future__ import annotations

from typing import Any, Final

from ..settings import Option, boolean, positive_seconds, seconds

DURABLE: Final = Option(
    "durable",
    boolean,
    False,
    "Whether a session survives a loss of power from the moment it is saved; slower.",
)
PURGE_INTERVAL: Final = Option(
    "purge_interval",
    seconds,
    300.0,
    "After how many seconds each process deletes expired sessions again; 0 for never.",
)
CONNECT_TIMEOUT: Final = Option(
    "connect_timeout",
    positive_seconds,
    2.0,
    "How many seconds to wait for a connection to the server.",
)
TIMEOUT: Final = Option(
    "timeout",
    positive_seconds,
    5.0,
    "How many seconds to wait for the server's answer.",
)


def from_application(config: Any, given: Any) -> Any:
    """Return an object of the application's own: ``given``, or what it returns for ``config``."""
    return given(config) if callable(given) else given
