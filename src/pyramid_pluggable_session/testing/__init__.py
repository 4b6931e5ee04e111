"""What tests need: the contract suite for plugs, and helpers for applications."""

from __future__ import annotations

import sys

from .. import clock
from ..keys import SessionKey, new_session_id

# So that a failure of the suite shows the values, as those of a test module do.
if "pytest" in sys.modules:
    sys.modules["pytest"].register_assert_rewrite(f"{__name__}.contract")

from .app import (
    FakeClock,
    assert_logged_in,
    assert_no_session,
    log_in,
    open_session,
    session_of,
)
from .contract import PlugContract

__all__ = [
    "FakeClock",
    "PlugContract",
    "assert_logged_in",
    "assert_no_session",
    "log_in",
    "open_session",
    "session_key",
    "session_of",
]


def session_key(expires_in: float | None = 60.0) -> SessionKey:
    """Return the key of a new session that expires in so many seconds, or never for None."""
    expires_at = None if expires_in is None else clock.now() + expires_in
    return SessionKey(new_session_id(), expires_at)
