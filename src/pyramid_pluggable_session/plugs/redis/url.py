"""The URLs of Redis servers: one server, one behind Sentinels, or a cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from pyramid.exceptions import ConfigurationError

from ...credentials import hide_credentials
from ...settings import unknown

WHERE: Final = "pluggable_session.redis.url"

# Kind of deployment, and whether it is reached over TLS.
_SCHEMES: Final = {
    "redis": ("server", False),
    "rediss": ("server", True),
    "valkey": ("server", False),
    "valkeys": ("server", True),
    "redis+unix": ("socket", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
_URL = re.compile(
    # Not urllib's: it takes only one host, and of that only one with a port or one in brackets.
    r"(?P<scheme>[^:/?#]+):(?://(?:(?P<user>[^/?#]*)@)?(?P<hosts>[^/?#@]*))?"
    r"(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?"
)
_HOST = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[\w.%~-]+)?)\]|(?P<name>[^\[\]:\s]+))(?::(?P<port>[0-9]{1,5}))?"
)
_LARGEST_PORT: Final = 65535


@dataclass(frozen=True)
class Target:
    """What a URL says of the servers.

    ``kind`` is ``server``, ``socket``, ``sentinel`` or ``cluster``. ``hosts`` are those of the
    server, of the Sentinels, or of some nodes of the cluster; ``path`` is that of the socket, and
    ``service`` what the Sentinels call the primary.
    """

    kind: str
    tls: bool
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    service: str = ""
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)


def parse_url(url: str) -> Target:
    """Return what the URL says. Raise ConfigurationError with what would be right."""
    match = _URL.fullmatch(url.strip())
    # What follows "/" or "?" has no "@", unless it is a password's end.
    wrong = match is None or "@" in (match["path"] or "") + (match["query"] or "")
    if match is None or wrong or match["scheme"].lower() not in _SCHEMES:
        raise ConfigurationError(
            f"{WHERE} must be a URL such as redis://user:password@host:6379/0 with one of the "
            f"schemes {', '.join(_SCHEMES)}, not {hide_credentials(url)!r}. In the user, the "
            'password and a path, write "@", "/", "?", "#", ":" and "%" as %40, %2F, %3F, %23, %3A '
            "and %25."
        )
    kind, tls = _SCHEMES[match["scheme"].lower()]
    username, _, password = (match["user"] or "").partition(":")
    hosts = _hosts(match["hosts"] or "", kind)
    path, in_query = unquote(match["path"] or ""), _query(match["query"] or "", kind)
    socket = service = in_path = ""
    if kind == "socket":
        socket = path
        if path in ("", "/"):
            raise _error("names no socket", "redis+unix:///run/redis/redis.sock")
    elif kind == "sentinel":
        service, _, in_path = path.lstrip("/").partition("/")
        if not service:
            raise _error("names no service", "redis+sentinel://host:26379/mymaster/0")
    else:
        in_path = path.strip("/")
    if in_query and in_path:
        raise ConfigurationError(f"{WHERE} names the database twice: in its path and as db.")
    return Target(
        kind,
        tls,
        hosts,
        socket,
        service,
        _database(in_query or in_path, kind),
        unquote(username) or None,
        unquote(password) or None,
    )


def _hosts(text: str, kind: str) -> tuple[tuple[str, int], ...]:
    if kind == "socket":
        if text:
            raise _error("names a host", "redis+unix:///run/redis/redis.sock, with three slashes")
        return ()
    port = 26379 if kind == "sentinel" else 6379
    hosts = []
    for each in text.split(","):
        match = _HOST.fullmatch(each)
        if match is None or not 0 < int(match["port"] or port) <= _LARGEST_PORT:
            wrong = f"has {each!r} where a host belongs" if each else "names no host"
            raise _error(wrong, "host, host:6379 or [::1]:6379")
        hosts.append((unquote(match["v6"] or match["name"]), int(match["port"] or port)))
    if kind == "server" and len(hosts) > 1:
        raise _error("names several hosts", "redis+sentinel://... or redis+cluster://...")
    return tuple(hosts)


def _query(text: str, kind: str) -> str:
    """Return the database that the query names. It is the only option that belongs to the URL."""
    database = ""
    for pair in filter(None, text.split("&")):
        name, _, value = pair.partition("=")
        if name != "db" or kind == "cluster":
            known = () if kind == "cluster" else ("db",)
            raise unknown(name, known, lambda each: f"{each}, in the query of {WHERE},")
        database = unquote(value)
    return database


def _database(text: str, kind: str) -> int:
    if not re.fullmatch("[0-9]*", text, re.ASCII):
        raise ConfigurationError(f"{WHERE}: the database must be a number such as 0, not {text!r}.")
    number = int(text or 0)
    if kind == "cluster" and number:
        raise ConfigurationError(f"{WHERE}: a cluster has no database but 0, not {number}.")
    return number


def _error(wrong: str, right: str) -> ConfigurationError:
    return ConfigurationError(f"{WHERE} {wrong}. It should be like {right}.")
