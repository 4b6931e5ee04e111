"""How data was serialized: JSON, pickle, or by a function of the application's own."""

from __future__ import annotations

import json
import pickle
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from pyramid.exceptions import ConfigurationError

from ..settings import PREFIX, dotted, words
from . import pickles
from .sessions import Refused

Reader = Callable[[bytes], Any]

LARGEST: Final = pickles.LARGEST
"""Bytes of an old session, unpacked, beyond which it is refused."""

_UNPICKLERS: Final = (pickle.loads, pickle._loads)  # type: ignore[attr-defined]


def classes(value: Any) -> tuple[type, ...]:
    """Convert dotted names, or a sequence of them or of classes, to classes."""
    given: Iterable[Any] = words(value) if isinstance(value, str) else value
    found = tuple(dotted(each) for each in given)
    if not all(isinstance(each, type) for each in found):
        raise ValueError("dotted names of classes")
    return found


def by_name(listed: Iterable[type]) -> Mapping[str, type]:
    """Return the classes by the names that a pickle has for them."""
    return {f"{each.__module__}.{each.__qualname__}": each for each in listed}


def pickle_reader(allow_pickle: bool, listed: Iterable[type], whose: str) -> Reader:
    """Return a reader of pickles. Raise ConfigurationError if that was not asked for."""
    if not allow_pickle:
        raise ConfigurationError(
            f"{whose} are pickled. To have them read, set {PREFIX}import.allow_pickle = true. "
            "Nothing in them is run: they may hold plain data, and the classes that are listed in "
            f"{PREFIX}import.classes."
        )
    admitted = by_name(listed)
    return lambda data: pickles.loads(data, admitted)


def own_reader(function: Any, allow_pickle: bool, listed: Iterable[type], whose: str) -> Reader:
    """Return a reader that calls a function of the application's own, if it does not unpickle."""
    if function in _UNPICKLERS:
        return pickle_reader(allow_pickle, listed, whose)

    def read(data: bytes) -> Any:
        try:
            return function(data)
        except Exception as error:
            raise Refused(f"damaged data ({type(error).__name__})") from None

    return read


def read_json(data: bytes) -> Any:
    """Return what JSON holds."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Refused(f"damaged JSON ({type(error).__name__})") from None


def unzip(data: bytes) -> bytes:
    """Return zipped bytes as they were."""
    try:
        unpacker = zlib.decompressobj()
        unpacked = unpacker.decompress(data, LARGEST)
    except zlib.error:
        raise Refused("damaged data (zlib.error)") from None
    if not unpacker.eof:
        raise Refused(f"zipped data, cut or of more than {LARGEST} bytes")
    return unpacked


def as_dict(value: Any) -> dict[str, Any]:
    """Return the data of a session as such."""
    if type(value) is not dict:
        raise Refused("data that is no dict")
    return value


def as_time(value: Any) -> float:
    """Return a time of an old session in epoch seconds."""
    if type(value) not in (int, float) or not 0 <= value < 1 << 40:
        raise Refused("a time that is none")
    return float(value)
