"""Writes the tables of options in the documentation from those in the code.

``python docs/options.py`` brings them up to date; the tests fail when they are not.
"""

from __future__ import annotations

import re
from pathlib import Path

from pyramid_pluggable_session.loader import known_plugs
from pyramid_pluggable_session.options import CORE_OPTIONS
from pyramid_pluggable_session.settings import REQUIRED, Option

DOCS = Path(__file__).parent
TABLE = re.compile(r"(?s)(<!-- options of (\w+) -->\n).*?(<!-- end -->)")


def main() -> None:
    for path in DOCS.glob("*.md"):
        text = path.read_text()
        if (new := up_to_date(text)) != text:
            path.write_text(new)
            print(f"changed {path.name}")


def up_to_date(text: str) -> str:
    """Return the document with each table of options as it should be."""
    return TABLE.sub(lambda match: match[1] + table(options_of(match[2])) + match[3], text)


def options_of(name: str) -> tuple[Option, ...]:
    return CORE_OPTIONS if name == "core" else known_plugs()[name].load().options


def table(options: tuple[Option, ...]) -> str:
    rows = [f"| `{each.name}` | {default(each)} | {each.help} |\n" for each in options]
    return "| setting | default | |\n|---|---|---|\n" + "".join(rows)


def default(option: Option) -> str:
    value = option.default
    if value is REQUIRED:
        return "must be set"
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple):
        return f"`{' '.join(value)}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    main()
