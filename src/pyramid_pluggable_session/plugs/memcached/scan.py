"""Listing what a memcached server holds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from pymemcache.exceptions import MemcacheServerError

from ... import clock
from ...keys import SessionKey, is_session_id

if TYPE_CHECKING:
    from .connection import Connection

# By the hash table, not by the lists of what was used when: on these, items change their places
# while somebody reads, and would be missed or seen twice.
_DUMP = b"lru_crawler metadump hash\r\n"


def scan(connection: Connection, prefix: str, patience: float) -> Iterator[SessionKey]:
    """Yield the keys of the live records whose names begin with ``prefix``.

    A server makes one list at a time: ``patience`` says how many seconds to wait for others.
    """
    until = time.monotonic() + patience
    with connection.socket.makefile("rb") as lines:
        connection.socket.sendall(_DUMP)
        while not (line := lines.readline()).startswith(b"END"):
            if line.startswith(b"BUSY") and time.monotonic() < until:
                time.sleep(0.05)
                connection.socket.sendall(_DUMP)
            elif line.startswith(b"key="):
                found = _session_key(line, prefix)
                if found is not None:
                    yield found
            else:
                raise MemcacheServerError(line[:80].decode("ascii", "replace").strip())


def _session_key(line: bytes, prefix: str) -> SessionKey | None:
    fields: Any = dict(field.partition(b"=")[::2] for field in line.split())
    name = unquote_to_bytes(fields[b"key"]).decode("ascii", "replace")
    if not name.startswith(prefix) or not is_session_id(name[len(prefix) :]):
        return None
    moment = int(fields[b"exp"])
    if moment < 0:
        return SessionKey(name[len(prefix) :], None)
    return SessionKey(name[len(prefix) :], float(moment)) if moment > clock.now() else None
