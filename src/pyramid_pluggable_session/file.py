"""The file plug under the names it had in 0.0.0a2."""

from __future__ import annotations

from typing import Any

from .config import set_session_plug
from .loader import make_plug


def FileSessionPlug(config: Any) -> Any:  # noqa: N802
    """Return the file plug with its options from the settings ``pluggable_session.file.*``."""
    return make_plug(config, "file")


def includeme(config: Any) -> None:
    """Store sessions in the file plug."""
    set_session_plug(config, "file")
