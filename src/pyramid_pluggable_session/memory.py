"""The memory plug under the names it had in 0.0.0a2."""

from __future__ import annotations

from typing import Any

from .config import set_session_plug
from .loader import make_plug


def MemorySessionPlug(config: Any) -> Any:  # noqa: N802
    """Return the memory plug with its options from the settings ``pluggable_session.memory.*``."""
    return make_plug(config, "memory")


def includeme(config: Any) -> None:
    """Store sessions in the memory plug."""
    set_session_plug(config, "memory")
