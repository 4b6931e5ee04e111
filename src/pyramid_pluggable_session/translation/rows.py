"""What the tables of old settings are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ..credentials import hide_credentials
from ..options import EXAMPLE_SECRET
from .ini import Value


class Line(NamedTuple):
    """A setting of ours, without its prefix, as it is to be written into an ini file."""

    name: str
    value: str


class Remark(NamedTuple):
    """What there is to know about an old setting.

    ``caution``: it was not as it seemed. ``about`` names another setting than the one whose row it
    is, in full if ``whole``.
    """

    text: str
    caution: bool = False
    about: str = ""
    whole: bool = False


Said = Line | Remark
Answer = Callable[["Old", str], Iterable[Said]]


class Row(NamedTuple):
    """A setting of another package: its name, what it becomes, and the function that says so.

    ``ours`` names our settings, empty if there are none. The function is asked whether the setting
    is there or not, as a default of theirs may not be one of ours.
    """

    name: str
    ours: tuple[str, ...]
    answer: Answer


class Origin(NamedTuple):
    """A package that sessions may come from.

    ``storage`` says which storage takes the place of theirs, ``imports`` how to take its sessions
    along, and ``around`` what else there is to know, from all settings of the site.
    """

    name: str
    package: str
    prefixes: tuple[str, ...]
    rows: tuple[Row, ...]
    storage: Callable[[Old], Iterable[Said]]
    imports: Callable[[Old], Iterable[Said]]
    around: Callable[[Mapping[str, Value]], Iterable[Said]] = lambda settings: ()

    def known(self) -> set[str]:
        """Return the names of the settings that the package knows."""
        return {row.name for row in self.rows}


class Old(Mapping[str, str]):
    """The settings of a package, by their names without its prefix."""

    def __init__(self, settings: Mapping[str, Value], prefixes: tuple[str, ...]) -> None:
        self.prefix = prefixes[0] if prefixes else ""
        self._values: dict[str, tuple[str, Value]] = {}
        for full, value in settings.items():
            for prefix in prefixes:
                if full.startswith(prefix):
                    # Where a package has two prefixes, it takes what comes last.
                    self._values[full[len(prefix) :]] = full, value

    def __getitem__(self, name: str) -> str:
        return self._values[name][1].text

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def full(self, name: str) -> str:
        """Return the name with its prefix."""
        return self._values[name][0] if name in self._values else self.prefix + name

    def copied(self, name: str) -> str:
        """Return the value as it is to be written into the ini file."""
        return self._values[name][1].written()

    def hole(self, name: str, what: str = "the value") -> str:
        """Return what stands for a value that is not printed, for somebody to fill in."""
        full, value = self._values[name]
        return f"{EXAMPLE_SECRET}: {what} of {full} ({value.where})".replace("%", "%%")

    def discreet(self, name: str) -> str:
        """Return the value, or a reference to it if there may be a password in it."""
        value = self._values[name][1]
        if hide_credentials(value.text) == value.text:
            return value.written()
        return self.reference(name)

    def reference(self, name: str) -> str:
        """Return what an ini file takes for the value of another setting, without the value."""
        full, value = self._values[name]
        # What another section or file has, which this one uses, is not known to it.
        return self.hole(name) if value.written_as is None else f"%({full})s"


OUR_DATA = (
    "Ours takes what msgpack does, and dates, decimals, sets, tuples and UUIDs; of objects of your "
    "own, put their ids or their fields."
)
"""What may be in a session of ours, where theirs took any object."""


def dropped(name: str, why: str, caution: bool = False) -> Row:
    """Return the row of a setting without a counterpart: why, and what to do."""

    def answer(old: Old, name: str) -> Iterator[Said]:
        if name in old:
            yield Remark(why, caution)

    return Row(name, (), answer)


def part(name: str, *ours: str) -> Row:
    """Return the row of a setting that is part of what the storage becomes."""
    return Row(name, ours or ("plug",), lambda old, name: ())


def mapped(name: str, ours: str, convert: Callable[[str], Any] | None = None) -> Row:
    """Return the row of a setting whose value stays as it is, if the old package takes it."""

    def answer(old: Old, name: str) -> Iterator[Said]:
        if name not in old:
            return
        try:
            if convert is not None:
                convert(old[name])
        except ValueError as error:
            yield refused(str(error))
        else:
            yield Line(ours, old.copied(name))

    return Row(name, (ours,), answer)


def refused(right: str) -> Remark:
    """Return the remark for a value that the old package refuses."""
    return Remark(f"Its value is not {right}, so it is left out.", caution=True)
