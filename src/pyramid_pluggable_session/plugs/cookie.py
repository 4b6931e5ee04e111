"""The client as the storage: the whole record in its cookies, always encrypted."""

from __future__ import annotations

import base64
import binascii
import math
import re
from typing import Any, Final

from pyramid.interfaces import ISessionFactory
from zope.interface import implementer

from .. import clock
from ..cookie import LONGEST_AGE, CookieAttributes, cookie_values
from ..errors import SessionTooLarge
from ..interfaces import IClientSidePlug, Key
from ..keys import handle
from ..record import require_cryptography
from ..responses import add_cookies
from ..settings import Option, integer

_PART: Final = 3800
"""Characters in one cookie's value. Browsers take 4096 bytes for name, value and attributes."""

_VALUE: Final = re.compile(
    r"(?P<handle>[0-9a-f]{12})\.(?P<count>[0-9]{1,2})\.(?P<part>[\w-]+)", re.A
)
_MOST_PARTS: Final = 99


@implementer(IClientSidePlug)
class CookiePlug:
    """Keeps nothing on the server.

    The price: a client that kept its cookies can come back with them after a logout, until they
    expire, because nothing on the server knows better. Of two requests at once the later response
    wins. There is no swap, scan or purge, for the same reason.
    """

    name = "cookie"
    options = (
        Option("max_bytes", integer, 7500,
               "Bytes of a session's cookies together. Many web servers refuse a header line "
               "beyond 8000, and a client that sends one would be locked out."),
    )  # fmt: skip

    def __init__(self, config: Any, max_bytes: int = 7500) -> None:
        require_cryptography("cookie")
        self.max_bytes = max_bytes

    def loads(self, session: Key, request: Any) -> bytes | None:
        """Put the record together from the cookies; None unless every part of it is there."""
        name = _attributes(request).name
        mine = handle(session.session_id)
        parts: list[str] = []
        count = 1
        while len(parts) < count:
            for value in cookie_values(request, f"{name}.{len(parts)}"):
                match = _VALUE.fullmatch(value)
                if match is not None and match["handle"] == mine:
                    count = int(match["count"])
                    parts.append(match["part"])
                    break
            else:
                return None
        text = "".join(parts)
        try:
            return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except binascii.Error:
            # Somebody's meddling, not an absence: the seal will not fit these bytes.
            return text.encode()

    def dumps(self, session: Key, request: Any, session_data: bytes) -> None:
        """Have the response set the cookies."""
        attributes = _attributes(request)
        text = base64.urlsafe_b64encode(session_data).rstrip(b"=").decode()
        parts = [text[at : at + _PART] for at in range(0, len(text), _PART)]
        start = f"{handle(session.session_id)}.{len(parts)}."
        cookies = {f"{attributes.name}.{i}": start + part for i, part in enumerate(parts)}
        size = sum(len(name) + len(value) + len("=; ") for name, value in cookies.items())
        if size > self.max_bytes or len(parts) > _MOST_PARTS:
            raise SessionTooLarge(
                f"the session would take {size} bytes of cookies, and "
                f"pluggable_session.cookie.max_bytes allows {self.max_bytes}. Keep less in it, or "
                "use a storage on the server, such as sqlite.",
                size,
                self.max_bytes,
            )
        age = LONGEST_AGE
        if session.expires_at is not None:
            age = min(age, max(1, math.ceil(session.expires_at - clock.now())))
        self._respond(request, attributes, {name: (cookies[name], age) for name in cookies})

    def clear(self, session: Key, request: Any) -> None:
        """Have the response delete the cookies."""
        self._respond(request, _attributes(request), {})

    def _respond(
        self, request: Any, attributes: CookieAttributes, cookies: dict[str, tuple[str, int]]
    ) -> None:
        """Have the response set these cookies, and delete further parts of a longer record."""
        wanted = dict(cookies)
        for i in range(len(cookies), _MOST_PARTS):
            if not cookie_values(request, f"{attributes.name}.{i}"):
                break
            wanted[f"{attributes.name}.{i}"] = ("", 0)

        def set_cookies(request: Any, response: Any) -> None:
            for name, (value, age) in wanted.items():
                add_cookies(response, attributes.headers(request, name, value, age))

        request.add_response_callback(set_cookies)


def _attributes(request: Any) -> CookieAttributes:
    """Return the attributes of the session's own cookie, which hold for ours too."""
    attributes: CookieAttributes = request.registry.getUtility(ISessionFactory).cookie.attributes
    return attributes
