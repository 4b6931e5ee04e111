"""What Beaker's storages have in common: how the entry of a session is kept there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pyramid.exceptions import ConfigurationError

from ..pickles import loads_envelope
from ..sessions import Refused

ENTRY: Final = "session"


class Old:
    """What the storages have in common: a plug that only reads and deletes."""

    outages: tuple[type[Exception], ...] = ()
    name = ""

    def dumps(self, session: Any, request: Any, session_data: bytes) -> None:
        """Never: what is there is left to Beaker."""
        raise NotImplementedError

    def unpack(self, stored: bytes) -> Any:
        """Return the wrapped data that a record has."""
        return text(loads_envelope(stored))


def text(value: Any) -> Any:
    """Return the value of an entry, None if there is none. Raise Refused for anything else."""
    if not isinstance(value, (str, bytes, type(None))):
        raise Refused("an entry that is no text")
    return value


def text_in_dict(stored: bytes) -> Any:
    """Return the entry of those that are in a pickled dict."""
    entries = loads_envelope(stored)
    if type(entries) is not dict:
        raise Refused("entries that are no dict")
    return text(entries.get(ENTRY))


def needed(given: Mapping[str, Any], *names: str) -> str:
    """Return the first setting of these that is set. Raise ConfigurationError if none is."""
    for name in names:
        if given.get(name):
            return str(given[name])
    raise ConfigurationError(
        f"{' or '.join(f'session.{name}' for name in names)} must be set for session.type = "
        f"{given.get('type') or 'file'}. Keep the old settings session.* as they were."
    )


def to_install(extra: str, error: ImportError) -> ConfigurationError:
    """Return the error for a driver that is missing."""
    return ConfigurationError(
        f"To read Beaker's sessions from there: pip install 'pyramid_pluggable_session[{extra}]' "
        f"({error})"
    )
