"""Real processes on one session: nothing is lost, and nothing that ended comes back."""

from __future__ import annotations

import multiprocessing
import random
import time

import pytest

from apps import App
from pyramid_pluggable_session.interfaces import IPlugSession

pytestmark = pytest.mark.slow

PROCESSES = 8
REQUESTS = 200
ROUNDS = 1000

fork = multiprocessing.get_context("fork")

STORAGES = {
    "file": "file://{}/files",
    "sqlite": "sqlite:///{}/sessions.db",
    "dbm": "dbm:///{}/sessions",
    "chain": "chain",
}


@pytest.fixture(params=STORAGES)
def make_app(request, tmp_path):
    """Return a function that makes an application on one storage, as each process does."""
    spec = STORAGES[request.param].format(tmp_path)
    settings = {"pluggable_session.chain.plugs": f"memory\nsqlite:///{tmp_path}/behind.db"}
    return lambda: App(plug=spec, settings=settings)


def run(target, arguments):
    """Run a process for each of the arguments; fail if one of them fails."""
    processes = [fork.Process(target=target, args=each) for each in arguments]
    for process in processes:
        process.daemon = True  # one that waits for a dead one ends with the test
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * len(processes)


def test_no_update_and_no_append_is_lost(make_app):
    client = make_app().client()
    client.do(lambda session: session.update(log=[]))
    cookie = client.cookie

    def work(number):
        mine = make_app().client(cookie)
        for i in range(REQUESTS):

            def change(session, i=i):
                session[f"process {number}"] = session.get(f"process {number}", 0) + 1
                session["log"].append(number * REQUESTS + i)

            mine.do(change)

    run(work, [(number,) for number in range(PROCESSES)])
    data = make_app().client(cookie).data()
    log = data.pop("log")
    assert data == {f"process {number}": REQUESTS for number in range(PROCESSES)}
    assert sorted(log) == list(range(PROCESSES * REQUESTS))


def test_a_session_that_ended_is_never_resurrected(make_app):
    mine, theirs = fork.Pipe()
    barrier = fork.Barrier(2)
    dropped = fork.Value("i", 0)

    def write():
        app = make_app()
        plug = app.registry.getUtility(IPlugSession)
        for _ in range(ROUNDS):
            client = app.client()
            client.do(lambda session: session.update(old=True))
            ended = client.session_id
            mine.send(client.cookie)
            barrier.wait(20)
            time.sleep(random.uniform(0, 0.001))
            client.do(lambda session: session.update(late=True))
            barrier.wait(20)
            # The write may have come after the end. Then it began a session of its own.
            assert ended not in [key.session_id for key in plug.scan()]
            client.do(lambda session: session.invalidate())
        dropped.value = app.event_names().count("SessionDropped:ended")

    def end():
        app = make_app()
        for _ in range(ROUNDS):
            client = app.client(theirs.recv())
            barrier.wait(20)
            time.sleep(random.uniform(0, 0.001))
            client.do(lambda session: session.invalidate())
            barrier.wait(20)

    run(lambda work: work(), [(write,), (end,)])
    assert dropped.value > 0, "no round was a race: the test shows nothing"
