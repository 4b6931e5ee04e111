"""Applications called in this process, and the visitors whose browsers call them."""

from __future__ import annotations

import asyncio
import io
import sys
from typing import NamedTuple

_ENVIRON = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "QUERY_STRING": "",
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "80",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "127.0.0.1",
    "HTTP_HOST": "localhost",
    "HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "HTTP_ACCEPT": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "HTTP_ACCEPT_LANGUAGE": "en-GB,en;q=0.5",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": False,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
}
_LARGEST_COOKIE = 4096  # bytes, name and attributes included: browsers take no larger one


class Answer(NamedTuple):
    status: int
    body: str
    set_cookies: list


class WsgiApplication:
    """A WSGI application. ``before`` is called before each batch, outside of what is timed."""

    def __init__(self, application, before=None):
        self.application = application
        self.before = before or (lambda: None)

    def request(self, path, cookies):
        """Return what stands for a request in ``run``."""
        environ = {**_ENVIRON, "PATH_INFO": f"/{path}", "wsgi.input": io.BytesIO()}
        if cookies:
            environ["HTTP_COOKIE"] = _cookie_header(cookies)
        return environ

    def run(self, requests):
        """Call the application with each request; return what came. This is timed."""
        application, came = self.application, []
        for environ in requests:

            def start_response(status, headers, error=None):
                came.append((status, headers))

            # A dictionary of its own, as a server makes it: frameworks keep the request's
            # attributes in it, and one that is kept keeps every session alive.
            body = application(dict(environ), start_response)
            came.append(b"".join(body))
            if hasattr(body, "close"):
                body.close()
        return came

    def answers(self, came):
        """Return what ``run`` returned as answers."""
        return [
            Answer(
                int(status[:3]),
                body.decode(),
                [value for name, value in headers if name.lower() == "set-cookie"],
            )
            for (status, headers), body in zip(came[::2], came[1::2], strict=True)
        ]


class AsgiApplication:
    """An ASGI application, called in an event loop that is entered once for each batch."""

    loop = None

    def __init__(self, application):
        self.application = application
        self.before = lambda: None
        if AsgiApplication.loop is None:
            AsgiApplication.loop = asyncio.new_event_loop()

    def request(self, path, cookies):
        headers = [
            (name[5:].lower().replace("_", "-").encode(), value.encode())
            for name, value in _ENVIRON.items()
            if name.startswith("HTTP_")
        ]
        if cookies:
            headers.append((b"cookie", _cookie_header(cookies).encode()))
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": f"/{path}",
            "raw_path": f"/{path}".encode(),
            "root_path": "",
            "query_string": b"",
            "headers": headers,
            "client": ("127.0.0.1", 50000),
            "server": ("localhost", 80),
        }

    def run(self, requests):
        return self.loop.run_until_complete(self._run(requests))

    async def _run(self, requests):
        application, came = self.application, []

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            came.append(message)

        for scope in requests:
            await application(dict(scope), receive, send)
        return came

    def answers(self, came):
        answers = []
        for message in came:
            if message["type"] == "http.response.start":
                cookies = [
                    value.decode() for name, value in message["headers"] if name == b"set-cookie"
                ]
                answers.append(Answer(message["status"], "", cookies))
            else:
                body = message.get("body", b"").decode()
                answers[-1] = answers[-1]._replace(body=answers[-1].body + body)
        return answers


class Visitor:
    """A browser with the cookies of one session, and what the session's counter must be."""

    def __init__(self):
        self.cookies = {}
        self.counter = 0

    def take(self, set_cookies):
        """Do as a browser does with the Set-Cookie headers of an answer."""
        for each in set_cookies:
            pair, *attributes = each.split(";")
            name, _, value = pair.partition("=")
            attributes = {part.strip().lower() for part in attributes}
            ended = any("01 jan 1970" in part or "01-jan-1970" in part for part in attributes)
            if ended or "max-age=0" in attributes:
                self.cookies.pop(name, None)
            elif len(each) <= _LARGEST_COOKIE:
                self.cookies[name] = value


def _cookie_header(cookies):
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


def ask(application, path, visitor=None, cookies=None):
    """Make one request, as a visitor or with some cookies; return the answer."""
    application.before()
    if visitor is not None:
        cookies = visitor.cookies
    came = application.run([application.request(path, cookies)])
    (answer,) = application.answers(came)
    if visitor is not None:
        visitor.take(answer.set_cookies)
    return answer
