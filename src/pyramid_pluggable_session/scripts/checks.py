"""What ``psessions check`` says of a configuration, without asking the storage."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from ..credentials import hide_credentials
from ..import_count import imported_lately
from ..interfaces import IPurgePlug, IScanPlug, ISwapPlug
from ..options import CORE_OPTIONS, weaknesses
from ..settings import PREFIX, REQUIRED, Option
from ..storage import describe
from .context import Context
from .wording import duration

OK: Final = "OK"
WARN: Final = "WARN"
FAIL: Final = "FAIL"

MOST_SKEW: Final = 2.0
"""Seconds by which two clocks may differ."""

_YEAR_2020: Final = 1577836800.0


class Finding(NamedTuple):
    """One line of the report: how it stands, with what, and what to do about it."""

    status: str
    check: str
    message: str
    remedy: str | None = None


_NOTHING: Final = {"secure": "auto", "samesite": "(left out)", "domain": "(the host itself)"}
"""What None stands for where it is not written as none."""


class Setting(NamedTuple):
    """An option as it is in force: its name behind ``pluggable_session.``, its value as text."""

    name: str
    value: str
    is_default: bool
    help: str


def explain_settings(context: Context) -> Iterator[Setting]:
    """Yield the options of the core and of the plug, as people may see them."""
    plug, given = context.plug, context.factory.options
    for option in CORE_OPTIONS:
        value = given[option.name]
        yield _setting(option.name, option, option.shown(value), value == option.default)
    spec = (context.registry.settings or {}).get(f"{PREFIX}plug")
    name = spec.split() if isinstance(spec, str) else describe(plug)
    yield Setting("plug", hide_credentials(_as_written(name)), False, "The storage.")
    if context.factory.importer is not None:
        where = context.factory.importer.origin.name
        yield Setting("import", where, False, "Where sessions of another package come from.")
    shown = _shown_options(context)
    for option in getattr(plug, "options", None) or ():
        if option.name in shown:
            value = shown[option.name]
            is_default = option.default is not REQUIRED and value == option.shown(option.default)
            yield _setting(f"{plug.name}.{option.name}", option, value, is_default)


def _shown_options(context: Context) -> dict[str, Any]:
    """Return the plug's options as they were noted when it was made; none for a plug as such."""
    found: dict[str, Any] = {}
    for each in context.registry.introspector.get_category("session plug") or ():
        found = each["introspectable"].get("options", found)
    return found


def _setting(name: str, option: Option, value: Any, is_default: bool) -> Setting:
    shown = _NOTHING.get(name, "none") if value in (None, ()) else _as_written(value)
    return Setting(name, hide_credentials(shown), is_default, option.help)


def _as_written(value: Any) -> str:
    """Return a value as one would write it in an ini file."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return " ".join(map(_as_written, value))
    if isinstance(value, float):
        return f"{value:g}" if value != int(value) else str(int(value))
    if isinstance(value, (str, int)):
        return str(value)
    kind = value if hasattr(value, "__qualname__") else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


def check_settings(context: Context) -> Iterator[Finding]:
    """Yield what makes sessions weak, and what the plug has to say of itself."""
    weak = weaknesses(context.factory.options)
    for each in weak:
        yield Finding(WARN, "settings", f"{each.setting} {each.why}", each.remedy)
    known = {str(each) for each in weak}
    caution = getattr(context.plug, "caution", None)
    if caution is not None:
        known.add(caution)
        yield Finding(
            WARN,
            "storage",
            caution,
            "choose another one for production, as sqlite. psessions is a process of its own, too, "
            "and does not see the application's sessions",
        )
    others = [each for each in context.warnings if each not in known]
    for message in others:
        yield Finding(WARN, "settings", message)
    if not weak and not others:
        yield Finding(OK, "settings", "nothing that makes sessions weak")
    secrets = len(context.factory.options["secret"])
    if secrets > 1:
        # No warning, as that would keep a deployment with --strict from changing the secret.
        yield Finding(
            OK,
            "secret",
            f"there are {secrets} secrets, and a session sealed with any of them is accepted",
            f"when the new one comes first on all servers, run psessions {context.ini or 'INI'} "
            "rekey, wait until the time that it prints, and remove the others",
        )


_ABILITIES: Final = (
    (ISwapPlug, "swap", WARN,
     "of two requests that change a session at once the later one wins, and the sessions of an "
     "owner cannot be listed or ended"),
    (IScanPlug, "scan", OK, "psessions cannot list, show, end, count, copy or rekey its sessions"),
    (IPurgePlug, "purge", OK, "deleting what has expired is up to the storage itself"),
)  # fmt: skip


def check_abilities(plug: Any) -> Iterator[Finding]:
    """Yield what the storage can do, and what does not work for want of what it cannot."""
    can = [name for ability, name, _, _ in _ABILITIES if ability.providedBy(plug)]
    yield Finding(OK, "abilities", f"{describe(plug)}: {', '.join(['load', 'store', *can])}")
    for _, name, status, lack in _ABILITIES:
        if name not in can:
            yield Finding(status, "abilities", f"no {name}: {lack}")


def check_import(context: Context) -> Iterator[Finding]:
    """Yield how many sessions of another package were imported lately, if any are to be."""
    importer = context.factory.importer
    if importer is None:
        return
    storage, where = context.storage, importer.origin.name
    if storage.client_side:
        yield Finding(OK, "import", f"from {where}; not counted, as the browsers keep the sessions")
        return
    day, week = imported_lately(storage, context.store, importer.salt)
    remedy = None
    if not week:
        remedy = (
            f"if {PREFIX}import has been set for longer than the old sessions live, remove it and "
            "the old settings"
        )
    sessions = "session" if day == 1 else "sessions"
    lately = f"from {where}: {day} {sessions} in the last 24 hours, {week} in the last 7 days"
    yield Finding(OK, "import", lately, remedy)


def check_clock(skew: float | None, files: Iterable[str]) -> Finding:
    """Compare the clock with the storage's, or if that cannot be known, with files of the past.

    ``skew`` is by how many seconds the storage's clock is ahead.
    """
    now = time.time()
    if now < _YEAR_2020:
        year = time.gmtime(now).tm_year
        return Finding(FAIL, "clock", f"this machine believes it is {year}", _SET_CLOCK)
    if skew is not None:
        side = "ahead of" if skew > 0 else "behind"
        if abs(skew) > MOST_SKEW:
            return Finding(
                WARN,
                "clock",
                f"the storage's clock is {duration(abs(skew))} {side} this machine's: sessions may "
                "end early or late",
                _SET_CLOCK,
            )
        return Finding(OK, "clock", f"within {MOST_SKEW:g} s of the storage's")
    newest = max((os.path.getmtime(each) for each in files if os.path.exists(each)), default=now)
    if newest > now + MOST_SKEW:
        return Finding(
            WARN,
            "clock",
            f"this machine's clock is at least {duration(newest - now)} behind: a file was changed "
            "at a time that is still to come",
            _SET_CLOCK,
        )
    return Finding(OK, "clock", "plausible (the storage has none to compare with)")


_SET_CLOCK: Final = "let every machine set its clock by NTP (chrony, systemd-timesyncd)"
