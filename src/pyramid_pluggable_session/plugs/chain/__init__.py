"""Several storages in a row: fast ones in front, the authority at the end."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from pyramid.exceptions import ConfigurationError
from pyramid.settings import aslist
from zope.interface import alsoProvides, implementer

from ... import clock
from ...errors import PlugUnavailable
from ...interfaces import IClientSidePlug, IPlugSession, IPurgePlug, IScanPlug, ISwapPlug, Key
from ...keys import SessionKey
from ...loader import make_plug
from ...settings import REQUIRED, Option, seconds
from ...storage import Storage, describe
from .lanes import Lane, Lanes

log = logging.getLogger("pyramid_pluggable_session")

_UNTIL: Final = struct.Struct(">d")
"""Before each copy in a front plug: until when it may be used, in epoch seconds.

Not left to the front plug's own expiry, which may be coarse, or missing in a plug of three methods.
"""


def _specs(value: Any) -> tuple[Any, ...]:
    specs = aslist(value, flatten=False) if isinstance(value, str) else tuple(value)
    if len(specs) == 1 and isinstance(value, str):
        specs = value.split()
    if not specs:
        raise ValueError("the plugs, front to back, one on each line")
    return tuple(specs)


@implementer(IPlugSession)
class ChainPlug:
    """Reads front to back, writes to the last plug, the authority, and then forward.

    A front plug keeps a copy for at most ``fresh`` seconds, which bounds how long one process may
    still be shown what another one has changed or ended. Nothing is ever lost to such a copy:
    changes are compared with what the authority has. The chain can do what the authority can.
    """

    name = "chain"
    options = (
        Option("plugs", _specs, REQUIRED,
               "The plugs, front to back, one on each line: short names, URLs or dotted names."),
        Option("fresh", seconds, 5.0, "Seconds for which a front plug's copy is used."),
    )  # fmt: skip

    def __init__(self, config: Any, plugs: Sequence[Any], fresh: float = 5.0) -> None:
        for spec in plugs:
            if isinstance(spec, str) and spec.split(":")[0] == self.name:
                raise ConfigurationError(
                    "pluggable_session.chain.plugs names the chain itself; name its members."
                )
        *front, authority = members = [make_plug(config, spec) for spec in plugs]
        for plug in members:
            if IClientSidePlug.providedBy(plug):
                raise ConfigurationError(
                    f"pluggable_session.chain.plugs has the plug {describe(plug)}, which keeps "
                    "sessions in the client: no other request can see or end what is in it, so it "
                    "cannot be part of a chain. Leave it out."
                )
        self.front = tuple(front)
        self.authority = authority
        self.fresh = fresh
        self._lanes = Lanes()
        self.member_names = {describe(plug) for plug in members}
        for ability in (ISwapPlug, IScanPlug, IPurgePlug):
            if ability.providedBy(authority):
                alsoProvides(self, ability)

    def loads(self, session: Key, request: Any) -> bytes | None:
        """Return the record from the first plug that has it, and copy it to those before."""
        # The time is the one before anybody is asked: what the authority says may be old by the
        # time that it is copied.
        now = clock.now()
        lane = self._lanes.of(session.session_id)
        writes = lane.writes
        for index, plug in enumerate(self.front):
            copy = None
            with _going_on():
                copy = Storage(plug, request).loads(_key(session))
            if copy is not None and len(copy) >= _UNTIL.size:
                (until,) = _UNTIL.unpack_from(copy)
                if now < until:
                    if index:
                        self._copy(self.front[:index], request, session, copy, lane, writes)
                    return bytes(copy[_UNTIL.size :])
        data = Storage(self.authority, request).loads(_key(session))
        if data is not None:
            copy = _UNTIL.pack(now + self.fresh) + data
            self._copy(self.front, request, session, copy, lane, writes)
        return data

    def dumps(self, session: Key, request: Any, session_data: bytes) -> None:
        """Store in the authority, then in front of it."""
        now = clock.now()
        with self._writing(session, request) as forward:
            Storage(self.authority, request).dumps(_key(session), session_data)
            forward(session_data, now)

    def clear(self, session: Key, request: Any) -> None:
        """Forget everywhere, the authority first."""
        with self._writing(session, request):
            Storage(self.authority, request).clear(_key(session))

    def swap(self, session: Key, request: Any, expected: bytes | None, session_data: bytes) -> bool:
        """Compare and swap in the authority. If that fails, what is in front of it is old."""
        now = clock.now()
        with self._writing(session, request) as forward:
            stored = Storage(self.authority, request).swap(_key(session), expected, session_data)
            if stored:
                forward(session_data, now)
        return stored

    @contextmanager
    def _writing(self, session: Key, request: Any) -> Iterator[Callable[[bytes, float], None]]:
        """Leave in front what ``forward`` was called with, or nothing."""
        lane = self._lanes.of(session.session_id)
        began = lane.begin()
        given: list[tuple[bytes, float]] = []
        try:
            yield lambda data, now: given.append((data, now))
        finally:
            with lane.ending(began) as alone:
                if given and alone:
                    self._forward(session, request, *given[0])
                else:
                    self._clear_front(session, request)

    def scan(self) -> Iterator[Key]:
        """Yield the authority's keys."""
        return Storage(self.authority, None).scan()

    def purge(self) -> int:
        """Purge every plug that can; return how many records the authority had."""
        for plug in self.front:
            if IPurgePlug.providedBy(plug):
                with _going_on():
                    Storage(plug, None).purge()
        return Storage(self.authority, None).purge()

    def versions(self) -> dict[str, str]:
        """Return the versions of all plugs that tell theirs."""
        found: dict[str, str] = {}
        for plug in (*self.front, self.authority):
            found |= plug.versions() if hasattr(plug, "versions") else {}
        return found

    def server_time(self) -> float | None:
        """Return what time it is to the authority, in epoch seconds; None if it is not known."""
        if not hasattr(self.authority, "server_time"):
            return None
        now: float | None = self.authority.server_time()
        return now

    def _forward(self, session: Key, request: Any, data: bytes, now: float) -> None:
        until = now + self.fresh
        if session.expires_at is not None:
            until = min(until, session.expires_at)
        for plug in self.front:
            with _going_on():
                Storage(plug, request).dumps(_key(session, until), _UNTIL.pack(until) + data)

    def _clear_front(self, session: Key, request: Any) -> None:
        for plug in self.front:
            with _going_on():
                Storage(plug, request).clear(_key(session))

    def _copy(
        self,
        plugs: Sequence[Any],
        request: Any,
        session: Key,
        copy: bytes,
        lane: Lane,
        writes: int,
    ) -> None:
        """Copy forward what was read further back, but never over what was written meanwhile."""
        (until,) = _UNTIL.unpack_from(copy)
        key = _key(session, until)
        with lane.undisturbed(writes) as undisturbed:
            for plug in plugs if undisturbed else ():
                front = Storage(plug, request)
                with _going_on():
                    if front.can_swap:
                        front.swap(key, None, copy)
                    else:
                        front.dumps(key, copy)


@contextmanager
def _going_on() -> Iterator[None]:
    """Go on if a front plug fails. Nothing depends on it; that there is an outage is in the log."""
    try:
        yield
    except PlugUnavailable as error:
        log.debug("chain: going on without the front plug: %s", error)


def _key(session: Key, expires_at: float | None = None) -> SessionKey:
    return SessionKey(session.session_id, session.expires_at if expires_at is None else expires_at)
