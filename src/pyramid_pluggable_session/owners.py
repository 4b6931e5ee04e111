"""Whose sessions there are: to show a user his devices, and to log them out.

A session is a user's once ``session.owner`` is set, as
:class:`~pyramid_pluggable_session.SessionAuthenticationHelper` does at login. This works on every
storage that can compare and swap; on others SessionError is raised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyramid.interfaces import ISessionFactory

from .errors import SessionError
from .factory import SessionFactory
from .interfaces import IPlugSession
from .keys import handle
from .ownership import Owners, can_have_owners, owner_text
from .storage import Storage, describe


@dataclass(frozen=True)
class OwnedSession:
    """A live session of an owner's. Times are epoch seconds.

    ``handle`` names it in pages and calls. ``created`` is when it began. ``last_seen`` is when it
    was last stored, which it is at most ``reissue_time`` after it was last used. ``expires_at`` is
    None for never. ``address`` and ``user_agent`` are of the request that began it, None unless
    ``device_details`` says to keep them. ``current`` is true for the session of the request that
    asks.
    """

    handle: str
    created: float
    last_seen: float
    expires_at: float | None
    address: str | None
    user_agent: str | None
    current: bool


def owned_sessions(request: Any, userid: Any) -> list[OwnedSession]:
    """Return the live sessions of a user, the one that was seen last first.

    Raises SessionError if the storage cannot keep track of owners.
    """
    current = request.session.session_id
    owners = _owners_of(request, userid)
    found = [
        OwnedSession(
            handle(entry.session_id),
            stored.meta.created,
            stored.meta.renewed,
            owners.store.lifetimes.expires_at(stored.meta),
            entry.address,
            entry.user_agent,
            entry.session_id == current,
        )
        for entry, stored in owners.live()
    ]
    return sorted(found, key=lambda each: each.last_seen, reverse=True)


def end_session(request: Any, userid: Any, handle: str) -> bool:
    """End the session of a user that has this handle; return whether there was one.

    The current one ends as by ``session.invalidate()``. The next click in another one is
    anonymous, and what that is doing at this moment is dropped.
    """
    return _owners_of(request, userid).end(only=handle) > 0


def end_other_sessions(request: Any) -> int:
    """End all sessions of the current session's owner but this one; return how many.

    To be called when a user has changed the password.
    """
    session = request.session
    if session.owner is None:
        return 0
    return _owners_of(request, session.owner).end(spare=session.session_id)


def end_owner(request: Any, userid: Any) -> int:
    """End all sessions of a user, the current one included if it is his; return how many."""
    return _owners_of(request, userid).end()


def check_room(request: Any, userid: Any) -> None:
    """Raise TooManySessions if a user who logs in now would have more sessions than allowed.

    So that the view that logs him in can say so. It is looked at again when the session is stored.
    """
    factory = request.registry.queryUtility(ISessionFactory)
    if (
        isinstance(factory, SessionFactory)
        and factory.options["max_sessions"] is not None
        and factory.options["on_max_sessions"] == "refuse"
    ):
        _owners_of(request, userid).check_room(spare=request.session.session_id)


def _owners_of(request: Any, userid: Any) -> Owners:
    factory = request.registry.queryUtility(ISessionFactory)
    plug = request.registry.queryUtility(IPlugSession)
    owner = owner_text(userid)
    if not isinstance(factory, SessionFactory) or plug is None:
        raise SessionError("the application has no sessions of pyramid_pluggable_session")
    if owner is None:
        raise ValueError("None is nobody, and owns no sessions")
    storage = Storage(plug, request)
    if not can_have_owners(storage):
        raise SessionError(
            f"the {describe(plug)} storage cannot compare and swap, so there is no list of the "
            "sessions of a user"
        )
    return Owners(request, storage, factory.store_for(storage), owner, factory.options)
