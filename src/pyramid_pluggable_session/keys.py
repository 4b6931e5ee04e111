"""Session ids, and the key that a plug gets to see of a session."""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import NamedTuple

from zope.interface import implementer

from .interfaces import ISessionKey

_SESSION_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)


def new_session_id() -> str:
    """Return 256 random bits as 64 lowercase hexadecimal digits."""
    return secrets.token_hex(32)


def is_session_id(text: str) -> bool:
    """Tell whether ``text`` has the form of a session id."""
    return _SESSION_ID.fullmatch(text) is not None


def handle(session_id: str) -> str:
    """Return the short name under which logs and pages show a session.

    Twelve digits of a hash: enough to tell sessions apart, of no use to get into one.
    """
    return hashlib.sha256(session_id.encode()).hexdigest()[:12]


@implementer(ISessionKey)
class SessionKey(NamedTuple):
    """What a plug gets to see of a session: an :class:`.ISessionKey`.

    ``session_id`` is 64 lowercase hexadecimal digits; ``expires_at`` is in epoch seconds, None for
    never. A plug with ``scan`` yields such keys, or objects of its own with these attributes.
    """

    session_id: str
    expires_at: float | None

    @property
    def _session_id(self) -> str:
        # Plugs written for 0.0.0a2 read this name.
        return self.session_id

    def __repr__(self) -> str:
        return f"<SessionKey {handle(self.session_id)}>"
