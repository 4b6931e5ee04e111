"""Options: how they are declared, and the one parser that reads them.

The core and every plug declare their options in a table of :class:`Option`. The parser reads a
table from an ini file's strings, from the query of a URL and from keywords alike, and the settings
pages of the documentation are generated from the same tables.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from urllib.parse import SplitResult, unquote

from pyramid.exceptions import ConfigurationError
from pyramid.path import DottedNameResolver

from .credentials import HIDDEN, hide_credentials

PREFIX: Final = "pluggable_session."
IMPORT: Final = f"{PREFIX}import"

REQUIRED: Final[Any] = object()
"""The default of an option that has none."""

_TRUE = frozenset({"true", "yes", "on", "1", "t", "y"})
_FALSE = frozenset({"false", "no", "off", "0", "f", "n"})


@dataclass(frozen=True)
class Option:
    """One option of the core or of a plug.

    ``name`` is what its setting's name ends with, and ``help`` one sentence for people.
    ``convert`` gets the value as it was given (a string from an ini file or a URL, anything from a
    keyword) and returns the option's value; it raises ``ValueError`` with what would be right.
    ``default`` is the option's value as such, or :data:`REQUIRED`. The value of a ``secret`` option
    is shown nowhere, and a text of any other without the credentials of a URL in it. ``from_url``
    says how a plug's URL gives the value: as ``"path"``, the URL's path, or as ``"url"``, the whole
    of it without the query that other options were read from.
    """

    name: str
    convert: Callable[[Any], Any]
    default: Any
    help: str
    secret: bool = False
    from_url: str | None = None

    def shown(self, value: Any) -> Any:
        """Return ``value`` as it may be shown to people."""
        if self.secret and value is not None:
            return HIDDEN
        if isinstance(value, (tuple, list)):
            return tuple(self.shown(each) for each in value)
        return hide_credentials(value) if isinstance(value, str) else value


# Converters. Each names what would be right; the parser says where the value was set.


def text(value: Any) -> str:
    """Convert to a non-empty string."""
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise ValueError("a text")


def boolean(value: Any) -> bool:
    """Convert strictly: a word that is neither true nor false is an error, not true."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
    raise ValueError("true or false")


def integer(value: Any) -> int:
    """Convert to an integer that is not negative."""
    try:
        number = int(value)
        # True is 1 and 1.5 is 1 to int(), but not to whoever wrote them.
        if number >= 0 and not isinstance(value, bool) and number == float(value):
            return number
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError("a whole number, 0 or more")


def positive_integer(value: Any) -> int:
    """Convert to an integer above 0."""
    try:
        if (number := integer(value)) > 0:
            return number
    except ValueError:
        pass
    raise ValueError("a whole number above 0")


def seconds(value: Any) -> float:
    """Convert to a number of seconds that is not negative and finite; takes a timedelta as well."""
    try:
        number = value.total_seconds() if isinstance(value, timedelta) else float(value)
        if math.isfinite(number) and number >= 0 and not isinstance(value, bool):
            return number
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError("a number of seconds, 0 or more")


def positive_seconds(value: Any) -> float:
    """Convert to a number of seconds above 0."""
    try:
        if (number := seconds(value)) > 0:
            return number
    except ValueError:
        pass
    raise ValueError("a number of seconds above 0")


def or_none(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a converter that also takes None, an empty value and the word ``none``."""

    def converter(value: Any) -> Any:
        if value is None or (isinstance(value, str) and value.strip().lower() in ("", "none")):
            return None
        try:
            return convert(value)
        except ValueError as error:
            raise ValueError(f"{error}, or none") from None

    return converter


def one_of(*words: str) -> Callable[[Any], str]:
    """Return a converter that takes one of the words, in any case."""

    def converter(value: Any) -> str:
        for word in words:
            if isinstance(value, str) and value.strip().lower() == word.lower():
                return word
        raise ValueError("one of " + ", ".join(words))

    return converter


def words(value: Any) -> tuple[str, ...]:
    """Convert a string of words between white space, or a sequence of strings."""
    if isinstance(value, str):
        return tuple(value.split())
    if isinstance(value, Sequence) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise ValueError("words between white space")


def path(value: Any) -> str:
    """Convert to an absolute path."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str) and value.strip() and "\0" not in value:
        # A URL with four slashes has a path that begins with two, which abspath would keep.
        return os.path.abspath(re.sub("^//+", "/", os.path.expanduser(value.strip())))
    raise ValueError("a path")


def dotted(value: Any) -> Any:
    """Convert a dotted name to the object that it names; any other object stays itself."""
    if not isinstance(value, str):
        return value
    try:
        return DottedNameResolver(None).resolve(value.strip())
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"a dotted name that can be imported ({error})") from None


def parse(
    table: Iterable[Option],
    given: Mapping[str, Any],
    where: Callable[[str], str] = str,
) -> dict[str, Any]:
    """Return the value of every option in ``table``, read from ``given`` (name → value).

    ``where`` turns an option's name into the place where it is set, for the error. Raises
    :class:`~pyramid.exceptions.ConfigurationError` for an unknown name, a bad value and a missing
    one.
    """
    options = {option.name: option for option in table}
    for name in given:
        if name not in options:
            raise unknown(name, options, where)
    values = {}
    for name, option in options.items():
        if name in given:
            try:
                values[name] = option.convert(given[name])
            except ValueError as error:
                got = "" if option.secret else f", not {option.shown(given[name])!r}"
                raise ConfigurationError(f"{where(name)} must be {error}{got}.") from None
        elif option.default is REQUIRED:
            raise ConfigurationError(f"{where(name)} is not set. {option.help}")
        else:
            values[name] = option.default
    return values


def section(settings: Mapping[str, Any] | None, prefix: str) -> dict[str, Any]:
    """Return the settings that begin with ``prefix``, by the rest of their name."""
    return {
        name[len(prefix) :]: value
        for name, value in (settings or {}).items()
        if isinstance(name, str) and name.startswith(prefix)
    }


def from_url(table: Iterable[Option], url: SplitResult) -> dict[str, Any]:
    """Return what a plug's URL says of its options, those in its query included.

    A query option that the plug has not declared is left in the URL if the plug reads the whole
    URL itself (drivers have options of their own), else it is an error in :func:`parse`.
    """
    options = {option.name: option for option in table}
    whole = next((option for option in options.values() if option.from_url == "url"), None)
    given: dict[str, Any] = {}
    left = []
    for pair in filter(None, url.query.split("&")):
        name, _, value = pair.partition("=")
        if whole is not None and name not in options:
            left.append(pair)
        else:
            given[name] = unquote(value.replace("+", " "))
    for option in options.values():
        if option.name in given and (option is whole or (option.from_url and url.path)):
            raise ConfigurationError(
                f"{option.name} is given twice: by the URL of the plug, and in its query."
            )
        if option is whole:
            given[option.name] = _joined(url._replace(query="&".join(left)))
        elif option.from_url == "path" and url.path:
            given[option.name] = unquote(url.path)
    return given


def _joined(url: SplitResult) -> str:
    """Return a URL as it was before it was split."""
    # geturl() forgets an empty host: what was scheme:///path comes back as scheme:/path.
    host = f"//{url.netloc}" if url.netloc or url.path.startswith("/") else ""
    query = f"?{url.query}" if url.query else ""
    fragment = f"#{url.fragment}" if url.fragment else ""
    return f"{url.scheme}:{host}{url.path}{query}{fragment}"


def unknown(
    name: str, known: Iterable[str], where: Callable[[str], str] = str
) -> ConfigurationError:
    """Return the error for a name that nobody knows, with the nearest one that somebody does."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return ConfigurationError(f"{where(name)} is not known. Did you mean {where(near[0])}?")
    return ConfigurationError(
        f"{where(name)} is not known. Known are: {', '.join(names) or 'none'}."
    )
