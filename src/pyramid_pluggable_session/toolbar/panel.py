"""The panel: when it looks, and at what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyramid.interfaces import ISessionFactory
from pyramid_debugtoolbar.panels import DebugPanel

from ..errors import PlugUnavailable
from ..factory import SessionFactory
from ..interfaces import IPlugSession
from ..session import Session
from ..storage import Storage, describe
from .report import keys_of, operations_of, options_of, summary_of


# The base class has no type hints.
class SessionStoragePanel(DebugPanel):  # type: ignore[misc]
    """What a request did to its session, and to the storage.

    It never looks into a session that the request has not looked into: that would read a record.
    A session is saved after the toolbar has seen the response, so the panel looks when the request
    is over, and keeps only what it shows.
    """

    name = "session_storage"
    title = nav_title = "Session Storage"
    template = "pyramid_pluggable_session.toolbar:templates/session_storage.dbtmako"

    def __init__(self, request: Any) -> None:
        """Prepare for a request, which is about to begin."""
        self.has_content = isinstance(
            request.registry.queryUtility(ISessionFactory), SessionFactory
        )
        self._outage: PlugUnavailable | None = None
        self.data: dict[str, Any] = {"state": "under way"}
        if self.has_content:
            request.add_finished_callback(self._finish)

    def wrap_handler(self, handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Note an outage that nobody handles: there is no session then that could tell."""

        def noting(request: Any) -> Any:
            try:
                return handler(request)
            except PlugUnavailable as error:
                self._outage = error
                raise

        return noting

    @property
    def nav_subtitle(self) -> str:
        """How many operations there were."""
        return str(len(self.data.get("operations", ())) or "")

    def _finish(self, request: Any) -> None:
        registry = request.registry
        outage, self._outage = self._outage, None
        if outage is None and isinstance(getattr(request, "exception", None), PlugUnavailable):
            outage = request.exception
        plug = registry.queryUtility(IPlugSession)
        self.data = {
            "state": "not touched",
            "outage": None if outage is None else str(outage),
            "plug": describe(plug),
            "options": options_of(registry.introspector),
        }
        session = request.__dict__.get("session")
        if not isinstance(session, Session):
            return
        visit = session.visit
        if visit is None:
            self.data["state"] = "not looked into"
            return
        factory = registry.getUtility(ISessionFactory)
        serializer = factory.store_for(Storage(plug, None)).serializer
        self.data.update(
            state="looked into",
            summary=summary_of(visit),
            operations=operations_of(visit),
            keys=keys_of(visit, serializer),
        )
