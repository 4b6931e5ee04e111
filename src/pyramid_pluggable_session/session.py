"""The session that an application works with: a dictionary that finds out what to save."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Final, overload

from pyramid.interfaces import ISession
from zope.interface import implementer

from .keys import handle, new_session_id
from .record import Meta

if TYPE_CHECKING:
    from .factory import SessionFactory
    from .storage import Operation, Storage
    from .store import Store, Stored

CSRF_KEY: Final = "_csrft_"
"""Where Pyramid's session-based CSRF policies and this session keep the token."""

_FLASH_PREFIX: Final = "_f_"
_REQUIRED: Final[Any] = object()


@implementer(ISession)
class Session(MutableMapping[str, Any]):
    """A :class:`pyramid.interfaces.ISession` whose data is stored by a plug.

    It works as a dictionary does. Nothing is read before the first look inside, and nothing is
    written unless something changed, nested values included; :meth:`changed` need not be called.

    It is not a subclass of ``dict``: the C code of ``json`` and others reads a subclass behind its
    back and would find it empty. ``dict(session)`` gives a plain one.
    """

    # What the factory keeps with a session. `_state` is None until the first look inside.
    _state: dict[str, Any] | None = None
    _storage: Storage
    _store: Store
    _stored: Stored | None = None
    _stored_body: bytes = b""
    _session_id: str | None = None
    _meta = Meta(0, 0)
    _accessed: float = 0
    _new = True
    _moved = False
    _ended = False
    _regenerate = False
    _cookie_sent = False
    _resign = False
    _finished = False
    _turns = 0

    def __init__(self, request: Any, factory: SessionFactory) -> None:
        self.request = request
        self._factory = factory

    def _look(self) -> dict[str, Any]:
        """Return the state, loaded now if this is the first look."""
        state = self._state
        return self._factory.open(self) if state is None else state

    def _change(self) -> dict[str, Any]:
        """Return the state for a change that is to be saved."""
        if self._finished:
            raise RuntimeError(
                "The session was changed after it had been saved, when the response was on its "
                "way; the change would be lost. Make it in the view, in a tween or in a response "
                "callback."
            )
        return self._look()

    # Reading

    def __getitem__(self, key: str) -> Any:
        return self._look()[key]

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
        return self._look().get(key, default)

    def keys(self) -> Any:
        """Return a view of the keys."""
        return self._look().keys()

    def values(self) -> Any:
        """Return a view of the values."""
        return self._look().values()

    def items(self) -> Any:
        """Return a view of the pairs."""
        return self._look().items()

    def copy(self) -> dict[str, Any]:
        """Return the data as a new ``dict``; nested values are shared with the session."""
        return self._look().copy()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Session):
            return self._look() == other._look()
        return self._look() == other

    __hash__ = None  # type: ignore[assignment]

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return self._look() | dict(other)

    def __ror__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return dict(other) | self._look()

    def __json__(self, request: Any) -> dict[str, Any]:
        """Let Pyramid's JSON renderer write the session as an object."""
        return self._look()

    def __repr__(self) -> str:
        # No id and no data: this ends up in logs and error pages. And no look inside.
        about = "unread" if self._state is None else f"{self.handle} with {len(self._state)} keys"
        return f"<Session {about}>"

    # Changing

    def __setitem__(self, key: str, value: Any) -> None:
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
        self._look()
        return self._new

    @property
    def created(self) -> int:
        """When the session began, in epoch seconds."""
        self._look()
        return int(self._meta.created)

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
        self._factory.end(self)

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
        messages: list[Any] = self._look().get(_FLASH_PREFIX + queue, [])
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
        self._look()
        if self._session_id is None:
            self._session_id = new_session_id()
        return self._session_id

    @property
    def handle(self) -> str:
        """A short name of the session that may be shown and logged."""
        return handle(self.session_id)

    @property
    def accessed(self) -> int:
        """When this request first looked inside, in epoch seconds."""
        self._look()
        return int(self._accessed)

    @property
    def renewed(self) -> int:
        """When the session was last stored, in epoch seconds: the idle timeout counts from here."""
        self._look()
        return int(self._meta.renewed)

    @property
    def expires_at(self) -> float | None:
        """When the session ends unless it is renewed, in epoch seconds; None for never."""
        self._look()
        return self._store.expires_at(self._meta)

    @property
    def timeout(self) -> float | None:
        """The idle timeout of this session in seconds, None for none.

        Set it to give one session, say of a user who wants to be remembered, its own.
        """
        self._look()
        return self._store.timeout(self._meta)

    @timeout.setter
    def timeout(self, seconds: float | None) -> None:
        if seconds is not None and not 0 <= seconds < float("inf"):
            raise ValueError("session.timeout must be a number of seconds, 0 or more, or None")
        self._change()
        self._meta = self._meta._replace(timeout=None if seconds is None else float(seconds))

    @property
    def persistent(self) -> bool | None:
        """Whether the cookie of this session outlives the browser; None as ``max_age`` says.

        True gives it the age of ``max_age``, or of the idle timeout where that is not set.
        """
        self._look()
        return self._meta.persistent

    @persistent.setter
    def persistent(self, value: bool | None) -> None:
        self._change()
        self._meta = self._meta._replace(persistent=value)

    def regenerate_id(self) -> None:
        """Keep the data under a new id, with a new CSRF token.

        To be called whenever what the client may do changes, at login above all: an id that was
        known to somebody before is of no use after (session fixation).
        """
        state = self._change()
        self._session_id = None
        self._regenerate = True
        if CSRF_KEY in state:
            self.new_csrf_token()

    @property
    def operations(self) -> tuple[Operation, ...]:
        """What was done to the storage for this request so far, oldest first."""
        return () if self._state is None else tuple(self._storage.operations)

    @property
    def _cookie_due(self) -> bool:
        """Whether the client has no cookie yet, or one that is not right any more."""
        return (
            self._stored is None
            or self._regenerate
            or self._resign
            or self._stored.meta.persistent != self._meta.persistent
        )

    def _reset(self, now: float) -> None:
        """Become an empty new session."""
        self._state = {}
        self._stored = None
        self._session_id = None
        self._meta = Meta(now, now)
        self._new = True
        self._regenerate = False
