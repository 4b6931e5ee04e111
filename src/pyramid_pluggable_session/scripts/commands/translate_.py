"""``psessions INI translate``: from the settings of another session package to ours."""

from __future__ import annotations

import argparse
import sys
import textwrap
from typing import Final

from pyramid.exceptions import ConfigurationError

from ...settings import PREFIX
from ...translation import ORIGINS, Translation, guess, translate
from ...translation.ini import Value, read_settings
from ...translation.rows import Line, Old, Origin
from ...translation.signed_cookie import SIGNED_COOKIE
from ..output import Output

HELP: Final = "turn the settings of another session package into ours, to be pasted"
EXAMPLES: Final = (
    "production.ini translate",
    "production.ini translate --from redis_sessions",
    "production.ini translate --json",
)
NEEDS_APPLICATION: Final = False
"""The old one may not even be importable any more."""

_STAY: Final = " The old settings stay in the file until then: they say where and how to read."
_FOUND: Final = 1
_WIDTH: Final = 79


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--from",
        dest="origin",
        choices=ORIGINS,
        help="the package: pyramid_beaker, pyramid_session_redis, pyramid_redis_sessions, or "
        "Pyramid's SignedCookieSessionFactory; found out by the names of the settings if not given",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(output: Output, args: argparse.Namespace) -> int:
    """Print the settings, with remarks as comments; return 1 if there is nothing to translate."""
    settings = read_settings(args.ini)
    if args.origin is not None:
        found = [(ORIGINS[args.origin], "as --from says")]
        if args.origin != SIGNED_COOKIE.name and not Old(settings, found[0][0].prefixes):
            found = []
    else:
        found = guess(settings)
    if not found:
        print(_nothing(args.ini), file=sys.stderr)
        return _FOUND
    if len(found) > 1:
        names = ", ".join(each.name for each, _ in found)
        raise ConfigurationError(
            f"{args.ini} has settings of several packages. Say --from one of {names}."
        )
    origin, why = found[0]
    result = translate(origin, settings)
    if output.json:
        output.data(_as_data(result))
    else:
        _Page(output).show(args.ini, why, result, settings)
    return 0


def _nothing(ini: str) -> str:
    return (
        f"{ini} has no session.*, beaker.session.* or redis.sessions.* settings.\n"
        "Are sessions set up in Python, by SignedCookieSessionFactory? Say --from signed_cookie."
    )


def _as_data(result: Translation) -> dict[str, object]:
    return {
        "from": result.origin.name,
        "settings": {PREFIX + line.name: line.value for line in result.lines},
        "import": {PREFIX + line.name: line.value for line in result.imports},
        "remarks": [
            {"setting": name, "caution": remark.caution, "remark": remark.text}
            for name, remark in result.remarks
        ],
    }


class _Page:
    """A part of an ini file, in which all is a comment but the settings."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def show(self, ini: str, why: str, result: Translation, settings: dict[str, Value]) -> None:
        origin = result.origin
        self._comment(f"{ini}: the settings of {_name(origin)} ({why}) as those of "
                      "pyramid_pluggable_session.")  # fmt: skip
        self._comment(_include(origin, settings))
        self._output.line()
        self._comment(
            "No secret is printed, nor a password. The site refuses this one; a good one is made "
            f"by: psessions {ini.partition('#')[0]} secret"
        )
        self._lines(result.lines)
        if any(line.value.startswith("%(") for line in result.lines):
            self._comment(
                "%(...)s stands for the value of an old setting, as it may have a password in it. "
                "When the old setting goes, write its value here."
            )
        if result.imports:
            self._output.line()
            self._comment(
                "For a few weeks, until nobody comes with an old session any more."
                + (_STAY if origin.prefixes else "")
            )
            self._lines(result.imports)
        cautions = [each for each in result.remarks if each[1].caution]
        for title, remarks in (
            ("Not as it seemed", cautions),
            ("To know", [each for each in result.remarks if not each[1].caution]),
        ):
            if remarks:
                self._output.line()
                self._comment(f"{title}:")
            for name, remark in remarks:
                # A sentence of its own, or one whose subject is the setting.
                between = ": " if remark.text[0].isupper() else " "
                self._comment(name + between + remark.text, "- ")

    def _lines(self, lines: list[Line]) -> None:
        for line in lines:
            value = line.value.replace("\n", "\n    ")
            for each in f"{PREFIX}{line.name} = {value}".splitlines():
                self._output.line(each.rstrip())

    def _comment(self, text: str, mark: str = "") -> None:
        """Print a comment. Also in a pipe it is wrapped, for it gets into a file."""
        text = self._output.printable(text)
        first = f"# {mark}"
        lines = textwrap.wrap(
            text,
            max(40, min(_WIDTH, self._output.width)),
            initial_indent=first,
            subsequent_indent="# " + " " * len(mark),
            break_on_hyphens=False,
            break_long_words=False,
        )
        for each in lines:
            self._output.line(each)


def _name(origin: Origin) -> str:
    return "SignedCookieSessionFactory" if origin is SIGNED_COOKIE else origin.package


def _include(origin: Origin, settings: dict[str, Value]) -> str:
    ours = "config.include('pyramid_pluggable_session')"
    if "pyramid.includes" in settings and origin.package in settings["pyramid.includes"].text:
        return f"In pyramid.includes, put pyramid_pluggable_session in place of {origin.package}."
    if origin is SIGNED_COOKIE:
        return f"In place of config.set_session_factory(...): {ours}"
    return f"In place of config.include('{origin.package}'): {ours}"
