"""Which copy may stay in front of a chain when requests of one process overlap."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ..per_process import PerProcess

_LANES: Final = 64


class Lane:
    """Counts the writes of some of the sessions in this process, as they begin and as they end.

    Of copies that race, the older one may come last. So none is made while another write of this
    process is under way: what one request has stored, the next one must find.
    """

    def __init__(self) -> None:
        self.writes = 0
        self._lock = threading.Lock()

    @contextmanager
    def undisturbed(self, since: int) -> Iterator[bool]:
        """Tell whether no write began or ended since the count was ``since``; none does meanwhile.

        Held while the front plugs are asked, which are there to answer quickly.
        """
        with self._lock:
            yield self.writes == since

    def begin(self) -> int:
        """Note that a write begins, and return the count."""
        with self._lock:
            self.writes += 1
            return self.writes

    @contextmanager
    def ending(self, began: int) -> Iterator[bool]:
        """Tell whether the write that began at this count was alone; note that it ends."""
        with self._lock:
            yield self.writes == began
            self.writes += 1


class Lanes:
    """A lane for each session; some share one."""

    def __init__(self) -> None:
        self._lanes = PerProcess(lambda: tuple(Lane() for _ in range(_LANES)))

    def of(self, session_id: str) -> Lane:
        """Return the lane of a session."""
        return self._lanes()[hash(session_id) % _LANES]
