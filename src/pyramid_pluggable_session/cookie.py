"""The cookie: how a session id gets to the client and back.

Its value is the session id followed by a signature. Cookies are read from the header by RFC 6265,
section 5.4: pairs are separated by semicolons and by nothing else. WebOb's reading also separates
at commas and white space and takes quotes away, so a cookie that a neighbouring site may set, such
as ``a="x session=..."``, could pass for ours.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

from pyramid.exceptions import ConfigurationError
from pyramid.request import Request

from .keyring import Keyring
from .keys import handle, is_session_id

LONGEST_AGE: Final = 400 * 24 * 3600
"""Seconds after which browsers end a cookie, however long it asks for."""

_ID_LENGTH: Final = 64
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, section 5.6.2
_ATTRIBUTE = re.compile(r"[\x20-\x3a\x3c-\x7e]*")  # RFC 6265, section 4.1.1: no CTLs, no ";"


class Found(NamedTuple):
    """What the client's cookies say: a session id, or why there is none.

    ``resign`` is true if the cookie was signed with a key that is not the first one any more.
    ``value`` is the cookie that the session id was in.
    """

    session_id: str | None
    rejected: str | None = None
    resign: bool = False
    value: str | None = None

    def __repr__(self) -> str:
        # The value is all that it takes to get into the session.
        return f"<Found {'nothing' if self.session_id is None else handle(self.session_id)}>"


_NOTHING: Final = Found(None)
_FOREIGN: Final = Found(None, "cookie: not signed by us")


@dataclass(frozen=True)
class CookieAttributes:
    """How our cookies are set: a ``Set-Cookie`` header but for name, value and age.

    ``secure`` None means: if the request came by https.
    """

    name: str = "session"
    path: str = "/"
    domains: Sequence[str | None] = (None,)
    secure: bool | None = None
    httponly: bool = True
    samesite: str | None = "Lax"
    partitioned: bool = False

    def __post_init__(self) -> None:
        """Raise ConfigurationError for what a browser would refuse or misread."""
        if not _TOKEN.fullmatch(self.name):
            raise ConfigurationError(
                f"pluggable_session.cookie_name = {self.name!r}: a cookie's name consists of "
                "letters, digits and !#$%&'*+-.^_`|~"
            )
        for setting, value in (("path", self.path), *(("domain", name) for name in self.domains)):
            if value is not None and not _ATTRIBUTE.fullmatch(value):
                raise ConfigurationError(
                    f"pluggable_session.{setting} = {value!r}: a cookie's attribute has no ';', "
                    "no line break, no control character and no character beyond ASCII."
                )
        if not self.path.startswith("/"):
            raise ConfigurationError(
                f"pluggable_session.path = {self.path!r}: it must begin with '/', or browsers "
                "use a default of their own."
            )
        prefix = next((p for p in ("__host-", "__secure-") if self.name.lower().startswith(p)), "")
        for why, needs_secure in (
            (f"a cookie_name that begins with {self.name[: len(prefix)]}", bool(prefix)),
            ("samesite = none", self.samesite == "None"),
            ("partitioned = true", self.partitioned),
        ):
            if needs_secure and self.secure is not True:
                raise ConfigurationError(
                    f"pluggable_session: {why} needs secure = true; browsers drop the cookie "
                    "otherwise."
                )
        if prefix == "__host-" and (any(self.domains) or self.path != "/"):
            raise ConfigurationError(
                "pluggable_session: a cookie_name that begins with __Host- allows no domain and "
                "no path but '/'; browsers drop the cookie otherwise."
            )

    def headers(
        self, request: Any, name: str, value: str, max_age: int | None
    ) -> list[tuple[str, str]]:
        """Return the headers that set the cookie ``name``, one for each domain.

        ``max_age`` is in seconds; None makes a cookie that ends with the browser, 0 deletes it.
        """
        secure = self.secure
        if secure is None:
            secure = getattr(request, "scheme", "http") == "https"  # a DummyRequest has none
        age = "" if max_age is None else f"; Max-Age={max_age}"
        if max_age == 0:
            age += "; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
        flags = self._flags[secure]
        return [("Set-Cookie", f"{name}={value}{place}{age}{flags}") for place in self._places]

    @cached_property
    def _places(self) -> list[str]:
        return [
            f"{f'; Domain={domain}' if domain else ''}; Path={self.path}" for domain in self.domains
        ]

    @cached_property
    def _flags(self) -> dict[bool, str]:
        flags = "; HttpOnly" if self.httponly else ""
        if self.samesite is not None:
            flags += f"; SameSite={self.samesite}"
        if self.partitioned:
            flags += "; Partitioned"
        return {False: flags, True: f"; Secure{flags}"}


def cookie_values(request: Any, name: str) -> list[str]:
    """Return the values of every cookie with exactly this name, as they stand in the header."""
    header = request.environ.get("HTTP_COOKIE")
    if header is None and not isinstance(request, Request):
        # A DummyRequest has cookies without a header.
        value = request.cookies.get(name)
        return [] if value is None else [value]
    if header is None or name not in header:
        return []
    values = []
    for pair in header.split(";"):
        key, equals, value = pair.partition("=")
        if equals and key.strip(" \t") == name:
            values.append(value.strip(" \t"))
    return values


class SessionCookie:
    """Signs session ids into cookies and reads them back."""

    def __init__(self, attributes: CookieAttributes, keyring: Keyring) -> None:
        self.attributes = attributes
        self._keyring = keyring
        self._length = _ID_LENGTH + 2 * keyring.tag_bytes

    def read(self, request: Any) -> Found:
        """Return the session id of the one cookie that we signed.

        Anything else is no session id at all, and the storage is not asked: other forms, bad
        signatures, and two cookies that are both ours but differ (one may be planted, and nothing
        tells which).
        """
        values = cookie_values(request, self.attributes.name)
        if not values:
            return _NOTHING
        found = None
        for value in values:
            verified = self._verify(value)
            if verified is None:
                continue
            if found is not None and found.session_id != verified.session_id:
                return Found(None, "cookie: two that differ")
            found = verified
        return _FOREIGN if found is None else found

    def set_headers(
        self, request: Any, session_id: str, max_age: int | None, found: Found = _NOTHING
    ) -> list[tuple[str, str]]:
        """Return the headers that give the client its session id; it came with ``found``."""
        value = found.value
        if value is None or found.session_id != session_id or found.resign:
            value = session_id + self._signature(session_id, self._keyring.first.cookie)
        return self.attributes.headers(request, self.attributes.name, value, max_age)

    def delete_headers(self, request: Any) -> list[tuple[str, str]]:
        """Return the headers that delete the cookie."""
        return self.attributes.headers(request, self.attributes.name, "", 0)

    def _signature(self, session_id: str, key: bytes) -> str:
        return self._keyring.tag(key, session_id.encode()).hex()

    def _verify(self, value: str) -> Found | None:
        # The length first: nobody makes us hash a long value.
        if len(value) != self._length or not value.isascii():
            return None
        session_id, signature = value[:_ID_LENGTH], value[_ID_LENGTH:]
        if not is_session_id(session_id):
            return None
        for keys in self._keyring.all:
            if hmac.compare_digest(self._signature(session_id, keys.cookie), signature):
                return Found(session_id, None, keys is not self._keyring.first, value)
        return None
