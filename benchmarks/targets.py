"""What the package is held to, and whether runs have reached it: the medians of several.

    python -m benchmarks.targets one.json two.json three.json

The files are what ``python -m benchmarks requests --json FILE`` writes.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

from .report import table

# (group, contestant): the ratio to the floor of the group for each scenario; on memory, where there
# is no driver, that to the whole request without a session.
TARGETS = {
    ("memory", "memory"): {"read": 1.7, "change": 2.5, "new": 2.5},
    ("redis", "redis"): {"read": 1.0, "change": 1.05, "new": 1.0},
    ("redis", "redis, near cache"): {"read": 0.4, "change": 1.05, "new": 1.0},
    ("memcached", "memcached"): {"read": 1.1, "change": 1.3, "new": 1.1},
    ("sqlite", "sqlite"): {"read": 1.2, "change": 1.2, "new": 1.2},
    ("file", "file"): {"read": 1.3, "change": 1.15, "new": 1.15},
    ("postgresql", "postgresql (sqlalchemy)"): {"read": 1.6, "change": 1.4, "new": 1.4},
}
# Everywhere, to the floor.
_OTHERS = {"garbage": 1.0, "logout": 1.1}


def ratios(run):
    """Return the ratios of one run, by group, contestant and scenario."""
    found = {}
    for (group, name), targets in TARGETS.items():
        costs = {
            (who, scenario): (cost, baseline)
            for who, scenario, cost, baseline, _ in run["groups"].get(group, {}).get("costs", ())
        }
        floor = next((who for who, _ in costs if who.startswith("floor")), None)
        for scenario in (*targets, *_OTHERS):
            if (name, scenario) in costs and (floor, scenario) in costs:
                cost, baseline = costs[name, scenario]
                whole = group == "memory" and scenario in targets
                found[group, name, scenario] = cost / (
                    baseline if whole else costs[floor, scenario][0]
                )
    return found


def compare(runs):
    """Return the medians of the runs beside the targets, as Markdown."""
    each = [ratios(run) for run in runs]
    rows = []
    for (group, name), targets in TARGETS.items():
        for scenario, target in {**targets, **_OTHERS}.items():
            values = [
                found[group, name, scenario] for found in each if (group, name, scenario) in found
            ]
            if values:
                median = statistics.median(values)
                rows.append([
                    name, scenario, f"{target:.2f}", f"{median:.2f}",
                    ", ".join(f"{value:.2f}" for value in values),
                    "" if round(median, 2) <= target else "missed",
                ])  # fmt: skip
    return "\n".join(table(["", "", "target", "median", "runs", ""], rows))


if __name__ == "__main__":
    print(compare([json.loads(Path(name).read_text())["requests"] for name in sys.argv[1:]]))
