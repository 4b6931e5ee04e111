"""Proxies between a client and a server: they tell what is asked for, and can fail.

``Proxy`` hands on bytes, and can be a bad network. ``HttpRelay`` hands on requests by HTTP.
"""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

# What nobody may take for an answer: noise, what load balancers say, and too little.
GARBAGE = (
    b"\xde\xad\xbe\xef" * 8,
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nno",
    b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    b"?\r\n",
)
_CHUNK = 1 << 20
_RESET = struct.pack("ii", 1, 0)


class Fault(NamedTuple):
    """What happens to a piece of what is said: it comes ``delay`` seconds late, and ``then``...

    - nothing more, if that is empty;
    - ``cut``: half of it comes, and the connection is closed;
    - ``stall``: half of it comes, and the rest only after the delay;
    - ``reset``: the connection is reset in place of it, at both ends;
    - ``garbage``: something else comes in place of it;
    - ``swallow``: nothing comes in place of it, and the connection stays.
    """

    delay: float = 0.0
    then: str = ""


NONE = Fault()
BLACK_HOLE = Fault(then="swallow")


class Connection:
    """A client's connection, and the one to the server that what it says is handed on by."""

    def __init__(self, client, server):
        self.client, self.server = client, server
        self.waits = False  # the client has asked, and has not been answered
        self._left = 2
        self._lock = threading.Lock()
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def hang_up(self):
        """End both directions."""
        for end in (self.client, self.server):
            _shut(end)

    def reset(self):
        """Let both ends be reset, once both directions have ended, instead of an orderly end."""
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                # Whoever reads from it would keep it open. This wakes him, and sends nothing.
                end.shutdown(socket.SHUT_RD)

    def leave(self):
        """Note that one direction has ended. The last one closes the connection."""
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self.client.close()
            self.server.close()


class Proxy:
    """Hands on what clients and a server say.

    ``on_question`` and ``on_answer`` may be set, or overridden: functions of a piece of what is
    said and its connection, which return the fault that is to happen to it.
    """

    def __init__(self, server):
        self.server = server
        self.connections = 0  # that were made
        self.trips = 0  # how many times clients began to wait for an answer
        self._ended = threading.Event()
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._threads = []
        self._open = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    def on_question(self, piece, connection):
        return NONE

    def on_answer(self, piece, connection):
        return NONE

    def url(self, url=None):
        """Return the URL of the server, or another one of its URLs, by way of the proxy."""
        url = url or self.server.url
        # In DynamoDB's, the address is percent-encoded.
        for colon in (":", "%3A"):
            url = url.replace(f"{colon}{self.server.port}", f"{colon}{self.port}")
        return url

    @contextlib.contextmanager
    def expect(self, trips):
        """Check that clients wait for the server so many times."""
        before = self.trips
        yield
        assert self.trips - before == trips

    def mend(self):
        """Hand on everything again, on new connections: old ones may have lost something."""
        self.on_question = self.on_answer = lambda *_: NONE
        self.hang_up()

    def hang_up(self):
        """Close all connections."""
        with self._lock:
            connections, self._open = self._open, []
        for each in connections:
            each.hang_up()

    def __enter__(self):
        self._listening.start()
        return self

    def __exit__(self, *exception):
        self._ended.set()
        _shut(self._listener)
        self._listening.join()  # from then on there are no more connections
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join(10)

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
            connection = Connection(client, server)
            with self._lock:
                self.connections += 1
                self._open = [each for each in self._open if each.client.fileno() >= 0]
                self._open.append(connection)
            self._run(self._hand_on, connection, client, server, self._question)
            self._run(self._hand_on, connection, server, client, self._answer)

    def _question(self, piece, connection):
        if not connection.waits:
            connection.waits = True
            with self._lock:
                self.trips += 1
        return self.on_question(piece, connection)

    def _answer(self, piece, connection):
        connection.waits = False
        return self.on_answer(piece, connection)

    def _hand_on(self, connection, source, target, choose):
        with contextlib.suppress(OSError):
            while piece := source.recv(_CHUNK):
                fault = choose(piece, connection)
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
                    connection.reset()
                    connection.leave()
                    return
                if fault.then == "swallow":
                    continue
                target.sendall(random.choice(GARBAGE) if fault.then == "garbage" else piece)
        connection.hang_up()
        connection.leave()


def _shut(each):
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)


class HttpRelay:
    """Hands requests on to a server, and lists what operations they ask for.

    Subclasses say how an operation is named, and which requests are answered by a function of
    ``answers`` instead. Such a function gets the request's handler, which has the ``body``.
    """

    def __init__(self, server=None):
        self.server = server
        self.operations = []
        self.headers = []
        self.answers = []
        relay = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                self.body = self.rfile.read(int(self.headers["Content-Length"]))
                operation = relay.operation_of(self)
                relay.operations.append(operation)
                relay.headers.append(self.headers)
                answer = relay.answer_to(operation) or relay.hand_on
                answer(self)

            def log_message(self, *arguments):
                pass

        self.listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.listener.serve_forever, args=(0.05,))

    def operation_of(self, handler):
        """Return the name of the operation that is asked for."""
        raise NotImplementedError

    def answer_to(self, operation):
        """Return the function that answers, None to hand the request on."""
        raise NotImplementedError

    def hand_on(self, handler):
        """Answer a request as the server does."""
        if self.server is None:
            hang_up(handler)
        else:
            reply(handler, *forward(handler, self.server))

    @property
    def address(self):
        return f"127.0.0.1:{self.listener.server_port}"

    def taken(self):
        """Return the operations since the last time."""
        taken, self.operations[:] = list(self.operations), []
        return taken

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exception):
        self.listener.shutdown()
        self.thread.join()
        self.listener.server_close()


def forward(handler, server):
    """Do a request at the server; return the answer's status, body and type."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=20)
    try:
        connection.request("POST", handler.path, handler.body, dict(handler.headers))
        response = connection.getresponse()
        return response.status, response.read(), response.headers["Content-Type"]
    finally:
        connection.close()


def reply(handler, status, body, kind="application/octet-stream"):
    """Answer a request."""
    head = (
        f"HTTP/1.1 {status} Status\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    handler.wfile.write(head.encode() + body)


def hang_up(handler):
    """Close the connection without an answer."""
    handler.close_connection = True
