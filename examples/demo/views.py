"""The page and its buttons. Every button is a form; each view changes the session and goes back."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple

from pyramid.httpexceptions import HTTPBadRequest, HTTPSeeOther
from pyramid.security import forget, remember
from pyramid.view import view_config

from .panels import panels
from .security import USERS

REMEMBERED = timedelta(days=30)
LONGEST_MESSAGE = 200


class Tea(NamedTuple):
    name: str
    price: Decimal


TEAS = {
    "sencha": Tea("Sencha", Decimal("4.80")),
    "assam": Tea("Assam", Decimal("3.90")),
    "rooibos": Tea("Rooibos", Decimal("3.20")),
}
SLOW_TEA = "oolong"


def includeme(config: Any) -> None:
    """Add the routes."""
    config.add_route("home", "/")
    config.add_route("panels", "/panels")
    for name in ("cart", "empty", "slow", "flash", "login", "logout", "regenerate", "end"):
        config.add_route(name, f"/{name}")


@view_config(route_name="home", renderer="templates/page.jinja2", request_method="GET")
def home(request: Any) -> dict[str, Any]:
    return {
        "flashes": request.session.pop_flash(),
        "teas": TEAS,
        "users": USERS,
        "slow_seconds": _slow_seconds(request),
        "remembered_days": REMEMBERED.days,
        "longest_message": LONGEST_MESSAGE,
        **panels(request, under_way=True),
    }


@view_config(route_name="panels", renderer="templates/panels.jinja2", request_method="GET")
def refreshed_panels(request: Any) -> dict[str, Any]:
    """Return the parts of the page that change, for the page's script."""
    return panels(request)


@view_config(route_name="cart", request_method="POST")
def add_to_cart(request: Any) -> HTTPSeeOther:
    name = request.POST.get("tea")
    if name not in TEAS:
        raise HTTPBadRequest
    _add(request.session, name, TEAS[name].price)
    return _back(request)


@view_config(route_name="empty", request_method="POST")
def empty_cart(request: Any) -> HTTPSeeOther:
    request.session.pop("cart", None)
    return _back(request)


@view_config(route_name="slow", request_method="POST")
def slow(request: Any) -> HTTPSeeOther:
    """Change the session at once, and finish much later: what others do meanwhile must survive."""
    _add(request.session, SLOW_TEA, Decimal("6.50"))
    time.sleep(_slow_seconds(request))
    return _back(request, "together")


@view_config(route_name="flash", request_method="POST")
def flash(request: Any) -> HTTPSeeOther:
    text = request.POST.get("message", "").strip()[:LONGEST_MESSAGE]
    request.session.flash({"text": text or "You had nothing to say, and said it well."})
    return _back(request)


@view_config(route_name="login", request_method="POST")
def login(request: Any) -> HTTPSeeOther:
    session, userid = request.session, request.POST.get("user")
    if userid not in USERS:
        raise HTTPBadRequest
    before = session.handle
    headers = remember(request, userid)
    if request.POST.get("remember"):
        session.timeout = REMEMBERED.total_seconds()
        session.persistent = True
    _flash_new_id(session, before, f"Welcome, {USERS[userid]}. The session goes on under a new id.")
    return _back(request, headers=headers)


@view_config(route_name="logout", request_method="POST")
def logout(request: Any) -> HTTPSeeOther:
    session, before = request.session, request.session.handle
    headers = forget(request)
    _flash_new_id(session, before, "You are logged out. That session is over; this is another one.")
    return _back(request, headers=headers)


@view_config(route_name="regenerate", request_method="POST")
def regenerate_id(request: Any) -> HTTPSeeOther:
    session, before = request.session, request.session.handle
    session.regenerate_id()
    _flash_new_id(session, before, "The same session under a new id. The old one is of no use now.")
    return _back(request)


@view_config(route_name="end", request_method="POST")
def end(request: Any) -> HTTPSeeOther:
    session, before = request.session, request.session.handle
    session.invalidate()
    _flash_new_id(session, before, "The session is over, with all that was in it. A new one began.")
    return _back(request)


def _add(session: Any, tea: str, price: Decimal) -> None:
    # Deep inside the session, and nobody calls session.changed(): it is found all the same.
    #
    # Not a count, but a list that grows: of two requests that set a count to 2, one would be lost.
    # What two requests append to a list is merged.
    cart = session.setdefault("cart", {})
    line = cart.setdefault(tea, {"price": price, "added": []})
    line["added"].append(datetime.now(timezone.utc))


def _flash_new_id(session: Any, before: str, text: str) -> None:
    session.flash({"text": text, "before": before, "after": session.handle})


def _slow_seconds(request: Any) -> float:
    return float(request.registry.settings.get("demo.slow_seconds", 3))


def _back(request: Any, anchor: str | None = None, headers: Any = ()) -> HTTPSeeOther:
    return HTTPSeeOther(request.route_path("home", _anchor=anchor), headers=headers)
