"""Sessions of ``pyramid_redis_sessions``: the settings ``redis.sessions.*``.

It does not run on Pyramid 2, so these come with the step from Pyramid 1. The cookie is by
``signed_serialize`` of that::

    40 characters  HMAC-SHA1 of the pickle by ``redis.sessions.secret``, hexadecimal
    rest           base64 of a pickle: the session id, a text

The session id is the key in Redis, whole (``prefix`` is a part of it), and Redis forgets it when
the session ends. The value is a pickle, or what ``serialize`` makes, of a dict::

    managed_dict  the data
    created       epoch seconds
    timeout       idle timeout in seconds
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable
from typing import Any, ClassVar, Final

from .. import clock
from .formats import as_dict, as_time
from .pickles import loads_envelope
from .redis_origin import RedisOrigin
from .redis_settings import RedisSettings
from .sessions import OldSession, Refused

_SIGNATURE: Final = 40


class RedisSessionsOrigin(RedisOrigin):
    """The sessions of pyramid_redis_sessions."""

    name: ClassVar[str] = "redis_sessions"

    def __init__(
        self, config: Any, *, allow_pickle: bool = False, classes: Iterable[type] = ()
    ) -> None:
        given = RedisSettings(config, "pyramid_redis_sessions", "")
        self._secret = given.secret().encode()
        super().__init__(given, allow_pickle, classes)

    def _open(self, cookie: str) -> str | None:
        value = cookie.strip('"')
        try:
            content = base64.b64decode(value[_SIGNATURE:], validate=True)
        except binascii.Error:
            return None
        expected = hmac.new(self._secret, content, "sha1").hexdigest()
        if not hmac.compare_digest(value[:_SIGNATURE], expected):
            return None
        session_id = loads_envelope(content)
        return session_id if type(session_id) is str else None

    def _session(self, payload: dict[str, Any]) -> OldSession | None:
        if not {"managed_dict", "created"} <= payload.keys():
            raise Refused("data that is no session")
        timeout = payload.get("timeout")
        data, created = as_dict(payload["managed_dict"]), as_time(payload["created"])
        expires_at = clock.now() + as_time(timeout) if timeout else None
        if timeout and timeout != self._timeout:
            # By adjust_timeout_for_session(), for this session alone.
            return OldSession(data, created, expires_at, timeout=as_time(timeout))
        return OldSession(data, created, expires_at)
