"""What each process must have for itself: clients and pools, as a fork would share connections."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")


class PerProcess(Generic[_T]):
    """Makes a thing when it is first asked for, and again in a process forked since then.

    Web servers load the application and then fork their workers. Two processes that speak on one
    connection read each other's answers: each other's sessions, here.

    ``forget``, if given, is called in a child with the thing that it inherited: to let go of it
    without a word to the server, which it would say on its parent's connection. Without it the
    thing is kept aside, as its destructor might say such a word as well.
    """

    def __init__(
        self, make: Callable[[], _T], forget: Callable[[_T], object] | None = None
    ) -> None:
        self._make = make
        self._forget = forget
        self._lock = threading.Lock()
        self._thing: _T | None = None
        self._inherited: list[Any] = []
        _all.add(self)

    def __call__(self) -> _T:
        """Return the thing of this process."""
        thing = self._thing
        if thing is None:
            with self._lock:
                thing = self._thing
                if thing is None:
                    thing = self._thing = self._make()
        return thing

    def take(self) -> _T | None:
        """Return the thing, if there is one, to close it. It is made anew when asked for."""
        with self._lock:
            thing, self._thing = self._thing, None
        return thing

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        thing, self._thing = self._thing, None
        if thing is not None and self._forget is not None:
            self._forget(thing)
        elif thing is not None:
            self._inherited.append(thing)


_all: weakref.WeakSet[PerProcess[Any]] = weakref.WeakSet()


def _after_fork() -> None:
    for each in list(_all):
        each._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
