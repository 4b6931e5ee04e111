"""Server-side sessions for Pyramid whose storage is one line of configuration."""

from .config import includeme, set_session_plug
from .errors import (
    PlugUnavailable,
    SessionConflict,
    SessionError,
    SessionTooLarge,
    TooManySessions,
    UnserializableValue,
)
from .factory import PluggableSessionFactory
from .interfaces import IPlugSession
from .owners import (
    OwnedSession,
    end_other_sessions,
    end_owner,
    end_session,
    owned_sessions,
)
from .security import SessionAuthenticationHelper
from .session import Session

__version__ = "1.0.0a1"

__all__ = [
    "IPlugSession",
    "OwnedSession",
    "PlugUnavailable",
    "PluggableSessionFactory",
    "Session",
    "SessionAuthenticationHelper",
    "SessionConflict",
    "SessionError",
    "SessionTooLarge",
    "TooManySessions",
    "UnserializableValue",
    "end_other_sessions",
    "end_owner",
    "end_session",
    "includeme",
    "owned_sessions",
    "set_session_plug",
]
