"""Expired sessions are deleted by the hundred thousand: do the requests beside that wait?"""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pyramid_pluggable_session.plugs.housekeeping import Housekeeping

from ..report import table
from .sampling import progress, shown, summary
from .site import Site, WrongAnswerError, application
from .stores import obstacle

STORAGES = ("sqlite", "file", "postgresql")  # the others forget by themselves
PINNED = False

_EXPIRED, _LIVE = 500_000, 1_000
_EVERY = 0.01  # seconds from one request to the next
_THREADS = 4
_INTERVAL = 1.0  # seconds from one run of the application's own purge to the next; 300 by default
_SECONDS, _QUICK_SECONDS = 5.0, 1.5  # without a purge, to compare with
_PATIENCE = 90.0  # seconds; what is left then stays
_ROOT = str(Path(__file__).parents[2])
_PSESSIONS = (
    "from pyramid_pluggable_session.scripts.psessions import main; raise SystemExit(main())"
)


def main(global_config, **settings):
    """Return the application for ``psessions``, which purges in a process of its own."""
    return application(settings)


def measure(stores, quick):
    """Return the latencies without a purge and beside one, for each way to purge."""
    expired, live = (number // (100 if quick else 1) for number in (_EXPIRED, _LIVE))
    if reason := obstacle(stores, expired, stores.place.root):
        return {"absent": reason}
    runs = []
    for way, purge in (("threads", _by_threads), ("psessions purge", _by_command)):
        name = f"purge_{way.split()[0]}"
        plug, settings = stores.plug(name)
        site = Site(plug, {**settings, stores.purge_interval: 0})
        progress(f"{expired:,} expired and {live:,} live sessions are put in")
        # The live ones last, so that purging does not come by them first.
        visitors = []
        stores.fill(site, name, itertools.chain(
            site.rows(expired, expired=True), _noting(site, visitors, live)
        ))  # fmt: skip
        for visitor in visitors:
            visitor.counter = int(site.call("change", visitor))
        progress("requests without a purge")
        without, _ = _serve(site, visitors, _after(_QUICK_SECONDS if quick else _SECONDS))
        progress(f"requests beside {way}")
        beside, took, purged = purge(stores, site, visitors, expired)
        for visitor in visitors:
            _check("a live session after the purge", site.call("read", visitor), visitor)
        runs.append({
            "way": way, "expired": expired, "without": summary(without), "took": took,
            "purged": purged, "beside": summary(beside), "requests": len(beside),
        })  # fmt: skip
        site.close()
    return {"runs": runs}


def _noting(site, visitors, count):
    for row in site.rows(count):
        visitors.append(site.visitor(row.session_id))
        yield row


def _check(what, body, visitor):
    if body != str(visitor.counter):
        raise WrongAnswerError(f"{what}: {body[:50]!r}, not {visitor.counter}")


def _serve(site, visitors, is_over):
    """Make requests at a steady pace; return their latencies in seconds, and how long it went on.

    Each counts from when it was due, as the browser of somebody whose request has to wait for
    others' does not care why.
    """
    latencies, began = [], time.perf_counter()

    def work(number):
        paths = itertools.cycle(("read", "change"))
        due = began + number * _EVERY
        while not is_over():
            due += _EVERY * _THREADS
            time.sleep(max(0.0, due - time.perf_counter()))
            # Its own ones: what a session must hold is then known.
            path, visitor = next(paths), random.choice(visitors[number::_THREADS])
            visitor.counter += path == "change"
            body = site.call(path, visitor)
            latencies.append(time.perf_counter() - due)
            _check(path, body, visitor)

    with ThreadPoolExecutor(_THREADS) as pool:
        for done in [pool.submit(work, number) for number in range(_THREADS)]:
            done.result()
    return latencies, time.perf_counter() - began


def _after(seconds):
    until = time.monotonic() + seconds
    return lambda: time.monotonic() > until


def _by_threads(stores, site, visitors, expired):
    """Let the application purge by itself, in runs of a second, but more often than it would."""
    plug, numbers = site.plug, []

    def counting(until):
        numbers.append(purge(until))

    purge, plug._purge = plug._purge, counting
    before, plug._housekeeping = plug._housekeeping, Housekeeping(_INTERVAL)
    impatient = _after(_PATIENCE)
    latencies, took = _serve(site, visitors, lambda: sum(numbers) >= expired or impatient())
    plug._purge, plug._housekeeping = purge, before
    return latencies, took, sum(numbers)


def _by_command(stores, site, visitors, expired):
    """Purge by ``psessions purge``."""
    ini = f"[app:main]\nuse = call:{__name__}:main\n"
    for name, value in site.settings.items():
        ini += f"{name} = {str(value).replace('%', '%%')}\n"
    path = stores.place.path("site.ini")
    Path(path).write_text(ini)
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _PSESSIONS, path, "purge", "--json"],
        env={**os.environ, "PYTHONPATH": _ROOT},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        latencies, took = _serve(site, visitors, lambda: child.poll() is not None)
        said, _ = child.communicate()
    finally:
        child.kill()
        child.wait()
    if child.returncode:
        raise WrongAnswerError(f"psessions purge ended with {child.returncode}")
    return latencies, took, json.loads(said)["purged"]


def report(results):
    """Return lines of Markdown."""
    lines = [
        "### Purge while serving",
        "",
        f"A request every {_EVERY * 1000:.0f} ms, in {_THREADS} threads; every other one changes",
        "its session. Latencies in microseconds, from when it was due: without a purge, and",
        "while all that has expired is purged beside it. Threads: by the application itself, in",
        "runs of a second as ever, but about one each second and not one in five minutes. On all",
        "cores.",
        "",
    ]
    head = ["", "purged by", "purged", "seconds", "median without", "beside", "p99 without",
            "beside", "max without", "beside"]  # fmt: skip
    rows, notes = [], []
    for storage, result in results.items():
        if "absent" in result:
            notes.append(f"- {storage}: left out, {result['absent']}")
            continue
        for run in result["runs"]:
            of = "" if run["purged"] == run["expired"] else f" of {run['expired']:,}"
            row = [storage, run["way"], f"{run['purged']:,}{of}", f"{run['took']:.1f}"]
            for what in ("median", "p99", "max"):
                row += [shown(run["without"][what]), shown(run["beside"][what])]
            rows.append(row)
    return [*lines, *table(head, rows), "", *notes]
