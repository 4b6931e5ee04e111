"""From the settings of another session package to ours, as text: nothing of it is imported.

Each package has a module with a table of every setting that it knows. ``psessions translate`` reads
an ini file (:mod:`.ini`) and prints what :func:`translate` makes of it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from ..options import EXAMPLE_SECRET
from .beaker import BEAKER
from .ini import Value
from .rows import Line, Old, Origin, Remark, Said
from .session_redis import REDIS_SESSIONS, SESSION_REDIS
from .signed_cookie import SIGNED_COOKIE

ORIGINS: Final[Mapping[str, Origin]] = {
    each.name: each for each in (BEAKER, SESSION_REDIS, REDIS_SESSIONS, SIGNED_COOKIE)
}


@dataclass
class Translation:
    """What becomes of the settings of a package.

    ``lines`` are the new settings, and ``imports`` those that take the old sessions along for a
    while. ``remarks`` have the full name of the old setting that each of them is about.
    """

    origin: Origin
    lines: list[Line] = field(default_factory=list)
    imports: list[Line] = field(default_factory=list)
    remarks: list[tuple[str, Remark]] = field(default_factory=list)


def guess(settings: Mapping[str, Value]) -> list[tuple[Origin, str]]:
    """Return the packages whose settings these may be, each with how that was found out.

    pyramid_session_redis and pyramid_redis_sessions share a prefix; one of them at most is found.
    """
    includes = settings["pyramid.includes"].text.split() if "pyramid.includes" in settings else []
    found = []
    for origin in ORIGINS.values():
        if origin.package in includes:
            found.append((origin, "it is in pyramid.includes"))
        elif origin is BEAKER and Old(settings, origin.prefixes):
            found.append((origin, "so its settings are named"))
    if not {SESSION_REDIS, REDIS_SESSIONS} & {origin for origin, _ in found}:
        found += _guess_redis(Old(settings, SESSION_REDIS.prefixes))
    return found


def _guess_redis(old: Old) -> Iterator[tuple[Origin, str]]:
    if not old:
        return
    ours, others = (origin.known() for origin in (SESSION_REDIS, REDIS_SESSIONS))
    for origin, names in ((SESSION_REDIS, ours - others), (REDIS_SESSIONS, others - ours)):
        if telling := sorted(names & set(old)):
            yield origin, f"only this package knows {old.full(telling[0])}"
            return
    yield (
        SESSION_REDIS,
        "pyramid_redis_sessions knows these settings as well; if that is what the site uses, say "
        "--from redis_sessions",
    )


def translate(origin: Origin, settings: Mapping[str, Value]) -> Translation:
    """Return what becomes of a package's settings."""
    old = Old(settings, origin.prefixes)
    result = Translation(origin, [Line("secret", EXAMPLE_SECRET)])
    _take(result, old, "", origin.storage(old))
    for row in origin.rows:
        _take(result, old, row.name, row.answer(old, row.name))
    known = origin.known()
    for name in old:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f" Was {old.prefix + near[0]} meant?" if near else ""
            _take(result, old, name, [Remark(f"is not known to {origin.package}.{meant}")])
    for said in origin.imports(old):
        if isinstance(said, Line):
            result.imports.append(said)
        else:
            result.remarks.append((said.about, said))
    _take(result, old, "", origin.around(settings))
    # What was not as it seemed comes first.
    result.remarks.sort(key=lambda each: not each[1].caution)
    return result


def _take(result: Translation, old: Old, name: str, answers: Iterable[Said]) -> None:
    for said in answers:
        if isinstance(said, Line):
            result.lines.append(said)
        else:
            about = said.about or name
            result.remarks.append((old.full(about) if about and not said.whole else about, said))
