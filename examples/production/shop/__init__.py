"""A small site as one would run it in production: login, logout, and the user's devices."""

from __future__ import annotations

import pathlib
from typing import Any

from pyramid.config import Configurator

from .security import SecurityPolicy


def main(global_config: dict[str, str], **settings: Any) -> Any:
    """Make the WSGI application."""
    settings |= read_secrets(settings["shop.secrets"])
    with Configurator(settings=settings) as config:
        config.include("pyramid_pluggable_session")
        config.set_security_policy(SecurityPolicy())
        config.set_default_csrf_options(require_csrf=True)
        config.include(".views")
        return config.make_wsgi_app()


def read_secrets(folder: str) -> dict[str, str]:
    """Return what the files of a directory hold, each named as the setting that it is for."""
    # Not the hidden ones: Kubernetes has some beside the secrets that it mounts.
    return {path.name: path.read_text().strip() for path in pathlib.Path(folder).glob("[!.]*")}
