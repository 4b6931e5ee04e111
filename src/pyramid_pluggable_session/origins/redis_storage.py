"""What three of the origins keep in Redis: one key for each session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pyramid.exceptions import ConfigurationError

from ..plugs.common_options import CONNECT_TIMEOUT, TIMEOUT
from ..plugs.per_process import PerProcess

_TIMEOUTS: Final = {
    "socket_connect_timeout": CONNECT_TIMEOUT.default,
    "socket_timeout": TIMEOUT.default,
}


class RedisStorage:
    """Records in Redis, read and deleted as a plug does it."""

    def __init__(
        self, whose: str, make: Callable[[Any, dict[str, Any]], Any], key: str = "{}"
    ) -> None:
        """``make`` gets the module redis and timeouts, and returns a client. ``key`` is a format.

        It may as well return a function of the request that returns a client.
        """
        redis = import_redis(whose)
        self.name = f"of {whose} (redis)"
        self.outages = (redis.RedisError,)
        self._client = PerProcess(lambda: make(redis, _TIMEOUTS))
        self._key = key

    def loads(self, session: Any, request: Any) -> bytes | None:
        """Return the record, None if it is absent or expired."""
        found: bytes | None = self._of(request).get(self._key.format(session.session_id))
        return found

    def clear(self, session: Any, request: Any) -> None:
        """Delete the record."""
        self._of(request).delete(self._key.format(session.session_id))

    def dumps(self, session: Any, request: Any, session_data: bytes) -> None:
        """Never: what is there is left to the other package."""
        raise NotImplementedError

    def _of(self, request: Any) -> Any:
        client = self._client()
        return client if hasattr(client, "get") else client(request)

    def close(self) -> None:
        """Close the connections."""
        client = self._client.take()
        if client is not None and hasattr(client, "close"):
            client.close()


def import_redis(whose: str) -> Any:
    """Return the module. Raise ConfigurationError if it is not installed."""
    try:
        import redis  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            f"To read the sessions of {whose} from Redis: "
            "pip install 'pyramid_pluggable_session[redis]'"
        ) from error
    return redis


def from_url(url: str) -> Callable[[Any, dict[str, Any]], Any]:
    """Return what makes a client of a URL."""
    return lambda redis, timeouts: redis.Redis.from_url(url, **timeouts)
