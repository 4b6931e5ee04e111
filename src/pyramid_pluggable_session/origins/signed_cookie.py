"""Pyramid's own signed cookie: ``pyramid.session.SignedCookieSessionFactory``.

The whole session is in the cookie. Its value, in the alphabet of base64 for URLs and without the
padding::

    64 bytes  HMAC of the rest by ``hashalg`` (the length is that of its digest), with the key
              ``salt`` followed by ``secret``
    rest      JSON or a pickle of (renewed, created, data), times in epoch seconds

As of Pyramid 2.0 it is JSON, before that a pickle. The session had no id; the bytes that are signed
stand for one. (A cookie that the old application had replaced by a later one is as good as that.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, ClassVar

from webob.cookies import SignedSerializer
from zope.interface import implementer

from .. import clock
from ..cookie import cookie_values
from ..interfaces import IOrigin
from ..options import hash_algorithm
from ..settings import REQUIRED, Option, one_of, or_none, seconds, text
from .formats import Reader, as_dict, as_time, pickle_reader, read_json
from .sessions import LONGEST_COOKIE, OldKey, OldSession, Place, Refused


@implementer(IOrigin)
class SignedCookieOrigin:
    """Sessions of Pyramid's signed cookie. The options are the factory's arguments."""

    name: ClassVar[str] = "signed_cookie"
    options: ClassVar[tuple[Option, ...]] = (
        Option("secret", text, REQUIRED,
               "The secret argument of SignedCookieSessionFactory.", secret=True),
        Option("salt", str, "pyramid.session.", "Its salt."),
        Option("hashalg", hash_algorithm, "sha512", "Its hashalg."),
        Option("serializer", one_of("json", "pickle"), "json",
               "Its serializer: json, or pickle, as before Pyramid 2.0."),
        Option("cookie_name", text, "session", "Its cookie_name."),
        Option("path", text, "/", "Its path."),
        Option("domain", or_none(text), None, "Its domain."),
        Option("timeout", or_none(seconds), 1200.0, "Its timeout in seconds."),
    )  # fmt: skip

    def __init__(
        self,
        config: Any = None,
        *,
        secret: str,
        salt: str = "pyramid.session.",
        hashalg: str = "sha512",
        serializer: str = "json",
        cookie_name: str = "session",
        path: str = "/",
        domain: str | None = None,
        timeout: float | None = 1200.0,
        allow_pickle: bool = False,
        classes: Iterable[type] = (),
    ) -> None:
        self.places = (Place(cookie_name, path, domain),)
        self._name = cookie_name
        self._timeout = timeout
        self._read: Reader = read_json
        if serializer == "pickle":
            whose = "The sessions of a signed cookie with serializer = pickle"
            self._read = pickle_reader(allow_pickle, classes, whose)
        self._signed = SignedSerializer(secret, salt, hashalg, serializer=_Bytes())

    def identify(self, request: Any) -> OldKey | None:
        """Return what the one signed cookie holds."""
        found = {
            each for value in cookie_values(request, self._name) if (each := self._open(value))
        }
        if len(found) != 1:
            return None
        (content,) = found
        return OldKey(hashlib.sha256(content).hexdigest(), content)

    def _open(self, value: str) -> bytes | None:
        if len(value) > LONGEST_COOKIE or not value.isascii():
            return None
        try:
            content: bytes = self._signed.loads(value.encode())
        except ValueError:
            return None
        return content

    def load(self, key: OldKey, request: Any) -> OldSession | None:
        """Return the session that was in the cookie."""
        value = self._read(key.payload)
        try:
            renewed, created, data = value
        except (TypeError, ValueError):
            raise Refused("data that is no session") from None
        expires_at = None if self._timeout is None else as_time(renewed) + self._timeout
        if expires_at is not None and expires_at < clock.now():
            return None
        return OldSession(as_dict(data), as_time(created), expires_at)

    def forget(self, key: OldKey, request: Any) -> None:
        """Do nothing: the session is with the client alone."""


class _Bytes:
    """Leaves the content of a signed cookie as it is, to be read when it is known to be good."""

    def loads(self, data: bytes) -> bytes:
        return data

    def dumps(self, data: bytes) -> bytes:
        return data
