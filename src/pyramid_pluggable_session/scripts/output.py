"""What a command prints: for people, or as JSON for programs."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

_NARROWEST = 20
_ENDLESS = 1_000_000


class Output:
    """Prints the results of a command. Progress and errors go to standard error, not through it."""

    def __init__(self, stream: TextIO, *, json: bool = False) -> None:
        self._stream = stream
        self.json = json

    @property
    def width(self) -> int:
        """Columns there are: of the terminal, or as many as a line needs where there is none."""
        if not self._stream.isatty():
            return _ENDLESS
        return max(_NARROWEST, shutil.get_terminal_size().columns)

    def line(self, text: str = "") -> None:
        """Print a line for people. It is left out from JSON."""
        if not self.json:
            print(self.printable(text), file=self._stream)

    def wrapped(self, text: str, first: str = "", indent: str = "") -> None:
        """Print a text for people on as many lines as it takes, not cut."""
        width = self.width
        if width <= len(indent) + _NARROWEST // 2:
            indent = indent[:2]
        lines = textwrap.wrap(
            self.printable(text),
            width,
            initial_indent=first,
            subsequent_indent=indent,
            break_on_hyphens=False,
            break_long_words=False,
        )
        for each in lines or [first]:
            self.line(each.rstrip())

    def data(self, value: Any) -> None:
        """Print a value for programs, as one line of JSON. It is left out for people."""
        if self.json:
            print(json.dumps(value), file=self._stream)

    def pairs(self, pairs: Mapping[str, Any]) -> None:
        """Print names and values; as one object in JSON."""
        if self.json:
            self.data(dict(pairs))
            return
        longest = max(map(len, pairs), default=0)
        for name, value in pairs.items():
            self.wrapped(str(value), f"{name:<{longest}}  ", "    ")

    def table(self, titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Print rows as they come, in columns as wide as their titles say; as objects in JSON.

        A title's trailing spaces are part of its width. The last column is as wide as it needs.
        Nothing is printed if there are no rows.
        """
        names = [title.strip() for title in titles]
        for number, row in enumerate(rows):
            if self.json:
                self.data(dict(zip(names, row, strict=True)))
            else:
                if number == 0:
                    self.line(self._cut("  ".join(titles).rstrip()))
                cells = [f"{cell!s:<{len(title)}}" for cell, title in zip(row, titles, strict=True)]
                self.line(self._cut("  ".join(cells).rstrip()))

    @property
    def on_terminal(self) -> bool:
        """Whether lines are cut and wrapped to a width."""
        return self.width < _ENDLESS

    def cut(self, text: str, width: int) -> str:
        """Return ``text`` with no more than ``width`` characters, marked where it was cut."""
        text = self.printable(text)
        return text if len(text) <= width else text[: width - 1] + self._cut_here

    def _cut(self, text: str) -> str:
        return self.cut(text, self.width)

    @property
    def _cut_here(self) -> str:
        return "…" if self._can_print("…") else "~"

    def _can_print(self, text: str) -> bool:
        try:
            text.encode(self._stream.encoding or "ascii")
        except UnicodeError:
            return False
        return True

    def printable(self, text: str) -> str:
        """Return ``text`` without what a terminal takes for a command, or cannot show.

        A session holds what users have sent.
        """
        return "".join(
            each
            if each.isprintable() and self._can_print(each)
            else each.encode("unicode_escape").decode()
            for each in text
        )
