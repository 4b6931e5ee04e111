"""Real web servers and real HTTP: preloaded applications, forks, threads and killed workers."""

from __future__ import annotations

import http
import http.client
import importlib.util
import itertools
import json
import os
import random
import signal
import sys
import threading
from functools import partial
from urllib.parse import urlencode

import pytest
from served import on

from proxies import Proxy
from servers import Server

pytestmark = pytest.mark.slow

HERE = os.path.dirname(__file__)
WORKERS, THREADS = 4, 2

STORAGES = ("file", "sqlite")
ON_SERVERS = ("valkey", "memcached", "postgresql")


@pytest.fixture
def proxy(storage, running):
    """Return a proxy before the storage's server, None if it has none."""
    if storage not in ON_SERVERS:
        yield None
        return
    with Proxy(running(storage)) as proxy:
        yield proxy


@pytest.fixture
def settings(storage, tmp_path, proxy):
    """Return the settings of a storage."""
    if proxy is not None:
        # A machine that is slow is no reason for an error.
        return {"pluggable_session.plug": f"{proxy.url()}?timeout=30&connect_timeout=30"}
    where = on(storage, tmp_path)
    return {"pluggable_session.plug": where["plug"], **where["settings"]}


class WebServer(Server):
    """A web server with the application of ``served.py``, loaded before it forks."""

    forks = True

    def __init__(self, folder, settings):
        super().__init__(folder)
        self.settings = settings

    def options(self):
        path = os.pathsep.join([HERE, *filter(None, sys.path)])
        served = {"SERVED_SETTINGS": json.dumps(self.settings), "PYTHONPATH": path}
        return {"env": {**os.environ, **served}}

    @property
    def address(self):
        return f"{self.host}:{self.port}"


class GunicornSync(WebServer):
    module = "gunicorn"
    kind = ("--worker-class", "sync")

    def command(self):
        return [
            sys.executable, "-m", "gunicorn", "--preload", "--bind", self.address,
            "--workers", str(WORKERS), *self.kind, "--no-control-socket", "served:make_app()",
        ]  # fmt: skip


class GunicornThreads(GunicornSync):
    kind = ("--worker-class", "gthread", "--threads", str(THREADS))


class Uwsgi(WebServer):
    module = "pyuwsgi"

    def command(self):
        return [
            sys.executable, "-c", "import pyuwsgi; pyuwsgi.run()", "--die-on-term", "--need-app",
            "--master", "--processes", str(WORKERS), "--threads", str(THREADS), "--enable-threads",
            "--http-socket", self.address, "--module", "served:make_app()",
        ]  # fmt: skip


class Waitress(WebServer):
    module = "waitress"
    forks = False

    def command(self):
        return [
            sys.executable, "-m", "waitress", "--listen", self.address,
            "--threads", str(WORKERS * THREADS), "--call", "served:make_app",
        ]  # fmt: skip


SERVERS = {
    "gunicorn, sync": GunicornSync,
    "gunicorn, threads": GunicornThreads,
    "uwsgi": Uwsgi,
    "waitress": Waitress,
}


class Browser:
    """A client that keeps its cookie, on real sockets."""

    def __init__(self, server, name):
        self.server, self.name, self.cookie = server, name, None
        self.sent, self.acknowledged = [], []

    def get(self, **query):
        """Return the answer, or None if there was an error."""
        connection = http.client.HTTPConnection(self.server.host, self.server.port, timeout=30)
        try:
            headers = {"Cookie": f"session={self.cookie}"} if self.cookie else {}
            connection.request("GET", "/?" + urlencode(query), headers=headers)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        if response.status == http.HTTPStatus.SERVICE_UNAVAILABLE:
            return None
        assert response.status == http.HTTPStatus.OK, (response.status, body)
        for name, value in response.getheaders():
            if name == "Set-Cookie" and value.startswith("session="):
                self.cookie = value.partition(";")[0].partition("=")[2]
        return json.loads(body)

    def note(self, text):
        """Append to the session's notes, and return the answer."""
        text = f"{self.name} {text}"
        self.sent.append(text)
        answer = self.get(text=text)
        if answer is not None:
            self.acknowledged.append(text)
        return answer


def in_threads(*works):
    """Call each in a thread of its own, all at once; raise what one of them raised."""
    errors = []

    def run(work):
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.mark.parametrize(
    ("storage", "kind"),
    [
        *itertools.product(STORAGES, SERVERS),
        *itertools.product(ON_SERVERS, ["gunicorn, sync"]),
        *(
            pytest.param(*each, marks=pytest.mark.soak)
            for each in itertools.product(ON_SERVERS, SERVERS)
            if "gunicorn, sync" not in each
        ),
    ],
)
@pytest.mark.experiment("a web server")
def test_web_server(experiment, kind, storage, proxy, settings, tmp_path, missing):
    if importlib.util.find_spec(SERVERS[kind].module) is None:
        missing(f"{SERVERS[kind].module} is not installed")
    experiment.storage = f"{storage}, {kind}"
    with SERVERS[kind](tmp_path, settings) as server:
        workers, killed, cookies = set(), set(), []
        for run in experiment.repeat(short=2, long=25):
            browsers = [Browser(server, f"{run}.{i}") for i in range(8)]
            works = [partial(browse, experiment, browser, workers) for browser in browsers]
            if server.forks and workers - killed:
                # The master starts another one in its place.
                victim = random.choice(sorted(workers - killed))
                killed.add(victim)
                works.append(partial(os.kill, victim, signal.SIGKILL))
            in_threads(*works)
            if run == 0 and proxy is not None and server.forks:
                # The first one was made before they were forked, and must not be used by any.
                shared = experiment.errors > 0 or proxy.connections <= len(workers)
                assert not shared, "workers share a connection"
            cookies += [browser.cookie for browser in browsers if browser.cookie is not None]
        # Ids that workers draw after a fork must not be the same ones.
        experiment.forged += len(cookies) - len(set(cookies))
        assert len(workers) > 1 or not server.forks, "one worker did it all"


def browse(experiment, browser, workers):
    """Append again and again, at last from several tabs at once."""
    for number in range(6):
        answer = browser.note(number)
        check(experiment, browser, answer)
        if answer is not None:
            workers.add(answer["process"])
        if browser.cookie is None:
            return  # the connection broke before there was a session
    in_threads(*[partial(browser.note, f"in tab {tab}") for tab in range(3)])
    check(experiment, browser, browser.get())


def check(experiment, browser, answer):
    """Hold what a browser was shown against what it has sent."""
    if answer is None:
        experiment.errors += 1
        return
    experiment.acknowledged += 1
    shown = answer["notes"]
    experiment.forged += not set(shown) <= set(browser.sent) or len(set(shown)) != len(shown)
    experiment.lost += not set(browser.acknowledged) <= set(shown)
