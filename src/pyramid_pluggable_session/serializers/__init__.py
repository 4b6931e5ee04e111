"""From a session's state to bytes and back.

:class:`MsgpackSerializer` is the default: what goes in comes out equal and of the same type, or
``dumps`` says what would not. :class:`JSONSerializer` and :class:`PickleSerializer` are chosen by
name, and :func:`adapt` takes what others have written.
"""

from __future__ import annotations

import pickle
from typing import Any

from pyramid.session import JSONSerializer as PyramidJSONSerializer

from .base import Guarded, Serializer, type_name
from .msgpack import MAX_DEPTH, MsgpackSerializer

__all__ = [
    "BUILT_IN",
    "MAX_DEPTH",
    "JSONSerializer",
    "MsgpackSerializer",
    "PickleSerializer",
    "Serializer",
    "adapt",
]


class JSONSerializer(Guarded):
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


class PickleSerializer(Guarded):
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


class _Adapted(Guarded):
    """An object of a third party with ``dumps`` and ``loads``."""

    def __init__(self, theirs: Any) -> None:
        self.name = getattr(theirs, "name", None) or type_name(theirs)
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
    if isinstance(obj, Guarded):
        return obj
    for method in ("dumps", "loads"):
        if not callable(getattr(obj, method, None)):
            raise TypeError(f"a serializer has dumps and loads; {type_name(obj)} has no {method}")
    adapted = _Adapted(obj)
    if adapted.name in BUILT_IN:
        raise ValueError(f"{adapted.name!r} is the name of another serializer; give yours its own")
    return adapted
