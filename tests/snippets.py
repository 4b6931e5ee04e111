"""What stands in the code fences of the documentation."""

from __future__ import annotations

import pathlib
import re
import sys
import types
from collections.abc import Iterator
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[1]
DOCS = ROOT / "docs"
FENCE = re.compile(
    r"(?ms)^(?P<margin> *)(?P<fence>```+)(?:\{code-block\} *)?(?P<language>[\w+-]+)[^\n]*\n"
    r"(?P<text>.*?)^(?P=margin)(?P=fence) *$"
)
FIELD = re.compile(r"\A((?::[\w-]+:[^\n]*\n)+)\n?")


class Snippet(NamedTuple):
    """A code fence: its language, its text, the line that it begins in, and whose file it is."""

    language: str
    text: str
    line: int
    caption: str | None


def snippets(page: pathlib.Path, *languages: str) -> list[Snippet]:
    """Return the snippets of a page from top to bottom, those of some languages or all."""
    found = list(_snippets(page.read_text()))
    return [each for each in found if not languages or each.language in languages]


def _snippets(document: str) -> Iterator[Snippet]:
    for match in FENCE.finditer(document):
        margin = len(match["margin"])
        text = "".join(line[margin:] or "\n" for line in match["text"].splitlines(keepends=True))
        line = document[: match.start("text")].count("\n") + 1
        caption = None
        if fields := FIELD.match(text):
            line += fields[0].count("\n")
            text = text[fields.end() :]
            named = re.search(r"(?m)^:caption: *(.*)$", fields[1])
            caption = named and named[1].strip("`")
        yield Snippet(match["language"], text, line, caption)


def run_python(page: pathlib.Path, name: str) -> types.ModuleType:
    """Return a module of a page's Python, run from top to bottom.

    What has a caption is a file of the reader's and stays out.
    """
    module = sys.modules[name] = types.ModuleType(name)
    for each in snippets(page, "python"):
        if each.caption is None:
            # Below as many empty lines as are above it, so that a traceback names the right one.
            code = "\n" * (each.line - 1) + each.text
            exec(compile(code, page, "exec"), vars(module))
    return module


def configurations(page: pathlib.Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each configuration of a page's ini snippets: its line, and an application's settings.

    Another line with a plug, or another section, begins another one.
    """
    for each in snippets(page, "ini"):
        settings: dict[str, str] = {}
        ours, name = True, ""
        for line in each.text.splitlines():
            if section := re.match(r"\[(.*)\]", line):
                ours = section[1].startswith(("app:", "DEFAULT"))
            elif ours and (setting := re.match(r"(\S+) *= *(.*)", line)):
                name, value = setting[1], setting[2]
                if name == "pluggable_session.plug" and name in settings:
                    yield each.line, settings
                    settings = {}
                settings[name] = value
            elif ours and name and re.match(r" +\S", line):
                settings[name] += "\n" + line.strip()
        if settings:
            yield each.line, settings


def commands(page: pathlib.Path) -> Iterator[tuple[int, str]]:
    """Yield what a page has its reader type into a shell: the line, and the command."""
    for each in snippets(page, "console", "sh"):
        text = each.text.replace("\\\n", " ")
        for number, line in enumerate(text.splitlines(), each.line):
            if each.language == "console" and line.startswith(("$ ", "# ")):
                yield number, line[2:]
            elif each.language == "sh" and line.strip() and not line.startswith("#"):
                yield number, line


def rows(page: pathlib.Path, before: str) -> list[list[str]]:
    """Return the cells of the first table behind a heading or a sentence, without its header."""
    _, found, text = page.read_text().partition(before)
    assert found, f"{before!r} is not in {page.name}"
    table = re.search(r"(?m)(^\|.*\n)+", text)
    assert table, f"there is no table behind {before!r}"
    return [re.split(r" *(?<!\\)\| *", row)[1:-1] for row in table[0].splitlines()[2:]]
