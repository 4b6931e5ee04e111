"""Sessions of ``pyramid_session_redis``: the settings ``redis.sessions.*``.

The cookie is the session id, signed by WebOb's ``SignedSerializer`` with the salt
``pyramid_session_redis.`` and SHA-512; or by an object of the application's own
(``cookie_signer``). The session id is the key in Redis, whole (``prefix`` is a part of it). The
value is a pickle, or what ``serialize`` makes, of a dict::

    m  the data
    c  created, epoch seconds
    v  version, 1
    t  idle timeout in seconds; absent for none
    x  when it ends, epoch seconds; absent if that is left to Redis (python_expires = false)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Final

from pyramid.exceptions import ConfigurationError
from webob.cookies import SignedSerializer

from .. import clock
from .formats import as_dict, as_time
from .redis_origin import RedisOrigin
from .redis_settings import RedisSettings
from .sessions import OldSession, Refused

_SALT: Final = "pyramid_session_redis."


class SessionRedisOrigin(RedisOrigin):
    """The sessions of pyramid_session_redis."""

    name: ClassVar[str] = "session_redis"

    def __init__(
        self, config: Any, *, allow_pickle: bool = False, classes: Iterable[type] = ()
    ) -> None:
        given = RedisSettings(config, "pyramid_session_redis", "redis_")
        signer = given.dotted("cookie_signer")
        if signer is None:
            signer = SignedSerializer(given.secret(), _SALT, "sha512", serializer=_Text())
        elif not hasattr(signer, "loads"):
            raise ConfigurationError("redis.sessions.cookie_signer has no method loads.")
        self._signer = signer
        super().__init__(given, allow_pickle, classes)

    def _open(self, cookie: str) -> str | None:
        try:
            session_id: str = self._signer.loads(cookie.encode())
        except ValueError:
            return None
        return session_id

    def _session(self, payload: dict[str, Any]) -> OldSession | None:
        if not {"m", "c", "v"} <= payload.keys():
            raise Refused("data that is no session")
        timeout, ends = payload.get("t"), payload.get("x")
        now = clock.now()
        if ends:
            expires_at: float | None = as_time(ends)
        else:
            # Redis knows. Not later than this.
            expires_at = now + as_time(timeout) if timeout else None
        if expires_at is not None and expires_at < now:
            return None
        data, created = as_dict(payload["m"]), as_time(payload["c"])
        if timeout and timeout != self._timeout:
            # By adjust_session_timeout(), for this session alone.
            return OldSession(data, created, expires_at, timeout=as_time(timeout))
        return OldSession(data, created, expires_at)


class _Text:
    """Makes a text of the content of a signed cookie."""

    def loads(self, data: bytes) -> str:
        return data.decode()

    def dumps(self, text: str) -> bytes:
        return text.encode()
