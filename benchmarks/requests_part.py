"""The first part: what a request costs. Each pass over a group is a process of its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path

from . import instructions, report

_ROOT = Path(__file__).parents[1]
_SECONDS_PER_SLOT = 0.55  # about 550 slots
_QUICK_SECONDS_PER_SLOT = 0.04
_PATIENCE = 1800  # seconds for one pass


def run(options):
    """Return the tables as Markdown, and what was measured."""
    seconds = _QUICK_SECONDS_PER_SLOT if options.quick else _SECONDS_PER_SLOT
    found = {"groups": {}}
    for name in options.groups:
        result = found["groups"][name] = child(
            "requests", name, options.core, seconds_per_slot=seconds, rounds=options.rounds
        )
        if "absent" not in result:
            result["counts"] = child("counts", name, options.core)
    if "memory" in options.groups:
        # What is the same for all storages.
        few = {"requests": 2000, "starts": 3} if options.quick else {}
        found["startup"] = child("startup", "memory", options.core, **few)
        if options.quick:
            found["instructions"] = {"absent": "left out by --quick"}
        else:
            with _progress("instructions"):
                found["instructions"] = instructions.measure(options.core)
    return report.requests(found), found


def child(what, name, core, **options):
    """Do one pass over one group in a process of its own; return its result."""
    command = [sys.executable, "-m", f"{__package__}.child", what, name, str(core)]
    with _progress(f"{what} of {name}"):
        process = subprocess.Popen(
            [*command, json.dumps(options)],
            cwd=_ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            printed, complaints = process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            return {"absent": f"it took more than {_PATIENCE} seconds"}
        finally:
            if process.poll() is None:
                # Not killed: it has servers to stop.
                process.terminate()
                process.communicate()
    lines = printed.strip().splitlines()
    if process.returncode == 0 and lines:
        return json.loads(lines[-1])
    said = (complaints.strip().splitlines() or ["it said nothing"])[-1]
    return {"absent": f"the measuring failed: {said}"}


@contextlib.contextmanager
def _progress(what):
    started = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
