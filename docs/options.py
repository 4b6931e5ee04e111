"""Writes the tables of options in the documentation from those in the code.

``python docs/options.py`` brings them up to date; the tests fail when they are not. A table stands
between a comment that says what is in it and ``<!-- end -->``::

    <!-- options of redis -->            those of a storage
    <!-- options of import -->           those of every origin of the import
    <!-- options of import: beaker -->   those of one origin
    <!-- options: timeout lifetime -->   these of the core's
    <!-- storages -->                    the storages, with the names of their options
"""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path

from pyramid_pluggable_session.config import INI_OPTIONS
from pyramid_pluggable_session.loader import known_plugs
from pyramid_pluggable_session.options import secure
from pyramid_pluggable_session.origins import COMMON_OPTIONS
from pyramid_pluggable_session.origins import GROUP as ORIGINS
from pyramid_pluggable_session.settings import REQUIRED, Option

DOCS = Path(__file__).parent
TABLE = re.compile(r"(?s)(<!-- (options(?: of|:) [\w: ]+|storages) -->\n).*?(<!-- end -->)")
CORE = {option.name: option for option in INI_OPTIONS}


def main() -> None:
    for path in DOCS.glob("*.md"):
        text = path.read_text()
        if (new := up_to_date(text)) != text:
            path.write_text(new)
            print(f"changed {path.name}")


def up_to_date(text: str) -> str:
    """Return the document with each table of options as it should be."""
    return TABLE.sub(lambda match: match[1] + content(match[2]) + match[3], text)


def content(what: str) -> str:
    return storages() if what == "storages" else table(options_of(what))


def options_of(what: str) -> tuple[Option, ...]:
    """Return the options that a comment asks for."""
    kind, _, names = what.partition(": ")
    if kind == "options":
        return tuple(CORE[name] for name in names.split())
    if kind != "options of import":
        return plug_options(kind.removeprefix("options of "))
    return origin_options(names) if names else COMMON_OPTIONS


def plug_options(name: str) -> tuple[Option, ...]:
    options: tuple[Option, ...] = known_plugs()[name].load().options
    return options


def origin_options(name: str) -> tuple[Option, ...]:
    (entry,) = entry_points(group=ORIGINS, name=name)
    options: tuple[Option, ...] = entry.load().options
    return options


def table(options: tuple[Option, ...]) -> str:
    rows = [f"| `{each.name}` | {default(each)} | {each.help} |\n" for each in options]
    return "| setting | default | |\n|---|---|---|\n" + "".join(rows)


def storages() -> str:
    """Return the table of our storages: the section that each reads, by all of its names."""
    names: dict[str, list[str]] = {}
    for name, entry in known_plugs().items():
        if entry.value.startswith("pyramid_pluggable_session."):
            names.setdefault(entry.load().name, []).append(name)
    rows = [
        f"| [`{section}`](storages.md#{section}) | {quoted(sorted(names[section]))} "
        f"| {quoted([option.name for option in plug_options(section)])} |\n"
        for section in sorted(names)
    ]
    return "| section | names and schemes | its settings |\n|---|---|---|\n" + "".join(rows)


def quoted(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


def default(option: Option) -> str:
    value = option.default
    if value is REQUIRED:
        return "must be set"
    if option.convert is secure:
        return "`auto`"
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple):
        return f"`{' '.join(value)}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    main()
