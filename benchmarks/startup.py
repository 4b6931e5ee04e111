"""What the package costs before the first request, and whether requests leave something behind."""

from __future__ import annotations

import gc
import itertools
import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import ormsgpack
from zope.interface import implementer

from pyramid_pluggable_session.interfaces import IPlugSession

from . import limits
from .applications import WsgiApplication, ask
from .contestants import pyramid
from .workload import LARGE_STATE, STATE, pyramid_application

_ROOT = Path(__file__).parents[1]
_STARTS = 9
_GROWTH_REQUESTS = 20_000

_PLAIN = """
from pyramid.config import Configurator
with Configurator(settings=settings) as config:
    config.add_route("home", "/")
    config.add_view(lambda request: "", route_name="home", renderer="string")
    {include}
    config.make_wsgi_app()
"""
_PLUGS = {
    "memory": "memory",
    "file": "file://{}/files",
    "sqlite": "sqlite:///{}/sessions.db",
    "redis": "redis://localhost/0",
    "memcached": "memcached://localhost",
    "postgresql": "postgresql://localhost/app",
}
# Of the drivers of some, what the plug imports.
_IMPORTED = {
    "sqlite": "sqlite3",
    "redis": "redis, redis.cluster, redis.sentinel",
    "memcached": "pymemcache",
    "postgresql": "sqlalchemy, psycopg",
}
_DRIVERS = (
    "redis", "pymemcache", "sqlalchemy", "psycopg", "pymysql", "pymongo", "boto3",
    "google.cloud.datastore", "dogpile", "lmdb", "sqlite3", "cryptography", "opentelemetry",
)  # fmt: skip


@implementer(IPlugSession)
class _Recorder:
    """A storage that tells how many bytes it was given."""

    def __init__(self):
        self.records = {}

    def loads(self, session, request):
        return self.records.get(session.session_id)

    def dumps(self, session, request, data):
        self.records[session.session_id] = data

    def clear(self, session, request):
        self.records.pop(session.session_id, None)


def measure(group, place, requests=_GROWTH_REQUESTS, starts=_STARTS):
    """Return what is the same for all storages; the group is not asked."""
    return {
        "starts": _starts(starts, place.folder("starts")),
        "records": _records(),
        "growth": _growth(requests),
        "limits": limits.measure(),
    }


def _program(plug):
    settings = {"pluggable_session.secret": "x" * 64}
    include = ""
    if plug is not None:
        settings["pluggable_session.plug"] = plug
        include = 'config.include("pyramid_pluggable_session")'
    program = f"settings = {settings!r}\n" + _PLAIN.format(include=include)
    return program + (
        "import sys\n"
        f"print(*[each for each in {_DRIVERS!r} if each in sys.modules])\n"
        # What a process does when it ends is no part of its start.
        "sys.stdout.flush(); import os; os._exit(0)\n"
    )


def _starts(count, folder):
    """Return the milliseconds above Pyramid's own start, and the drivers that are imported.

    Also those of Pyramid with nothing but the driver, which is no work of ours.
    """
    programs = {name: _program(plug.format(folder)) for name, plug in _PLUGS.items()}
    programs[""] = _program(None)
    for name, driver in _IMPORTED.items():
        programs[f"{name} alone"] = f"import {driver}\n{programs['']}"
    # An installed package has been compiled.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": f"{folder}/bytecode"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    taken, drivers = {name: [] for name in programs}, {}
    for number in range(count + 1):
        for name, program in programs.items():
            started = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", program],
                capture_output=True, text=True, check=False, cwd=_ROOT, env=environment,
            )  # fmt: skip
            if number:  # the first compiles
                taken[name].append(time.perf_counter() - started)
            drivers[name] = done.stdout.split() if done.returncode == 0 else ["did not start"]
    # The least, as whatever comes in between can only add to it.
    least = {name: min(times) * 1e3 for name, times in taken.items()}
    plain = least[""]
    found = {}
    for name in _PLUGS:
        driver = least.get(f"{name} alone", plain) - plain
        found[name] = (round(least[name] - plain - driver, 1), round(driver, 1), drivers[name])
    return {"pyramid": round(plain, 1), "plugs": found}


def _records():
    """Return (what, bytes of the serialized state, bytes of the record)."""
    found = []
    for what, settings in (("", {}), (", encrypted", {"encrypt": "true"})):
        for size, view, state in (("1 KB", "new", STATE), ("20 KB", "new_large", LARGE_STATE)):
            recorder = _Recorder()
            ask(_recorded_by(recorder, settings), view)
            (record,) = recorder.records.values()
            found.append((size + what, len(ormsgpack.packb(state)), len(record)))
    return found


def _recorded_by(recorder, settings):
    def include(config):
        config.include("pyramid_pluggable_session")
        config.set_session_plug(recorder)

    given = {"secret": "x" * 64, **settings}
    settings = {f"pluggable_session.{name}": value for name, value in given.items()}
    return WsgiApplication(pyramid_application(include=include, settings=settings))


def _growth(requests):
    """Return the bytes of memory that a request leaves behind, once all is warm."""
    contestant = pyramid.ours("memory")
    visitors = [contestant.visitor() for _ in range(20)]

    def some(count):
        for visitor in itertools.islice(itertools.cycle(visitors), count // 4):
            for path in ("read", "change", "garbage"):
                ask(contestant.with_session, path, visitor)
            ask(contestant.with_session, "logout", contestant.visitor())

    some(requests // 10)
    gc.collect()
    tracemalloc.start()
    try:
        some(requests // 10)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        some(requests)
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    return {"requests": requests, "bytes": after - before}
