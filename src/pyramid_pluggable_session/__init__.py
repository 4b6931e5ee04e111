"""Server-side sessions for Pyramid whose storage is one line of configuration."""

from .config import includeme, set_session_plug
from .errors import (
    PlugUnavailable,
    SessionConflict,
    SessionError,
    SessionTooLarge,
    UnserializableValue,
)
from .factory import PluggableSessionFactory
from .interfaces import IPlugSession
from .security import SessionAuthenticationHelper

__version__ = "1.0.0a1"

__all__ = [
    "IPlugSession",
    "PlugUnavailable",
    "PluggableSessionFactory",
    "SessionAuthenticationHelper",
    "SessionConflict",
    "SessionError",
    "SessionTooLarge",
    "UnserializableValue",
    "includeme",
    "set_session_plug",
]
