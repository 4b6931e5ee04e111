"""Beaker, by way of pyramid_beaker."""

from __future__ import annotations

import secrets

from pyramid_beaker import session_factory_from_settings

from ..applications import WsgiApplication
from ..scenarios import Contestant
from ..workload import pyramid_application, views_ending_by
from .pyramid import without_session

# Its ``invalidate`` would leave what was stored to whoever has the old cookie.
_VIEWS = views_ending_by(lambda session: session.delete())


def beaker(kind, tuned=False, **settings):
    """Return Beaker. Tuned, it does not store the time of each reading, and so has no timeout."""
    given = {"type": kind, "secret": secrets.token_hex(32), **settings}
    if tuned:
        given["save_accessed_time"] = False
    factory = session_factory_from_settings(
        {f"session.{name}": value for name, value in given.items()}
    )
    application = pyramid_application(factory, views=_VIEWS)
    return Contestant(WsgiApplication(application), without_session())
