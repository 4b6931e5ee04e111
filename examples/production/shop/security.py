"""Who is logged in."""

from __future__ import annotations

from typing import Any

from pyramid_pluggable_session import SessionAuthenticationHelper


class SecurityPolicy:
    def __init__(self) -> None:
        self._helper = SessionAuthenticationHelper()

    def authenticated_userid(self, request: Any) -> Any:
        return self._helper.authenticated_userid(request)

    identity = authenticated_userid

    def permits(self, request: Any, context: Any, permission: str) -> bool:
        return self.authenticated_userid(request) is not None

    def remember(self, request: Any, userid: str, **kw: Any) -> Any:
        return self._helper.remember(request, userid, **kw)

    def forget(self, request: Any, **kw: Any) -> Any:
        return self._helper.forget(request, **kw)
