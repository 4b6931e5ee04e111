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

from zope.interface import implementer

from .. import clock
from ..cookie import cookie_values
from ..interfaces import IOrigin
from ..keys import SessionKey
from ..settings import Option
from ..storage import Storage
from .formats import as_dict, as_time
from .pickles import loads_envelope
from .redis_settings import RedisSettings
from .sessions import LONGEST_COOKIE, OldKey, OldSession, Refused

_SIGNATURE: Final = 40


@implementer(IOrigin)
class RedisSessionsOrigin:
    """The sessions of pyramid_redis_sessions."""

    name: ClassVar[str] = "redis_sessions"
    options: ClassVar[tuple[Option, ...]] = ()

    def __init__(
        self, config: Any, *, allow_pickle: bool = False, classes: Iterable[type] = ()
    ) -> None:
        given = RedisSettings(config, "pyramid_redis_sessions", "")
        self.places = (given.place(),)
        self._name = self.places[0].name
        self._timeout = given.timeout()
        self._secret = given.secret().encode()
        self._read = given.reader(allow_pickle, classes)
        self._storage = given.storage()

    def identify(self, request: Any) -> OldKey | None:
        """Return the session id of the one signed cookie."""
        found = {
            each for value in cookie_values(request, self._name) if (each := self._open(value))
        }
        return OldKey(found.pop()) if len(found) == 1 else None

    def _open(self, value: str) -> str | None:
        value = value.strip('"')
        if len(value) > LONGEST_COOKIE or not value.isascii():
            return None
        try:
            content = base64.b64decode(value[_SIGNATURE:], validate=True)
        except binascii.Error:
            return None
        expected = hmac.new(self._secret, content, "sha1").hexdigest()
        if not hmac.compare_digest(value[:_SIGNATURE], expected):
            return None
        session_id = loads_envelope(content)
        return session_id if type(session_id) is str else None

    def load(self, key: OldKey, request: Any) -> OldSession | None:
        """Return the session, None if it is absent or over."""
        stored = Storage(self._storage, request).loads(SessionKey(key.id, None))
        if stored is None:
            return None
        payload = as_dict(self._read(stored))
        if not {"managed_dict", "created"} <= payload.keys():
            raise Refused("data that is no session")
        timeout = payload.get("timeout")
        data, created = as_dict(payload["managed_dict"]), as_time(payload["created"])
        expires_at = clock.now() + as_time(timeout) if timeout else None
        if timeout and timeout != self._timeout:
            # By adjust_timeout_for_session(), for this session alone.
            return OldSession(data, created, expires_at, timeout=as_time(timeout))
        return OldSession(data, created, expires_at)

    def forget(self, key: OldKey, request: Any) -> None:
        """Delete the session."""
        Storage(self._storage, request).clear(SessionKey(key.id, None))

    def close(self) -> None:
        """Close the connections."""
        self._storage.close()
