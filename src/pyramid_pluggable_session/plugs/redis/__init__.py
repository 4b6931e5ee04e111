"""Sessions in Redis or Valkey: one server, one that Sentinels watch, or a cluster."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Final

import redis
from pyramid.exceptions import ConfigurationError
from redis.exceptions import NoScriptError, RedisClusterException, RedisError, ResponseError
from zope.interface import implementer

from ... import clock
from ...errors import SessionTooLarge
from ...interfaces import IPurgePlug, IScanPlug, ISwapPlug
from ...keys import SessionKey, is_session_id
from ...settings import Option
from . import remedies
from .commands import Commands
from .near_cache import CachedCommands
from .options import OPTIONS, client_maker
from .script import SWAP, SWAP_DIGEST
from .url import WHERE

if TYPE_CHECKING:
    from ...interfaces import Key

# Of a string, in Redis.
_LARGEST: Final = 512 * 1024 * 1024


@implementer(ISwapPlug, IScanPlug, IPurgePlug)
class RedisPlug:
    """Keeps each record as a string with the key ``<prefix><session id>``.

    The server deletes expired records by itself. A replica that takes over has what had reached it
    by then: of what was acknowledged, the last moments may be missing. How much survives a crash of
    the server itself is up to its ``appendfsync``. If it has ``maxmemory``, its policy should be
    ``noeviction``: all others forget sessions silently when memory is short.
    """

    name: ClassVar[str] = "redis"
    options: ClassVar[tuple[Option, ...]] = OPTIONS
    # Not all of redis-py's errors about clusters are RedisErrors.
    outages: ClassVar[tuple[type[Exception], ...]] = (RedisError, RedisClusterException)

    def __init__(
        self,
        config: Any = None,
        *,
        url: str | None = None,
        username: str | None = None,
        password: str | None = None,
        sentinel_username: str | None = None,
        sentinel_password: str | None = None,
        prefix: str = "session:",
        near_cache: int = 0,
        connect_timeout: float = 2.0,
        timeout: float = 5.0,
        max_connections: int = 0,
        ca_certs: str | None = None,
        certfile: str | None = None,
        keyfile: str | None = None,
        verify: bool = True,
        client: Any = None,
    ) -> None:
        make, self._target = client_maker(
            config,
            url=url,
            client=client,
            username=username,
            password=password,
            sentinel_username=sentinel_username,
            sentinel_password=sentinel_password,
            timeouts={"socket_connect_timeout": connect_timeout, "socket_timeout": timeout},
            tls={
                "ca_certs": ca_certs,
                "certfile": certfile,
                "keyfile": keyfile,
                "verify": verify,
            },
        )
        self._commands: Commands | CachedCommands = Commands(
            make, max_connections, timeout, own=client is not None
        )
        if near_cache:
            if self._target is None or self._target.kind not in ("server", "socket"):
                raise ConfigurationError(
                    f"pluggable_session.redis.near_cache works where {WHERE} names a single server "
                    "only. Set it to 0."
                )
            self._commands = CachedCommands(self._commands, near_cache, prefix)
        self._prefix = prefix
        self._may_compare = True

    def close(self) -> None:
        """Close the connections that are not in use. The plug stays usable."""
        self._commands.close()

    def remedy(self, error: BaseException) -> str | None:
        """Return what to change so that the error does not happen, if that is known."""
        return remedies.remedy(error, self._target, self._prefix)

    def loads(self, session: Key, request: Any) -> bytes | None:
        """Return the record, or None when it is absent or expired."""
        key = self._prefix + session.session_id
        data: bytes | None = self._commands(key, "GET", key)
        return data

    def dumps(self, session: Key, request: Any, session_data: bytes) -> None:
        """Store the record until ``session.expires_at``."""
        key, lifetime = self._prefix + session.session_id, _lifetime(session, session_data)
        if lifetime == 0:
            self._commands(key, "DEL", key)
        else:
            self._commands(key, "SET", key, session_data, *_expiry(lifetime))

    def clear(self, session: Key, request: Any) -> None:
        """Forget the record."""
        key = self._prefix + session.session_id
        self._commands(key, "DEL", key)

    def swap(self, session: Key, request: Any, expected: bytes | None, session_data: bytes) -> bool:
        """Store the record if what is stored equals ``expected``."""
        key, lifetime = self._prefix + session.session_id, _lifetime(session, session_data)
        expiry = _expiry(lifetime)
        if expected is None:
            if lifetime == 0:
                return not self._commands(key, "EXISTS", key)
            return bool(self._commands(key, "SET", key, session_data, "NX", *expiry))
        if self._may_compare and lifetime != 0:
            try:
                return bool(
                    self._commands(key, "SET", key, session_data, "IFEQ", expected, *expiry)
                )
            except ResponseError as error:
                # Valkey before 8.1 and Redis before 8.4. Another server may come after a failover,
                # so this is found out by trying; a newer one does not mind the script.
                if "syntax error" not in str(error):
                    raise
                self._may_compare = False
        arguments = (1, key, expected, session_data, "" if lifetime is None else lifetime)
        try:
            return bool(self._commands(key, "EVALSHA", SWAP_DIGEST, *arguments))
        except NoScriptError:
            return bool(self._commands(key, "EVAL", SWAP, *arguments))

    def scan(self) -> Iterator[SessionKey]:
        """Yield the key of every live record.

        If a server shrinks its table meanwhile, as it does when most of its keys go, it may yield
        some twice: to know them all again would take memory for all of them.
        """
        start = len(self._prefix.encode())
        for page in self._commands.pages(re.sub(r"([*?\[\]\\^-])", r"\\\1", self._prefix) + "*"):
            now = clock.now()
            for key, left in page.items():
                session_id = key[start:].decode("ascii", "replace")
                if is_session_id(session_id):
                    yield SessionKey(session_id, None if left is None else now + left)

    def stored(self) -> tuple[int, None]:
        """Return how many keys there are, those of others included; the expired are not known."""
        return self._commands.count(), None

    def versions(self) -> dict[str, str]:
        """Return the versions of the server and the driver."""
        info = self._commands.ask("INFO", "server")
        server = "valkey" if "valkey_version" in info else "redis"
        return {server.capitalize(): info[f"{server}_version"], "redis-py": redis.__version__}

    def server_time(self) -> float:
        """Return what time it is to the server, in epoch seconds."""
        seconds, microseconds = self._commands.ask("TIME")
        return float(seconds + microseconds / 1_000_000)

    def purge(self) -> int:
        """Return 0: the server deletes expired records by itself."""
        return 0


def _lifetime(session: Key, data: bytes) -> int | None:
    """Return how many milliseconds the record has to live, or None for ever."""
    if len(data) > _LARGEST:
        raise SessionTooLarge(
            f"A session of {len(data)} bytes is larger than Redis takes: {_LARGEST} bytes.",
            len(data),
            _LARGEST,
        )
    if session.expires_at is None:
        return None
    return max(0, math.ceil((session.expires_at - clock.now()) * 1000))


def _expiry(lifetime: int | None) -> tuple[Any, ...]:
    return () if lifetime is None else ("PX", lifetime)
