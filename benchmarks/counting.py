"""What a request asks of its storage: round trips and bytes, or system calls.

What goes to a server goes by way of a relay that counts. Of a storage on disk, ``strace`` tells the
system calls. Neither is there while time is measured.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import subprocess
import time
from collections import Counter

from . import scenarios
from .applications import ask
from .groups import Place
from .requests_pass import contestants_of

_SCENARIOS = ("untouched", "read", "change", "new", "garbage", "logout")
_COUNT = 5  # requests
_SETTLE = 0.03  # seconds for what a server says without being asked
_PATIENCE = 10.0  # seconds for strace to begin
_ANY_PROCESS = ctypes.c_ulong(-1)
_PR_SET_PTRACER = 0x59616D61


def measure(group, place):
    """Return a list of (contestant, scenario, what was counted, a request), and what is stored."""
    with contextlib.ExitStack() as stack:
        if place.server is not None:
            counter = stack.enter_context(_relay(place.server))
            place = Place(place.root, place.server, counter)
        contestants, _ = contestants_of(group, place)
        slots = list(_prepared_slots(contestants))
        if place.server is None:
            # Only now, as it is slow to trace.
            counter = stack.enter_context(_SystemCalls(place.path("trace")))
        if counter.absent:
            return {"counted": [], "absent": counter.absent}
        for slot in slots:
            batch = slot.batch(_COUNT)
            _settle(place)
            counter.begin(slot.contestant.name, slot.scenario)
            came = batch()
            _settle(place)
            counter.end(slot.contestant.name, slot.scenario)
            slot.finish(came)
        stored = _stored(group, contestants, place)
    counted = [
        (name, scenario, {what: number / _COUNT for what, number in numbers.items()})
        for (name, scenario), numbers in counter.counted().items()
    ]
    return {"counted": counted, "stored": stored}


def _prepared_slots(contestants):
    for contestant in contestants:
        contestant.sessions = _COUNT
        for scenario in _SCENARIOS:
            if scenarios.verify(contestant, scenario) is None:
                slot = scenarios.slot(contestant, scenario)
                slot.finish(slot.batch(_COUNT)())  # connections are made, and caches filled
                yield slot


def _settle(place):
    if place.server is not None:
        time.sleep(_SETTLE)


def _relay(server):
    from proxies import NONE, Proxy  # of the tests

    class Relay(Proxy):
        """Counts round trips, and bytes both ways."""

        absent = None

        def __init__(self, server):
            super().__init__(server)
            self.sent = self.received = 0
            self._found = {}

        def on_question(self, piece, connection):
            self.sent += len(piece)
            return NONE

        def on_answer(self, piece, connection):
            self.received += len(piece)
            return NONE

        def begin(self, *where):
            self._before = self._now()

        def end(self, *where):
            self._found[where] = self._now() - self._before

        def _now(self):
            now = Counter()
            now.update(trips=self.trips, sent=self.sent, received=self.received)
            return now

        def counted(self):
            return self._found

    return Relay(server)


class _SystemCalls:
    """Counts the system calls of this process. Marks in the trace tell what they were done for."""

    absent = None

    def __init__(self, path):
        self._path = path
        self._strace = None

    def __enter__(self):
        if shutil.which("strace") is None:
            self.absent = "strace is not installed"
            return self
        # Else only a parent may trace, on systems that restrict it.
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANY_PROCESS, 0, 0, 0)
        self._strace = subprocess.Popen(
            ["strace", "-f", "-qq", "-o", self._path, "-p", str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + _PATIENCE
        # Not by reading the trace: that would be traced.
        while not (os.path.exists(self._path) and os.path.getsize(self._path)):
            if self._strace.poll() is not None or time.monotonic() > until:
                self.absent = "strace cannot trace here"
                break
            time.sleep(0.05)
        return self

    def __exit__(self, *exception):
        if self._strace is not None:
            self._strace.terminate()
            self._strace.wait()

    def _mark(self, *words):
        with contextlib.suppress(OSError):
            os.stat("/benchmark:" + ":".join(words))

    def begin(self, name, scenario):
        self._mark("begin", name, scenario)

    def end(self, name, scenario):
        self._mark("end", name, scenario)

    def counted(self):
        found, current = {}, None
        with open(self._path, errors="replace") as trace:
            for line in trace:
                if mark := re.search(r'/benchmark:(begin|end):([^"]*)"', line):
                    current = None
                    if mark[1] == "begin":
                        name, _, scenario = mark[2].rpartition(":")
                        current = found[name, scenario] = Counter(calls=0)
                elif current is not None and (call := re.match(r"\d+ +(\w+)\(", line)):
                    if call[1] != "futex":
                        current["calls"] += 1
        return found


def _stored(group, contestants, place):
    """Return the bytes that a session takes in the storage, where that can be seen."""
    tell = {"redis": _in_redis, "file": _in_files}.get(group.name)
    found = {}
    if tell is not None:
        for contestant in contestants:
            before = tell(place)
            ask(contestant.with_session, "new")
            after = tell(place)
            found[contestant.name] = sum(after.values()) - sum(before.values())
    return found


def _in_redis(place):
    with place.server.client() as client:
        return {
            key: client.strlen(key) for key in client.keys("*") if client.type(key) == b"string"
        }


def _in_files(place):
    return {
        path: os.path.getsize(path)
        for folder, _, files in os.walk(place.root)
        for path in (os.path.join(folder, name) for name in files)
        if path != place.path("trace")
    }
