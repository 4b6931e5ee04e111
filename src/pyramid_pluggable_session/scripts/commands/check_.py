"""``psessions INI check``: what is configured, what is risky, and does the storage work."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from ...errors import PlugUnavailable
from ...storage import describe, explain
from .. import probe
from ..checks import (
    FAIL,
    OK,
    WARN,
    Finding,
    Setting,
    check_abilities,
    check_clock,
    check_import,
    check_settings,
    explain_settings,
)
from ..context import Context
from ..output import Output

HELP: Final = "explain the configuration, name what is risky in it, and try the storage"
EXAMPLES: Final = (
    "production.ini check",
    "production.ini check --verbose",
    "production.ini check --strict --json",
)

_CHECK_WIDTH: Final = 11


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("-v", "--verbose", action="store_true", help="say what each setting is for")
    parser.add_argument("--strict", action="store_true", help="exit with 1 for a warning, too")
    parser.add_argument("--json", action="store_true", help="print JSON")


@dataclass
class Report:
    """What a check has found. Milliseconds are those of one operation, in the median."""

    status: str = OK
    settings: list[Any] = field(default_factory=list)
    findings: list[Any] = field(default_factory=list)
    milliseconds: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    clock_ahead: float | None = None


def run(context: Context, args: argparse.Namespace) -> int:
    """Print the report; return 1 if something fails, or with ``--strict`` is risky."""
    output = context.output
    report = Report()
    output.wrapped("pluggable_session. ... (* is not the default)")
    for setting in explain_settings(context):
        report.settings.append(setting._asdict())
        _print_setting(output, setting, args.verbose)
    output.line()
    counts = {OK: 0, WARN: 0, FAIL: 0}
    for finding in _findings(context, report):
        counts[finding.status] += 1
        report.findings.append(finding._asdict())
        _print_finding(output, finding)
    report.status = next(status for status in (FAIL, WARN, OK) if counts[status])
    output.line()
    output.wrapped(f"{report.status}: {counts[FAIL]} failed, {counts[WARN]} to look at, "
                   f"{counts[OK]} good")  # fmt: skip
    output.data(asdict(report))
    return int(counts[FAIL] > 0 or (args.strict and counts[WARN] > 0))


def _findings(context: Context, report: Report) -> Iterator[Finding]:
    yield from check_settings(context)
    yield from check_abilities(context.plug)
    said = len(context.warnings)
    finding = _check_round_trip(context, report)
    yield finding
    if finding.status == OK:
        for message in dict.fromkeys(context.warnings[said:]):
            # A chain goes on without a storage in front of it.
            yield Finding(WARN, "round trip", message)
        yield _check_versions(context, report)
        yield from check_import(context)
        report.clock_ahead = probe.skew(context.plug)
    yield check_clock(report.clock_ahead, (context.ini, __file__))


def _check_round_trip(context: Context, report: Report) -> Finding:
    storage, name = context.storage, "round trip"
    if storage.client_side:
        return Finding(OK, name, "none to make: the browsers keep the sessions")
    try:
        latencies = probe.round_trips(storage)
    except (PlugUnavailable, probe.Wrong) as error:
        return Finding(FAIL, name, str(error))
    except Exception as error:  # a plug of somebody's, with a mistake in it
        message = f"the {describe(context.plug)} plug failed: {explain(error)}"
        return Finding(FAIL, name, message, "see to the plug's code")
    report.milliseconds = {
        each: round(seconds * 1000, 3) for each, seconds in latencies.medians.items()
    }
    took = ", ".join(f"{each} {_ms(ms)}" for each, ms in report.milliseconds.items())
    return Finding(OK, name, f"{took}; the first {_ms(latencies.first * 1000)}")


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.2g} ms"  # noqa: PLR2004


def _check_versions(context: Context, report: Report) -> Finding:
    found = probe.versions(context.plug)
    if isinstance(found, str):
        return Finding(OK, "versions", f"not known: {found}")
    report.versions = found
    told = ", ".join(f"{name} {version}" for name, version in found.items())
    return Finding(OK, "versions", told or "none to tell")


def _print_setting(output: Output, setting: Setting, verbose: bool) -> None:
    mark = " " if setting.is_default else "*"
    output.wrapped(f"{setting.name} = {setting.value}", f"{mark} ", "      ")
    if verbose:
        output.wrapped(setting.help, "      ", "      ")


def _print_finding(output: Output, finding: Finding) -> None:
    text = f"{finding.status:<4}  {finding.check:<{_CHECK_WIDTH}}"
    output.wrapped(finding.message, f"{text} ", "      ")
    if finding.remedy is not None:
        output.wrapped(finding.remedy, "      -> ", "         ")
