from __future__ import annotations

from typing import Any

from pyramid_pluggable_session import SessionAuthenticationHelper


class SecurityPolicy:
    def __init__(self) -> None:
        self._helper = SessionAuthenticationHelper()

    def authenticated_userid(self, request: Any) -> str | None:
        # It is Pyramid's, which has no hints.
        userid: str | None = self._helper.authenticated_userid(request)
        return userid

    identity = authenticated_userid

    def permits(self, request: Any, context: object, permission: str) -> bool:
        return self.identity(request) is not None

    def remember(self, request: Any, userid: str, **kw: Any) -> list[tuple[str, str]]:
        return self._helper.remember(request, userid, **kw)

    def forget(self, request: Any, **kw: Any) -> list[tuple[str, str]]:
        return self._helper.forget(request, **kw)
