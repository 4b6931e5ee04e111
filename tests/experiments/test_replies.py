"""No answer of a server reaches another session than the one that it is for.

Connections are used by one request after another. What is left on one by a request that gave up
would be read by the next (CVE-2023-28858 is such a case in redis-py).
"""

from __future__ import annotations

import contextlib
import random
import select
import socket
import threading
import time

import psycopg.waiting
import pytest

from apps import App, set_cookies
from proxies import NONE, Fault, Proxy
from pyramid_pluggable_session import breaker
from pyramid_pluggable_session.events import SessionRejected
from pyramid_pluggable_session.interfaces import IPlugSession

pytestmark = pytest.mark.slow

STORAGES = {
    # Where each is, and what it does so that the proxy sees all of it.
    "valkey": ("valkey", ""),
    "valkey, near cache": ("valkey", "near_cache=1000000"),
    "memcached": ("memcached", ""),
    "postgresql": ("postgresql", "purge_interval=0"),
    "mariadb": ("mariadb", "purge_interval=0"),
    "mongodb": ("mongodb", "directConnection=true"),
    "dynamodb": ("dynamodb", ""),
}
SOAK = ("dynamodb",)  # in the long form only: starts slowly
TIMEOUT = 0.3
THREADS = 6
SESSIONS = 2  # of each thread
SECONDS = 1.0  # that each run takes; on a slow machine longer, until enough was done
PATIENCE = 60  # seconds

FAULTS = (
    Fault(delay=TIMEOUT / 3),
    Fault(delay=TIMEOUT + 0.05),
    Fault(delay=TIMEOUT + 0.15),
    Fault(delay=TIMEOUT + 0.05, then="stall"),
    Fault(delay=TIMEOUT / 3, then="stall"),
    Fault(then="cut"),
    Fault(then="reset"),
    Fault(then="garbage"),
)


class Interrupted(BaseException):
    """What ends a request from outside, as the timeouts of gevent do."""


class Interruptions:
    """Lets threads be interrupted where they wait for the network, as gevent does with greenlets.

    A signal would do so in one thread only, and anywhere.
    """

    def __init__(self, monkeypatch):
        self._armed = threading.local()
        self._select = select.select
        for name in ("recv", "recv_into"):
            monkeypatch.setattr(socket.socket, name, self._receiving(name))
        monkeypatch.setattr(select, "select", self._selecting)
        # psycopg's usual one is not Python.
        monkeypatch.setattr(psycopg.waiting, "wait", psycopg.waiting.wait_select)

    @contextlib.contextmanager
    def after(self, seconds):
        """Interrupt this thread when it waits so long."""
        self._armed.until = time.monotonic() + seconds
        try:
            yield
        finally:
            self._armed.until = None

    def _receiving(self, name):
        receive = getattr(socket.socket, name)

        def receiving(this, *arguments):
            timeout = this.gettimeout()
            if getattr(self._armed, "until", None) is not None and timeout != 0:
                self._selecting([this], [], [], timeout)
            return receive(this, *arguments)

        return receiving

    def _selecting(self, reading, writing, exceptional, timeout=None):
        until = getattr(self._armed, "until", None)
        if until is None:
            return self._select(reading, writing, exceptional, timeout)
        left = max(until - time.monotonic(), 0)
        first = left if timeout is None else min(left, timeout)
        found = self._select(reading, writing, exceptional, first)
        if not any(found) and time.monotonic() >= until:
            raise Interrupted
        return found


class User:
    """One session, and what is known of it: ``acknowledged`` <= what is stored <= ``tried``."""

    def __init__(self, name, app):
        self.client = app.client()
        self.name = name
        self.tried = 0
        self.begin()

    def begin(self):
        self.client.testapp.get("/do/begin", {"name": self.name})
        self.acknowledged = self.tried

    def is_right(self, data):
        """Tell whether the session may have this data."""
        return (
            data.keys() == {"name", "number", "text"}
            and data["name"] == self.name
            and self.acknowledged <= data["number"] <= self.tried
            and data["text"] == text(self.name, data["number"])
        )


class Ghost:
    """Somebody who comes with a session that has ended, and of whom nothing is stored."""

    tried = acknowledged = 0

    def __init__(self, app, cookie):
        self._app = app
        self._cookie = cookie

    @property
    def client(self):
        return self._app.client(self._cookie)


def end(app):
    """Return the cookie of a session that has ended."""
    user = User("ghost", app)
    cookie = user.client.cookie
    user.client.testapp.get("/do/leave")
    return cookie


@pytest.fixture
def storage_url(storage, running):
    """Return the server, and what to append to its URL."""
    kind, query = STORAGES[storage]
    server = running(kind)
    query += f"&timeout={TIMEOUT}&connect_timeout={TIMEOUT}"
    url = server.url
    return server, f"{url}{'&' if '?' in url else '?'}{query.lstrip('&')}"


@pytest.mark.experiment("answers late, cut, wrong or not waited for")
@pytest.mark.parametrize(
    "storage",
    [pytest.param(each, marks=pytest.mark.soak) if each in SOAK else each for each in STORAGES],
)
def test_replies(experiment, storage_url, monkeypatch):
    # It would let nothing through while there is so much trouble.
    monkeypatch.setattr(breaker, "SLOW", 1e9)
    interruptions = Interruptions(monkeypatch)
    server, url = storage_url
    direct = application(url.replace(f"={TIMEOUT}", "=30"))
    with Proxy(server) as proxy:
        app = application(proxy.url(url))
        users = [User(f"user{i}", direct) for i in range(THREADS * SESSIONS)]
        for user in users:
            user.client.testapp.app = app.wsgi
        ended = end(direct)
        for run in experiment.repeat(short=2, long=45):
            # In turns: answers that nobody waits for, and all kinds of trouble.
            goes_on = until_enough(experiment)
            impatient, disturb = ((0.3, delays), (0.2, disturbances))[run % 2]
            proxy.on_question, proxy.on_answer = disturb()
            threads = [
                threading.Thread(
                    target=use,
                    args=(
                        experiment,
                        goes_on,
                        interruptions,
                        impatient,
                        [*users[i::THREADS], Ghost(app, ended)],
                    ),
                    daemon=True,
                )
                for i in range(THREADS)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(120)
            assert not any(thread.is_alive() for thread in threads), "a request hangs"
            proxy.mend()
            time.sleep(TIMEOUT)  # until what is late has come
            for user in users:
                check(experiment, direct, user)
        experiment.forged += rejected(app) + rejected(direct)
        close(app)
    close(direct)
    assert experiment.errors > experiment.runs, "there was no trouble"
    assert experiment.acknowledged > experiment.runs, "nothing worked"


def until_enough(experiment):
    """Return a function that tells whether a run goes on."""
    begin, before = time.monotonic(), (experiment.acknowledged, experiment.errors)

    def goes_on():
        took = time.monotonic() - begin
        new = experiment.acknowledged - before[0], experiment.errors - before[1]
        return took < SECONDS or (took < PATIENCE and min(new) < 2)

    return goes_on


def use(experiment, goes_on, interruptions, impatient, users):
    """Read and change the sessions in turns, and note what is not as it must be."""
    while goes_on():
        user = random.choice(users)
        writes = random.random() < 0.5 and not isinstance(user, Ghost)
        user.tried += writes
        where, parameters = ("/do/change", {"number": user.tried}) if writes else ("/do/look", {})
        soon = random.random() < impatient
        try:
            patience = interruptions.after(TIMEOUT / 10) if soon else contextlib.nullcontext()
            with experiment.timed(), patience:
                response = user.client.testapp.get(where, parameters, status="*")
        except Interrupted:
            note(experiment, errors=1)
            continue
        if response.status_int == 503:
            note(experiment, errors=1, forged=bool(set_cookies(response)))
            continue
        assert response.status_int == 200, response.status
        if isinstance(user, Ghost):
            note(experiment, forged=response.json != {})
            continue
        if response.json == {}:
            note(experiment, lost=1)
            continue
        if writes:
            user.acknowledged = user.tried
        note(experiment, acknowledged=writes, forged=not user.is_right(response.json))


def note(experiment, **counts):
    with lock:
        for name, count in counts.items():
            setattr(experiment, name, getattr(experiment, name) + count)


lock = threading.Lock()


def check(experiment, direct, user):
    """Hold what is stored against what was acknowledged."""
    data = direct.client(user.client.cookie).data()
    if user.is_right(data):
        user.acknowledged = data["number"]
        return
    experiment.forged += data != {} and data.get("name") != user.name
    experiment.lost += data.get("name", user.name) == user.name
    user.client.testapp.reset()
    user.client.testapp.app, through = direct.wsgi, user.client.testapp.app
    user.begin()
    user.client.testapp.app = through


def delays():
    """Return what the proxy does: answers come before the timeout, and after an interruption."""
    late = Fault(delay=TIMEOUT / 3)
    return lambda *_: NONE, lambda *_: late if random.random() < 0.5 else NONE


def disturbances():
    """Return what the proxy does to questions and to answers."""
    often = random.choice((0.05, 0.15, 0.3))

    def to_answers(*_):
        return random.choice(FAULTS) if random.random() < often else NONE

    def to_questions(*_):
        # One that comes when nobody waits for its answer any more.
        return Fault(delay=TIMEOUT + 0.1) if random.random() < often / 6 else NONE

    return to_questions, to_answers


def application(url):
    """Return an application with views for what users do."""
    app = App(url)

    def begin(request):
        name = request.params["name"]
        request.session.update(name=name, number=0, text=text(name, 0))
        return {}

    def change(request):
        # As the views of most applications do, it reads before it writes.
        session, number = request.session, int(request.params["number"])
        if "name" in session:
            session.update(number=number, text=text(session["name"], number))
        return dict(session)

    app.views.update(
        begin=begin,
        change=change,
        look=lambda request: dict(request.session),
        leave=lambda request: request.session.invalidate() or {},
    )
    return app


def text(name, number):
    """Return a text that belongs to a session, of a size that differs from the last one's."""
    return f"{name}:{number} " * (number * 17 % 1000 + 1)


def rejected(app):
    """Return how many records were refused: an answer to another session does not fit its id."""
    return sum(isinstance(event, SessionRejected) for event in app.events)


def close(app):
    app.registry.getUtility(IPlugSession).close()
