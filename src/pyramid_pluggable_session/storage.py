"""A plug as the session sees it: the errors of its driver made ours, each operation noted."""

from __future__ import annotations

import re
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, TypeVar

from .breaker import breaker_of
from .credentials import hide_credentials
from .errors import PlugUnavailable, SessionError
from .interfaces import IClientSidePlug, ISwapPlug, Plug
from .keys import SessionKey

_T = TypeVar("_T")
_SESSION_ID = re.compile(r"[0-9a-f]{64}")


NOT_TRIED: Final = "not tried"
"""The ``error`` of an operation that was not tried, as the storage had not answered others."""


class Operation(NamedTuple):
    """One operation on a storage.

    ``name`` is that of the plug's method, such as ``loads``. ``size`` is the size of the record in
    bytes, and ``seconds`` is how long it took. ``error`` is None if it was done, the name of the
    exception's class if it failed, or ``not tried`` if others had got no answer just before.
    """

    name: str
    size: int
    seconds: float
    error: str | None = None


class Storage:
    """A plug in use by one request.

    ``operations`` lists what was done so far, oldest first; ``log`` says what happens to the plug.
    """

    def __init__(self, plug: Plug, request: Any) -> None:
        self.plug: Any = plug
        self.request = request
        self.client_side = IClientSidePlug.providedBy(plug)
        self.operations: list[Operation] = []
        self._breaker = breaker_of(plug)
        self.log = self._breaker.log

    @property
    def can_swap(self) -> bool:
        """Whether the storage can compare and swap."""
        return bool(ISwapPlug.providedBy(self.plug))

    def loads(self, key: SessionKey) -> bytes | None:
        """Return the record, or None when it is absent or expired."""
        data = self._call("loads", 0, self.plug.loads, key, self.request)
        if isinstance(data, str):
            # Plugs written for 0.0.0a2 may keep text; what they were given was bytes.
            return data.encode("latin-1", "replace")
        return None if data is None else bytes(data)

    def dumps(self, key: SessionKey, data: bytes) -> None:
        """Store the record, whatever is there."""
        self._call("dumps", len(data), self.plug.dumps, key, self.request, data)

    def clear(self, key: SessionKey) -> None:
        """Forget the record."""
        self._call("clear", 0, self.plug.clear, key, self.request)

    def swap(self, key: SessionKey, expected: bytes | None, data: bytes) -> bool:
        """Store the record if ``expected`` is what is there. Only if ``can_swap``."""
        return bool(
            self._call("swap", len(data), self.plug.swap, key, self.request, expected, data)
        )

    def scan(self) -> Iterator[SessionKey]:
        """Yield the key of every live record. Only if the plug can."""
        keys = iter(self._call("scan", 0, self.plug.scan))
        # An outage may come with any of them, and there may be too many to note.
        while (key := self._call("scan", 0, next, keys, None)) is not None:
            self.operations.pop()
            yield SessionKey(key.session_id, key.expires_at)

    def purge(self) -> int:
        """Delete the expired records and return how many. Only if the plug can."""
        return int(self._call("purge", 0, self.plug.purge))

    def _call(self, name: str, size: int, operation: Callable[..., _T], *arguments: Any) -> _T:
        """Do an operation. Here alone the exceptions of drivers become ours."""
        if wait := self._breaker.wait():
            self.operations.append(Operation(name, 0, 0.0, NOT_TRIED))
            raise self._unavailable(
                f"session storage {describe(self.plug)} did not answer others and is left alone "
                f"for another {wait:.1f} seconds: {name} was not tried",
                name,
            )
        failed_with = None
        started = time.perf_counter()
        try:
            result = operation(*arguments)
            if isinstance(result, (bytes, str)):
                size = len(result)
            self._breaker.succeeded()
            if self.log.outage is not None:
                self.log.succeeded()
            return result
        except BaseException as error:
            failed_with = type(error).__name__
            outages = (OSError, *getattr(self.plug, "outages", ()))
            if isinstance(error, SessionError) or not isinstance(error, outages):
                raise
            self._breaker.failed(time.perf_counter() - started)
            message = f"session storage {describe(self.plug)} failed to do {name}: {explain(error)}"
            remedy = getattr(self.plug, "remedy", None)
            if remedy is not None and (advice := remedy(error)):
                message += f" ({advice})"
            # Not by way of a variable: what the error's traceback holds would stay until the next
            # garbage collection, a database's lock perhaps.
            raise self._unavailable(message, name) from (error if _made_safe(error) else None)
        finally:
            seconds = time.perf_counter() - started
            self.operations.append(Operation(name, size, seconds, failed_with))

    def _unavailable(self, message: str, name: str) -> PlugUnavailable:
        error = PlugUnavailable(message)
        self.log.failed(describe(self.plug), name, error)
        return error


def describe(plug: Any) -> str:
    """Return the name of a plug: its short name, or its class for one that has none."""
    name = getattr(plug, "name", None)
    return name if isinstance(name, str) else type(plug).__qualname__


def explain(error: BaseException) -> str:
    """Return a driver's message without what file names, keys and URLs put into it."""
    message = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{type(error).__name__}: {_safe(message)}"


def _safe(text: str) -> str:
    """Return ``text`` without session ids and without the credentials of a URL."""
    return _SESSION_ID.sub("(session id)", hide_credentials(text))


def _made_safe(error: BaseException) -> bool:
    """Take session ids and credentials out of an error and those behind it: a traceback shows all.

    Return whether that worked: what an exception class prints is its own business.
    """
    safe = True
    seen: set[int] = set()
    queue: list[BaseException | None] = [error]
    while queue:
        each = queue.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        queue += (each.__cause__, each.__context__)
        if isinstance(each, OSError) and each.filename is not None:
            each.filename = each.filename2 = None
        each.args = tuple(_safe(a) if isinstance(a, str) else a for a in each.args)
        printed = "".join(traceback.format_exception_only(each)) + repr(each)
        safe = safe and _SESSION_ID.search(printed) is None
    return safe
