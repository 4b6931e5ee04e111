"""The second part: what grows with the sessions, their size, and who uses them at the same time."""

from __future__ import annotations

import importlib
import json
import signal
import subprocess
import sys
from pathlib import Path

from .sampling import progress

STEPS = ("sessions", "size", "concurrency", "purge")

_ROOT = Path(__file__).parents[2]
_PATIENCE = 1800


def run(options):
    """Return the tables as Markdown, and what was measured."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # to clean up as after Ctrl-C
    lines, raw = ["## How it grows", ""], {}
    for name in options.steps:
        step = importlib.import_module(f".{name}", __name__)
        raw[name] = {
            storage: _child(name, storage, core=options.core, quick=options.quick)
            for storage in step.STORAGES
            if storage in options.groups
        }
        if raw[name]:
            lines += [*step.report(raw[name]), ""]
    return "\n".join(lines), raw


def _child(step, storage, **options):
    """Do one step on one storage in a process of its own; return its result."""
    progress(f"{step}, {storage}")
    command = [sys.executable, "-m", f"{__package__}.child", step, storage, json.dumps(options)]
    # In a session of its own: Ctrl-C ends this process, this one the child, and that its servers.
    # If all of them were told at once, there would be nobody to remove what they leave.
    child = subprocess.Popen(
        command, cwd=_ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        said, _ = child.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        return {"absent": f"it took more than {_PATIENCE} seconds"}
    finally:
        if child.poll() is None:
            child.terminate()
            child.wait()
    try:
        return json.loads(said.rstrip().rpartition("\n")[2])
    except ValueError:
        return {"absent": f"the measuring failed with exit code {child.returncode}"}
