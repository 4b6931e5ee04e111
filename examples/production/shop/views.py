"""The pages."""

from __future__ import annotations

from html import escape
from typing import Any

from pyramid.httpexceptions import HTTPFound, HTTPSeeOther
from pyramid.response import Response
from pyramid.security import forget, remember

from pyramid_pluggable_session import end_session, owned_sessions

from . import accounts


def includeme(config: Any) -> None:
    for name, path, get, post in (
        ("home", "/", home, None),
        ("login", "/login", login_form, login),
        ("logout", "/logout", None, logout),
        ("devices", "/devices", devices, log_out_device),
        ("health", "/health", health, None),
    ):
        config.add_route(name, path)
        for method, view in (("GET", get), ("POST", post)):
            if view is not None:
                # For who is not logged in, most pages are not there but for the way to log in.
                allowed = name in ("home", "login", "health")
                permission = {} if allowed else {"permission": "use"}
                config.add_view(view, route_name=name, request_method=method, **permission)
    config.add_forbidden_view(lambda request: HTTPFound("/login"))


def home(request: Any) -> Response:
    user = request.authenticated_userid
    if user is None:
        return page("<p><a href=/login>Log in</a>")
    form = f"<form method=post action=/logout>{token(request)}<button>Log out</button></form>"
    return page(f"<p>Hello, {escape(user)}. <a href=/devices>Your devices</a>{form}")


def login_form(request: Any, message: str = "") -> Response:
    return page(
        f"<p>{message}<form method=post>{token(request)}<input name=name autocomplete=username>"
        "<input name=password type=password autocomplete=current-password>"
        "<button>Log in</button></form>"
    )


def login(request: Any) -> Response:
    name, password = (request.POST.get(each, "") for each in ("name", "password"))
    if not accounts.is_right(request.registry.settings["shop.accounts"], name, password):
        return login_form(request, "Name or password is wrong.")
    return HTTPSeeOther("/", headers=remember(request, name))


def logout(request: Any) -> Response:
    return HTTPSeeOther("/", headers=forget(request))


def devices(request: Any) -> Response:
    rows = "".join(
        f"<li>{escape(each.user_agent or '?')} at {escape(each.address or '?')}"
        + (
            " (this one)"
            if each.current
            else f"<form method=post>{token(request)}"
            f"<button name=device value={each.handle}>Log out</button></form>"
        )
        for each in owned_sessions(request, request.authenticated_userid)
    )
    return page(f"<ul>{rows}</ul>")


def log_out_device(request: Any) -> Response:
    end_session(request, request.authenticated_userid, request.POST["device"])
    return HTTPSeeOther("/devices")


def health(request: Any) -> Response:
    """Answer what supervises the process. No look at the session: an outage is no reason to die."""
    return Response("ok\n", content_type="text/plain")


def page(content: str) -> Response:
    return Response(f"<!doctype html><title>Shop</title>{content}")


def token(request: Any) -> str:
    return f"<input type=hidden name=csrf_token value={request.session.get_csrf_token()}>"
