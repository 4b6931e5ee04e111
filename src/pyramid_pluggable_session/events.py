"""What applications can subscribe to: ``config.add_subscriber(function, SessionEnded)``.

Every event has the ``request`` (None outside of one) and the ``handle`` of the session, a hash
prefix that is safe to log. None holds a session id or session data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from .storage import Operation

EndReason = Literal["invalidated", "idle", "lifetime", "owner", "max_sessions"]
"""Why a session ended, see :class:`SessionEnded`."""

DropReason = Literal["ended", "moved", "outage"]
"""Why changes were not stored, see :class:`SessionDropped`."""


@dataclass(frozen=True)
class SessionEvent:
    """What all the events have in common.

    ``request`` is the one in which it happened, None outside of one. ``handle`` is the name that
    the session has in logs and in ``psessions``.
    """

    request: Any
    handle: str


@dataclass(frozen=True)
class SessionCreated(SessionEvent):
    """A new session was stored for the first time."""


@dataclass(frozen=True)
class SessionImported(SessionCreated):
    """A session of another package was stored as one of ours.

    ``origin`` is the name of where it came from, such as ``beaker``.
    """

    origin: str


@dataclass(frozen=True)
class SessionMoved(SessionEvent):
    """A session goes on under a new id, as after a login. ``former`` is the handle it had."""

    former: str


@dataclass(frozen=True)
class SessionEnded(SessionEvent):
    """A session ended, and its record is deleted.

    ``reason`` is ``invalidated`` (by the application), ``idle`` (not used for ``timeout`` seconds),
    ``lifetime`` (older than ``lifetime`` seconds), ``owner`` (from another session of its owner, or
    from the command line) or ``max_sessions`` (its owner had too many).
    """

    reason: EndReason


@dataclass(frozen=True)
class SessionRejected(SessionEvent):
    """A cookie or a record was refused, and the client got a new session.

    ``reason`` begins with ``cookie`` or ``record``. ``handle`` is empty where there was no id.
    """

    reason: str


@dataclass(frozen=True)
class SessionDropped(SessionEvent):
    """The changes of this request were not stored.

    ``reason`` is ``ended`` (another request ended the session), ``moved`` (another one gave it a
    new id, as a login does) or ``outage`` (the storage could not be reached, and ``on_outage`` said
    to go on).
    """

    reason: DropReason


@dataclass(frozen=True)
class SessionConflict(SessionEvent):
    """Two requests changed the same keys in ways that cannot be merged; this one's values stay.

    ``keys`` names them, each as a path such as ``cart.items``.
    """

    keys: tuple[str, ...]


@dataclass(frozen=True)
class SessionClosed:
    """A request that had looked into its session is over with it: the response is made.

    It comes last, once for each such request, whatever became of the session. It is no
    :class:`SessionEvent`: nothing need have happened. ``request`` is that request. ``handle`` is
    empty for a new session that was not stored, ``stored`` tells whether this request has stored
    the session, ``plug`` is the name of the storage, and ``operations`` is what was done to it for
    this request, oldest first.
    """

    request: Any
    handle: str
    stored: bool
    plug: str
    operations: tuple[Operation, ...]
