"""The tables, as Markdown."""

from __future__ import annotations

import statistics

from .workload import SCENARIOS

_COUNTED = ("untouched", "read", "change", "new", "garbage", "logout")


def table(head, rows):
    """Return lines of Markdown; all columns but the first are numbers."""
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return [*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows), ""]


def requests(found):
    """Return all tables of the first part."""
    groups = found["groups"]
    lines = [
        "## What a session costs per request",
        "",
        "Microseconds above those of the same application without a session, and in parentheses",
        "the ratio to the floor: the least that a session on the same storage can do. Ours are",
        "bold.",
        "",
        *(f"- {name}: {what}" for name, what in SCENARIOS.items()),
        "",
    ]
    for name, result in groups.items():
        lines += [f"### {name}", "", *_group(name, result)]
    lines += _wrong(groups)
    lines += ["## What a request asks of the storage", "", *_counts(groups), *_stored(groups)]
    if "instructions" in found:
        lines += ["## Instructions in this process", "", *_instructions(found["instructions"])]
    if "startup" in found:
        lines += _startup(found["startup"])
    lines += _limits(groups, found.get("startup", {}))
    return "\n".join(lines).rstrip() + "\n"


def _group(name, result):
    if "absent" in result:
        return [f"Left out: {result['absent']}.", ""]
    costs = {(who, scenario): rest for who, scenario, *rest in result["costs"]}
    failures = {(who, scenario): why for who, scenario, why in result["wrong"]}
    floor = next((who for who, kind in result["kinds"].items() if kind == "floor"), None)

    def row(who, reference):
        kind = result["kinds"][who]
        yield f"**{who}**" if kind == "ours" else who
        for scenario in SCENARIOS:
            cost = costs.get((who, scenario))
            if cost is None:
                why = failures.get((who, scenario), "not measured")
                yield why if why == "too large" else "wrong"
            else:
                yield reference(scenario, *cost)

    def above_floor(scenario, cost, baseline, spread):
        least = costs.get((floor, scenario))
        if least is None or scenario == "untouched":
            return f"{cost:.0f}"
        return f"{cost:.0f} ({cost / least[0]:.2f})"

    lines = table(["µs (× floor)", *SCENARIOS], [row(who, above_floor) for who in result["kinds"]])
    if name == "memory" and costs:
        # There is no driver here, so the floor says little.
        lines += table(
            ["× the whole request without a session", *SCENARIOS],
            [
                row(who, lambda scenario, cost, baseline, spread: f"{cost / baseline:.2f}")
                for who in result["kinds"]
            ],
        )
        whole = statistics.median(baseline for _, baseline, _ in costs.values())
        lines += [f"A request without a session takes {whole:.0f} µs.", ""]
    lines += [f"Left out: {who}: {why}." for who, why in result["missing"].items()]
    return [*lines, ""] if result["missing"] else lines


def _wrong(groups):
    wrong = [
        f"- {name}, {who}, {scenario}: {why}"
        for name, result in groups.items()
        for who, scenario, why in result.get("wrong", [])
        if why != "too large"
    ]
    return ["### Wrong answers", "", *wrong, ""] if wrong else []


def _counts(groups):
    lines = []
    for name, result in groups.items():
        counts = result.get("counts")
        if counts is None:
            continue
        if "absent" in counts:
            lines += [f"Not counted on {name}: {counts['absent']}.", ""]
            continue
        cells = {(who, scenario): numbers for who, scenario, numbers in counts["counted"]}
        everybody = list(dict.fromkeys(who for who, _ in cells))
        on_server = any("calls" not in numbers for numbers in cells.values())
        what = "round trips: bytes sent/received" if on_server else "system calls"
        rows = [
            [_bold(result, who), *(_counted(cells.get((who, scenario))) for scenario in _COUNTED)]
            for who in everybody
        ]
        lines += table([f"{name}: {what}", *_COUNTED], rows)
    return lines


def _counted(numbers):
    if numbers is None:
        return "wrong"
    if "calls" in numbers:
        return f"{numbers['calls']:.0f}"
    trips, sent, received = (numbers.get(what, 0) for what in ("trips", "sent", "received"))
    # A library that looks after its connection now and then makes fractions.
    return f"{trips:.0f}: {sent:.0f}/{received:.0f}" if trips >= 0.5 else "0"


def _bold(result, who):
    return f"**{who}**" if result["kinds"].get(who) == "ours" else who


def _stored(groups):
    rows = [
        [name, _bold(result, who), size]
        for name, result in groups.items()
        for who, size in result.get("counts", {}).get("stored", {}).items()
        if size > 0
    ]
    if not rows:
        return []
    return ["A session of 20 keys takes, without its key:", "", *table(["", "", "bytes"], rows)]


def _instructions(found):
    if "absent" in found:
        return [f"Not counted: {found['absent']}.", ""]
    cells = {(who, scenario): number for who, scenario, number in found["instructions"]}
    rows = [
        [who, *(f"{cells[who, scenario] / 1000:.0f}" for scenario in SCENARIOS)]
        for who in dict.fromkeys(who for who, _ in cells)
    ]
    return [
        "Thousands per request above those of the request without a session, on memory. That has "
        f"{found['without'] / 1000:.0f} thousand.",
        "",
        *table(["memory", *SCENARIOS], rows),
    ]


def _startup(found):
    if "absent" in found:
        return ["## Start", "", f"Not measured: {found['absent']}.", ""]
    starts, growth = found["starts"], found["growth"]
    return [
        "## Start",
        "",
        f"Python and an application of Pyramid start in {starts['pyramid']:.0f} ms. Above that, "
        "ours and by itself the driver:",
        "",
        *table(
            ["storage", "ours, ms", "driver, ms", "drivers imported, by us or by each other"],
            [
                [name, f"{ours:.0f}", f"{driver:.0f}", ", ".join(drivers) or "none"]
                for name, (ours, driver, drivers) in starts["plugs"].items()
            ],
        ),
        "## Bytes of a record, and growth",
        "",
        *table(
            ["session", "state, serialized", "record", "record, at most"],
            [
                [what, state, record, round(1.15 * state + 120)]
                for what, state, record in found["records"]
            ],
        ),
        f"After {growth['requests']} further requests the process has {growth['bytes']} bytes more "
        f"in use, {growth['bytes'] / growth['requests']:.2f} a request.",
        "",
    ]


def _limits(groups, startup):
    lines = ["## Limits", "", "Microseconds of what nobody can do without, by itself.", ""]
    calls = [
        [name, f"{result['calls']['load']:.1f}", f"{result['calls']['store']:.1f}"]
        for name, result in groups.items()
        if result.get("calls")
    ]
    if calls:
        lines += table(["bare driver call, 1 KB", "load", "store"], calls)
    if startup.get("limits"):
        lines += table(["", "1 KB", "20 KB"], startup["limits"])
    return lines
