"""The options of the redis plug, and how a client is made of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from pyramid.exceptions import ConfigurationError

from ... import settings
from ...settings import Option
from ..common_options import CONNECT_TIMEOUT, TIMEOUT
from .clients import make_client, own_client, tls_options
from .url import WHERE, Target, parse_url

_PREFIX: Final = "pluggable_session.redis."
_DEFAULT_URL: Final = "redis://localhost:6379/0"


def _optional(name: str, convert: Callable[[Any], Any], help: str, **more: Any) -> Option:
    return Option(name, settings.or_none(convert), None, help, **more)


OPTIONS: Final = (
    _optional(
        "url",
        settings.text,
        f"The server, or those that lead to it; {_DEFAULT_URL} if neither this nor client is set.",
        from_url="url",
    ),
    _optional("username", settings.text, "The user, if the URL does not name one."),
    _optional("password", settings.text, "The password, if the URL has none.", secret=True),
    _optional("sentinel_username", settings.text, "The user that the Sentinels know, if any."),
    _optional(
        "sentinel_password",
        settings.text,
        "The password that the Sentinels ask for, if they do.",
        secret=True,
    ),
    Option(
        "prefix",
        settings.text,
        "session:",
        "What the keys begin with. Applications that share a server need different ones.",
    ),
    Option(
        "near_cache",
        settings.integer,
        0,
        "How many bytes of sessions each process keeps, to read them again without asking the "
        "server; 0 for none. The server announces what changes.",
    ),
    CONNECT_TIMEOUT,
    TIMEOUT,
    Option(
        "max_connections",
        settings.integer,
        0,
        "How many connections each process opens at most, to each node of a cluster. A request "
        "waits for one that is free. 0 for as many as there are requests at the same time.",
    ),
    _optional(
        "ca_certs",
        settings.path,
        "The file with the certificates of the authorities to trust; the system's if not set.",
    ),
    _optional("certfile", settings.path, "The file with the certificate to show to the server."),
    _optional(
        "keyfile", settings.path, "The file with the certificate's key, if it is not in certfile."
    ),
    Option(
        "verify",
        settings.boolean,
        True,
        "Whether the server must have a certificate that is trusted and has its host name.",
    ),
    _optional(
        "client",
        settings.dotted,
        "A dotted name of a client or connection pool of redis-py to use in place of a URL, or of "
        "a callable that gets config and returns one.",
    ),
)


def client_maker(
    config: Any,
    *,
    url: str | None,
    client: Any,
    username: str | None,
    password: str | None,
    sentinel_username: str | None,
    sentinel_password: str | None,
    timeouts: dict[str, float],
    tls: dict[str, Any],
) -> tuple[Callable[[], Any], Target | None]:
    """Return what makes a client, and what the URL says unless it is the application's own client.

    Raise ConfigurationError if options do not go together.
    """
    sentinel = {"sentinel_username": sentinel_username, "sentinel_password": sentinel_password}
    if client is not None:
        given = {"url": url, "username": username, "password": password, **sentinel, **tls}
        _refuse(given, f"{_PREFIX}client knows that itself")
        own = own_client(config, client)
        return lambda: own, None
    target = parse_url(url or _DEFAULT_URL)
    if target.kind != "sentinel":
        _refuse(sentinel, f"{WHERE} is not redis+sentinel://")
    if target.tls:
        tls_kwargs = tls_options(**tls)
    else:
        _refuse(tls, f"{WHERE} is not rediss://")
        tls_kwargs = {}
    for name, value in (("username", username), ("password", password)):
        if value is not None and getattr(target, name) is not None:
            raise ConfigurationError(f"{_PREFIX}{name} is set, and {WHERE} has one as well.")
    target = replace(
        target, username=username or target.username, password=password or target.password
    )
    if target.username is not None and target.password is None:
        raise ConfigurationError(f"{WHERE} has a user, and no password. Set {_PREFIX}password.")
    if sentinel_username is not None and sentinel_password is None:
        raise ConfigurationError(
            f"{_PREFIX}sentinel_username is set, and {_PREFIX}sentinel_password is not."
        )
    login = {"username": sentinel_username, "password": sentinel_password}
    return lambda: make_client(target, timeouts, tls_kwargs, login), target


def _refuse(given: dict[str, Any], reason: str) -> None:
    for name, value in given.items():
        if value is not None and not (name == "verify" and value is True):
            raise ConfigurationError(f"{_PREFIX}{name} is set, but {reason}.")
