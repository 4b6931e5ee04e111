"""The fuzz targets, for a moment: that they run, and find nothing that is near."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

RUNS = [("fuzz_cookie", 3_000), ("fuzz_record", 20_000), ("fuzz_url", 20_000)]


@pytest.mark.parametrize(("target", "runs"), RUNS)
def test_the_first_runs_find_nothing(missing, tmp_path, target, runs):
    try:
        import atheris  # noqa: F401
    except ImportError:
        missing("atheris is not installed")
    script = pathlib.Path(__file__).with_name(f"{target}.py")
    # Both want to see each line that is run; and what is fuzzed has been measured by other tests.
    environ = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    done = subprocess.run(
        [
            sys.executable,
            str(script),
            "-seed=1",
            f"-runs={runs}",
            "-max_total_time=20",  # a slow machine does what it can
            f"-artifact_prefix={tmp_path}/",
        ],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    (count,) = re.findall(r"Done (\d+) runs", done.stderr)
    assert int(count) >= min(runs, 100)
