"""The settings ``redis.sessions.*``, as two packages have them with small differences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pyramid.exceptions import ConfigurationError

from ..settings import PREFIX, dotted, section
from .formats import Reader, own_reader, pickle_reader
from .redis_storage import RedisStorage, from_url, import_redis
from .sessions import Place

_PREFIX: Final = "redis.sessions."
_TIMEOUT: Final = 1200


class RedisSettings:
    """The settings of a package. Its names for those of the server begin with ``server``."""

    def __init__(self, config: Any, whose: str, server: str) -> None:
        self._whose = whose
        self._server = server
        self._given: Mapping[str, Any] = {
            name: value.strip() if isinstance(value, str) else value
            for name, value in section(config.registry.settings, _PREFIX).items()
        }

    def secret(self) -> str:
        """Return what signed the cookies."""
        secret = self._given.get("secret")
        if not secret:
            raise ConfigurationError(
                f"{_PREFIX}secret is not set. Keep the old settings {_PREFIX}* as long as "
                f"{PREFIX}import is set."
            )
        return str(secret)

    def place(self) -> Place:
        """Return where the cookie is."""
        given = self._given
        return Place(
            given.get("cookie_name") or "session",
            given.get("cookie_path") or "/",
            given.get("cookie_domain") or None,
        )

    def timeout(self) -> int | None:
        """Return the idle timeout of every session that has none of its own, in seconds."""
        return self._number("timeout", _TIMEOUT)

    def dotted(self, name: str) -> Any:
        """Return an object of the application's own, None if none is named."""
        value = self._given.get(name)
        try:
            return dotted(value) if value else None
        except ValueError as error:
            raise ConfigurationError(f"{_PREFIX}{name} must be {error}.") from None

    def reader(self, allow_pickle: bool, classes: Iterable[type]) -> Reader:
        """Return what reads the values."""
        own, whose = self.dotted("deserialize"), f"The sessions of {self._whose}"
        if own is None:
            whose += f" ({_PREFIX}deserialize is not set)"
            return pickle_reader(allow_pickle, classes, whose)
        return own_reader(own, allow_pickle, classes, whose)

    def storage(self) -> RedisStorage:
        """Return where the values are."""
        own = self.dotted(f"{self._server}client_callable") or self.dotted("client_callable")
        options = {
            "host": self._get("host") or "localhost",
            "port": self._number(f"{self._server}port", 6379),
            "db": self._number(f"{self._server}db", 0),
            "password": self._get("password") or None,
            "unix_socket_path": self._get("unix_socket_path") or None,
        }
        if own is not None:
            # The package calls it with each request, and it returns one and the same client.
            return RedisStorage(self._whose, lambda *_: lambda request: own(request, **options))
        if url := self._get("url"):
            self._check(url)
            return RedisStorage(self._whose, from_url(url))
        return RedisStorage(self._whose, lambda redis, timeouts: redis.Redis(**options, **timeouts))

    def _check(self, url: str) -> None:
        try:
            import_redis(self._whose).ConnectionPool.from_url(url)
        except ValueError as error:
            raise ConfigurationError(f"{_PREFIX}{self._server}url is no URL ({error}).") from None

    def _get(self, name: str) -> Any:
        return self._given.get(self._server + name)

    def _number(self, name: str, default: int) -> int | None:
        value = self._given.get(name, default)
        try:
            return (
                None if value in (None, "None", "") else int(value) or (0 if default == 0 else None)
            )
        except (TypeError, ValueError):
            raise ConfigurationError(f"{_PREFIX}{name} must be a number, not {value!r}.") from None
