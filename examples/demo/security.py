"""Who is who: two users, known by their session."""

from __future__ import annotations

from typing import Any

from pyramid.security import Allowed, Denied

from pyramid_pluggable_session import SessionAuthenticationHelper

USERS = {"mira": "Mira", "tomas": "Tomas"}


class SecurityPolicy:
    """Keeps the user id in the session. Login gives the session a new id, logout ends it."""

    def __init__(self) -> None:
        self.helper = SessionAuthenticationHelper()

    def identity(self, request: Any) -> str | None:
        """Return the user's name."""
        return USERS.get(self.helper.authenticated_userid(request))

    def authenticated_userid(self, request: Any) -> str | None:
        userid: str | None = self.helper.authenticated_userid(request)
        return userid if userid in USERS else None

    def permits(self, request: Any, context: Any, permission: str) -> Allowed | Denied:
        if self.identity(request) is None:
            return Denied("Only for those who have logged in.")
        return Allowed("Welcome.")

    def remember(self, request: Any, userid: str, **kw: Any) -> list[tuple[str, str]]:
        return self.helper.remember(request, userid, **kw)

    def forget(self, request: Any, **kw: Any) -> list[tuple[str, str]]:
        return self.helper.forget(request, **kw)
