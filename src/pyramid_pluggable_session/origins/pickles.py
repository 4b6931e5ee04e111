"""Reads pickles without running anything.

A pickle is a program for a small stack machine, and Python's own machine calls whatever the program
names. This one knows the instructions that make up data, and calls nothing but the builders of the
plain types below and the classes that it is given. So nothing of the other kind can be reached: not
by a name that leads to a module by way of another, not by setting an attribute of a class, and not
by a program that is small and makes something huge.

Of Python's own it uses the splitting of a pickle into instructions (``pickletools.genops``), which
takes no notice of what they do.
"""

from __future__ import annotations

import datetime
import decimal
import pickletools
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from .sessions import Refused

LARGEST: Final = 4 * 1024 * 1024
"""Bytes of a pickle beyond which it is refused."""

_MOST_VALUES: Final = 500_000
_DEEPEST: Final = 200

_MARK: Final = object()


class _Name(NamedTuple):
    """A module's attribute that the pickle names. It is not looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    """Stand in for ``_codecs.encode``, by which old protocols write bytes."""
    if encoding != "latin1":
        raise ValueError(encoding)
    return text.encode(encoding)


_PLAIN: Final[Mapping[str, Callable[..., Any]]] = {
    "datetime.datetime": datetime.datetime,
    "datetime.date": datetime.date,
    "datetime.time": datetime.time,
    "datetime.timedelta": datetime.timedelta,
    "datetime.timezone": datetime.timezone,
    "decimal.Decimal": decimal.Decimal,
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    "collections.OrderedDict": dict,
    "_codecs.encode": _latin1,
    "builtins.bytes": lambda: b"",
}
_UUID: Final = {"uuid.UUID": uuid.UUID}
_PYTHON_2: Final = {"__builtin__": "builtins", "copy_reg": "copyreg"}


def loads(data: bytes, classes: Mapping[str, type] | None = None) -> Any:
    """Return what a pickle holds. Raise :class:`Refused` if that is more than it may.

    ``classes`` are those admitted beside plain data, by their dotted names.
    """
    return _loads(data, _PLAIN, {**_UUID, **(classes or {})})


def loads_envelope(data: bytes) -> Any:
    """Return what a pickle holds of texts, bytes, numbers, lists, tuples and dicts alone."""
    return _loads(data, {}, {})


def _loads(
    data: bytes, builders: Mapping[str, Callable[..., Any]], classes: Mapping[str, type]
) -> Any:
    if len(data) > LARGEST:
        raise Refused(f"a pickle of more than {LARGEST} bytes")
    try:
        value = _Machine(builders, classes).run(data)
        _check(value, [_MOST_VALUES])
    except Refused:
        raise
    except Exception as error:
        # The error may quote what was read.
        raise Refused(f"a damaged pickle ({type(error).__name__})") from None
    return value


def _check(value: Any, left: list[int], depth: int = 0) -> None:
    """Refuse what is no data, and what has few parts that it repeats beyond measure."""
    left[0] -= 1
    if left[0] < 0 or depth > _DEEPEST:
        raise Refused("a pickle of too many values, or too deep")
    if type(value) is dict:
        for key, each in value.items():
            _check(key, left, depth + 1)
            _check(each, left, depth + 1)
    elif type(value) in (list, tuple, set, frozenset):
        for each in value:
            _check(each, left, depth + 1)
    elif value is _MARK or type(value) is _Name:
        raise Refused("a pickle of something that is no data")


class _Machine:
    def __init__(
        self, builders: Mapping[str, Callable[..., Any]], classes: Mapping[str, type]
    ) -> None:
        self._builders = builders
        self._classes = classes
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        """Return what the program leaves on the stack."""
        for opcode, argument, _ in pickletools.genops(data):
            name = opcode.name
            if name == "STOP":
                (value,) = self._stack
                return value
            if name in _VALUES:
                self._stack.append(argument)
            elif name in _CONSTANTS:
                self._stack.append(_CONSTANTS[name]())
            elif name not in _IGNORED:
                step = getattr(self, f"_{name.lower()}", None)
                if step is None:
                    raise Refused(f"a pickle with the instruction {name}")
                step(argument)
        raise ValueError("no end")

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise ValueError("a mark")
        return value

    def _pop_to_mark(self) -> list[Any]:
        values = []
        while (value := self._stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def _top(self, kind: type) -> Any:
        value = self._stack[-1]
        if type(value) is not kind:
            raise TypeError(kind)
        return value

    # Python 2's text of bytes, which was mostly text.

    def _string(self, argument: str) -> None:
        self._stack.append(argument.encode("latin-1").decode())

    _binstring = _short_binstring = _string

    # Containers

    def _mark(self, _: Any) -> None:
        self._stack.append(_MARK)

    def _pop_mark(self, _: Any) -> None:
        self._pop_to_mark()

    def _list(self, _: Any) -> None:
        self._stack.append(self._pop_to_mark())

    def _tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._pop_to_mark()))

    def _frozenset(self, _: Any) -> None:
        self._stack.append(frozenset(self._pop_to_mark()))

    def _tuple1(self, _: Any) -> None:
        self._stack.append((self._pop(),))

    def _tuple2(self, _: Any) -> None:
        last, first = self._pop(), self._pop()
        self._stack.append((first, last))

    def _tuple3(self, _: Any) -> None:
        last, second, first = self._pop(), self._pop(), self._pop()
        self._stack.append((first, second, last))

    def _dict(self, _: Any) -> None:
        values = self._pop_to_mark()
        self._stack.append(dict(zip(values[::2], values[1::2], strict=True)))

    def _append(self, _: Any) -> None:
        value = self._pop()
        self._top(list).append(value)

    def _appends(self, _: Any) -> None:
        values = self._pop_to_mark()
        self._top(list).extend(values)

    def _additems(self, _: Any) -> None:
        values = self._pop_to_mark()
        self._top(set).update(values)

    def _setitem(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._top(dict)[key] = value

    def _setitems(self, _: Any) -> None:
        values = self._pop_to_mark()
        self._top(dict).update(zip(values[::2], values[1::2], strict=True))

    # What was there before

    def _put(self, argument: int) -> None:
        self._memo[argument] = self._stack[-1]

    _binput = _long_binput = _put

    def _memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _get(self, argument: int) -> None:
        self._stack.append(self._memo[argument])

    _binget = _long_binget = _get

    # Names, and what is made with them

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._stack.append(_Name(_PYTHON_2.get(module, module), name))

    def _stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        if type(name) is not str or type(module) is not str:
            raise TypeError("a name that is no text")
        self._stack.append(_Name(module, name))

    def _reduce(self, _: Any) -> None:
        arguments, name = self._pop(), self._pop()
        if str(name) == "copyreg._reconstructor" and self._classes:
            made, base, state = arguments
            if str(base) != "builtins.object" or state is not None:
                raise self._not_allowed(base)
            self._make(made, ())
            return
        if type(name) is not _Name or type(arguments) is not tuple:
            raise TypeError("a call of something else")
        maker = self._builders.get(str(name)) or self._classes.get(str(name))
        if maker is None:
            raise self._not_allowed(name)
        self._stack.append(maker(*arguments))

    def _newobj(self, _: Any) -> None:
        arguments, name = self._pop(), self._pop()
        self._make(name, arguments)

    def _newobj_ex(self, _: Any) -> None:
        keywords, arguments, name = self._pop(), self._pop(), self._pop()
        self._make(name, arguments, keywords)

    def _make(self, name: Any, arguments: tuple[Any, ...], keywords: Any = ()) -> None:
        if type(name) is not _Name:
            raise TypeError("an instance of something else")
        made = self._classes.get(str(name))
        if made is None:
            raise self._not_allowed(name)
        self._stack.append(made.__new__(made, *arguments, **dict(keywords)))

    def _build(self, _: Any) -> None:
        state = self._pop()
        made = self._stack[-1]
        if not any(type(made) is each for each in self._classes.values()):
            raise Refused("a pickle that changes something else than an instance")
        if hasattr(made, "__setstate__"):
            made.__setstate__(state)
            return
        attributes, slots = state if type(state) is tuple else (state, None)
        for name, value in {**(attributes or {}), **(slots or {})}.items():
            object.__setattr__(made, name, value)

    def _not_allowed(self, name: Any) -> Refused:
        return Refused(f"a pickle with {str(name)[:200]!r} in it, which is not allowed")


_VALUES: Final = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    )
)
_CONSTANTS: Final[Mapping[str, Callable[[], Any]]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
_IGNORED: Final = frozenset({"PROTO", "FRAME"})
