"""A TCP proxy that stands for a bad network, and for a server that does not do as it should."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from typing import NamedTuple

# What nobody may take for an answer: noise, what load balancers say, and too little.
GARBAGE = (
    b"\xde\xad\xbe\xef" * 8,
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nno",
    b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    b"?\r\n",
)
_CHUNK = 65536
_RESET = struct.pack("ii", 1, 0)


class Fault(NamedTuple):
    """What happens to a piece of what is said: it comes ``delay`` seconds late, and ``then``...

    - nothing more, if that is empty;
    - ``cut``: half of it comes, and the connection is closed;
    - ``stall``: half of it comes, and the rest only after the delay;
    - ``reset``: the connection is reset in place of it;
    - ``garbage``: something else comes in place of it;
    - ``swallow``: nothing comes in place of it, and the connection stays.
    """

    delay: float = 0.0
    then: str = ""


NONE = Fault()
BLACK_HOLE = Fault(then="swallow")


class Proxy:
    """Hands on what clients and a server say.

    ``on_question`` and ``on_answer`` are called for each piece, and return the fault that is to
    happen to it.
    """

    def __init__(self, server):
        self.server = server
        self.on_question = self.on_answer = lambda: NONE
        self._ended = threading.Event()
        self._threads = []
        self._sockets = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    def url(self, url=None):
        """Return the URL of the server, or another one of its URLs, by way of the proxy."""
        url = url or self.server.url
        # In DynamoDB's, the address is percent-encoded.
        for colon in (":", "%3A"):
            url = url.replace(f"{colon}{self.server.port}", f"{colon}{self.port}")
        return url

    def mend(self):
        """Hand on everything again, on new connections: old ones may have lost something."""
        self.on_question = self.on_answer = lambda: NONE
        self.hang_up()

    def hang_up(self):
        """Close all connections."""
        while self._sockets:
            _shut(self._sockets.pop())

    def __enter__(self):
        self._run(self._listen)
        return self

    def __exit__(self, *exception):
        self._ended.set()
        _shut(self._listener)
        self.hang_up()
        for thread in list(self._threads):
            thread.join(10)
        self._listener.close()

    def _run(self, target, *arguments):
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads = [each for each in self._threads if each.is_alive()] + [thread]
        thread.start()

    def _listen(self):
        while not self._ended.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection((self.server.host, self.server.port), 10)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            pair = _Pair(client, server)
            self._sockets = [each for each in self._sockets if each.fileno() >= 0] + [*pair.ends]
            self._run(self._hand_on, pair, client, server, lambda: self.on_question())
            self._run(self._hand_on, pair, server, client, lambda: self.on_answer())

    def _hand_on(self, pair, source, target, choose):
        with contextlib.suppress(OSError):
            while piece := source.recv(_CHUNK):
                fault = choose()
                half = random.randrange(len(piece))
                if fault.then == "stall":
                    target.sendall(piece[:half])
                    piece = piece[half:]
                if fault.delay:
                    self._ended.wait(fault.delay)
                if fault.then == "cut":
                    target.sendall(piece[:half])
                    break
                if fault.then == "reset":
                    target.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    pair.reset = True
                    break
                if fault.then == "swallow":
                    continue
                target.sendall(random.choice(GARBAGE) if fault.then == "garbage" else piece)
        pair.leave()


class _Pair:
    """The two ends of a connection, closed when both directions have ended."""

    def __init__(self, *ends):
        self.ends = ends
        self.reset = False
        self._left = 2
        self._lock = threading.Lock()
        for end in ends:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def leave(self):
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if not last:
            # Ends the other direction, once it has waited out its delay. A client that is to be
            # reset must not see an orderly end first.
            for end in self.ends[1:] if self.reset else self.ends:
                _shut(end)
            return
        for end in self.ends:
            end.close()


def _shut(each):
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
