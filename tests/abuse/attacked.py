"""A small site, served over real sockets, for attacks that are sent as raw bytes.

In a thread of the tests, so that a test can count what reaches the storage; or as a process of its
own, for what happens at its start: ``python attacked.py NAME=VALUE...`` with settings.
"""

from __future__ import annotations

import http.client
import itertools
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable
from typing import NamedTuple

import waitress
from pyramid.config import Configurator
from pyramid.csrf import get_csrf_token
from pyramid.httpexceptions import HTTPSeeOther
from pyramid.response import Response
from pyramid.security import forget, remember
from waitress import wasyncore

from pyramid_pluggable_session import SessionAuthenticationHelper

SECRET = "0123456789abcdef" * 3
LARGEST_HEADER = 1024 * 1024


class Policy(SessionAuthenticationHelper):
    """A security policy of what Pyramid asks for and no more."""

    def identity(self, request):
        return self.authenticated_userid(request)

    def permits(self, request, context, permission):
        return self.identity(request) is not None


def make_app(settings, plug=None):
    """Return the application. ``settings`` are the package's, without their prefix."""
    settings = {f"pluggable_session.{name}": value for name, value in settings.items()}
    with Configurator(settings={"pluggable_session.secret": SECRET, **settings}) as config:
        config.include("pyramid_pluggable_session")
        config.set_security_policy(Policy())
        for view in (public, mine, visit, put, whoami, login, logout, token, form, fail):
            config.add_route(view.__name__, f"/{view.__name__}")
            config.add_view(view, route_name=view.__name__, require_csrf=view is form)
        if plug is not None:
            config.set_session_plug(plug)
        return config.make_wsgi_app()


def answer(request, text):
    """Return a page with a number of its own, by which a copy out of a cache is known."""
    response = Response(f"{text} #{next(_numbers)}", content_type="text/plain", charset="utf-8")
    if "cache" in request.GET:
        response.headers["Cache-Control"] = request.GET["cache"]
    return response


_numbers = itertools.count()


def public(request):
    """A page that is the same for everybody, and does not look into the session."""
    return answer(request, "public")


def mine(request):
    return answer(request, f"for {request.authenticated_userid}")


def visit(request):
    """A page that changes the session of whoever comes."""
    visits = request.session["visits"] = request.session.get("visits", 0) + 1
    return answer(request, f"visit {visits}")


def put(request):
    """Store what was sent, names and values."""
    request.session.update(request.POST)
    return answer(request, "stored")


def whoami(request):
    """Say what the session has, without a number."""
    return Response(json_body=dict(request.session))


def login(request):
    return HTTPSeeOther("/mine", headers=remember(request, request.params["user"]))


def logout(request):
    return HTTPSeeOther("/mine", headers=forget(request))


def token(request):
    return Response(get_csrf_token(request))


def form(request):
    """Only with the CSRF token."""
    return Response("done")


def fail(request):
    """Change the session and fail, with all of it on the stack."""
    session = request.session
    session["last"] = session.session_id
    raise RuntimeError("the application has a bug")


class Site:
    """The application, served by a thread."""

    def __init__(self, plug="memory", **settings):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._server = waitress.create_server(
            make_app(settings, plug),
            sockets=[self._listener],
            max_request_header_size=LARGEST_HEADER,
        )
        self._ending = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        # As the server's own ``run`` does, which ends with its process only.
        while not self._ending:
            wasyncore.loop(1, map=self._server._map, count=1)

    def close(self):
        self._ending = True
        self._server.trigger.pull_trigger()
        self._thread.join(60)
        self._server.task_dispatcher.shutdown()
        wasyncore.close_all(self._server._map)
        self._listener.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


class Answer(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    text: str

    def all(self, name):
        """Return every value of a header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def cookies(self):
        """The cookies that it sets, by name; an empty value deletes one."""
        lines = self.all("Set-Cookie")
        return {line.partition("=")[0]: line.partition("=")[2].split(";")[0] for line in lines}


def request(method, path, headers: Iterable[bytes] = (), body=b""):
    """Return a request as bytes. The headers are whole lines."""
    lines = [f"{method} {path} HTTP/1.1".encode(), b"Host: site.example", *headers]
    if method == "POST":
        lines += [
            b"Content-Type: application/x-www-form-urlencoded",
            b"Content-Length: %d" % len(body),
        ]
    return b"\r\n".join([*lines, b"", body])


class Wire:
    """One connection, kept open."""

    def __init__(self, port):
        self._socket = socket.create_connection(("127.0.0.1", port), 20)

    def send(self, *requests):
        """Send requests as they are, all at once, and return their answers."""
        self._socket.sendall(b"".join(requests))
        # One reader for all of them: each would swallow the beginning of the next answer.
        with self._socket.makefile("rb") as file:
            return [self._answer(file) for _ in requests]

    @staticmethod
    def _answer(file):
        response = http.client.HTTPResponse(_Readable(file))
        response.begin()
        text = response.read().decode()
        return Answer(response.status, response.getheaders(), text)

    def close(self):
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


class _Readable:
    """What HTTPResponse takes for a socket. It closes what it is given."""

    def __init__(self, file):
        self._file = file

    def makefile(self, mode):
        return _Unclosed(self._file)


class _Unclosed:
    def __init__(self, file):
        self._file = file

    def __getattr__(self, name):
        return getattr(self._file, name)

    def close(self):
        pass


class Browser:
    """A client that keeps its cookies, or has exactly those that it is given."""

    def __init__(self, port, cookies=None):
        self._port = port
        self.cookies = dict(cookies or {})

    def get(self, path):
        return self.ask("GET", path)

    def post(self, path, body=b""):
        return self.ask("POST", path, body)

    def ask(self, method, path, body=b""):
        header = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        lines = [f"Cookie: {header}".encode()] if header else []
        given = send(self._port, request(method, path, lines, body))
        for name, value in given.cookies.items():
            self.cookies[name] = value
            if not value:
                del self.cookies[name]
        return given


def send(port, raw):
    """Send one request on a connection of its own, and return the answer."""
    with Wire(port) as wire:
        (given,) = wire.send(raw)
    return given


class Process:
    """The application as a process of its own, with all that it says."""

    def __init__(self, *settings, **options):
        self._process = subprocess.Popen(
            [sys.executable, "-u", __file__, *settings],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **options,
        )
        self.said = ""
        self.port = None
        while self.port is None and (line := self._process.stdout.readline()):
            if line.startswith("port "):
                self.port = int(line.split()[1])
            else:
                self.said += line

    def close(self):
        """End the process. What it said is in ``said``, all of it."""
        self._process.terminate()
        self.said += self._process.communicate(timeout=60)[0]

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


def main(arguments):
    """Serve until somebody ends the process, and say everything that there is to say."""
    settings = dict(argument.split("=", 1) for argument in arguments)
    logging.basicConfig(level=logging.DEBUG)
    logging.captureWarnings(True)
    listener = socket.create_server(("127.0.0.1", 0))
    app = make_app(settings)
    print("port", listener.getsockname()[1])
    waitress.serve(app, sockets=[listener], expose_tracebacks=True, threads=2)


if __name__ == "__main__":
    main(sys.argv[1:])
