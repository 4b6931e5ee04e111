"""Fair timing on an unfair machine.

The contestants take turns in small batches, each batch beside one of the same application without a
session, and a loop that always does the same work is timed around them: when the machine changes
its speed, the loop tells by how much.
"""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections import defaultdict
from typing import NamedTuple

_FEWEST_ROUNDS = 5


_WARMING_UP = 3  # requests before a batch that are not timed


def calibrate():
    """Return the seconds that some work takes that never changes."""
    started = time.perf_counter()
    table = {}
    for number in range(400):
        table[number & 63] = str(number)
    return time.perf_counter() - started


class Cost(NamedTuple):
    """What a request costs, in seconds: above the ``baseline``, and the baseline itself."""

    seconds: float
    baseline: float
    spread: float = 0.0  # half of what the middle half of the rounds is wide


class Slot:
    """One contestant in one scenario, or whatever else takes turns.

    ``batch(count)`` and ``baseline(count)`` prepare, and return what is timed. ``finish`` gets what
    the timed batch returned, and raises an exception if that is wrong.
    """

    def __init__(self, contestant, scenario, batch, baseline, finish=None, count=None):
        self.contestant, self.scenario = contestant, scenario
        self.batch, self.baseline = batch, baseline
        self.finish = finish or (lambda result: None)
        self.count = count  # requests in a batch, None for as many as the others
        self.failure = None  # why it has no result


def interleave(slots, rounds, count, until=None):
    """Return the cost of each slot's request, but for the slots that fail.

    The order is another one in each round, so that nobody always comes after the same neighbour.
    With ``until``, a moment of ``time.monotonic``, the rounds end then, but for the first few.
    """
    slots = [slot for slot in slots if slot.failure is None]
    costs, baselines, speeds = defaultdict(list), defaultdict(list), []
    gc.collect()
    gc.freeze()
    for number in range(rounds):
        for slot in random.Random(number).sample(slots, len(slots)):
            if slot.failure is not None:
                continue
            try:
                cost, baseline, speed = _measure(slot, slot.count or count, number % 2)
            except Exception as error:
                slot.failure = f"{type(error).__name__}: {error}"
                continue
            speeds.append(speed)
            costs[slot].append((cost - baseline) / speed)
            baselines[slot].append(baseline / speed)
        if until is not None and number + 1 >= _FEWEST_ROUNDS and time.monotonic() > until:
            break
    usual = statistics.median(speeds) if speeds else 0
    return {
        slot: Cost(
            statistics.median(costs[slot]) * usual,
            statistics.median(baselines[slot]) * usual,
            _spread(costs[slot]) * usual,
        )
        for slot in slots
        if slot.failure is None and costs[slot]
    }


def _measure(slot, count, baseline_last):
    """Return the seconds of a request with a session and without, and those of the calibration."""
    # A web server's process does the same all the time: it does not find in the processor's caches
    # what somebody else has left there, as whoever has a turn here does.
    warming_up = slot.batch(_WARMING_UP)
    slot.baseline(_WARMING_UP)()
    slot.finish(warming_up())
    with_session, without = slot.batch(count), slot.baseline(count)
    taken = {}
    before = calibrate()
    for batch in (with_session, without) if baseline_last else (without, with_session):
        started = time.perf_counter()
        result = batch()
        taken[batch] = time.perf_counter() - started
        if batch is with_session:
            found = result
    after = calibrate()
    slot.finish(found)
    return taken[with_session] / count, taken[without] / count, (before + after) / 2


def _spread(values):
    if len(values) < 4:
        return 0.0
    lower, _, upper = statistics.quantiles(values, n=4)
    return (upper - lower) / 2


def microseconds(function, *arguments, rounds=60, count=20):
    """Return what a call costs, in microseconds: of short rounds, the median."""

    def call_often():
        started = time.perf_counter()
        for _ in range(count):
            function(*arguments)
        return (time.perf_counter() - started) / count

    call_often()
    return statistics.median(call_often() for _ in range(rounds)) * 1e6
