"""Many requests at the same time: of threads and of processes, on many sessions and on one.

Every request adds one to a number in the session that is its worker's own. In the end, each session
must have every number as high as the requests that were answered: anything less was lost.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import random
import threading
import time
import traceback
from collections import Counter
from contextlib import suppress

from ..report import table
from .sampling import progress, quantile, shown, summary, timed
from .site import Site

STORAGES = ("memory", "sqlite", "file", "redis", "postgresql")
PINNED = False

_THREADS = (1, 2, 4, 8, 16, 32)
_PROCESSES = (1, 2, 4, 8)
_SECONDS, _QUICK_SECONDS = 1.0, 0.15

_worker = threading.local()
"""``key``: what the worker counts under. ``lost``: how many swaps of its request others won."""


def _count(session):
    key = _worker.key
    session[key] = session.get(key, 0) + 1
    return str(session[key])


def _counted(session):
    return json.dumps({key: session[key] for key in session if key.startswith("worker")})


def measure(stores, quick):
    """Return what came of each number of workers."""
    seconds = _QUICK_SECONDS if quick else _SECONDS
    many = 100 if quick else 1000
    plug, settings = stores.plug("shared")
    site = Site(plug, settings, {"count": _count, "counted": _counted})
    _count_lost_swaps(site.plug)
    # Where a process has sessions of its own, there is nothing to share with another.
    kinds = {"threads": _THREADS, "processes": () if plug == "memory" else _PROCESSES}
    found = []
    for kind, numbers in kinds.items():
        for number in numbers:
            for sessions, how_many in (("many", many), ("one", 1)):
                progress(f"{number} {kind} on {sessions}")
                run = _run_threads if kind == "threads" else _run_processes
                found.append(
                    {"kind": kind, "workers": number, "sessions": sessions,
                     **_measure(site, run, number, how_many, seconds)}
                )  # fmt: skip
    return {"runs": found}


def _count_lost_swaps(plug):
    swap = plug.swap

    def counting(*arguments):
        stored = swap(*arguments)
        _worker.lost += not stored
        return stored

    plug.swap = counting


def _measure(site, run, workers, sessions, seconds):
    _worker.lost = 0
    visitors = [site.new_visitor() for _ in range(sessions)]
    gc.collect()
    reports = run(site, visitors, workers, seconds)
    latencies = [each for report in reports for each in report["latencies"]]
    lost = [each for report in reports for each in report["lost"]]
    errors = sum((report["errors"] for report in reports), Counter())
    taken = max(report["until"] for report in reports) - min(report["since"] for report in reports)
    return {
        **(summary(latencies) if latencies else {}),
        "requests": len(latencies),
        "per_second": len(latencies) / taken,
        "lost_swaps": sum(lost),
        "retried": quantile(lost, 0.99) if lost else 0,
        "most_retried": max(lost, default=0),
        "errors": dict(errors),
        "wrong": _wrong(site, visitors, reports),
    }


def _wrong(site, visitors, reports):
    """Return how many acknowledged changes are missing, or are there without having been made."""
    wrong = 0
    for number, visitor in enumerate(visitors):
        counted = Counter(json.loads(site.call("counted", visitor)))
        for report in reports:
            least = report["done"].get(number, 0)
            # What failed may have been stored all the same.
            most = least + report["failed"].get(number, 0)
            there = counted[report["key"]]
            wrong += max(0, least - there) + max(0, there - most)
    return wrong


def _work(site, visitors, key, seconds, start):
    """Make requests, each on one of the sessions at random; return what came of it."""
    _worker.key = key
    latencies, lost, done, failed, errors = [], [], Counter(), Counter(), Counter()
    choose = random.Random(key).randrange
    start.wait()
    since = time.monotonic()
    while time.monotonic() < since + seconds:
        number = choose(len(visitors))
        _worker.lost = 0
        try:
            taken, _ = timed(site, "count", visitors[number])
        except Exception as error:
            failed[number] += 1
            errors[f"{type(error).__name__}: {error}"[:200]] += 1
        else:
            latencies.append(taken)
            done[number] += 1
        lost.append(_worker.lost)
    return {
        "key": key, "since": since, "until": time.monotonic(), "latencies": latencies,
        "lost": lost, "done": done, "failed": failed, "errors": errors,
    }  # fmt: skip


def _run_threads(site, visitors, number, seconds):
    reports, start = [], threading.Barrier(number)

    def work(key):
        reports.append(_work(site, visitors, key, seconds, start))

    threads = [threading.Thread(target=work, args=(f"worker{each}",)) for each in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return reports


def _run_processes(site, visitors, number, seconds):
    # Forked, as web servers do it that load the application first.
    context = multiprocessing.get_context("fork")
    start = context.Barrier(number)
    pipes, processes = [], []

    def work(key, sending):
        try:
            sending.send(_work(site, visitors, key, seconds, start))
        except BaseException:
            traceback.print_exc()
            start.abort()

    for each in range(number):
        receiving, sending = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(f"worker{each}", sending))
        process.start()
        sending.close()
        pipes.append(receiving)
        processes.append(process)
    reports = []
    for pipe, process in zip(pipes, processes, strict=True):
        with suppress(EOFError):
            reports.append(pipe.recv())
        process.join()
    if len(reports) < number:
        raise RuntimeError(f"{number - len(reports)} of {number} processes failed")
    return reports


def report(results):
    """Return lines of Markdown."""
    lines = [
        "### Many at the same time",
        "",
        "Every request changes the session, under a key of its worker's own. Many: any of 1,000",
        "(with --quick, 100); one: the same for all. On all cores, with the servers. Latencies",
        "are of whole requests, in microseconds. Conflicts are swaps that found the session",
        "changed by another request: they are merged and tried again; the most that one request",
        "needed is in parentheses. Lost are changes that were acknowledged and are not there.",
        "",
    ]
    head = ["", "workers", "sessions", "requests/s", "median", "p99", "conflicts per request",
            "errors", "lost"]  # fmt: skip
    rows, notes = [], []
    for storage, result in results.items():
        if "absent" in result:
            notes.append(f"- {storage}: left out, {result['absent']}")
            continue
        for run in result["runs"]:
            workers = f"{run['workers']} {run['kind']}"
            if run["workers"] == 1:
                workers = workers.replace("threads", "thread").replace("processes", "process")
            row = [storage, workers, run["sessions"]]
            notes += [
                f"- {storage}, {workers}, {run['sessions']}: {count} times {error}"
                for error, count in run["errors"].items()
            ]
            if run["wrong"]:
                notes.append(f"- {storage}, {workers}, {run['sessions']}: WRONG, changes are lost")
            if not run["requests"]:
                rows.append([*row, *["none"] * 6])
                continue
            conflicts = run["lost_swaps"] / run["requests"]
            rows.append([
                *row,
                f"{run['per_second']:,.0f}",
                shown(run["median"]),
                shown(run["p99"]),
                f"{conflicts:.2f} ({run['most_retried']})" if run["lost_swaps"] else "0",
                sum(run["errors"].values()),
                f"**{run['wrong']}**" if run["wrong"] else "0",
            ])  # fmt: skip
    return [*lines, *table(head, rows), "", *notes]
