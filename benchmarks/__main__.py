"""Measure sessions: python -m benchmarks [requests|growth] [options]. See README.md."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from . import growth, machine, requests_part
from .groups import GROUPS

# Each returns Markdown, and what can be written as JSON.
_PARTS = {"requests": requests_part.run, "growth": growth.run}


def parse(arguments):
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("part", nargs="?", choices=_PARTS, help="only this part; both if not given")
    parser.add_argument(
        *("--only", "--storages"),
        action="append",
        default=[],
        metavar="NAME,...",
        help=f"only these storages: {', '.join(GROUPS)}; of growth, only these steps: "
        f"{', '.join(growth.STEPS)}",
    )
    parser.add_argument("--rounds", type=int, help="rounds, in place of what the time is for")
    parser.add_argument("--quick", action="store_true", help="a minute for the first look")
    parser.add_argument("--core", type=int, help="the core to measure on; the last if not given")
    parser.add_argument("--output", metavar="FILE.md", help="write the tables into a file, too")
    parser.add_argument("--json", metavar="FILE", help="write what was measured into a file")
    options = parser.parse_args(arguments)
    names = ",".join(options.only).split(",") if options.only else []
    for name in names:
        if name not in {*GROUPS, *growth.STEPS}:
            parser.error(f"no storage or step {name!r}; there are {', '.join(GROUPS)}")
    options.groups = [name for name in names if name in GROUPS] or list(GROUPS)
    options.steps = [name for name in names if name in growth.STEPS] or list(growth.STEPS)
    if options.core is None:
        options.core = max(os.sched_getaffinity(0))
    return options


def main(arguments=None):
    options = parse(arguments)
    started = time.monotonic()
    parts = [options.part] if options.part else list(_PARTS)
    lines, raw = [], {}
    for part in parts:
        text, raw[part] = _PARTS[part](options)
        lines += [text, ""]
    lines += ["## Measured with", "", f"    {machine.command()}", ""]
    lines += machine.describe(options.core)
    lines += [f"- took {(time.monotonic() - started) / 60:.1f} minutes", ""]
    text = "\n".join(lines)
    print(text)
    if options.output:
        Path(options.output).write_text(text)
    if options.json:
        Path(options.json).write_text(json.dumps(raw, indent=1))


if __name__ == "__main__":
    sys.exit(main())
