"""What a serializer is, and how its errors become ours."""

from __future__ import annotations

from typing import Any, Protocol

from ..errors import UnserializableValue


class Serializer(Protocol):
    """What the rest of the package asks of a serializer."""

    name: str
    """What a record's header calls it, so that a record is read by what wrote it."""

    canonical: bool
    """True if ``dumps(loads(data)) == data`` for whatever ``dumps`` made: what is stored can then
    be compared with a fresh ``dumps`` to see whether anything changed."""

    def dumps(self, state: Any, /) -> bytes:
        """Return ``state`` as bytes, or raise :class:`.UnserializableValue`."""

    def dumps_again(self, state: Any, /) -> bytes:
        """Do the same with what ``loads`` returned, when types need not be checked again.

        Since then, nothing was done but to set keys of text to None, a bool, an int, a float, a str
        or bytes.
        """

    def loads(self, data: bytes, /) -> Any:
        """Return what ``dumps`` made ``data`` of, or raise :class:`ValueError`."""


class Guarded:
    """The one place where a serializer's errors become ours; subclasses encode and decode.

    Both are raised ``from None``: a library's own error may quote the value, and a log shows the
    whole chain of causes.
    """

    name: str
    """What a record's header calls it, so that a record is read by what wrote it."""

    canonical: bool = False
    """Whether ``dumps(loads(data)) == data`` for whatever ``dumps`` made."""

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
            raise TypeError(f"dumps of {self.name} returned {type_name(data)} instead of bytes")
        return data

    def dumps_again(self, state: Any, /) -> bytes:
        """Return the same as ``dumps``, of which a subclass may know a shorter way."""
        return self.dumps(state)

    def loads(self, data: bytes, /) -> Any:
        """Return what ``dumps`` made ``data`` of.

        :raises ValueError: ``data`` is not what ``dumps`` makes.
        """
        try:
            return self._decode(data)
        except Exception as error:
            raise ValueError(f"not readable as {self.name} ({type_name(error)})") from None

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
                problem = f"has a key of type {type_name(value)}"
            elif bad_parts:
                key, value = bad_parts[0]
                path.append(key)
                continue
            elif _parts(value) and not self._fails({"": type(value)()}):
                problem = "holds too many containers inside each other"
            else:
                problem = f"is of type {type_name(value)}"
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
    return f"[{key!r}]" if type(key) in (str, int) else f"[a {type_name(key)}]"


def type_name(value: Any) -> str:
    """Return the name of a value's type, with its module unless it is a built-in one."""
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
