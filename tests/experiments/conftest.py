"""Experiments: what the package promises, held against faults. Each is a row of a table.

``make test`` does a short form of each, ``make soak`` a long one, which prints the table and writes
it into ``docs/faults.md``.
"""

from __future__ import annotations

import dataclasses
import pathlib
import time
from contextlib import contextmanager

import pytest

BEGIN, END = "<!-- table -->", "<!-- end of table -->"
ROWS = pytest.StashKey[list]()


@dataclasses.dataclass
class Experiment:
    """One row. The counts that are promised to be zero are checked when the test ends."""

    name: str
    storage: str
    long: bool
    runs: int = 0
    acknowledged: int = 0  # writes that the client was told are stored
    lost: int = 0  # of those, not found afterwards
    resurrected: int = 0  # sessions that came back after they had ended
    forged: int = 0  # answers with data that is not the session's own, or that nobody stored
    errors: int = 0  # requests that were answered with an error
    slowest: float = 0.0  # seconds that one operation or request took

    def repeat(self, short, long):
        """Yield the number of each run; there are ``short`` or ``long`` of them."""
        for number in range(long if self.long else short):
            self.runs += 1
            yield number

    @contextmanager
    def timed(self):
        """Note how long an operation took, however it ends."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self.slowest = max(self.slowest, time.monotonic() - begin)


@pytest.fixture
def experiment(request):
    """Give the row that this test fills.

    The test is marked with ``@pytest.mark.experiment("name")``, and has a parameter or fixture
    ``storage`` (a short name), or says it with ``experiment.storage = ...``.
    """
    marker = request.node.get_closest_marker("experiment")
    storage = getattr(request.node, "callspec", None) and request.node.callspec.params.get(
        "storage"
    )
    row = Experiment(marker.args[0], str(storage or "any"), request.config.getoption("--long"))
    yield row
    assert row.runs > 0, "nothing was tried"
    request.config.stash.setdefault(ROWS, []).append(row)
    broken = {
        promise: count
        for promise in ("lost", "resurrected", "forged")
        if (count := getattr(row, promise))
    }
    assert not broken, f"{row.name}, {row.storage}: {broken}"


def pytest_terminal_summary(terminalreporter, config):
    rows = config.stash.get(ROWS, [])
    if not rows:
        return
    if config.getoption("--long") or config.getoption("verbose") > 0:
        terminalreporter.section("experiments")
        terminalreporter.write_line(table(rows))
    if document := config.getoption("--table"):
        path = pathlib.Path(document)
        before, begin, rest = path.read_text().partition(BEGIN)
        _, end, after = rest.partition(END)
        path.write_text(f"{before}{begin}\n{table(rows)}\n{end}{after}")


def table(rows):
    """Return the rows as a table in Markdown."""
    head = (
        "experiment", "storage", "runs", "acknowledged writes", "lost", "resurrected", "forged",
        "errors shown", "slowest",
    )  # fmt: skip
    cells = [
        (
            row.name, row.storage, f"{row.runs:,}", f"{row.acknowledged:,}", str(row.lost),
            str(row.resurrected), str(row.forged), f"{row.errors:,}", f"{row.slowest:.2f} s",
        )
        for row in sorted(rows, key=lambda row: (row.name, row.storage))
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]

    def line(each):
        return "| " + " | ".join(map(str.ljust, each, widths)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([line(head), rule, *map(line, cells)])
