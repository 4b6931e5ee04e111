"""What memcached answers. Anything that is not the answer to the question is an error."""

from __future__ import annotations

import socket
from typing import Any, Final

from pymemcache.exceptions import (
    MemcacheClientError,
    MemcacheServerError,
    MemcacheUnexpectedCloseError,
    MemcacheUnknownCommandError,
    MemcacheUnknownError,
)

_CHUNK: Final = 1 << 14  # bytes; memory for more is slow to get
_LONGEST_LINE: Final = 4096  # bytes
_END: Final = b"\r\nEND\r\n"

_WORDS: Final = {
    b"set": (b"STORED",),
    b"add": (b"STORED", b"NOT_STORED"),
    b"cas": (b"STORED", b"EXISTS", b"NOT_FOUND"),
    b"delete": (b"DELETED", b"NOT_FOUND"),
}


def word(connected: socket.socket, verb: bytes) -> bytes:
    """Return the word that answers a command that stores or deletes."""
    line, rest = _line(connected)
    if line not in _WORDS[verb] or rest:
        raise _error(line, verb)
    return line


def value(connected: socket.socket, key: bytes) -> tuple[bytes | None, bytes | None]:
    """Return the value and the token that answer a ``gets`` of one key, None if it is absent."""
    line, rest = _line(connected)
    if line == b"END" and not rest:
        return None, None
    if not line.startswith(b"VALUE "):
        raise _error(line, b"gets")
    _, found, _, digits, token = line.split(b" ")
    size = int(digits)
    if found != key or size < 0:
        raise MemcacheUnknownError("the answer is to another question")
    missing = size + len(_END) - len(rest)
    if missing > 0:
        pieces = [rest]
        while missing > 0:
            pieces.append(_receive(connected, missing))
            missing -= len(pieces[-1])
        rest = b"".join(pieces)
    if rest[size:] != _END:
        raise MemcacheUnknownError("the answer has not the length that it says")
    return rest[:size], token


def _line(connected: socket.socket) -> tuple[bytes, bytes]:
    """Return the first line, and what has come of the rest."""
    answer = connected.recv(_CHUNK)
    while (end := answer.find(b"\r\n")) < 0:
        if not answer:
            raise MemcacheUnexpectedCloseError
        if len(answer) > _LONGEST_LINE:
            raise MemcacheUnknownError("the answer does not end")
        answer += _receive(connected, _CHUNK)
    return answer[:end], answer[end + 2 :]


def _receive(connected: socket.socket, most: int) -> bytes:
    received = connected.recv(min(most, _CHUNK))
    if not received:
        raise MemcacheUnexpectedCloseError
    return received


def _error(line: bytes, verb: bytes) -> Any:
    kind, _, message = line.decode("ascii", "replace").partition(" ")
    if kind == "ERROR":
        return MemcacheUnknownCommandError(message or verb.decode())
    if kind == "CLIENT_ERROR":
        return MemcacheClientError(message)
    if kind == "SERVER_ERROR":
        return MemcacheServerError(message)
    # No more of it: an answer to another question may have somebody's session id in it.
    return MemcacheUnknownError(f"the answer to a {verb.decode()} is none, but {kind[:16]!r}")
