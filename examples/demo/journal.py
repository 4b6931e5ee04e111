"""What the last requests did to the storage, for the page to show.

The session is saved when the page has been made already, so a page cannot tell what its own request
stores. The journal notes it when the request is finished.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from pyramid.tweens import EXCVIEW

from pyramid_pluggable_session import PlugUnavailable
from pyramid_pluggable_session.events import SessionConflict, SessionDropped
from pyramid_pluggable_session.storage import Operation

UNSEEN = ("/static/", "/panels")
"""Paths of requests that are not noted: they are of no interest, or only read the journal."""


@dataclass
class Visit:
    """One request. A session is named by its handle, which is of no use to get into it."""

    method: str
    path: str
    before: str
    """The session that the request came with, or began."""
    after: str = ""
    """The session that the browser has afterwards."""
    at: float = field(default_factory=time.time)
    operations: Sequence[Operation] = ()
    dropped: str = ""
    conflicts: Sequence[str] = ()
    failed: bool = False

    @property
    def size(self) -> int:
        return sum(operation.size for operation in self.operations)

    @property
    def seconds(self) -> float:
        return sum(operation.seconds for operation in self.operations)

    @property
    def outcome(self) -> str:
        """What became of the session, as a word that the page has a sentence for."""
        names = [operation.name for operation in self.operations]
        if self.failed:
            return "failed"
        if self.dropped:
            return f"dropped-{self.dropped}"
        if ("swap", "loads") in pairwise(names):
            # The swap found that somebody else had changed the session, so it was loaded again.
            return "conflict" if self.conflicts else "merged"
        if "swap" in names or "dumps" in names:
            if self.before == self.after:
                return "stored"
            return "replaced" if "clear" in names else "renamed"
        return "ended" if "clear" in names else "nothing"


class Journal:
    """The last visits of each of the last sessions."""

    def __init__(self, sessions: int = 500, visits: int = 8) -> None:
        self._sessions = sessions
        self._visits = visits
        self._journals: OrderedDict[str, deque[Visit]] = OrderedDict()
        self._successors: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, visit: Visit) -> None:
        """Note a visit. If it gave the session another id, its journal comes along."""
        with self._lock:
            name = self._current(visit.before)
            visits = self._journals.pop(name, None) or deque(maxlen=self._visits)
            if visit.before != visit.after and name == visit.before:
                self._successors[visit.before] = name = visit.after
            visits.append(visit)
            self._journals[name] = visits
            for entries in (self._journals, self._successors):
                while len(entries) > self._sessions:
                    entries.popitem(last=False)

    def visits(self, handle: str) -> list[Visit]:
        """Return the visits of a session, the last one first."""
        with self._lock:
            return list(reversed(self._journals.get(self._current(handle), ())))

    def _current(self, handle: str) -> str:
        while handle in self._successors:
            handle = self._successors[handle]
        return handle


def includeme(config: Any) -> None:
    """Have every request noted, and make the journal known as ``request.registry.journal``."""
    config.registry.journal = Journal()
    config.add_tween(f"{__name__}.tween_factory", under=EXCVIEW)
    config.add_subscriber(_on_dropped, SessionDropped)
    config.add_subscriber(_on_conflict, SessionConflict)


def tween_factory(handler: Callable[[Any], Any], registry: Any) -> Callable[[Any], Any]:
    """Make the tween that begins the note of a request."""

    def tween(request: Any) -> Any:
        if not request.path.startswith(UNSEEN):
            request.visit = Visit(request.method, request.path, request.session.handle)
            request.add_finished_callback(_finish)
        return handler(request)

    return tween


def _finish(request: Any) -> None:
    visit, session = request.visit, request.session
    visit.after = session.handle if session.operations else visit.before
    visit.operations = session.operations
    visit.failed = isinstance(getattr(request, "exception", None), PlugUnavailable)
    if visit.operations:
        request.registry.journal.add(visit)


def _on_dropped(event: SessionDropped) -> None:
    if hasattr(event.request, "visit"):
        event.request.visit.dropped = event.reason


def _on_conflict(event: SessionConflict) -> None:
    if hasattr(event.request, "visit"):
        event.request.visit.conflicts = event.keys
