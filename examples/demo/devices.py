"""The page "Your devices": where a user is logged in, and how to end that from here."""

from __future__ import annotations

from typing import Any

from pyramid.csrf import get_csrf_token
from pyramid.httpexceptions import HTTPSeeOther
from pyramid.view import view_config

from pyramid_pluggable_session import (
    SessionError,
    end_other_sessions,
    end_session,
    owned_sessions,
)

from .panels import clock, duration

BROWSERS = (("Edg/", "Edge"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("Windows", "Windows"),
    ("Mac OS", "Mac"),
    ("Linux", "Linux"),
)


def includeme(config: Any) -> None:
    """Add the routes."""
    config.add_route("devices", "/devices")
    config.add_route("end_device", "/devices/end")
    config.add_route("end_others", "/devices/end-others")


@view_config(route_name="devices", renderer="templates/devices.jinja2", request_method="GET")
def devices(request: Any) -> Any:
    if request.identity is None:
        return HTTPSeeOther(request.route_path("home"))
    why_none = None
    found: list[Any] = []
    try:
        found = owned_sessions(request, request.authenticated_userid)
    except SessionError as error:
        why_none = str(error)
    return {
        "user": request.identity,
        "devices": found,
        "why_none": why_none,
        "flashes": request.session.pop_flash(),
        "csrf_token": get_csrf_token(request),
        "now": request.session.accessed,
        "clock": clock,
        "duration": duration,
        "name": name,
    }


@view_config(route_name="end_device", request_method="POST")
def end_device(request: Any) -> HTTPSeeOther:
    # Only among the user's own: whose handle it is, is looked up, not believed.
    there_was = request.identity is not None and end_session(
        request, request.authenticated_userid, request.POST.get("device", "")
    )
    text = "That device is logged out." if there_was else "That device was logged out already."
    request.session.flash({"text": text})
    return HTTPSeeOther(request.route_path("devices"))


@view_config(route_name="end_others", request_method="POST")
def end_others(request: Any) -> HTTPSeeOther:
    """What a page that changes the password does when it is done."""
    count = end_other_sessions(request)
    devices = "device is" if count == 1 else "devices are"
    request.session.flash({"text": f"{count or 'No'} other {devices} logged out."})
    return HTTPSeeOther(request.route_path("devices"))


def name(user_agent: str | None) -> str:
    """Say which browser that is, as far as it says so."""
    agent = user_agent or ""
    browser = next((name for sign, name in BROWSERS if sign in agent), "A browser")
    system = next((name for sign, name in SYSTEMS if sign in agent), None)
    return f"{browser} on {system}" if system else browser
