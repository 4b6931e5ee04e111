"""What to change when a memcached server fails."""

from __future__ import annotations

import socket
import ssl
from typing import Any, Final

from pymemcache.exceptions import (
    MemcacheClientError,
    MemcacheServerError,
    MemcacheUnexpectedCloseError,
    MemcacheUnknownError,
)

_URL = "pluggable_session.memcached.url"
_TLS = "pluggable_session.memcached.tls"

# The first counts whose class fits and whose words are in the message.
_REMEDIES: Final[tuple[tuple[Any, str, str], ...]] = (
    (
        ssl.SSLCertVerificationError,
        "",
        f"set {_TLS}_ca_file to the authority that signed the server's certificate, and see that "
        f"{_URL} has the host name that is in it",
    ),
    (ssl.SSLError, "", f"if the server does not speak TLS (memcached -Z), set {_TLS} = false"),
    (
        TimeoutError,
        "",
        f"see that {_URL} is right, that no firewall is in between and that the server is not "
        "overloaded; if it needs that long, raise pluggable_session.memcached.timeout",
    ),
    (socket.gaierror, "", f"check the host name in {_URL}"),
    (PermissionError, "", "let this user write to the server's Unix socket (memcached -a)"),
    (
        (MemcacheUnexpectedCloseError, ConnectionResetError, BrokenPipeError),
        "",
        f"if the server speaks TLS, set {_TLS} = true; if it has too many connections, raise their "
        f"limit (memcached -c); if it is not memcached, correct {_URL}",
    ),
    (
        MemcacheServerError,
        "no tokens for cas",
        "start it without -C; sessions need its compare and swap",
    ),
    (MemcacheServerError, "out of memory", "give the server more memory (memcached -m)"),
    (MemcacheServerError, "too large", "raise the limit of the server (memcached -I)"),
    (
        MemcacheServerError,
        "metadump not allowed",
        "sessions cannot be listed where the server has dumping disabled (memcached -X)",
    ),
    (
        MemcacheClientError,
        "unauthenticated",
        "the server wants a password (memcached -Y), which the memcached plug cannot give; start "
        "it without, and keep others away by a firewall or a Unix socket",
    ),
    (
        # The last two are how pymemcache fails at answers that are not well formed.
        (MemcacheClientError, MemcacheUnknownError, LookupError, ValueError),
        "",
        f"see that {_URL} is the address of a memcached server",
    ),
    (OSError, "", f"start the server, or correct {_URL}"),
)


def remedy(error: BaseException) -> str | None:
    """Return a few words on what to change, or None."""
    cause = error.__cause__ or error
    for kind, words, advice in _REMEDIES:
        if isinstance(cause, kind) and words in str(cause):
            return advice
    return None
