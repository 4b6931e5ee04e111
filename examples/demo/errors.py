"""What people read when something goes wrong."""

from __future__ import annotations

import logging
from typing import Any

from pyramid.exceptions import BadCSRFToken
from pyramid.httpexceptions import HTTPBadRequest
from pyramid.view import exception_view_config, notfound_view_config

from pyramid_pluggable_session import PlugUnavailable

TEMPLATE = "templates/error.jinja2"
log = logging.getLogger(__name__)


@exception_view_config(PlugUnavailable, renderer=TEMPLATE)
def storage_unavailable(error: PlugUnavailable, request: Any) -> dict[str, str]:
    log.error("%s", error)
    request.response.status = 503
    request.response.retry_after = 5
    return {
        "title": "The session storage is not answering",
        "text": "Nothing was saved, and nothing that was saved before is lost. Your cookie was left"
        " as it is: when the storage is back, so is your session.",
        "remedy": "Try again",
    }


@exception_view_config(BadCSRFToken, renderer=TEMPLATE)
def bad_csrf_token(error: BadCSRFToken, request: Any) -> dict[str, str]:
    request.response.status = 400
    return {
        "title": "That form was from an earlier session",
        "text": "It came with a token that is not this session's, so nothing was done. That happens"
        " when you log in or out, or end the session, in another tab: the token changes with it."
        " It also stops other sites from sending forms in your name.",
        "remedy": "Back to a fresh page",
    }


@exception_view_config(HTTPBadRequest, renderer=TEMPLATE)
def bad_request(error: HTTPBadRequest, request: Any) -> dict[str, str]:
    request.response.status = 400
    return {
        "title": "That is not on the menu",
        "text": "The form asked for something that this page does not offer. Nothing was done.",
        "remedy": "Back to the page",
    }


@notfound_view_config(renderer=TEMPLATE)
def not_found(error: Exception, request: Any) -> dict[str, str]:
    request.response.status = 404
    return {
        "title": "There is nothing here",
        "text": "The demo has one page, and this is not it.",
        "remedy": "Go to the page",
    }
