"""A connection to a memcached server."""

from __future__ import annotations

import select
import selectors
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheServerError
from pyramid.exceptions import ConfigurationError

from ...settings import PREFIX
from . import answers
from .servers import Address

_TLS = f"{PREFIX}memcached.tls"
_DEFAULT_ITEM_SIZE = 2**20  # bytes


class Connecting(NamedTuple):
    """How to connect: two times to wait, in seconds, and the context for TLS, if any."""

    connect_timeout: float
    timeout: float
    tls: ssl.SSLContext | None = None


class Connection:
    """A connection that is open, used by one thread at a time.

    The few commands that sessions need all the time are asked here, and not by pymemcache: what
    that does around them takes longer than the server and the network together.
    """

    def __init__(self, address: Address, how: Connecting) -> None:
        self.socket = _connect(address, how)
        # Before a word is said. What is read after it comes from the process at the other end.
        self.opened = time.monotonic()
        self.client = Client(str(address), default_noreply=False)
        # Left to itself the client tries no more than the first address that a name stands for.
        self.client.sock = self.socket
        self.idle_since = self.opened
        self._item_size: int | None = None
        self._look = _looking_at(self.socket)

    def gets(self, key: str) -> tuple[bytes | None, bytes | None]:
        """Return the value and its token for ``cas``, or None for both."""
        self.socket.sendall(b"gets %b\r\n" % key.encode())
        value, token = answers.value(self.socket, key.encode())
        if token == b"0":
            raise MemcacheServerError("the server gives no tokens for cas")
        return value, token

    def store(self, verb: bytes, key: str, value: bytes, exptime: int, token: bytes = b"") -> bool:
        """Do a ``set``, ``add`` or ``cas``, which has a token. Return whether it was stored."""
        end = b" %b\r\n" % token if token else b"\r\n"
        head = b"%b %b 0 %d %d" % (verb, key.encode(), exptime, len(value))
        self.socket.sendall(b"".join((head, end, value, b"\r\n")))
        return answers.word(self.socket, verb) == b"STORED"

    def delete(self, key: str) -> None:
        """Delete what there is."""
        self.socket.sendall(b"delete %b\r\n" % key.encode())
        answers.word(self.socket, b"delete")

    def item_size(self) -> int:
        """Return the size of the largest item that the server takes, in bytes."""
        if self._item_size is None:
            limits = self.client.stats("settings")
            self._item_size = limits.get(b"item_size_max", _DEFAULT_ITEM_SIZE)
        return self._item_size

    def is_quiet(self) -> bool:
        """Tell whether there is nothing to read, as there must not be before a question.

        There is if the server has closed the connection, or sends an answer to somebody else.
        """
        return not self._look(0)

    def close(self) -> None:
        """Close the connection, without a word to the server."""
        self.socket.close()


def _looking_at(connected: socket.socket) -> Callable[[int], list[Any]]:
    """Return a function of how long to wait, which returns nothing if there is nothing to read."""
    # Not the DefaultSelector: that one is a file, to be closed, and of the parent's after a fork.
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(connected, select.POLLIN)
        return poll.poll
    selector = selectors.SelectSelector()
    selector.register(connected, selectors.EVENT_READ)
    return selector.select


def _connect(address: Address, how: Connecting) -> socket.socket:
    if address.path:
        connected = socket.socket(socket.AF_UNIX)
    else:
        connected = socket.create_connection((address.host, address.port), how.connect_timeout)
    try:
        if address.path:
            connected.settimeout(how.connect_timeout)
            connected.connect(address.path)
        else:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if how.tls is not None:
            connected = how.tls.wrap_socket(connected, server_hostname=address.host)
        connected.settimeout(how.timeout)
    except BaseException:
        connected.close()
        raise
    return connected


def tls_context(places: Iterable[Address], tls: bool, ca_file: str | None) -> ssl.SSLContext | None:
    """Return the context for TLS, or None without it. Raise ConfigurationError for a mistake."""
    if not tls:
        if ca_file is not None:
            raise ConfigurationError(f"{_TLS}_ca_file is set, but {_TLS} is not true.")
        return None
    if any(place.path for place in places):
        raise ConfigurationError(f"{_TLS} must not be true for a Unix socket.")
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ConfigurationError(
            f"{_TLS}_ca_file: {ca_file} has no certificates that can be read "
            f"({error.strerror or error})."
        ) from None
