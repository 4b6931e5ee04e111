"""The default serializer: MessagePack, with types added until nothing comes back as something else.

Why this library and this way was measured; see ``docs/decisions.md``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Any
from uuid import UUID

import ormsgpack

from .base import Guarded

MAX_DEPTH = 100
"""How many dicts, lists, tuples and sets may be inside each other."""


def _encode_time(value: datetime | time) -> bytes:
    # The offset by itself: Python 3.11 and later read "+00:00:00.000001" as UTC.
    offset: timedelta | None = value.utcoffset()
    if offset is None and value.tzinfo is not None:
        raise ValueError("would come back without its time zone")
    micros = "" if offset is None else offset // timedelta(microseconds=1)
    return f"{value.replace(tzinfo=None).isoformat()} {value.fold} {micros}".encode()


def _decode_time(kind: Any, data: bytes) -> Any:
    text, fold, micros = data.decode().split(" ")
    zone = timezone(timedelta(microseconds=int(micros))) if micros else None
    return kind.fromisoformat(text).replace(fold=int(fold), tzinfo=zone)


# What MessagePack has no type for, as its extension types: (code, encode, decode). A record names
# them by code, so a code keeps its meaning for ever.
_EXTENSIONS: dict[type, tuple[int, Callable[[Any], bytes], Callable[[bytes], Any]]] = {
    # Beyond 64 bits only. Hexadecimal, as Python limits how many decimal digits it converts.
    int: (1, lambda value: b"%x" % value, lambda data: int(data, 16)),
    # Upper case, as the case of the text depends on the thread's decimal context.
    Decimal: (2, lambda value: str(value).upper().encode(), lambda data: Decimal(data.decode())),
    UUID: (3, lambda value: value.bytes, lambda data: UUID(bytes=data)),
    date: (4, lambda value: value.isoformat().encode(), lambda d: date.fromisoformat(d.decode())),
    time: (5, _encode_time, partial(_decode_time, time)),
    datetime: (6, _encode_time, partial(_decode_time, datetime)),
    timedelta: (
        7,
        lambda value: b"%d %d %d" % (value.days, value.seconds, value.microseconds),
        lambda data: timedelta(*map(int, data.split())),
    ),
}
_DECODERS = {code: decode for code, _, decode in _EXTENSIONS.values()}
# A tuple or set is an array whose first item, an extension type without data, says so. Making it an
# extension type with an array inside would be neater, but then the reader runs anew for each, and
# some kilobytes of hostile nesting overflow the C stack: its limit of depth is for one run.
_MARKED: dict[int, type] = {16: tuple, 17: set, 18: frozenset}
_MARKS: dict[type, Any] = {kind: ormsgpack.Ext(code, b"") for code, kind in _MARKED.items()}

_LEAVES = frozenset({type(None), bool, float, str, bytes, *_EXTENSIONS})
_STORED = _LEAVES.union(_MARKS, (dict, list))
_REMEDIES: dict[type, str] = {
    **dict.fromkeys((dict, list, *_MARKS), "make it flatter"),
    **dict.fromkeys((bytearray, memoryview), "store bytes(value)"),
    **dict.fromkeys((datetime, time), "its time zone gives it no UTC offset; store it in UTC"),
    str: "it has lone surrogates, which UTF-8 cannot write; store it as bytes",
}
_OPTIONS = (
    ormsgpack.OPT_NON_STR_KEYS
    | ormsgpack.OPT_PASSTHROUGH_BIG_INT
    | ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
    | ormsgpack.OPT_PASSTHROUGH_TUPLE
    | ormsgpack.OPT_PASSTHROUGH_UUID
)


def _check_types(value: Any, room: int = MAX_DEPTH) -> None:
    """Raise unless all types are exactly ours.

    ormsgpack writes bytearrays and memoryviews as bytes and keys of many types as text without
    asking, so this walk cannot be left to it.
    """
    kind = type(value)
    if kind in _LEAVES:
        return
    if not room:
        raise ValueError("too deep")
    items: Iterable[Any] = value
    if kind is dict:
        for key in value:
            if type(key) is not str and type(key) is not int:
                raise TypeError("key")
        items = value.values()
    elif kind is not list and kind not in _MARKS:
        raise TypeError("value")
    for item in items:
        if type(item) not in _LEAVES:  # spares most calls, and a call is what costs
            _check_types(item, room - 1)


def _to_native(value: Any) -> Any:
    """Return what ormsgpack writes for a value of a type that it does not know."""
    kind = type(value)
    if kind in _EXTENSIONS:
        code, encode, _ = _EXTENSIONS[kind]
        return ormsgpack.Ext(code, encode(value))
    # Inner tuples and sets at once: left to ormsgpack, a set would be sorted once more for every
    # set around it, and once more for each of those.
    items = [_to_native(item) if type(item) in _MARKS else item for item in value]
    if kind is not tuple:
        items.sort(key=_pack)
    return [_MARKS[kind], *items]


def _pack(value: Any) -> bytes:
    return ormsgpack.packb(value, _to_native, _OPTIONS)


def _from_extension(marks: list[Any], code: int, data: bytes) -> Any:
    if code in _MARKED and not data:
        marks.append(code)
        return _MARKED[code]
    return _DECODERS[code](data)


def _rebuild(value: Any, marks: list[Any]) -> Any:
    """Return the dict or list ``value`` with tuples and sets made of the arrays with a mark."""
    if type(value) is dict:
        return {
            key: _rebuild(item, marks) if type(item) in (dict, list) else item
            for key, item in value.items()
        }
    items = [_rebuild(item, marks) if type(item) in (dict, list) else item for item in value]
    if items and type(items[0]) is type:
        marks.pop()
        return items[0](items[1:])
    return items


_NONCE = os.urandom(16)
_END = ormsgpack.packb(_NONCE)


class MsgpackSerializer(Guarded):
    """MessagePack with ten types added: lossless, or refused. Reading never runs code.

    It stores None, bool, int, float, str, bytes, list, tuple, dict, set, frozenset, datetime, date,
    time, timedelta, Decimal and UUID, and no subclasses of them. Keys are str, or int of 64 bits.

    - Equal states give equal bytes where nothing tells them apart: the order of a dict's keys, the
      digits of ``Decimal("1.0")`` and the UTC offset of a datetime do.
    - A time zone comes back as its offset at that time, so a datetime is the same instant.
    - A list that is in two places comes back as two lists.
    - Text with lone surrogates, and a time whose zone knows no offset for it, are refused.
    """

    name = "msgpack"
    canonical = True

    def _encode(self, state: Any, /) -> bytes:
        _check_types(state)
        return _pack(state)

    def dumps_again(self, state: Any, /) -> bytes:
        """Return the same as ``dumps``, without looking at types that cannot be others than ours.

        That look is most of what ``dumps`` costs.
        """
        try:
            return _pack(state)
        except Exception:
            return self.dumps(state)  # which says why not

    def _decode(self, data: bytes, /) -> Any:
        # ormsgpack ignores what follows the first value. So read two: the second must be ours.
        marks: list[Any] = []
        value, end = ormsgpack.unpackb(
            b"\x92" + data + _END,
            ext_hook=partial(_from_extension, marks),
            option=ormsgpack.OPT_NON_STR_KEYS,
        )
        if marks and type(value) in (dict, list):
            value = _rebuild(value, marks)
        if marks or end != _NONCE:
            raise ValueError("a mark elsewhere than first in a list, or bytes after the end")
        return value

    def _remedy(self, value: Any, *, is_key: bool) -> str:
        if is_key:
            return "make it a plain str, or an int of at most 64 bits"
        if isinstance(value, Enum):
            return "store its .value"
        if type(value) in _REMEDIES:
            return _REMEDIES[type(value)]
        plain = next((kind for kind in type(value).__mro__ if kind in _STORED), None)
        return f"store a plain {plain.__name__} made of it" if plain else "store plain values"
