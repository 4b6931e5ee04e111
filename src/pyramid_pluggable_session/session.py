"""The session that an application works with: a dictionary that finds out what to save."""

from __future__ import annotations

from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    MutableMapping,
    ValuesView,
)
from typing import TYPE_CHECKING, Any, Final, overload

from pyramid.interfaces import ISession
from zope.interface import implementer

from .keys import handle, new_session_id
from .ownership import owner_text
from .visit import CSRF_KEY, Visit

if TYPE_CHECKING:
    from .storage import Operation

_FLASH_PREFIX: Final = "_f_"
_REQUIRED: Final[Any] = object()
# Whoever is given one of these cannot change what is in the session.
_UNCHANGEABLE: Final = frozenset({type(None), bool, int, float, str, bytes})


@implementer(ISession)
class Session(MutableMapping[str, Any]):
    """A :class:`pyramid.interfaces.ISession` whose data is stored by a plug.

    It works as a dictionary does. Nothing is read before the first look inside, and nothing is
    written unless something changed, nested values included; :meth:`changed` need not be called.

    It is not a subclass of ``dict``: the C code of ``json`` and others reads a subclass behind its
    back and would find it empty. ``dict(session)`` gives a plain one.
    """

    request: Any
    """The request whose session it is; None once that is over."""

    visit: Visit | None = None
    """What the factory needs at the end of the request; None before the first look inside."""

    late: bool = False
    """Whether the request was over before the first look inside, so that no change is saved."""

    def __init__(self, request: Any, open_visit: Callable[[Any], Visit]) -> None:
        self.request = request
        self._open_visit = open_visit

    def _opened(self) -> Visit:
        """Return the visit, which begins now if this is the first look."""
        if self.visit is None:
            self.visit = self._open_visit(self.request)
            self.visit.closed = self.late
        return self.visit

    def _look(self) -> dict[str, Any]:
        """Return the state for a look that cannot change it."""
        return (self.visit or self._opened()).state

    def _share(self) -> dict[str, Any]:
        """Return the state for somebody who gets at the values, and may change those inside it."""
        return self._opened().hand_out()

    def _change(self) -> dict[str, Any]:
        """Return the state for a change that is to be saved."""
        return self._changeable().hand_out()

    def _changeable(self) -> Visit:
        visit = self._opened()
        if visit.closed:
            raise RuntimeError(
                "The session was changed after it had been saved, when the response was on its "
                "way; the change would be lost. Make it in the view, in a tween or in a response "
                "callback."
            )
        return visit

    # Reading

    def __getitem__(self, key: str) -> Any:
        value = self._look()[key]
        if type(value) not in _UNCHANGEABLE:
            self._share()
        return value

    def __contains__(self, key: object) -> bool:
        return key in self._look()

    def __iter__(self) -> Iterator[str]:
        return iter(self._look())

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._look())

    def __len__(self) -> int:
        return len(self._look())

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value for the key, or ``default``."""
        value = self._look().get(key, default)
        if type(value) not in _UNCHANGEABLE:
            self._share()
        return value

    def keys(self) -> KeysView[str]:
        """Return a view of the keys."""
        return self._share().keys()

    def values(self) -> ValuesView[Any]:
        """Return a view of the values."""
        return self._share().values()

    def items(self) -> ItemsView[str, Any]:
        """Return a view of the pairs."""
        return self._share().items()

    def copy(self) -> dict[str, Any]:
        """Return the data as a new ``dict``; nested values are shared with the session."""
        return self._share().copy()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Session):
            return self._share() == other._share()
        return self._share() == other

    __hash__ = None  # type: ignore[assignment]

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return self._share() | dict(other)

    def __ror__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return dict(other) | self._share()

    def __json__(self, request: Any) -> dict[str, Any]:
        """Let Pyramid's JSON renderer write the session as an object."""
        return self._share()

    def __repr__(self) -> str:
        # No id and no data: this ends up in logs and error pages. And no look inside.
        about = "unread" if self.visit is None else f"{self.handle} with {len(self)} keys"
        return f"<Session {about}>"

    # Changing

    def __setitem__(self, key: str, value: Any) -> None:
        if type(key) is str and type(value) in _UNCHANGEABLE:
            self._changeable().put(key, value)
        else:
            self._change()[key] = value

    def __delitem__(self, key: str) -> None:
        del self._change()[key]

    @overload
    def pop(self, key: str) -> Any: ...
    @overload
    def pop(self, key: str, default: Any) -> Any: ...
    def pop(self, key: str, default: Any = _REQUIRED) -> Any:
        """Remove the key and return its value, or ``default`` if there is none."""
        state = self._change()
        return state.pop(key) if default is _REQUIRED else state.pop(key, default)

    def popitem(self) -> tuple[str, Any]:
        """Remove the pair that came last and return it."""
        return self._change().popitem()

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return the value for the key, which is ``default`` from now on if there was none."""
        return self._change().setdefault(key, default)

    def clear(self) -> None:
        """Remove everything. The session goes on; see :meth:`invalidate` to end it."""
        self._change().clear()

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set several keys, as ``dict.update`` does."""
        self._change().update(*args, **kwargs)

    def __ior__(self, other: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> Session:
        self._change().update(other)
        return self

    # ISession

    @property
    def new(self) -> bool:
        """Whether the session began with this request."""
        return self._opened().new

    @property
    def created(self) -> int:
        """When the session began, in epoch seconds."""
        return int(self._opened().meta.created)

    def changed(self) -> None:
        """Do nothing but look inside: changes are found without being told of.

        Part of :class:`~pyramid.interfaces.ISession`, for sessions that need it.
        """
        self._change()

    def invalidate(self) -> None:
        """End the session: its record is deleted now, not when the response is made.

        What is left is an empty new session. If something is put into it, that is stored under a
        new id; else the response deletes the cookie.
        """
        self._change()
        self._opened().end()

    def start_over(self) -> None:
        """End the session to go on with another one, as when another user logs in.

        As :meth:`invalidate`, and for 15 seconds the old id is known as given up: requests that
        still come with it get no session of their own, whose cookie would take the new one's place.
        """
        self._change()
        self._opened().end(moved=True)

    def flash(self, msg: Any, queue: str = "", allow_duplicate: bool = True) -> None:
        """Append a message to the flash queue, twice only if ``allow_duplicate``."""
        messages = self._change().setdefault(_FLASH_PREFIX + queue, [])
        if allow_duplicate or msg not in messages:
            messages.append(msg)

    def pop_flash(self, queue: str = "") -> list[Any]:
        """Remove the flash queue and return its messages."""
        messages: list[Any] = self._change().pop(_FLASH_PREFIX + queue, [])
        return messages

    def peek_flash(self, queue: str = "") -> list[Any]:
        """Return the messages of the flash queue."""
        messages: list[Any] = self._share().get(_FLASH_PREFIX + queue, [])
        return messages

    def new_csrf_token(self) -> str:
        """Make a new CSRF token and return it."""
        token = self._change()[CSRF_KEY] = new_session_id()
        return token

    def get_csrf_token(self) -> str:
        """Return the CSRF token, a new one if there is none."""
        token: str = self._look().get(CSRF_KEY) or self.new_csrf_token()
        return token

    # Beyond ISession

    @property
    def session_id(self) -> str:
        """The id: 64 hexadecimal digits. Whoever has it and the secret has the session."""
        return self._opened().session_id

    @property
    def handle(self) -> str:
        """A short name of the session that may be shown and logged."""
        return handle(self.session_id)

    @property
    def accessed(self) -> int:
        """When this request first looked inside, in epoch seconds."""
        return int(self._opened().accessed)

    @property
    def renewed(self) -> int:
        """When the session was last stored, in epoch seconds: the idle timeout counts from here."""
        return int(self._opened().meta.renewed)

    @property
    def expires_at(self) -> float | None:
        """When the session ends unless it is renewed, in epoch seconds; None for never."""
        return self._opened().expires_at

    @property
    def timeout(self) -> float | None:
        """The idle timeout of this session in seconds, None for none.

        Set it to give one session, say of a user who wants to be remembered, its own.
        """
        return self._opened().timeout

    @timeout.setter
    def timeout(self, seconds: float | None) -> None:
        if seconds is not None and not 0 <= seconds < float("inf"):
            raise ValueError("session.timeout must be a number of seconds, 0 or more, or None")
        self._change_meta(timeout=None if seconds is None else float(seconds))

    @property
    def owner(self) -> str | None:
        """The user whose session it is, as text; None for nobody.

        :class:`.SessionAuthenticationHelper` sets it at login, and :func:`.owned_sessions` lists
        the sessions of an owner. Raises ValueError for what is no user id.
        """
        return self._opened().meta.owner

    @owner.setter
    def owner(self, userid: Any) -> None:
        self._change_meta(owner=owner_text(userid))
        self._opened().named = userid is not None

    @property
    def persistent(self) -> bool | None:
        """Whether the cookie of this session outlives the browser; None as ``max_age`` says.

        True gives it the age of ``max_age``, or of the idle timeout where that is not set.
        """
        return self._opened().meta.persistent

    @persistent.setter
    def persistent(self, value: bool | None) -> None:
        self._change_meta(persistent=value)

    def regenerate_id(self) -> None:
        """Keep the data under a new id, with a new CSRF token.

        To be called whenever what the client may do changes, at login above all: an id that was
        known to somebody before is of no use after (session fixation).
        """
        state = self._change()
        self._opened().regenerate_id()
        if CSRF_KEY in state:
            self.new_csrf_token()

    @property
    def operations(self) -> tuple[Operation, ...]:
        """What was done to the storage for this request so far, oldest first."""
        return () if self.visit is None else self.visit.operations

    def _change_meta(self, **changes: Any) -> None:
        self._change()
        visit = self._opened()
        visit.meta = visit.meta._replace(**changes)
