"""Real processes on one session: nothing is lost, and nothing that ended comes back."""

from __future__ import annotations

import multiprocessing
import random
import time

import pytest

from apps import App
from pyramid_pluggable_session.interfaces import IPlugSession
from pyramid_pluggable_session.keys import SessionKey
from storages import ON_DISK, ON_SERVERS
from timing import patient

pytestmark = pytest.mark.slow

PROCESSES = 8

fork = multiprocessing.get_context("fork")


@pytest.fixture
def long(request):
    """Whether to do as much as is promised, also where it takes a while."""
    slow = request.node.callspec.params["make_app"] in ("mongodb", "dynamodb", "datastore")
    return not slow or request.config.getoption("--long")


@pytest.fixture(params=[*ON_DISK, "chain", *ON_SERVERS])
def make_app(request, tmp_path, url_of):
    """Return a function that makes an application on one storage, as each process does."""
    if request.param == "chain":
        plugs = f"memory\nsqlite:///{tmp_path}/behind.db"
        return lambda: App(plug="chain", settings={"pluggable_session.chain.plugs": plugs})
    spec = url_of(request.param)
    spec = patient(spec) if request.param in ON_SERVERS else spec
    return lambda: App(plug=spec)


def run(target, arguments):
    """Run a process for each of the arguments; fail if one of them fails."""
    processes = [fork.Process(target=target, args=each) for each in arguments]
    for process in processes:
        process.daemon = True  # one that waits for a dead one ends with the test
        process.start()
    until = time.monotonic() + 400
    while time.monotonic() < until and any(process.is_alive() for process in processes):
        if any(process.exitcode for process in processes):
            time.sleep(1)  # for the others to say what they have to say
            for process in processes:
                process.kill()  # it may be waiting for the one that failed
        time.sleep(0.02)
    assert [process.exitcode for process in processes] == [0] * len(processes)


def test_no_update_and_no_append_is_lost(make_app, long):
    requests = 200 if long else 25
    client = make_app().client()
    client.do(lambda session: session.update(log=[]))
    cookie = client.cookie

    def work(number):
        mine = make_app().client(cookie)
        for i in range(requests):

            def change(session, i=i):
                session[f"process {number}"] = session.get(f"process {number}", 0) + 1
                session["log"].append(number * requests + i)

            mine.do(change)

    run(work, [(number,) for number in range(PROCESSES)])
    data = make_app().client(cookie).data()
    log = data.pop("log")
    assert data == {f"process {number}": requests for number in range(PROCESSES)}
    assert sorted(log) == list(range(PROCESSES * requests))


def test_a_session_that_ended_is_never_resurrected(make_app, long):
    rounds = 1000 if long else 100
    mine, theirs = fork.Pipe()
    barrier = fork.Barrier(2)
    dropped = fork.Value("i", 0)

    def write():
        app = make_app()
        plug = app.registry.getUtility(IPlugSession)
        for _ in range(rounds):
            client = app.client()
            client.do(lambda session: session.update(old=True))
            ended = client.session_id
            mine.send(client.cookie)
            barrier.wait(120)
            time.sleep(random.uniform(0, 0.001))
            client.do(lambda session: session.update(late=True))
            barrier.wait(120)
            # The write may have come after the end. Then it began a session of its own.
            # What is in front of a chain may be seen for a few seconds more.
            authority = getattr(plug, "authority", plug)
            assert authority.loads(SessionKey(ended, None), None) is None
            client.do(lambda session: session.invalidate())
        dropped.value = app.event_names().count("SessionDropped:ended")

    def end():
        app = make_app()
        for _ in range(rounds):
            client = app.client(theirs.recv())
            barrier.wait(120)
            time.sleep(random.uniform(0, 0.001))
            client.do(lambda session: session.invalidate())
            barrier.wait(120)

    run(lambda work: work(), [(write,), (end,)])
    assert dropped.value > 0, "no round was a race: the test shows nothing"
