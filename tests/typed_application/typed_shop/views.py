from __future__ import annotations

from typing import Any

from pyramid.security import forget, remember

from pyramid_pluggable_session import (
    OwnedSession,
    PlugUnavailable,
    Session,
    TooManySessions,
    end_other_sessions,
    end_session,
    owned_sessions,
)

MONTH = 30 * 24 * 3600.0


def cart(request: Any) -> dict[str, list[str]]:
    session: Session = request.session
    items: list[str] = session.setdefault("items", [])
    if "add" in request.params:
        items.append(request.params["add"])
        session.flash("Added.")
    return {"items": items, "messages": session.pop_flash()}


def login(request: Any) -> dict[str, str | None]:
    request.response.headerlist.extend(remember(request, request.params["user"]))
    session: Session = request.session
    if "stay" in request.params:
        session.persistent = True
        session.timeout = MONTH
    return {"owner": session.owner, "handle": session.handle}


def logout(request: Any) -> dict[str, bool]:
    request.response.headerlist.extend(forget(request))
    session: Session = request.session
    return {"new": session.new}


def devices(request: Any) -> list[dict[str, str | bool | None]]:
    return [about(each) for each in owned_sessions(request, request.authenticated_userid)]


def about(device: OwnedSession) -> dict[str, str | bool | None]:
    return {"handle": device.handle, "browser": device.user_agent, "current": device.current}


def end(request: Any) -> dict[str, int]:
    if "device" not in request.params:
        return {"ended": end_other_sessions(request)}
    device: str = request.params["device"]
    return {"ended": int(end_session(request, request.authenticated_userid, device))}


def down(error: PlugUnavailable, request: Any) -> dict[str, str]:
    request.response.status_code = 503
    return {"error": f"Come back soon: {type(error.__cause__).__name__}"}


def too_many(error: TooManySessions, request: Any) -> dict[str, str]:
    request.response.status_code = 403
    return {"error": str(error)}
