"""``kill -9``: what was acknowledged is kept, what had ended stays so, and nothing is half."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import select
import signal
import struct
import time

import pytest
from pyramid.interfaces import ISessionFactory
from pyramid.request import Request
from served import EMBEDDED, on

from apps import App
from pyramid_pluggable_session.events import SessionRejected
from pyramid_pluggable_session.interfaces import IPlugSession
from pyramid_pluggable_session.keys import SessionKey, new_session_id
from pyramid_pluggable_session.testing import FakeClock

pytestmark = [
    pytest.mark.parametrize("storage", EMBEDDED),
    # From Python 3.12 on, a fork beside running threads is warned of.
    pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning"),
]

SESSIONS = 4
ACKNOWLEDGED = struct.Struct(">II")  # which session, which change

fork = multiprocessing.get_context("fork")


@pytest.fixture
def make_app(storage, tmp_path):
    """Return a function that makes an application, as each process does."""
    return lambda **options: App(**on(storage, tmp_path, **options))


@pytest.mark.experiment("a writer is killed")
def test_writers(experiment, make_app, storage, tmp_path):
    survivor, preloaded = make_app(), make_app(purge_interval=0.02)
    bystanders = [begin(survivor, bystander=i, text=text(i * 101)) for i in range(5)]
    cookies = [begin(survivor, number=0, text=text(0), run=-1) for _ in range(SESSIONS)]
    last = 0
    for run in experiment.repeat(short=20, long=1000):
        said = kill(write, None if run % 5 == 4 else preloaded, make_app, cookies, last + 1)
        acknowledged = dict(ACKNOWLEDGED.iter_unpack(said))
        experiment.acknowledged += len(said) // ACKNOWLEDGED.size
        fresh = make_app()
        for i, cookie in enumerate(cookies):
            with experiment.timed():
                found = fresh.client(cookie).data()
            number = found.get("number", -1)
            experiment.lost += number < acknowledged.get(i, 0) or found.get("run") != run - 1
            experiment.forged += found.get("text") != text(number)
            last = max(last, number)
            # A process that was not killed goes on with it.
            survivor.client(cookie).do(lambda session, run=run: session.update(run=run))
        for i, cookie in enumerate(bystanders):
            whole = {"bystander": i, "text": text(i * 101)}
            experiment.lost += fresh.client(cookie).data() != whole
        experiment.forged += rejected(fresh) + rejected(survivor)
    assert last > experiment.runs / 4, "the writers did not write"
    check_swept(make_app, storage, tmp_path)


def write(app, say, cookies, first):
    plug = app.registry.getUtility(IPlugSession)
    clients = [app.client(cookie) for cookie in cookies]
    for number in itertools.count(first):
        for i, client in enumerate(clients):
            client.do(lambda session: session.update(number=number, text=text(number)))  # noqa: B023
            say(ACKNOWLEDGED.pack(i, number))
        # Something for the purge to do, which is killed as well.
        plug.dumps(SessionKey(new_session_id(), time.time() + 0.002), None, b"soon over")


@pytest.mark.experiment("killed while users log in and out")
def test_logins_and_logouts(experiment, make_app, storage, tmp_path):
    ended = []
    first = 0
    preloaded = make_app(purge_interval=0.02)
    for run in experiment.repeat(short=20, long=250):
        said = kill(log_in_and_out, None if run % 5 == 4 else preloaded, make_app, first)
        users = {}
        for line in said.decode().splitlines():
            step, number, session_id = line.split()
            experiment.acknowledged += step != "drawn"
            users.setdefault(int(number), {})[step] = session_id
        fresh = make_app()
        for number, steps in users.items():
            before = look(fresh, steps["begun"])
            after = look(fresh, steps["drawn"]) if "drawn" in steps else {}
            user = {"cart": number, "user": number}
            experiment.forged += before not in ({}, {"cart": number}) or after not in ({}, user)
            if "out" in steps:
                experiment.resurrected += bool(before) + bool(after)
                ended += [steps["begun"], steps["drawn"]]
            elif "in" in steps:
                experiment.resurrected += bool(before)
                experiment.lost += not (after or logs_out(number))
                ended.append(steps["begun"])
            else:
                experiment.lost += not (before or after)
            first = max(first, number + 1)
        experiment.forged += rejected(fresh)
    assert first > experiment.runs / 4, "nobody came"
    fresh = make_app()
    experiment.resurrected += sum(bool(look(fresh, session_id)) for session_id in ended)
    check_swept(make_app, storage, tmp_path)


def log_in_and_out(app, say, first):
    def tell(step, session_id):
        say(f"{step} {number} {session_id}\n".encode())

    def log_in(session):
        session.regenerate_id()
        session["user"] = number
        tell("drawn", session.session_id)  # the one that only the client will know

    for number in itertools.count(first):
        client = app.client()
        client.do(lambda session: session.update(cart=number))  # noqa: B023
        tell("begun", client.session_id)
        client.do(log_in)
        tell("in", client.session_id)
        if logs_out(number):
            client.do(lambda session: session.invalidate())
            tell("out", client.session_id)


def logs_out(number):
    return number % 2 == 1


def kill(work, preloaded, make_app, *arguments):
    """Run ``work`` in a process, kill it at some moment, and return what it has said until then.

    The process inherits its application, as from a web server that loads it and then forks, or
    makes its own, and may be killed before it has.
    """
    reading, writing = os.pipe()

    def run():
        app = preloaded or make_app(purge_interval=0.02)
        # A pipe takes so little whole or not at all.
        work(app, lambda message: os.write(writing, message), *arguments)

    child = fork.Process(target=run, daemon=True)
    child.start()
    os.close(writing)
    said = b""
    with open(reading, "rb", buffering=0) as pipe:
        try:
            if preloaded is None:
                time.sleep(random.uniform(0, 0.15))
            else:
                for _ in range(random.randrange(1, 10)):
                    assert select.select([pipe], [], [], 30)[0], "the writer hangs"
                    said += pipe.read(select.PIPE_BUF)
                time.sleep(random.choice((0, random.uniform(0, 0.003), random.uniform(0, 0.015))))
        finally:
            child.kill()
            child.join()
        said += pipe.read()
    assert child.exitcode == -signal.SIGKILL, "the writer failed by itself"
    child.close()
    return said


@pytest.mark.experiment("the process that loaded the application ends before its child")
def test_orphans(experiment, make_app):
    """What a child has inherited of an open storage must be of no use to it."""
    for run in experiment.repeat(short=5, long=60):
        number, cookie = orphan(make_app, run)
        experiment.acknowledged += number
        fresh = make_app()
        with experiment.timed():
            found = fresh.client(cookie).data()
        experiment.lost += found.get("number", -1) < number
        experiment.forged += found.get("text") != text(found.get("number", 0)) or rejected(fresh)


def orphan(make_app, run):
    """Let an orphan change a session again and again, kill it, and return what it has said."""
    reading, writing = os.pipe()

    waiting, going = os.pipe()

    def load_and_fork():
        app = make_app()
        cookie = begin(app, number=0, text=text(0))
        child = os.fork()
        if child == 0:
            try:
                os.close(going)
                if os.read(waiting, 1):
                    keep_changing(app, cookie, writing)
            finally:
                os._exit(1)
        os.write(writing, f"{child} {cookie}\n".encode())
        plug = app.registry.getUtility(IPlugSession)
        for each in (plug, getattr(plug, "authority", None)):
            if hasattr(each, "close"):
                each.close()

    parent = fork.Process(target=load_and_fork)
    parent.start()
    # Not join(): what that waits for, the orphan has inherited.
    until = time.monotonic() + 60
    while parent.exitcode is None and time.monotonic() < until:
        time.sleep(0.001)
    assert parent.exitcode == 0, "the parent failed, or hangs"
    parent.close()
    os.close(writing)
    os.close(waiting)
    with open(reading, "rb", buffering=0) as pipe, open(going, "wb", buffering=0) as go:
        child, cookie = pipe.readline().decode().split()
        go.write(b"!")
        said = b""
        try:
            while len(said) < (1 + run % 5) * ACKNOWLEDGED.size:
                assert select.select([pipe], [], [], 60)[0], "the orphan hangs"
                said += pipe.read(ACKNOWLEDGED.size)
        finally:
            os.kill(int(child), signal.SIGKILL)
        said += pipe.read()
    numbers = [number for number, _ in ACKNOWLEDGED.iter_unpack(said)]
    return numbers[-1], cookie


def keep_changing(app, cookie, writing):
    client = app.client(cookie)
    for number in itertools.count(1):
        client.do(lambda session: session.update(number=number, text=text(number)))  # noqa: B023
        os.write(writing, ACKNOWLEDGED.pack(number, 0))


def begin(app, **values):
    """Return the cookie of a new session."""
    client = app.client()
    client.do(lambda session: session.update(values))
    return client.cookie


def look(app, session_id):
    """Return what whoever holds this id is shown."""
    factory = app.registry.getUtility(ISessionFactory)
    ((_, header),) = factory.cookie.set_headers(Request.blank("/"), session_id, None)
    return app.client(header.partition(";")[0].partition("=")[2]).data()


def text(number):
    """Return a text that shows whether it is whole, of a size that differs from the last one's.

    It is large, so that a good part of the writer's time is spent with writing.
    """
    return f"{number % 10}" * (number * 15_013 % 200_000)


def rejected(app):
    """Return how many records were refused since the last time."""
    count = sum(isinstance(event, SessionRejected) for event in app.events)
    app.events.clear()
    return count


def check_swept(make_app, storage, folder):
    """Check that the killed leave nothing for good: no other files than a new storage has."""
    names = []
    for where in (folder, folder / "new"):
        where.mkdir(exist_ok=True)
        app = App(**on(storage, where))
        begin(app, a=1)
        plug = app.registry.getUtility(IPlugSession)
        with FakeClock(time.time() + 3600):
            assert plug.purge() > 0
            assert list(plug.scan()) == []
        names.append({path.name for path in where.rglob("*") if path.is_file()})
    left, expected = names
    assert left <= expected
