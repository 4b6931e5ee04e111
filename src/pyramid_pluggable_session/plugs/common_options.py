"""Options that several embedded storages have."""

from __future__ import annotations

from typing import Final

from ..settings import Option, boolean, seconds

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
