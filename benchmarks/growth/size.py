"""How large a session is: does the cost grow with its size, and no faster?"""

from __future__ import annotations

import itertools
import json

from .. import timing
from ..contestants.pyramid import without_session
from ..report import table
from ..workload import STATE
from .sampling import progress
from .site import Site, WrongAnswerError

STORAGES = ("memory", "sqlite", "file", "redis", "postgresql", "memcached")
PINNED = True

_SIZES = (1, 10, 100, 1000)  # KB
_PATHS = ("read", "change")
_VISITORS = 5  # of each size
_ROUNDS, _QUICK_ROUNDS = 60, 8
_MAX_SIZE = 4 * 2**20


def _state(kilobytes):
    """Return a state of about this size: a history of addresses, as an application may keep it."""
    entries = [f"/articles/2026/{number:06d}" for number in range((kilobytes - 1) * 1000 // 25)]
    return {**STATE, "history": entries}


def measure(stores, quick):
    """Return what reading and changing costs for each size."""
    progress("requests")
    states = {kilobytes: _state(kilobytes) for kilobytes in _SIZES}
    views = {
        f"new_{kilobytes}": lambda session, state=state: session.update(state) or "new"
        for kilobytes, state in states.items()
    }
    plug, settings = stores.plug("sizes")
    site = Site(plug, {**settings, "max_size": _MAX_SIZE}, views)
    slots = [_slot(site, kilobytes, path) for kilobytes in _SIZES for path in _PATHS]
    costs = timing.interleave(slots, _QUICK_ROUNDS if quick else _ROUNDS, None)
    return {
        "costs": [
            {
                "path": slot.scenario,
                "kilobytes": len(json.dumps(states[slot.contestant])) / 1000,
                "microseconds": costs[slot].seconds * 1e6 if slot in costs else None,
                "failure": slot.failure,
            }
            for slot in slots
        ]
    }


def _slot(site, kilobytes, path):
    visitors = [site.new_visitor(f"new_{kilobytes}") for _ in range(_VISITORS)]
    turns = itertools.cycle(visitors)
    chosen = []

    def batch(count):
        chosen[:] = itertools.islice(turns, count)
        return prepared(site)

    def prepared(application):
        requests = [application.request(path, visitor.cookies) for visitor in chosen]
        return lambda: application.run(requests)

    def finish(came):
        for visitor, answer in zip(chosen, site.answers(came), strict=True):
            visitor.counter += path == "change"
            if answer.body != str(visitor.counter):
                raise WrongAnswerError(f"{path}: status {answer.status}, {answer.body[:50]!r}")

    count = 5 if kilobytes < 100 else 2
    bare = without_session()
    return timing.Slot(kilobytes, path, batch, lambda _: prepared(bare), finish, count)


def report(results):
    """Return lines of Markdown."""
    lines = [
        "### Size of a session",
        "",
        "Microseconds that a request costs above one without a session, and in parentheses by",
        "kilobyte (of the state as JSON). The state is a list of short texts, and all of it is",
        "loaded to read one key; a change writes all of it.",
        "",
    ]
    rows, notes = [], []
    for storage, result in results.items():
        if "absent" in result:
            notes.append(f"- {storage}: left out, {result['absent']}")
            continue
        for path in _PATHS:
            row = [storage, path]
            for each in result["costs"]:
                if each["path"] != path:
                    continue
                microseconds = each["microseconds"]
                if microseconds is None:
                    row.append("wrong")
                    notes.append(f"- {storage}, {path}: {each['failure']}")
                else:
                    row.append(f"{microseconds:,.0f} ({microseconds / each['kilobytes']:.1f})")
            rows.append(row)
    head = ["", "", *(f"{size:,} KB" if size < 1000 else "1 MB" for size in _SIZES)]
    return [*lines, *table(head, rows), "", *notes]
