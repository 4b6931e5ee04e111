"""Sessions in memcached."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import pymemcache
from zope.interface import implementer

from ... import settings
from ...interfaces import IPurgePlug, IScanPlug, ISwapPlug
from ...keys import SessionKey
from ...settings import Option
from .. import expiry
from ..common_options import CONNECT_TIMEOUT, TIMEOUT
from ..per_process import PerProcess
from .connection import Connecting, Connection, tls_context
from .items import item, prefix
from .pool import Pool, ServerError
from .remedies import remedy
from .scan import scan
from .servers import addresses, choose
from .tokens import LastSeen

if TYPE_CHECKING:
    from ...interfaces import Key


@implementer(ISwapPlug, IScanPlug, IPurgePlug)
class MemcachedPlug:
    """Keeps records in one memcached server or several.

    memcached is a cache: it forgets all when it restarts, and the records that were not used for
    longest when it gets full. Whose record is forgotten begins a new session. With several servers
    each session has its place on one of them. When that one is down its sessions are unavailable,
    not absent; they do not move to another one, where they would be found again out of date.
    """

    name: ClassVar[str] = "memcached"
    options: ClassVar[tuple[Option, ...]] = (
        Option(
            "url",
            settings.text,
            "memcached://localhost:11211",
            "The servers, as memcached://host:11211,host2:11211, or a Unix socket, as "
            "memcached:///path/to.sock.",
            from_url="url",
        ),
        Option(
            "prefix",
            prefix,
            "session:",
            "What the names of the records begin with. Each application on a server needs its own.",
        ),
        Option("tls", settings.boolean, False, "Whether to speak TLS with the servers."),
        Option(
            "tls_ca_file",
            settings.or_none(settings.path),
            None,
            "The file of the authorities that may have signed the servers' certificates; none for "
            "those that the system trusts.",
        ),
        CONNECT_TIMEOUT,
        TIMEOUT,
    )
    outages: ClassVar[tuple[type[Exception], ...]] = (ServerError,)
    remedy = staticmethod(remedy)

    def __init__(
        self,
        config: Any = None,
        *,
        url: str = "memcached://localhost:11211",
        prefix: str = "session:",
        tls: bool = False,
        tls_ca_file: str | None = None,
        connect_timeout: float = 2.0,
        timeout: float = 5.0,
    ) -> None:
        places = addresses(url, [option.name for option in self.options])
        how = Connecting(connect_timeout, timeout, tls_context(places, tls, tls_ca_file))
        self._prefix = prefix
        self._timeout = timeout
        self._pools = PerProcess(lambda: [Pool(place, how) for place in places], _close)
        self._seen = LastSeen()
        weakref.finalize(self, _close_all, self._pools)

    def close(self) -> None:
        """Close the connections. The plug stays usable."""
        _close_all(self._pools)

    def loads(self, session: Key, request: Any) -> bytes | None:
        """Return the record, or None when it is absent or expired."""
        with self._pool(session).connection() as connection:
            stamped, _ = self._gets(connection, session.session_id)
        return None if stamped is None else expiry.live(stamped)

    def dumps(self, session: Key, request: Any, session_data: bytes) -> None:
        """Store the record until ``session.expires_at``."""
        with self._pool(session).connection() as connection:
            name = self._prefix + session.session_id
            connection.store(b"set", *item(connection, name, session, session_data))

    def clear(self, session: Key, request: Any) -> None:
        """Forget the record."""
        with self._pool(session).connection() as connection:
            connection.delete(self._prefix + session.session_id)

    def swap(self, session: Key, request: Any, expected: bytes | None, session_data: bytes) -> bool:
        """Store the record if what is stored equals ``expected``."""
        with self._pool(session).connection() as connection:
            name = self._prefix + session.session_id
            _, value, exptime = item(connection, name, session, session_data)
            # None: nothing is known of what is stored, or nothing is stored.
            token = self._seen.token(connection, session.session_id, expected)
            while True:
                if token is not None:
                    stored = connection.store(b"cas", name, value, exptime, token)
                elif expected is None:
                    stored = connection.store(b"add", name, value, exptime)
                else:
                    stored = False
                if stored:
                    return True
                found, token = self._gets(connection, session.session_id)
                if (None if found is None else expiry.live(found)) != expected:
                    return False

    def scan(self) -> Iterator[SessionKey]:
        """Yield the key of every live record.

        memcached counts whole seconds, so ``expires_at`` is up to six seconds late, and a day
        where it is a month ahead.
        """
        for pool in self._pools():
            with pool.connection() as connection:
                yield from scan(connection, self._prefix, self._timeout)

    def versions(self) -> dict[str, str]:
        """Return the versions of the servers and the driver."""
        found = set()
        for pool in self._pools():
            with pool.connection() as connection:
                found.add(connection.client.version().decode("ascii", "replace"))
        return {"memcached": " ".join(sorted(found)), "pymemcache": pymemcache.__version__}

    def server_time(self) -> float:
        """Return what time it is to the first server, in epoch seconds, to half a second."""
        with self._pools()[0].connection() as connection:
            return int(connection.client.stats()[b"time"]) + 0.5

    def purge(self) -> int:
        """Return 0: memcached deletes expired records by itself."""
        return 0

    def _pool(self, session: Key) -> Pool:
        pools = self._pools()
        return pools[0] if len(pools) == 1 else choose(pools, session.session_id)

    def _gets(self, connection: Connection, session_id: str) -> tuple[bytes | None, bytes | None]:
        asked = time.monotonic()
        stamped, token = connection.gets(self._prefix + session_id)
        self._seen.remember(session_id, stamped, token, asked)
        return stamped, token


def _close(pools: list[Pool]) -> None:
    for pool in pools:
        pool.close()


def _close_all(pools: PerProcess[list[Pool]]) -> None:
    _close(pools.take() or [])
