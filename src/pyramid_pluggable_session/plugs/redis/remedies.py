"""What to change when a Redis server refuses a command, cannot be reached, or is none."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Final

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    InvalidResponse,
    MaxConnectionsError,
    MovedError,
    NoPermissionError,
    ReadOnlyError,
    TimeoutError,
)
from redis.sentinel import MasterNotFoundError

from .url import WHERE, Target

_PREFIX: Final = "pluggable_session.redis."
_LOGIN: Final = f"the user and password in {WHERE}, or {_PREFIX}username and {_PREFIX}password"
_RIGHTS: Final = (
    "the user needs the rights ~{prefix}* +get +set +del +exists +eval +evalsha +scan +pttl, "
    "for a database other than 0 +select, and for a cluster +cluster|slots +command"
)
_NO_TLS: Final = f"if that port does not speak TLS, use redis in place of rediss in {WHERE}"
_TLS: Final = f"if that port speaks TLS, use rediss in place of redis in {WHERE}"
_CERTIFICATE: Final = f"if the server asks its clients for a certificate, set {_PREFIX}certfile"
_OTHER: Final = f"no Redis or Valkey server answers there: see host and port in {WHERE}"
_ADDRESS: Final = f"is the server running? Else see host and port in {WHERE}"
_CLUSTER: Final = f"that server is a node of a cluster: use redis+cluster:// in {WHERE}"
_PRIMARY: Final = f"that server is a replica: name the primary in {WHERE}, or use redis+sentinel://"

# An exception's class, or words of its message, and what to change. The first that fits counts.
# Words stand for what has no class, or none when it comes out of a script of an old server.
_RULES: Final[tuple[tuple[type[BaseException] | str, str], ...]] = (
    ("Authentication required", f"the server asks for a password: set {_LOGIN}"),
    ("without any password configured", f"the server wants no password: remove {_LOGIN}"),
    (AuthenticationError, f"see {_LOGIN}"),
    (NoPermissionError, _RIGHTS),
    ("Cluster mode is not enabled", f"that server is in no cluster: use redis:// in {WHERE}"),
    (MovedError, _CLUSTER),
    (ReadOnlyError, _PRIMARY),
    ("READONLY", _PRIMARY),
    ("Link with MASTER is down", _PRIMARY),
    ("NOREPLICAS", "too few replicas follow the server: see them, and its min-replicas-to-write"),
    (ClusterDownError, "some of the cluster's nodes are down: see CLUSTER INFO"),
    ("'maxmemory'", "the server's memory is full: raise its maxmemory, or give it fewer sessions"),
    ("MISCONF", "the server cannot write its snapshots: see its log and its disk"),
    (BusyLoadingError, "the server is starting and reads its data: wait"),
    ("unknown command 'SENTINEL'", f"that server is no Sentinel: use redis:// in {WHERE}"),
    ("unknown command 'GET'", f"that server is a Sentinel: use redis+sentinel:// in {WHERE}"),
    ("DB index", f"see the number of the database in {WHERE}, and the server's databases"),
    ("max number of clients", f"raise the server's maxclients, or set {_PREFIX}max_connections"),
    (MaxConnectionsError, f"raise {_PREFIX}max_connections"),
    (
        ssl.SSLCertVerificationError,
        f"set {_PREFIX}ca_certs to the certificate of the authority that signed the server's, and "
        f"call the server in {WHERE} as its certificate does",
    ),
    ("WRONG_VERSION_NUMBER", _NO_TLS),
    ("handshake operation timed out", _NO_TLS),
    (ssl.SSLError, _CERTIFICATE),
    (InvalidResponse, _OTHER),
    (TimeoutError, f"is the server busy? {_PREFIX}timeout and {_PREFIX}connect_timeout limit it"),
    (socket.gaierror, f"see the host's name in {WHERE}"),
    (ConnectionRefusedError, _ADDRESS),
    (FileNotFoundError, f"is the server running? Else see the path of the socket in {WHERE}"),
    (PermissionError, "the process may not use the socket: see the server's unixsocketperm"),
    ("AF_UNIX path too long", f"the system does not take so long a path: {WHERE}"),
    (ConnectionResetError, _TLS),
    (BrokenPipeError, _TLS),
)


def remedy(error: BaseException, target: Target | None, prefix: str) -> str | None:
    """Return what to change so that the error does not happen again, if that is known."""
    if isinstance(error, MasterNotFoundError):
        return _no_primary(str(error))
    chain = list(_behind(error))
    for sign, advice in _RULES:
        for each in chain:
            if sign in str(each) if isinstance(sign, str) else isinstance(each, sign):
                if advice is _TLS and target is None:
                    return None
                if advice is _TLS and target is not None and target.tls:
                    # So ends a connection, now and then, whose client shows no certificate.
                    return _CERTIFICATE
                return advice.format(prefix=prefix)
    return None


def _no_primary(message: str) -> str:
    if "AuthenticationError" in message:
        return f"a Sentinel asks for a password: see {_PREFIX}sentinel_password"
    if "Error" in message:
        return f"a Sentinel does not answer: see the hosts and ports of the Sentinels in {WHERE}"
    return f"the Sentinels know no service of that name that is up: see the name in {WHERE}"


def _behind(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and those that led to it."""
    # redis-py wraps the errors of the system, mostly without naming them as the cause.
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
