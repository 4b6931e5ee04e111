"""From one storage to another while the application runs: both in use, each session in one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from pyramid.exceptions import ConfigurationError
from zope.interface import alsoProvides, implementer

from ...errors import SessionConflict
from ...interfaces import IClientSidePlug, IPurgePlug, IScanPlug, ISwapPlug, Key
from ...keys import SessionKey, handle
from ...loader import make_plug
from ...settings import REQUIRED, Option, one_of, text
from ...storage import Storage, describe
from ...store import ATTEMPTS
from .places import Place, create, move, pause

_WHERE = "pluggable_session.migration."


def _spec(value: Any) -> Any:
    return text(value) if isinstance(value, str) else value


@implementer(ISwapPlug)
class MigrationPlug:
    """Has each session in one of two storages, and moves it when it is written.

    Processes that write to the old one and processes that write to the new one may run side by
    side, the former also beside those that know the old storage only. See ``places.py`` for how a
    session moves.
    """

    name: ClassVar[str] = "migration"
    options: ClassVar[tuple[Option, ...]] = (
        Option("old", _spec, REQUIRED, "The storage that has the sessions."),
        Option("new", _spec, REQUIRED, "The storage to move them to, empty in the beginning."),
        Option(
            "write",
            one_of("old", "new"),
            "new",
            "Where sessions begin. new also moves the others there as they change; old moves none, "
            "for as long as there are processes that know the old storage only.",
        ),
    )
    outages: ClassVar[tuple[type[Exception], ...]] = ()

    def __init__(self, config: Any, old: Any, new: Any, write: str = "new") -> None:
        if old == new:
            raise ConfigurationError(f"{_WHERE}old and {_WHERE}new are the same storage.")
        self.old = _member(config, "old", old)
        self.new = _member(config, "new", new)
        self.write = write
        members = (self.old, self.new)
        self.member_names = {describe(plug) for plug in members}
        if all(map(IScanPlug.providedBy, members)):
            alsoProvides(self, IScanPlug)
        if any(map(IPurgePlug.providedBy, members)):
            alsoProvides(self, IPurgePlug)

    def close(self) -> None:
        """Close the connections of both. The plug stays usable."""
        for plug in (self.old, self.new):
            getattr(plug, "close", lambda: None)()

    def loads(self, session: Key, request: Any) -> bytes | None:
        """Return the record, or None when it is absent or expired."""
        old, new = self._places(session, request)
        # The new one once more: the session may just have moved there.
        for place in (new, old, new):
            if (record := place.read().record) is not None:
                return record
        return None

    def dumps(self, session: Key, request: Any, session_data: bytes) -> None:
        """Store the record until ``session.expires_at``."""
        for _ in range(ATTEMPTS):
            if self.swap(session, request, self.loads(session, request), session_data):
                return
            pause()
        raise SessionConflict(
            f"session {handle(session.session_id)} was changed by others in each of {ATTEMPTS} "
            "attempts to store it"
        )

    def clear(self, session: Key, request: Any) -> None:
        """Forget the record."""
        old, new = self._places(session, request)
        # First where a move begins, then where it ends. A session that moves back, from new to old,
        # is with processes for which these words have been exchanged.
        for place in (old, new, old):
            place.clear()

    def swap(self, session: Key, request: Any, expected: bytes | None, session_data: bytes) -> bool:
        """Store the record if what is stored equals ``expected``."""
        old, new = self._places(session, request)
        until = session.expires_at
        if expected is None:
            here, there = (new, old) if self.write == "new" else (old, new)
            return create(here, there, session_data, until)
        while True:
            # First of all: while there is a fence, the other place must not be written to.
            found = old.read()
            if found.record is None:
                if new.swap(expected, session_data, until):
                    return True
                found = new.read()
                if found.record is None and old.read().record is not None:
                    continue  # it has just moved back
                if not found.fenced or found.record != expected:
                    return False
                stored = move(new, old, found, session_data, until)
            elif found.record != expected:
                return False
            elif found.fenced or self.write == "new":
                stored = move(old, new, found, session_data, until)
            else:
                fence = new.read()
                if fence.fenced:
                    new.discard(fence.stored)
                stored = old.swap(found.stored, session_data, until)
            if stored:
                return True

    def unpromoted(self) -> Iterator[SessionKey]:
        """Yield the key of every session that processes with the new storage alone would not find.

        These are the sessions in the old one; and in the new one those that a process was moving
        back when it was killed, before old and new were exchanged. Both are read for that.
        """
        for key in Storage(self.old, None).scan():
            if Place(self.old, key, None).read().record is not None:
                yield key
        for key in Storage(self.new, None).scan():
            old, new = self._places(key, None)
            if new.read().fenced and old.read().record is None:
                yield key

    def promote(self, key: Key) -> bool:
        """Move a session to the new storage as it is. Return whether it was there to be moved.

        ``key`` is one that :meth:`unpromoted` has yielded. No process may write to the old storage
        any more: it would give the session another expiry than the one in ``key``.
        """
        if self.write != "new":
            raise ConfigurationError(
                f"{_WHERE}write = old leaves sessions where they are. Set it to new, on every "
                "process, before they are moved."
            )
        old, new = self._places(key, None)
        while True:
            found, source, target = old.read(), old, new
            if found.record is None:
                found, source, target = new.read(), new, old
                if found.record is None or not found.fenced:
                    return False
            if move(source, target, found, found.record, key.expires_at) and target is new:
                return True

    def promote_all(self) -> int:
        """Move every session that is not in the new storage; return how many there were."""
        return sum(map(self.promote, self.unpromoted()))

    def remaining(self) -> int:
        """Return how many sessions are still to be moved."""
        return sum(1 for _ in self.unpromoted())

    def scan(self) -> Iterator[SessionKey]:
        """Yield the key of every live record.

        It remembers those of the old storage, as they may move to the new one meanwhile: about 100
        bytes for each. An announcement that a killed process has left is yielded, too.
        """
        seen = set()
        for key in Storage(self.old, None).scan():
            seen.add(bytes.fromhex(key.session_id))
            yield key
        for key in Storage(self.new, None).scan():
            if bytes.fromhex(key.session_id) not in seen:
                yield key

    def purge(self) -> int:
        """Purge those of the two that can; return how many records they deleted."""
        members = filter(IPurgePlug.providedBy, (self.old, self.new))
        return sum(Storage(plug, None).purge() for plug in members)

    def versions(self) -> dict[str, str]:
        """Return the versions of both, where they tell them."""
        found: dict[str, str] = {}
        for plug in (self.old, self.new):
            found |= plug.versions() if hasattr(plug, "versions") else {}
        return found

    def _places(self, session: Key, request: Any) -> tuple[Place, Place]:
        return Place(self.old, session, request), Place(self.new, session, request)


def _member(config: Any, name: str, spec: Any) -> Any:
    if isinstance(spec, str) and spec.split(":")[0] == MigrationPlug.name:
        raise ConfigurationError(f"{_WHERE}{name} names the migration itself; name a storage.")
    plug = make_plug(config, spec)
    if IClientSidePlug.providedBy(plug):
        raise ConfigurationError(
            f"{_WHERE}{name}: the plug {describe(plug)} keeps sessions in the client, where they "
            "cannot be moved from or to. Change pluggable_session.plug; users log in again."
        )
    if not ISwapPlug.providedBy(plug):
        raise ConfigurationError(
            f"{_WHERE}{name}: the plug {describe(plug)} cannot compare and swap, and without that "
            "a session that is in use cannot be moved without losing changes."
        )
    return plug
