"""How many sessions are stored: is a request slower among a million of them than among 1,000?"""

from __future__ import annotations

import gc
import random
import time

from ..applications import Visitor
from ..contestants.pyramid import without_session
from ..report import table
from .sampling import progress, shown, summary, timed
from .site import Site, WrongAnswerError
from .stores import obstacle

STORAGES = ("sqlite", "file", "redis", "postgresql")
PINNED = True

_COUNTS = (1_000, 10_000, 100_000, 1_000_000)
_PATHS = ("read", "change", "new")
_VISITORS = 300  # of each store, at random; the others are never seen
_BATCH = 5  # requests to one store before it is the turn of another one
_LATENCIES, _QUICK_LATENCIES = 1500, 400  # of each store and kind of request
_TARGET = 1.5


def measure(stores, quick):
    """Return the latencies for each number of sessions, with all stores side by side."""
    counts = [count // 100 if quick else count for count in _COUNTS]
    filled, left_out = {}, {}
    for count in counts:
        if count < _VISITORS // 30:
            continue
        if reason := obstacle(stores, count, stores.place.root):
            left_out[count] = reason
        else:
            filled[count] = _Store(stores, count)
    latencies = _latencies(filled, _QUICK_LATENCIES if quick else _LATENCIES)
    return {
        "counts": [
            {"count": count, "filled_in": store.filled_in,
             **{path: summary(latencies[count, path]) for path in _PATHS}}
            for count, store in filled.items()
        ],
        "without": summary(latencies[None, "read"]),
        "left_out": list(left_out.items()),
    }  # fmt: skip


class _Store:
    def __init__(self, stores, count):
        progress(f"{count:,} sessions are put in")
        name = f"of_{count}"
        self.site = Site(*stores.plug(name))
        chosen = set(random.sample(range(count), min(_VISITORS, count)))
        self.visitors = []
        started = time.monotonic()
        stores.fill(self.site, name, self._noting(self.site.rows(count), chosen))
        self.filled_in = time.monotonic() - started
        random.shuffle(self.visitors)
        for visitor in self.visitors:
            # Warm: the disk's blocks are in memory, and each session has been seen.
            if self.site.call("whole", visitor) != "whole":
                raise WrongAnswerError("a session that was put in is not found")
            visitor.counter = int(self.site.call("change", visitor))

    def _noting(self, rows, chosen):
        for number, row in enumerate(rows):
            if number in chosen:
                self.visitors.append(self.site.visitor(row.session_id))
            yield row

    def next(self):
        visitor = self.visitors.pop(0)
        self.visitors.append(visitor)
        return visitor


def _latencies(filled, number):
    """Return the latencies in seconds, by number of sessions and path; None has no session."""
    progress("requests")
    bare = without_session()
    turns = [(count, path) for count in filled for path in _PATHS] + [(None, "read")]
    latencies = {turn: [] for turn in turns}
    gc.collect()
    gc.freeze()
    for _ in range(-(-number // _BATCH)):
        for count, path in random.sample(turns, len(turns)):
            some = latencies[count, path]
            for _ in range(_BATCH):
                if count is None:
                    some.append(timed(bare, path, _any_visitor(filled))[0])
                else:
                    some.append(_one(filled[count], path))
    return latencies


def _any_visitor(filled):
    visitor = Visitor()
    visitor.cookies = next(iter(filled.values())).next().cookies
    return visitor


def _one(store, path):
    visitor = Visitor() if path == "new" else store.next()
    seconds, answer = timed(store.site, path, visitor)
    visitor.counter += path == "change"
    if answer.body != ("new" if path == "new" else str(visitor.counter)):
        raise WrongAnswerError(f"{path}: {answer.body[:50]!r}")
    if path == "new":
        # The store stays as large as it is.
        timed(store.site, "logout", visitor)
    return seconds


def report(results):
    """Return lines of Markdown."""
    lines = [
        "### Sessions in the store",
        "",
        "Whole requests, in microseconds: the median, and after the slash the 99th percentile. In",
        "parentheses, the median's ratio to that of the smallest store beside it, and the same for",
        "what the session costs above an application without one. The target is 1.5 or less.",
        "",
    ]
    head = ["", "sessions of 1 KB", *_PATHS]
    rows, notes = [], []
    for storage, result in results.items():
        if "absent" in result:
            notes.append(f"- {storage}: left out, {result['absent']}")
            continue
        first, without = result["counts"][0], result["without"]["median"]
        for each in result["counts"]:
            cells = []
            for path in _PATHS:
                median, small = each[path]["median"], first[path]["median"]
                ratio, cost = median / small, (median - without) / (small - without)
                late = " **missed**" if cost > _TARGET else ""
                cells.append(
                    f"{median:.0f} / {shown(each[path]['p99'])} ({ratio:.2f}, {cost:.2f}){late}"
                )
            rows.append([storage, f"{each['count']:,}", *cells])
        notes += [
            f"- {storage}: {count:,} sessions left out, {why}" for count, why in result["left_out"]
        ]
    return [*lines, *table(head, rows), "", *notes]
