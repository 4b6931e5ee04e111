"""The chain plug under the names it had in 0.0.0a2."""

from __future__ import annotations

from typing import Any

from .config import set_session_plug
from .loader import make_plug


def ChainSessionPlug(config: Any) -> Any:  # noqa: N802
    """Return the chain plug with its options from the settings ``pluggable_session.chain.*``."""
    return make_plug(config, "chain")


def includeme(config: Any) -> None:
    """Store sessions in the chain plug."""
    set_session_plug(config, "chain")
