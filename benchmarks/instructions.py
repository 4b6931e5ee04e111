"""How many instructions a request takes in this process: what no other program can disturb.

Valgrind runs a process that does the requests on the memory storage; it waits before and after each
batch, so that instructions are counted in between only. The same code takes the same number of
instructions nearly always to one in a hundred, so that a regression of a few percent is seen.
"""

from __future__ import annotations

import gc
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from . import scenarios
from .groups import GROUPS, Place
from .workload import SCENARIOS

_ROOT = Path(__file__).parents[1]
_CONTESTANTS = ("floor", "memory")
_COUNT = 20  # requests


def measure(core):
    """Return (contestant, scenario, instructions a request), or the reason why there are none."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        return {"absent": "valgrind is not installed"}
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(valgrind, "--tool=callgrind", "--instr-atstart=no", "--quiet"),
            *(f"--callgrind-out-file={folder}/out", f"--log-file={folder}/log"),
            *(sys.executable, "-m", "benchmarks.instructions", str(core)),
        ]
        process = subprocess.Popen(
            command,
            cwd=_ROOT,
            env={**os.environ, "PYTHONHASHSEED": "0"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        with process:
            found = dict(_conduct(process, folder))
        if process.returncode:
            return {"absent": f"valgrind ended with {process.returncode}"}
    nothing = found.pop(("nothing", ""))
    instructions = []
    for (name, scenario), number in found.items():
        if name != "without":
            baseline = found["without", scenario]
            instructions.append((name, scenario, (number - baseline) / _COUNT))
    baselines = [number for (name, _), number in found.items() if name == "without"]
    whole = (sum(baselines) / len(baselines) - nothing) / _COUNT
    return {"instructions": instructions, "without": whole}


def _conduct(process, folder):
    """Let the process go on, step by step; yield what each step took."""
    control = shutil.which("callgrind_control")

    def tell(*what):
        subprocess.run(
            [control, *what, str(process.pid)], check=True, capture_output=True, cwd=folder
        )

    for step, line in enumerate(process.stdout):
        name, scenario = line.rstrip("\n").split("\t")
        if step == 0:
            tell("-i", "on")  # and then for good: switched off, it forgets what it has counted
        tell("-z")
        _go_on(process)
        process.stdout.readline()
        tell("-d", "step")
        newest = max(glob.glob(f"{folder}/out.*"), key=lambda path: int(path.rpartition(".")[2]))
        yield (name, scenario), _total(newest)
        _go_on(process)


def _go_on(process):
    process.stdin.write("\n")
    process.stdin.flush()


def _total(path):
    with open(path) as file:
        return int(re.search(r"^(?:totals|summary): (\d+)", file.read(), re.MULTILINE)[1])


def _steps(core):
    """Do the requests, in the process that Valgrind watches."""
    os.sched_setaffinity(0, {core})
    with tempfile.TemporaryDirectory() as folder:
        place = Place(folder)
        made = [e.contestant(place) for e in GROUPS["memory"].entries if e.name in _CONTESTANTS]
        _step("nothing", "", lambda: None)
        for contestant in made:
            for scenario in SCENARIOS:
                slot = scenarios.slot(contestant, scenario)
                for _ in range(6):  # until nothing is done for the first time
                    slot.finish(slot.batch(_COUNT)())
                    slot.baseline(_COUNT)()
                if contestant is made[0]:
                    slot.batch(_COUNT)
                    _step("without", scenario, slot.baseline(_COUNT))
                _step(contestant.name, scenario, slot.batch(_COUNT))


def _step(name, scenario, work):
    # Garbage collection comes when it comes, which would be in one batch and not in another.
    gc.collect()
    gc.disable()
    print(name, scenario, sep="\t", flush=True)
    sys.stdin.readline()
    work()
    print(flush=True)
    sys.stdin.readline()
    gc.enable()


if __name__ == "__main__":
    _steps(int(sys.argv[1]))
