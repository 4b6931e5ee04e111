"""An application of somebody who has everything checked by mypy."""

from __future__ import annotations

from typing import Any

from pyramid.config import Configurator

from pyramid_pluggable_session import PlugUnavailable, TooManySessions

from . import noting, views
from .security import SecurityPolicy


def main(global_config: dict[str, str], **settings: Any) -> Any:
    with Configurator(settings=settings) as config:
        config.include("pyramid_pluggable_session")
        config.include(noting)
        config.set_security_policy(SecurityPolicy())
        for name in ("cart", "login", "logout", "devices", "end"):
            config.add_route(name, f"/{name}")
            config.add_view(getattr(views, name), route_name=name, renderer="json")
        config.add_exception_view(views.down, context=PlugUnavailable, renderer="json")
        config.add_exception_view(views.too_many, context=TooManySessions, renderer="json")
        return config.make_wsgi_app()
