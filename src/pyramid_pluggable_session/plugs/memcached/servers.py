"""Which memcached servers a URL names, and which of them keeps a session."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple, TypeVar
from urllib.parse import unquote

from pyramid.exceptions import ConfigurationError

from ...settings import PREFIX, unknown

DEFAULT_PORT: Final = 11211

_WHERE = f"{PREFIX}memcached.url"
_EXAMPLE = "memcached://host:11211,host2:11211 or memcached:///path/to.sock"
_SERVER = re.compile(
    r"(?: \[(?P<ipv6>[0-9a-f:.]+(?:%[\w.-]+)?)\] | (?P<host>[\w.-]+) ) (?: :(?P<port>\d+) )?",
    re.VERBOSE | re.ASCII | re.IGNORECASE,
)


class Address(NamedTuple):
    """Where a server listens: a host and port, or the path of a Unix socket."""

    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


_Server = TypeVar("_Server")


def choose(servers: Iterable[_Server], session_id: str) -> _Server:
    """Return the one of the servers, told apart by ``str()``, that keeps the session.

    That is rendezvous hashing: each server draws a number for the session and the highest wins. So
    the order of the servers does not matter, and when one is added or taken away for good, only the
    sessions that it wins or has won change their place.
    """
    return max(
        servers, key=lambda server: hashlib.sha256(f"{server} {session_id}".encode()).digest()
    )


def addresses(url: str, options: Collection[str]) -> tuple[Address, ...]:
    """Return the addresses that a URL names.

    ``options`` names what may be set for the plug, for the error. Raises
    :class:`~pyramid.exceptions.ConfigurationError` for what is not right.
    """
    scheme, separator, rest = url.partition("://")
    place, _, query = rest.partition("?")
    if scheme.lower() != "memcached" or not separator:
        raise ConfigurationError(f"{_WHERE} must be a URL such as {_EXAMPLE}.")
    if query:
        raise _unknown_option(query.partition("&")[0].partition("=")[0], options)
    if "@" in place:
        raise ConfigurationError(
            f"{_WHERE} has a user or password in it, which the memcached plug cannot use. "
            "Let a firewall, or a Unix socket, keep others away from the server."
        )
    if place.startswith("/") and place.strip("/"):
        return (Address("", 0, unquote(place)),)
    found = [_address(part) for part in place.removesuffix("/").split(",")]
    for address in found:
        if found.count(address) > 1:
            raise ConfigurationError(f"{_WHERE} names the server {address} more than once.")
    return tuple(found)


def _address(text: str) -> Address:
    match = _SERVER.fullmatch(text.strip())
    if match is None:
        raise ConfigurationError(
            f"{_WHERE}: {text!r} is not a server. It must be a URL such as {_EXAMPLE}; "
            "an IPv6 address stands in brackets, as in memcached://[::1]:11211."
        )
    port = DEFAULT_PORT if match["port"] is None else int(match["port"])
    if not 0 < port < 2**16:
        raise ConfigurationError(f"{_WHERE}: {text!r} has a port that is not from 1 to 65535.")
    return Address((match["ipv6"] or match["host"]).lower(), port)


def _unknown_option(name: str, options: Collection[str]) -> ConfigurationError:
    if name in options:
        # Only a URL that is the plug's name is searched for options.
        return ConfigurationError(
            f"{_WHERE} cannot have {name} in it. Set {PREFIX}memcached.{name}, or give the whole "
            f"URL as {PREFIX}plug."
        )
    return unknown(name, options, lambda each: f"{each}, in the URL of the memcached plug,")
