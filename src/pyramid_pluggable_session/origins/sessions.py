"""What an origin finds: sessions as another package has left them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from ..record import DEFAULT, Default

LONGEST_COOKIE: Final = 8192
"""Characters of an old cookie beyond which it is not looked at. Browsers keep half of that."""


class Place(NamedTuple):
    """Where a browser keeps a cookie: what it takes to delete it.

    ``name``, ``path`` and ``domain`` are its attributes; no domain is the host itself.
    """

    name: str
    path: str = "/"
    domain: str | None = None


class OldKey(NamedTuple):
    """What an authentic old cookie says: which session it is for.

    ``id`` is one and the same for every cookie of that session, as far as the other package lets
    one tell. ``payload`` is the origin's own, such as the data of a session that is in the cookie.
    """

    id: str
    payload: Any = None

    def __repr__(self) -> str:
        return "<OldKey>"


@dataclass(frozen=True)
class OldSession:
    """A live session of another package. Times are epoch seconds, ``timeout`` is in seconds.

    ``data`` is what the application put there, and nothing of the package's own. ``created`` is
    when it began. ``expires_at`` is when the session would have ended without another request, None
    for never. ``timeout`` is its own idle timeout, None for none, and left out where that of the
    settings goes for it, too. ``places`` are those of its cookie, if they are its own, too.
    """

    data: dict[str, Any] = field(repr=False)
    created: float
    expires_at: float | None
    timeout: float | None | Default = DEFAULT
    places: tuple[Place, ...] = ()


class Refused(Exception):
    """An old session that cannot be read, or must not be. The message says why, and no data."""
