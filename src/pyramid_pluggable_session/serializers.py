"""From a session's state to bytes and back.

:class:`MsgpackSerializer` is the default: what goes in comes out equal and of the same type, or
``dumps`` says what would not. :class:`JSONSerializer` and :class:`PickleSerializer` are chosen by
name, and :func:`adapt` takes what others have written.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Any, Protocol
from uuid import UUID

import ormsgpack
from pyramid.session import JSONSerializer as PyramidJSONSerializer

from .errors import UnserializableValue

MAX_DEPTH = 100
"""How many dicts, lists, tuples and sets may be inside each other, in the default serializer."""


class Serializer(Protocol):
    """What the rest of the package asks of a serializer."""

    name: str
    """What a record's header calls it, so that a record is read by what wrote it."""

    canonical: bool
    """True if ``dumps(loads(data)) == data`` for whatever ``dumps`` made: what is stored can then
    be compared with a fresh ``dumps`` to see whether anything changed."""

    def dumps(self, state: Any, /) -> bytes:
        """Return ``state`` as bytes, or raise :class:`.UnserializableValue`."""

    def loads(self, data: bytes, /) -> Any:
        """Return what ``dumps`` made ``data`` of, or raise :class:`ValueError`."""


class _Guarded:
    """The one place where a serializer's errors become ours; subclasses encode and decode.

    Both are raised ``from None``: a library's own error may quote the value, and a log shows the
    whole chain of causes.
    """

    name: str
    canonical = False

    def _encode(self, state: Any, /) -> bytes:
        raise NotImplementedError

    def _decode(self, data: bytes, /) -> Any:
        raise NotImplementedError

    def dumps(self, state: Any, /) -> bytes:
        """Return ``state``, usually a dict, as bytes.

        :raises UnserializableValue: ``state`` holds what this serializer does not store. The
            message and ``path`` lead to it without showing it.
        :raises TypeError: the ``dumps`` of a third party returned something else than bytes.
        """
        try:
            data = self._encode(state)
        except Exception:
            raise self._explain(state) from None
        if not isinstance(data, bytes):
            raise TypeError(f"dumps of {self.name} returned {_type_name(data)} instead of bytes")
        return data

    def loads(self, data: bytes, /) -> Any:
        """Return what ``dumps`` made ``data`` of.

        :raises ValueError: ``data`` is not what ``dumps`` makes.
        """
        try:
            return self._decode(data)
        except Exception as error:
            raise ValueError(f"not readable as {self.name} ({_type_name(error)})") from None

    def _explain(self, value: Any) -> UnserializableValue:
        """Find the innermost value that fails by itself, once ``value`` has failed.

        Trying each part again is slow, but spares every ``dumps`` that succeeds from keeping track
        of the path, and works for serializers of which nothing is known.
        """
        path: list[Any] = []
        around: list[int] = []
        bad_keys: list[Any] = []
        while id(value) not in around:
            around.append(id(value))
            bad_keys = (
                [key for key in value if self._fails({key: None})] if type(value) is dict else []
            )
            # Some take nothing but a dict with keys of text: that is what a session is.
            bad_parts = [(key, part) for key, part in _parts(value) if self._fails({"": part})]
            if bad_keys:
                value = bad_keys[0]
                problem = f"has a key of type {_type_name(value)}"
            elif bad_parts:
                key, value = bad_parts[0]
                path.append(key)
                continue
            elif _parts(value) and not self._fails({"": type(value)()}):
                problem = "holds too many containers inside each other"
            else:
                problem = f"is of type {_type_name(value)}"
            break
        else:
            problem = "is a container that it is itself a part of"
        where = "session" + "".join(map(_step, path[:_SHOWN])) + "..." * (len(path) > _SHOWN)
        return UnserializableValue(
            f"{where} {problem}, which the serializer {self.name!r} does not store: "
            f"{self._remedy(value, is_key=bool(bad_keys))}, or configure another serializer.",
            path,
        )

    def _fails(self, value: Any) -> bool:
        try:
            self._encode(value)
        except Exception:
            return True
        return False

    def _remedy(self, value: Any, *, is_key: bool) -> str:
        return "convert it before you put it into the session"


_SHOWN = 12  # steps of a path in a message; ``path`` has them all


def _parts(value: Any) -> list[tuple[Any, Any]]:
    """Return what is directly inside a container, each with its key."""
    if type(value) is dict:
        return list(value.items())
    if type(value) in (list, tuple):
        return list(enumerate(value))
    if type(value) in (set, frozenset):
        return [(..., member) for member in value]  # a member has no key but itself
    return []


def _step(key: Any) -> str:
    if key is ...:
        return "{...}"
    return f"[{key!r}]" if type(key) in (str, int) else f"[a {_type_name(key)}]"


def _type_name(value: Any) -> str:
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


# The default serializer -----------------------------------------------------------------------


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


class MsgpackSerializer(_Guarded):
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


class JSONSerializer(_Guarded):
    """JSON, by the rules of Pyramid's own cookie session: a tuple comes back as a list.

    It is not canonical: ``{1: "a", "1": "b"}`` gives two keys that are read as one.
    """

    name = "json"
    _json = PyramidJSONSerializer()

    def _encode(self, state: Any, /) -> bytes:
        data: bytes = self._json.dumps(state)
        return data

    def _decode(self, data: bytes, /) -> Any:
        return self._json.loads(data)


class PickleSerializer(_Guarded):
    """Python's pickle, which stores nearly everything.

    Whoever can write the records of this serializer can run code in the application. Records are
    authenticated before they are read, so that takes the secret.
    """

    name = "pickle"

    def _encode(self, state: Any, /) -> bytes:
        return pickle.dumps(state, pickle.HIGHEST_PROTOCOL)

    def _decode(self, data: bytes, /) -> Any:
        return pickle.loads(data)  # noqa: S301  # authenticated; and chosen, never a default


BUILT_IN: dict[str, type[Serializer]] = {
    each.name: each for each in (MsgpackSerializer, JSONSerializer, PickleSerializer)
}


class _Adapted(_Guarded):
    """An object of a third party with ``dumps`` and ``loads``."""

    def __init__(self, theirs: Any) -> None:
        self.name = getattr(theirs, "name", None) or _type_name(theirs)
        self.canonical = bool(getattr(theirs, "canonical", False))
        self._theirs = theirs

    def _encode(self, state: Any, /) -> Any:
        return self._theirs.dumps(state)

    def _decode(self, data: bytes, /) -> Any:
        return self._theirs.loads(data)


def adapt(obj: Any) -> Serializer:
    """Make a serializer of any object with ``dumps`` and ``loads``, or of a class of such.

    Its name is its ``name``, or else ``module.Class``; unless it says otherwise, it is taken not
    to be canonical.

    :raises TypeError: ``obj`` lacks ``dumps`` or ``loads``.
    :raises ValueError: ``obj`` has the name of a built-in serializer.
    """
    if isinstance(obj, type):
        obj = obj()
    if isinstance(obj, _Guarded):
        return obj
    for method in ("dumps", "loads"):
        if not callable(getattr(obj, method, None)):
            raise TypeError(f"a serializer has dumps and loads; {_type_name(obj)} has no {method}")
    adapted = _Adapted(obj)
    if adapted.name in BUILT_IN:
        raise ValueError(f"{adapted.name!r} is the name of another serializer; give yours its own")
    return adapted
