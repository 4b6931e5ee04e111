"""How commands get to Redis servers: each is sent once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final

from hiredis import pack_command
from redis.cluster import RedisCluster
from redis.exceptions import MaxConnectionsError, ResponseError

from ..per_process import PerProcess

_PAGE: Final = 500  # keys

# What PTTL returns besides milliseconds.
_FOR_EVER: Final = -1
_GONE: Final = -2

_NO_WAIT: Final = nullcontext()


class Commands:
    """Sends commands, each at most once: what fails may have been done, so nothing is repeated."""

    def __init__(
        self,
        make: Callable[[], Any],
        max_connections: int | None = None,
        timeout: float | None = None,
        own: bool = False,
    ) -> None:
        """``own`` says that the client is the application's own, which only it closes."""
        self._client = PerProcess(make)
        self._own = own
        self._timeout = timeout
        # The pools of redis-py raise an error where a request could wait for its turn.
        self._turns = (
            PerProcess(lambda: threading.BoundedSemaphore(max_connections))
            if max_connections
            else None
        )

    def __call__(self, key: str | bytes, *command: Any) -> Any:
        """Return the server's answer to a command on ``key``."""
        with self._turn():
            return _send(self._client(), key, command)

    def read_with_lifetime(self, key: str) -> tuple[bytes | None, float | None]:
        """Return what is stored and the seconds left to it, in one round trip."""
        with self._turn():
            data, left = _send_both(self._client(), ("GET", key), ("PTTL", key))
        return data, None if left == _FOR_EVER else left / 1000

    def listener(self) -> Any:
        """Return a connection to a single server, by RESP 3, that is in no pool."""
        pool = self._client().connection_pool
        # Notes on maintenance would come with RESP 3 too, if the server has any.
        kwargs = {
            name: value
            for name, value in pool.connection_kwargs.items()
            if not name.startswith(("maint_", "orig_"))
        }
        return pool.connection_class(**{**kwargs, "protocol": 3})

    def count(self) -> int:
        """Return how many keys there are, whatever their names."""
        with self._turn():
            return sum(node.dbsize() for node in _primaries(self._client()))

    def ask(self, *command: Any) -> Any:
        """Return what a server, of a cluster one of the primaries, answers about itself."""
        with self._turn():
            return _primaries(self._client())[0].execute_command(*command)

    def pages(self, pattern: str) -> Iterator[dict[bytes, float | None]]:
        """Yield the keys that match, in pages, each with the seconds left to it, None for ever."""
        with self._turn():
            nodes = _primaries(self._client())
        for node in nodes:
            cursor = -1
            while cursor != 0:
                with self._turn():
                    cursor, found = node.scan(max(cursor, 0), match=pattern, count=_PAGE)
                    # While Redis resizes its table, a page may have a key twice.
                    keys = list(dict.fromkeys(found))
                    pipeline = node.pipeline(transaction=False)
                    for key in keys:
                        pipeline.pttl(key)
                    left = pipeline.execute(raise_on_error=False) if keys else ()
                page = {}
                for key, answer in zip(keys, left, strict=True):
                    # A key that is moving to another node is an error here, and found by asking
                    # for it alone. Any other error comes again.
                    moving = isinstance(answer, Exception)
                    milliseconds = self(key, "PTTL", key) if moving else answer
                    if milliseconds != _GONE:
                        page[key] = None if milliseconds == _FOR_EVER else milliseconds / 1000
                yield page

    def close(self) -> None:
        """Close the connections that are not in use."""
        if self._own:
            return
        client = self._client.take()
        if client is None:
            return
        for pool in _pools(client):
            pool.disconnect(inuse_connections=False)

    def _turn(self) -> AbstractContextManager[None]:
        return _NO_WAIT if self._turns is None else self._wait(self._turns())

    @contextmanager
    def _wait(self, turns: threading.BoundedSemaphore) -> Iterator[None]:
        if not turns.acquire(timeout=self._timeout):
            raise MaxConnectionsError("No connection became free.")
        try:
            yield
        finally:
            turns.release()


def _is_cluster(client: Any) -> bool:
    return isinstance(client, RedisCluster)


def _send(client: Any, key: str | bytes, command: tuple[Any, ...]) -> Any:
    if _is_cluster(client):
        # With its node named, a command is sent again only where a node refused it (MOVED, ASK).
        return client.execute_command(*command, target_nodes=client.get_node_from_key(key))
    # Not execute_command(): it does what failed again if the client of the application says so.
    pool = client.connection_pool
    connection = pool.get_connection()
    try:
        connection.send_packed_command([pack_command(command)])
        return client.parse_response(connection, command[0])
    except ResponseError:
        raise
    except BaseException:
        # An answer that is still to come would be taken for the one to the next command.
        connection.disconnect()
        raise
    finally:
        pool.release(connection)


def _send_both(client: Any, first: tuple[Any, ...], second: tuple[Any, ...]) -> tuple[Any, Any]:
    pool = client.connection_pool
    connection = pool.get_connection()
    try:
        connection.send_packed_command([pack_command(first) + pack_command(second)])
        return (
            client.parse_response(connection, first[0]),
            client.parse_response(connection, second[0]),
        )
    except BaseException:
        connection.disconnect()
        raise
    finally:
        pool.release(connection)


def _primaries(client: Any) -> list[Any]:
    if _is_cluster(client):
        return [client.get_redis_connection(node) for node in client.get_primaries()]
    return [client]


def _pools(client: Any) -> Iterator[Any]:
    if _is_cluster(client):
        for node in client.get_nodes():
            yield node.redis_connection.connection_pool
        return
    yield client.connection_pool
    sentinel = getattr(client.connection_pool, "sentinel_manager", None)
    if sentinel is not None:
        for each in sentinel.sentinels:
            yield each.connection_pool
