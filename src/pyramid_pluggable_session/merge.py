"""Three-way merge of session states, for two requests that changed one session at once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, time
from decimal import Decimal
from typing import Any, Final

_ABSENT: Final[Any] = object()

# Equal by == though they are stored differently: -0.0 and 0.0, 1.0 and 1.00, one instant in two
# time zones. NaN is the other way round, and a signalling one cannot even be compared.
_COMPARED_BY_REPR = (float, Decimal, datetime, time)


def merge(
    base: Mapping[Any, Any], theirs: Mapping[Any, Any], ours: Mapping[Any, Any]
) -> tuple[dict[Any, Any], list[str]]:
    """Apply what changed from ``base`` to ``ours`` on top of ``theirs``.

    Return the merged state and the paths (``cart.items``) of what both sides changed in ways that
    cannot be merged; there, ours is taken. None of the arguments is changed, but the result shares
    values with them.
    """
    conflicts: list[str] = []
    return _merge_dicts(base, theirs, ours, "", conflicts), conflicts


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal and of the same types all the way down."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return len(one) == len(other) and all(
            key in other and same(value, other[key]) for key, value in one.items()
        )
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, (set, frozenset)):
        return one == other and sorted(map(_form, one)) == sorted(map(_form, other))
    if isinstance(one, _COMPARED_BY_REPR):
        return repr(one) == repr(other)
    return bool(one == other)


def _form(member: Any) -> str:
    """Return a text that tells the members of a set apart where ``==`` does not, as 1 and True."""
    if isinstance(member, frozenset):
        return f"frozenset({sorted(map(_form, member))})"
    if isinstance(member, tuple):
        return f"tuple({[_form(each) for each in member]})"
    return f"{type(member)}({member!r})"


def _merge_dicts(
    base: Mapping[Any, Any],
    theirs: Mapping[Any, Any],
    ours: Mapping[Any, Any],
    path: str,
    conflicts: list[str],
) -> dict[Any, Any]:
    merged = {}
    for key in dict.fromkeys((*theirs, *ours)):
        value = _merge_values(
            base.get(key, _ABSENT),
            theirs.get(key, _ABSENT),
            ours.get(key, _ABSENT),
            f"{path}.{key}" if path else str(key),
            conflicts,
        )
        if value is not _ABSENT:
            merged[key] = value
    return merged


def _merge_values(base: Any, theirs: Any, ours: Any, path: str, conflicts: list[str]) -> Any:
    if same(ours, base):
        return theirs
    if same(theirs, base):
        return ours
    if base is _ABSENT and same(theirs, ours):
        # Both set a default, most likely. Two equal appends to a list that was there are two.
        return ours
    kind = type(ours if theirs is _ABSENT else theirs)
    # What one side made, the other may have made as well: two first flashes are two changes of an
    # empty list.
    start = kind() if base is _ABSENT and kind in (dict, list, set, frozenset) else base
    kinds = {type(side) for side in (start, theirs, ours)}
    if kinds == {dict}:
        return _merge_dicts(start, theirs, ours, path, conflicts)
    if kinds in ({set}, {frozenset}):
        return (start | theirs | ours) - (start - theirs) - (start - ours)
    if type(start) is list:
        if kinds == {list} and _appended(start, theirs) and _appended(start, ours):
            return start + theirs[len(start) :] + ours[len(start) :]
        for emptied, other in ((theirs, ours), (ours, theirs)):
            if _is_gone(emptied) and type(other) is list and _appended(start, other):
                return other[len(start) :]
    if not same(theirs, ours):
        conflicts.append(path)
    return ours


def _appended(base: list[Any], side: list[Any]) -> bool:
    return same(base, side[: len(base)])


def _is_gone(side: Any) -> bool:
    return side is _ABSENT or side == []
