"""Clients of Redis servers: those that are made from the options, and the application's own."""

from __future__ import annotations

import ssl
from typing import Any, Final

import redis
from pyramid.exceptions import ConfigurationError
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry

from ..common_options import from_application
from .pools import Pool, SentinelPool
from .url import Target

_WHERE: Final = "pluggable_session.redis"

# Its type hints are not complete, and take no options from a dictionary.
_redis: Any = redis


class _SentinelClient(redis.Redis):
    def __repr__(self) -> str:
        # It is in the message that none of the Sentinels knows a primary.
        return "{host}:{port}".format(**self.get_connection_kwargs())


def make_client(
    target: Target,
    timeouts: dict[str, float],
    tls: dict[str, Any],
    sentinel_login: dict[str, str | None],
) -> Any:
    """Return a client of what a URL names. Only that of a cluster connects at once."""
    options: dict[str, Any] = {
        # RESP 3 costs a round trip more to connect, and brings messages that nobody asked for: for
        # their sake redis-py does not look whether an idle connection is still good.
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        # As many as are needed. Else redis-py takes 100, and its pools fail where they could wait.
        "max_connections": 1 << 31,
        **timeouts,
    }
    login: dict[str, Any] = {
        "username": target.username,
        "password": target.password,
        "db": target.database,
    }
    if target.kind == "socket":
        pool: Any = Pool(
            connection_class=redis.UnixDomainSocketConnection, path=target.path, **login, **options
        )
        return redis.Redis.from_pool(pool)
    options["socket_keepalive"] = True
    if target.kind == "server":
        ((host, port),) = target.hosts
        kind = redis.SSLConnection if target.tls else redis.Connection
        pool = Pool(connection_class=kind, host=host, port=port, **login, **options, **tls)
        return redis.Redis.from_pool(pool)
    if target.tls:
        options |= {"ssl": True, **tls}
    if target.kind == "sentinel":
        make: Any = _SentinelClient
        sentinel = _redis.Sentinel(())
        sentinel.sentinels = [
            make(host=host, port=port, **sentinel_login, **options) for host, port in target.hosts
        ]
        return sentinel.master_for(
            target.service, connection_pool_class=SentinelPool, **login, **options
        )
    del login["db"]
    nodes = [_redis.cluster.ClusterNode(host, port) for host, port in target.hosts]
    return _redis.RedisCluster(startup_nodes=nodes, **login, **options)


def tls_options(
    ca_certs: str | None, certfile: str | None, keyfile: str | None, verify: bool
) -> dict[str, Any]:
    """Return the TLS options of redis-py. Raise ConfigurationError if a file cannot be used."""
    context = ssl.create_default_context()
    try:
        if ca_certs is not None:
            context.load_verify_locations(cafile=ca_certs)
    except OSError as error:
        raise ConfigurationError(
            f"{_WHERE}.ca_certs: {ca_certs} has no certificates that can be read ({error})."
        ) from None
    if keyfile is not None and certfile is None:
        raise ConfigurationError(f"{_WHERE}.keyfile is set, and {_WHERE}.certfile is not.")
    try:
        if certfile is not None:
            # An empty password: without one, OpenSSL asks for it at the terminal.
            context.load_cert_chain(certfile, keyfile, password="")
    except OSError as error:
        raise ConfigurationError(
            f"{_WHERE}.certfile: {certfile} and {_WHERE}.keyfile: {keyfile or 'the same'} are not "
            f"a certificate and its key, without a password ({error})."
        ) from None
    return {
        "ssl_ca_certs": ca_certs,
        "ssl_certfile": certfile,
        "ssl_keyfile": keyfile,
        "ssl_cert_reqs": "required" if verify else "none",
        "ssl_check_hostname": verify,
    }


def own_client(config: Any, given: Any) -> Any:
    """Return the application's client. Raise ConfigurationError if it is of no use here."""
    client = from_application(config, given)
    if isinstance(client, redis.ConnectionPool):
        client = redis.Redis(connection_pool=client)
    if not isinstance(client, (redis.Redis, RedisCluster)):
        raise ConfigurationError(
            f"{_WHERE}.client must be a redis.Redis, a redis.RedisCluster, a redis.ConnectionPool, "
            f"or a callable that returns one, not a {type(client).__name__}."
        )
    if client.get_encoder().decode_responses:
        raise ConfigurationError(
            f"{_WHERE}.client has decode_responses=True. Records are bytes, not text: name a "
            "client without it."
        )
    if client.get_connection_kwargs().get("cache") or getattr(client, "get_cache", lambda: None)():
        raise ConfigurationError(
            f"{_WHERE}.client caches answers, so that a session that another process has changed "
            "would be read as it was. Name a client without a cache."
        )
    return client
