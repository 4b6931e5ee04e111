"""Login and logout that leave no session behind for others to use."""

from __future__ import annotations

from typing import Any

from pyramid import authentication
from pyramid.interfaces import ICSRFStoragePolicy

from .owners import check_room


class SessionAuthenticationHelper(authentication.SessionAuthenticationHelper):  # type: ignore[misc]
    """Keeps the user id in the session, as Pyramid's helper of the same name does.

    Use it in a security policy in place of
    :class:`pyramid.authentication.SessionAuthenticationHelper`.
    """

    def remember(self, request: Any, userid: Any, **kw: Any) -> list[tuple[str, str]]:
        """Log in: the session gets a new id and a new CSRF token.

        Whoever knew the old id (session fixation) gets nothing. What an anonymous visitor had in
        the session stays; what another user had does not. Raises TooManySessions, and does nothing,
        if the user has as many sessions as ``max_sessions`` allows.
        """
        check_room(request, userid)
        session = request.session
        if session.get(self.userid_key, userid) != userid:
            session.start_over()
        session.regenerate_id()
        session.owner = userid
        session[self.userid_key] = userid
        policy = request.registry.queryUtility(ICSRFStoragePolicy)
        if policy is not None:
            policy.new_csrf_token(request)
        return []

    def forget(self, request: Any, **kw: Any) -> list[tuple[str, str]]:
        """Log out: the session ends, with everything in it."""
        request.session.invalidate()
        return []
