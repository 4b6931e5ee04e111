"""What has to be done around the views: two tweens, innermost and outermost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyramid.exceptions import BadCSRFToken
from pyramid.interfaces import ICSRFStoragePolicy

from .config import check_application
from .errors import PlugUnavailable
from .responses import unavailable
from .session import Session

Handler = Callable[[Any], Any]


def refusal_tween_factory(handler: Handler, registry: Any) -> Handler:
    """Make the tween that keeps refused requests of strangers from filling the storage.

    Pyramid compares what was sent with the token of the session, and makes one if there is none. If
    the request is then refused, nobody has seen that token, and a session of nothing else is not
    worth a record. It is taken back here, below the exception views: one that shows the form again
    asks for a token anew, and that one is kept.
    """

    def refusal_tween(request: Any) -> Any:
        try:
            return handler(request)
        except BadCSRFToken:
            session = request.session
            if isinstance(session, Session) and session.new and len(session) == 1:
                policy = registry.queryUtility(ICSRFStoragePolicy)
                ((key, value),) = session.items()
                if policy is not None and policy.get_csrf_token(request) == value:
                    del session[key]
            raise

    return refusal_tween


def outage_tween_factory(handler: Handler, registry: Any) -> Handler:
    """Make the tween that answers an outage of the storage which no exception view handled.

    Tweens are made when the application is made, so this is also where the configuration is
    checked. A subscriber of ApplicationCreated would do, but a registry with any subscriber at all
    notifies four events with each request.
    """
    check_application(registry)

    def outage_tween(request: Any) -> Any:
        try:
            return handler(request)
        except PlugUnavailable as error:
            return unavailable(error, request)

    return outage_tween
