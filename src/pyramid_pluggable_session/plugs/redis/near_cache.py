"""Records of a Redis server, kept in the process for as long as the server vouches for them.

The server is told to announce every change of a key that begins with the prefix (``CLIENT TRACKING
ON BCAST``, Redis 6 and Valkey). So a record may be used without asking, from when it was read until
its change is announced.

Whoever uses a record looks first for what has been announced. That takes no longer than a system
call, and a thread that waited for announcements would be woken by each: also of those that its own
process causes, which would take its other threads more time than the change itself.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Final

from redis.exceptions import RedisError

from ..per_process import PerProcess
from .commands import Commands
from .listener import Listener

HEARTBEAT: Final = 0.5
"""Seconds between questions whether the server still hears us."""

DEAF_AFTER: Final = 2.0
"""Seconds without an answer after which nothing that is kept is used any more.

A connection may be dead and not look so. This bounds for how long a change can go unnoticed then.
"""

_OVERHEAD: Final = 300  # bytes for each record beside its own, roughly
_LONGEST_PAUSE: Final = 5.0

log = logging.getLogger("pyramid_pluggable_session")


class CachedCommands:
    """Commands whose answers to ``GET`` come from the near cache where it has them."""

    def __init__(self, commands: Commands, size: int, prefix: str) -> None:
        self._commands = commands
        self.pages = commands.pages
        self.ask = commands.ask
        self.count = commands.count
        self._near = PerProcess(lambda: NearCache(size, prefix, commands.listener))
        weakref.finalize(self, _stop, self._near)

    def __call__(self, key: str, *command: Any) -> Any:
        """Return the answer to a command on ``key``."""
        near = self._near()
        if command[0] != "GET":
            try:
                return self._commands(key, *command)
            finally:
                # Not to wait for the announcement: whoever changed a session sees the change.
                near.forget(key)
        kept = near.get(key)
        if kept is not None:
            return kept
        token, data, seconds = near.begin(key), None, None
        try:
            data, seconds = self._commands.read_with_lifetime(key)
        finally:
            near.put(key, token, data, seconds)
        return data

    def close(self) -> None:
        """Stop listening, and close the connections that are not in use."""
        _stop(self._near)
        self._commands.close()


def _stop(near: PerProcess[NearCache]) -> None:
    running = near.take()
    if running is not None:
        running.stop()


class NearCache:
    """Keeps up to ``size`` bytes of records of one server, in one process.

    ``connect`` makes the connection to listen on, which speaks RESP 3.
    """

    def __init__(self, size: int, prefix: str, connect: Callable[[], Any]) -> None:
        self._size = size
        self._prefix = prefix
        self._connect = connect
        self._lock = threading.RLock()
        self._records: dict[str, tuple[bytes, float | None]] = {}
        self._bytes = 0
        self._reading: dict[str, object] = {}
        self._listener: Listener
        self._asked: float | None = None
        self._heard = float("-inf")
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name="pluggable_session-near-cache", daemon=True
        )
        self._thread.start()

    def get(self, key: str) -> bytes | None:
        """Return the record, or None if the server has to be asked."""
        if key not in self._records:
            return None
        try:
            self._catch_up()
        except (RedisError, OSError):
            return None
        found = self._records.get(key)
        if found is None or not self._hears():
            return None
        data, until = found
        return data if until is None or time.monotonic() < until else None

    def begin(self, key: str) -> object:
        """Note that the record is about to be read, and return what to hand to :meth:`put`."""
        token = object()
        with self._lock:
            if self._hears():
                self._reading[key] = token
        return token

    def put(self, key: str, token: object, data: bytes | None, seconds: float | None) -> None:
        """Keep what was read, unless a change was announced since :meth:`begin`.

        The announcement may have come before the record that it is about: kept then, that record
        would never be thrown out. ``data`` is None if nothing was read; ``seconds`` is how long the
        record lives, None for ever.
        """
        with self._lock:
            if self._reading.pop(key, None) is not token or data is None:
                return
            self._drop(key)
            size = len(data) + _OVERHEAD
            if size > self._size:
                return
            # The oldest go first. To know which was used last would take a lock for each reading.
            while self._bytes + size > self._size:
                self._drop(next(iter(self._records)))
            self._records[key] = (data, None if seconds is None else time.monotonic() + seconds)
            self._bytes += size

    def forget(self, key: str) -> None:
        """Throw out a record: it was changed."""
        with self._lock:
            self._reading.pop(key, None)
            self._drop(key)

    def stop(self) -> None:
        """Let the listening thread end."""
        self._stopped.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(HEARTBEAT * 4)

    def _hears(self) -> bool:
        return time.monotonic() < self._heard + DEAF_AFTER

    def _drop(self, key: str) -> None:
        found = self._records.pop(key, None)
        if found is not None:
            self._bytes -= len(found[0]) + _OVERHEAD

    def _forget_all(self, heard: float) -> None:
        with self._lock:
            self._reading.clear()
            self._records.clear()
            self._bytes = 0
            self._heard = heard

    def _run(self) -> None:
        pause = 0.0
        while not self._stopped.wait(pause):
            began = time.monotonic()
            try:
                self._listen()
            except (RedisError, OSError) as error:
                log.warning("the near cache is off: %s", type(error).__name__)
            lasted = time.monotonic() - began
            pause = min(max(pause * 2, 0.1), _LONGEST_PAUSE) if lasted < DEAF_AFTER else 0.1

    def _listen(self) -> None:
        listener = Listener(self._connect())
        try:
            self._listener = listener
            self._ask("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", self._prefix)
            self._follow()
        finally:
            with self._lock:
                self._forget_all(float("-inf"))
                listener.close()

    def _follow(self) -> None:
        # An answer is soon there. Announcements may wait, but not for so long that they pile up.
        while not self._stopped.wait(HEARTBEAT / (2 if self._asked is None else 50)):
            self._catch_up()
            now = time.monotonic()
            if self._asked is None and now >= self._heard + HEARTBEAT:
                self._ask("PING")
            elif self._asked is not None and now > self._asked + DEAF_AFTER:
                raise TimeoutError

    def _ask(self, *command: str) -> None:
        with self._lock:
            self._asked = time.monotonic()
            self._listener.ask(*command)

    def _catch_up(self) -> None:
        """Throw out what was announced to have changed so far."""
        with self._lock:
            try:
                for message in self._listener.receive():
                    self._note(message)
            except BaseException:
                # An announcement may be lost: the thread connects again.
                self._forget_all(float("-inf"))
                self._listener.close()
                raise

    def _note(self, message: Any) -> None:
        if not isinstance(message, list):
            # An answer comes after all that was announced before it: having heard it is to have
            # heard of every change until the question was asked.
            self._heard, self._asked = self._asked or self._heard, None
        elif message[1] is None:  # FLUSHALL and its like
            self._forget_all(self._heard)
        else:
            for key in message[1]:
                self.forget(key.decode("utf-8", "replace"))
