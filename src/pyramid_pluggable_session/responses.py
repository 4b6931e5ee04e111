"""What a session does to a response, beside its content."""

from __future__ import annotations

import re
from typing import Any, Final

from pyramid.httpexceptions import HTTPException, HTTPServiceUnavailable

from .breaker import breaker_of
from .errors import PlugUnavailable
from .interfaces import IPlugSession

_RETRY_AFTER: Final = "5"  # seconds
_DIRECTIVE = re.compile(r"""[^\s,="]+(?:\s*=\s*(?:"[^"]*"|[^\s,"]*))?""")  # RFC 9111, section 5.2


def add_cookies(response: Any, headers: list[tuple[str, str]]) -> None:
    """Set the cookies, and keep the response out of shared caches (RFC 9111, section 7.3).

    A cookie that the response sets already is set anew: one name should not come twice (RFC 6265,
    section 4.1.1), as when a session ends and another one begins. What the application said about
    caching stays, as far as it does not let shared caches in.
    """
    names = {value.partition("=")[0] for _, value in headers}
    others, said = [], []
    # WebOb's cache_control reads only the last of several headers, and minds the case.
    for header, value in response.headerlist:
        kind = header.lower()
        if kind == "cache-control":
            said.append(value)
        elif kind != "set-cookie" or value.partition("=")[0] not in names:
            others.append((header, value))
    response.headerlist = [*others, *headers, ("Cache-Control", _without_shared_caches(said))]


def _without_shared_caches(said: list[str]) -> str:
    """Return the value of ``Cache-Control`` in place of what an application said."""
    if not said:
        return "private"
    directives = {
        each.group().lower(): each.group() for each in _DIRECTIVE.finditer(", ".join(said))
    }
    kept = [
        text
        for name, text in directives.items()
        if name != "public" and not name.startswith("s-maxage")
    ]
    if not directives.keys() & {"no-store", "private"}:
        kept.append("private")
    return ", ".join(kept)


def vary_on_cookie(response: Any) -> None:
    """Tell caches that the response depends on the cookie (RFC 9110, section 12.5.5)."""
    # Not response.vary: it knows one header, and an application may have sent several.
    said = [value for name, value in response.headerlist if name.lower() == "vary"]
    if not said:
        response.headerlist.append(("Vary", "Cookie"))
        return
    names = [name.strip() for name in ",".join(said).split(",") if name.strip()]
    if not any(name.lower() in ("cookie", "*") for name in names):
        response.headers["Vary"] = ", ".join([*names, "Cookie"])


def answer(request: Any) -> Any:
    """Return the application's response to the error that is being handled.

    Response callbacks run outside of the tweens, so nobody else would show it to the exception
    views.
    """
    try:
        return request.invoke_exception_view(reraise=True)
    except PlugUnavailable as outage:
        return unavailable(outage, request)


def unavailable(error: PlugUnavailable, request: Any) -> Any:
    """Return 503 Service Unavailable (RFC 9110, section 15.6.4), and tell the log why."""
    breaker_of(request.registry.queryUtility(IPlugSession)).log.request_failed(error)
    # The error itself names hosts and paths, and is not for the client.
    return HTTPServiceUnavailable(
        "The session storage is not available. Please try again in a moment.",
        headers=[("Retry-After", _RETRY_AFTER)],
    )


def become(request: Any, response: Any, other: Any) -> None:
    """Put another response in the place of one that has already been handed on."""
    if response is other:
        return
    if isinstance(other, HTTPException):
        # These write their body when they are called, and are not going to be.
        other.prepare(request.environ)
    close = getattr(response.app_iter, "close", None)
    if close is not None:
        close()
    response.status = other.status
    response.headerlist = list(other.headerlist)
    response.app_iter = other.app_iter
    if isinstance(response, HTTPException):
        response.empty_body = True  # it shall not write the body it would have had
