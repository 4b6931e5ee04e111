"""What requests cost, of all contestants of one group, in this process."""

from __future__ import annotations

import secrets
import time

from . import scenarios, timing
from .workload import SCENARIOS, STATE

_COUNT = 10  # requests in a batch
_SLOW = 0.002  # seconds a request, from which on a batch has fewer


def contestants_of(group, place):
    """Return those who can take part, and why the others cannot."""
    taking_part, missing = [], {}
    for entry in group.entries:
        try:
            taking_part.append(entry.contestant(place))
        except Exception as error:
            missing[entry.name] = _reason(error)
    return taking_part, missing


def _reason(error):
    if isinstance(error, ImportError) and error.name:
        return f"{error.name.partition('.')[0]} is not installed"
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]


def measure(group, place, seconds_per_slot, rounds=None):
    """Return the costs of a group's contestants.

    ``rounds`` None is as many as fit in ``seconds_per_slot``, which counts preparing, too.
    """
    contestants, missing = contestants_of(group, place)
    slots, wrong = [], {}
    for contestant in contestants:
        for scenario in SCENARIOS:
            if failure := scenarios.verify(contestant, scenario):
                wrong[contestant.name, scenario] = failure
            else:
                slots.append(scenarios.slot(contestant, scenario))
    # Once for nothing, and to see who is slow.
    for slot, cost in timing.interleave(slots, 1, _COUNT).items():
        whole = cost.seconds + cost.baseline
        slot.count = _COUNT if whole < _SLOW else max(2, int(_COUNT * _SLOW / whole))
    until = None if rounds else time.monotonic() + seconds_per_slot * len(slots)
    costs = timing.interleave(slots, rounds or 1000, _COUNT, until)
    for slot in slots:
        if slot.failure is not None:
            wrong[slot.contestant.name, slot.scenario] = slot.failure
    return {
        "kinds": {contestant.name: contestant.kind for contestant in contestants},
        "missing": missing,
        "costs": [
            (slot.contestant.name, slot.scenario, *(round(part * 1e6, 3) for part in cost))
            for slot, cost in costs.items()
        ],
        "wrong": [(*where, failure) for where, failure in wrong.items()],
        "calls": _bare_calls(contestants),
    }


def _bare_calls(contestants):
    """Return the microseconds of what the floor does with the driver, without anything else."""
    import msgspec

    calls = next(
        (getattr(each, "calls", None) for each in contestants if each.kind == "floor"), None
    )
    if calls is None:
        return {}
    load, store, _ = calls
    data = msgspec.msgpack.encode(STATE)
    keys = [secrets.token_hex(32) for _ in range(20)]
    for key in keys:
        store(key, data)
    if bytes(load(keys[0])) != data:
        return {}
    turns = iter(keys * 10_000)
    count = {"rounds": 20, "count": 5}
    return {
        "load": timing.microseconds(lambda: load(next(turns)), **count),
        "store": timing.microseconds(lambda: store(next(turns), data), **count),
    }
