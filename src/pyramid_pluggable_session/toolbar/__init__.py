"""A panel of pyramid_debugtoolbar: what a request did to its session, and to the storage.

It is included in the toolbar, by a setting of the application::

    debugtoolbar.includes = pyramid_pluggable_session.toolbar

It shows no value of a session. It is for development all the same, as the toolbar is: other panels
show cookies, settings and the values.
"""

from __future__ import annotations

from typing import Any

from pyramid.exceptions import ConfigurationError


def includeme(config: Any) -> None:
    """Add the panel to the toolbar. Included by ``debugtoolbar.includes``, not by the application.

    Raises :class:`~pyramid.exceptions.ConfigurationError` in the application itself.
    """
    if not hasattr(config, "add_debugtoolbar_panel"):
        raise ConfigurationError(
            "pyramid_pluggable_session.toolbar is not for the application but for its toolbar. "
            "Set debugtoolbar.includes = pyramid_pluggable_session.toolbar instead."
        )
    config.add_debugtoolbar_panel("pyramid_pluggable_session.toolbar.panel.SessionStoragePanel")
