"""Sessions of Beaker in memcached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ...plugs.common_options import CONNECT_TIMEOUT, TIMEOUT
from ...plugs.per_process import PerProcess
from ..formats import unzip
from ..pickles import loads_envelope
from .entries import ENTRY, Old, needed, text, to_install


class MemcachedStorage(Old):
    """Memcached, as its Python clients leave it."""

    name = "of Beaker (memcached)"

    def __init__(self, given: Mapping[str, Any]) -> None:
        try:
            from pymemcache.client.base import PooledClient  # noqa: PLC0415
            from pymemcache.exceptions import MemcacheError  # noqa: PLC0415
        except ImportError as error:
            raise to_install("memcached", error) from error
        self.outages = (MemcacheError,)
        # A client chooses one of several by a sum of the key, each in its own way. All are asked.
        places = [each.strip() for each in needed(given, "url").split(";") if each.strip()]
        self._clients = PerProcess(
            lambda: [
                PooledClient(
                    place,
                    connect_timeout=CONNECT_TIMEOUT.default,
                    timeout=TIMEOUT.default,
                    serde=_Flags(),
                    default_noreply=False,
                )
                for place in map(_address, places)
            ]
        )

    def loads(self, session: Any, request: Any) -> bytes | None:
        """Return the value, with its flags in front."""
        for client in self._clients():
            found: bytes | None = client.get(f"{session.session_id}_{ENTRY}")
            if found is not None:
                return found
        return None

    def clear(self, session: Any, request: Any) -> None:
        """Delete the value."""
        for client in self._clients():
            client.delete(f"{session.session_id}_{ENTRY}")

    def unpack(self, stored: bytes) -> Any:
        """Return the value, which a client may have zipped, and pickled if it was no text."""
        flags, value = stored[0], stored[1:]
        if flags & _ZIPPED:
            value = unzip(value)
        return text(loads_envelope(value)) if flags & _PICKLED else value

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.take() or ():
            client.close()


_PICKLED: Final = 1
_ZIPPED: Final = 8


class _Flags:
    """Gives a value its flags, by which clients note what they have done to it."""

    def deserialize(self, key: Any, value: bytes, flags: int) -> bytes:
        return bytes([flags & 0xFF]) + value


def _address(place: str) -> Any:
    place = place.removeprefix("inet:")
    if place.startswith(("unix:", "/")):
        return place.removeprefix("unix:")
    host, _, port = place.rpartition(":") if ":" in place else (place, "", "11211")
    return host, int(port)
