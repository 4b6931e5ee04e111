"""What every contestant does: the sessions, the scenarios, and the views of each framework.

A view works with any session of Pyramid, and with whatever else looks like a dictionary and is
ended by a function that the framework's module names.
"""

from __future__ import annotations

import json

from pyramid.config import Configurator

CART = [{"sku": f"9781402{number:06d}", "title": f"Notes {number}", "quantity": 2, "price": 1999}
        for number in range(6)]  # fmt: skip
STATE = {
    "counter": 0,
    "user_id": 48213,
    "login": "ada.lovelace@example.org",
    "display_name": "Ada Lovelace",
    "locale": "en_GB",
    "time_zone": "Europe/London",
    "admin": False,
    "roles": ["editor", "reviewer", "translator"],
    "groups": [3, 17, 204, 1138],
    "logged_in_at": 1767225600.25,
    "visits": 42,
    "referrer": "https://www.example.org/articles/2026/01/notes-on-the-engine",
    "next_page": None,
    "last_search": "analytical engine",
    "recent": [90210 + 7 * number for number in range(10)],
    "preferences": {"page_size": 50, "columns": ["title", "year"], "dark": True, "zoom": 1.25},
    "cart": {"currency": "EUR", "items": CART, "coupon": None},
    "token": "8f1d2c3b4a59687766554433221100ffeeddccbb",
    "experiments": {"new_checkout": "b", "search": "a"},
    "tour_done": True,
}
"""20 keys, about 1 KB; nothing but what every serializer can store."""

LARGE_STATE = {**STATE, "history": [f"/articles/2026/{number:05d}" for number in range(960)]}
"""The same with a list of 19 KB."""

SCENARIOS = {
    "untouched": "the application does not look at the session",
    "read": "one key is read",
    "change": "one key is changed",
    "new": "a visitor without a cookie gets 20 keys",
    "garbage": "a cookie that is not ours, and one key is looked for",
    "logout": "the session is ended",
    "read 20 KB": "one key of a session of 20 KB is read",
    "change 20 KB": "one key of a session of 20 KB is changed",
}


def untouched(session):
    return "untouched"


def read(session):
    return str(session["counter"])


def change(session):
    session["counter"] += 1
    return str(session["counter"])


def new(session):
    session.update(STATE)
    return "new"


def new_large(session):
    session.update(LARGE_STATE)
    return "new"


def garbage(session):
    return str(session.get("counter"))


def whole(session):
    """Tell whether all is there as it was stored. Not timed."""
    state = LARGE_STATE if "history" in session else STATE
    kept = {key: session.get(key) for key in state}
    return json.dumps(kept) if {**kept, "counter": 0} != state else "whole"


def logout(session):
    session.invalidate()
    return "logout"


VIEWS = {
    each.__name__: each
    for each in (untouched, read, change, new, new_large, garbage, whole, logout)
}


def views_ending_by(end):
    """Return the views of a framework whose sessions are ended by ``end(session)``."""

    def logout(session):
        end(session)
        return "logout"

    return {**VIEWS, "logout": logout}


def pyramid_application(factory=None, include=None, settings=None, views=VIEWS):
    """Return the application; without a session factory it is what the session's cost is above."""
    with Configurator(settings=settings) as config:
        if include is not None:
            include(config)
        if factory is not None:
            config.set_session_factory(factory)
        with_session = factory is not None or include is not None
        for name, work in views.items():
            config.add_route(name, f"/{name}")
            # A renderer, as most applications have one.
            config.add_view(_pyramid_view(work, with_session), route_name=name, renderer="string")
        return config.make_wsgi_app()


def _pyramid_view(work, with_session):
    if not with_session or work is untouched:
        return lambda request: "untouched"
    return lambda request: work(request.session)
