"""Two processes that keep copies of what a server has: how old may a copy be, and what is at stake.

Of a chain, copies in the memory of each process are used for ``fresh`` seconds. The near cache of
the redis plug keeps them until the server announces a change, or does not answer any more.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import random
import statistics
import threading
import time
import traceback
from typing import NamedTuple

import pytest
from pyramid.request import Request

from apps import App
from proxies import BLACK_HOLE, NONE, Fault, Proxy
from pyramid_pluggable_session.interfaces import IPlugSession
from pyramid_pluggable_session.keys import SessionKey
from pyramid_pluggable_session.plugs.redis.near_cache import DEAF_AFTER
from pyramid_pluggable_session.testing import session_key
from servers.redis import Valkey, wait_for

pytestmark = pytest.mark.slow

FRESH = 0.5  # seconds
SLACK = 0.05  # seconds that the clocks, and a process that has to wait for its turn, may differ
THREADS = 4  # that read in one process
CALMED = 10  # so many times in a row, each of them must have read what is new
GIVE_UP = 3  # after so many that were seen too late
PATIENCE = 30  # seconds until a change must be seen, however slow the machine
KILOBYTE, MEGABYTE = 1 << 10, 1 << 20

# For how many seconds a process may show what another one has changed.
BOUNDS = {"chain": FRESH, "near cache": DEAF_AFTER, "near cache, slow answers": DEAF_AFTER}


class Watched(NamedTuple):
    """What a process was shown, in seconds of the monotonic clock: of the whole machine, on Linux.

    ``stale`` is when the last reading began that was shown what is old, and ``seen`` when the first
    one ended after which no other was.
    """

    stale: float
    seen: float
    readings: int


class Visits:
    """What a process does with its application. It runs in the process."""

    def __init__(self, plug, settings):
        self.app = App(plug=plug, settings=settings)
        self.app.views["read"] = lambda request: dict(request.session)
        self.app.views["end"] = lambda request: request.session.invalidate()

    def visit(self, name, cookie=None):
        cookies = {"session": cookie} if cookie else {}
        request = Request.blank(f"/do/{name}", cookies=cookies)
        response = request.get_response(self.app.wsgi)
        assert response.status_code == 200, response.text
        return response

    def begin(self):
        """Return the cookie of a new session."""
        client = self.app.client()
        client.do(lambda session: session.update(number=-1, log=[]))
        return client.cookie

    def read(self, cookie):
        return self.visit("read", cookie).json

    def change(self, cookie, *numbers):
        """Store the numbers one after the other; return when the last one was acknowledged."""
        client = self.app.client(cookie)
        for number in numbers:
            client.do(lambda session, number=number: session.update(number=number))
            acknowledged = time.monotonic()
            time.sleep(random.uniform(0, 0.008))
        return acknowledged

    def end(self, cookie):
        """End the session; return when that was acknowledged."""
        self.visit("end", cookie)
        return time.monotonic()

    def watch(self, ready, cookie, expected, patience):
        """Read in several threads until all of them are shown what is expected."""
        until = time.monotonic() + patience
        stale, seen, readings = [], [], itertools.count()

        def read():
            calm, since = 0, time.monotonic()
            while calm < CALMED and time.monotonic() < until:
                began = time.monotonic()
                if self.read(cookie).get("number") == expected:
                    since = since if calm else time.monotonic()
                    calm += 1
                else:
                    calm = 0
                    stale.append(began)
                next(readings)
                time.sleep(0.001)
            seen.append(since if calm else until)

        self.read(cookie)
        ready()
        in_threads(THREADS, read)
        return Watched(max(stale, default=0.0), max(seen), next(readings))

    def work(self, name, cookie, seconds):
        """Change the session again and again; return how many changes each thread was told of."""
        until, counts = time.monotonic() + seconds, []
        numbers = itertools.count()

        def write():
            key = f"{name}.{next(numbers)}"
            view = f"work {key}"

            def change(request):
                session = request.session
                session[key] = session.get(key, 0) + 1
                session["log"].append([key, session[key]])
                return {}

            self.app.views[view] = change
            count = 0
            while time.monotonic() < until:
                self.visit(view, cookie)
                count += 1
            counts.append((key, count))

        in_threads(2, write)
        return dict(counts)

    def load_all(self, ids):
        """Load these records; return how many bytes of memory the process has then."""
        plug = self.app.registry.getUtility(IPlugSession)
        for session_id in ids:
            assert plug.loads(SessionKey(session_id, None), None) is not None
        with open(f"/proc/{os.getpid()}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def in_threads(count, function):
    threads = [threading.Thread(target=function) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def serve(pipe, plug, settings):
    """Do what is asked for, in a process of its own."""
    visits = Visits(plug, settings)
    pipe.send(("ready", None))
    while True:
        try:
            name, arguments = pipe.recv()
        except EOFError:
            return
        try:
            if name == "watch":
                arguments = (lambda: pipe.send(("watching", None)), *arguments)
            pipe.send(("done", getattr(visits, name)(*arguments)))
        except Exception:
            pipe.send(("failed", traceback.format_exc()))


class Process:
    """A process with an application of its own, which does one thing at a time."""

    def __init__(self, plug, settings):
        # Not forked: nothing is shared, least of all by accident.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, plug, settings), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, name, *arguments):
        self.pipe.send((name, arguments))

    def answer(self, expected="done"):
        assert self.pipe.poll(120), "the process hangs"
        what, result = self.pipe.recv()
        assert what == expected, result
        return result

    def __call__(self, name, *arguments):
        self.ask(name, *arguments)
        return self.answer()

    def close(self):
        self.process.join(5)
        self.process.kill()
        self.process.join()
        self.process.close()


class Deafening(Proxy):
    """A network that treats the connection to listen on differently from all others.

    It is the one that begins by asking for RESP 3.
    """

    silent = False
    delay = 0.0

    def __init__(self, server):
        super().__init__(server)
        self.said = threading.Event()  # whenever the server has said something there
        self._listening_on, self._silent = set(), set()

    def on_question(self, piece, connection):
        if b"HELLO" in piece:
            self._listening_on.add(connection)
        return NONE

    def on_answer(self, piece, connection):
        if connection in self._listening_on:
            if self.silent:
                # It stays so: something of what it said is missing.
                self._silent.add(connection)
            self.said.set()
            return BLACK_HOLE if connection in self._silent else NONE
        return Fault(delay=random.uniform(0, self.delay)) if self.delay else NONE


@pytest.fixture(scope="module")
def server(tmp_path_factory, need):
    need(Valkey)
    with Valkey(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def proxy(server):
    with Deafening(server) as proxy:
        yield proxy


@contextlib.contextmanager
def processes():
    """Give a function that starts processes, each with a plug and settings."""
    started = []

    def start(*places):
        processes = [Process(*place) for place in places]
        started.extend(processes)
        for process in processes:
            process.answer("ready")
        return processes

    try:
        yield start
    finally:
        for process in started:
            process.pipe.close()
        for process in started:
            process.close()


@pytest.fixture
def start():
    with processes() as start:
        yield start


@pytest.fixture(scope="module")
def pairs():
    """Return the pairs of processes that run, by storage, and a function to start them with."""
    with processes() as start:
        yield {}, start


def near(url, size=MEGABYTE):
    return url, {"pluggable_session.redis.near_cache": str(size)}


@pytest.fixture
def two(storage, server, proxy, pairs):
    """Return two processes on one storage, each of which keeps copies. Others may use it, too."""
    running, start = pairs
    if storage not in running:
        running[storage] = start(*places(storage, server, proxy))
    return running[storage]


def places(storage, server, proxy):
    """Return the plugs and settings of two processes on a storage."""
    if storage == "chain":
        chain = f"memory\n{server.url}"
        settings = {
            "pluggable_session.chain.plugs": chain,
            "pluggable_session.chain.fresh": str(FRESH),
        }
        return ("chain", settings), ("chain", settings)
    if storage == "near cache, slow answers":
        # What it was told of a record is overtaken by what is announced of it.
        proxy.delay = 0.006
        return near(server.url), near(proxy.url())
    return near(server.url), near(server.url)


def gets(server):
    """Return how many times the server was asked for a record."""
    with server.client() as client:
        return client.info("commandstats").get("cmdstat_get", {}).get("calls", 0)


def wait_until_kept(server, process, cookie):
    """Wait until a process reads a session without asking the server."""

    def kept():
        before = gets(server)
        for _ in range(3):
            process("read", cookie)
        return gets(server) == before

    wait_for(kept)


class Delays:
    """How late each change was seen, for the table."""

    def __init__(self, experiment, bound):
        self.experiment, self.bound = experiment, bound
        self.seen = []
        self.late = 0

    def add(self, acknowledged, watched):
        """Note a change. Return whether it was seen too late."""
        self.seen.append(max(0.0, watched.seen - acknowledged))
        late = watched.stale - acknowledged > self.bound + SLACK
        self.late += late
        assert self.late < GIVE_UP, f"again and again, later than {self.bound} s: {self.seen}"
        return late

    def note(self):
        """Let the row tell of the delays."""
        row, last = self.experiment, max(self.seen)
        median, share = statistics.median(self.seen), sorted(self.seen)[int(len(self.seen) * 0.99)]
        row.storage += f" (median {median * 1000:.1f} ms, p99 {share * 1000:.1f} ms)"
        row.slowest = last


@pytest.mark.parametrize("storage", BOUNDS)
@pytest.mark.experiment("a change is seen by another process")
def test_a_change_is_seen(experiment, storage, server, two):
    one, other = two
    bound = BOUNDS[storage]
    delays, readings = Delays(experiment, bound), 0
    cookie = one("begin")
    wait_until_kept(server, other, cookie)
    before = gets(server)
    short, long = (5, 100) if storage == "chain" else (30, 1500)
    for run in experiment.repeat(short=short, long=long):
        last = 2 * run + 1
        other.ask("watch", cookie, last, PATIENCE)
        other.answer("watching")
        time.sleep(random.uniform(0, FRESH if storage == "chain" else 0.01))
        acknowledged = one("change", cookie, last - 1, last)
        watched = other.answer()
        readings += watched.readings
        experiment.acknowledged += 2
        experiment.lost += delays.add(acknowledged, watched)
    delays.note()
    assert gets(server) - before < readings * 0.8, "nothing was kept: there is nothing to be seen"
    assert storage != "chain" or max(delays.seen) > FRESH / 10, "nothing was stale at any time"


@pytest.mark.parametrize("storage", BOUNDS)
@pytest.mark.experiment("an ended session is refused by another process")
def test_an_end_is_seen(experiment, storage, server, two):
    one, other = two
    bound = BOUNDS[storage]
    delays, authority = Delays(experiment, bound), App(plug=server.url)
    short, long = (4, 100) if storage == "chain" else (20, 1000)
    for run in experiment.repeat(short=short, long=long):
        cookie = one("begin")
        wait_until_kept(server, other, cookie)
        late = run % 2
        if not late:
            other.ask("watch", cookie, None, PATIENCE)
            other.answer("watching")
        acknowledged = one("end", cookie)
        if late:
            # Whoever still sees the session can try to change it.
            other("change", cookie, 1)
            other.ask("watch", cookie, None, PATIENCE)
            other.answer("watching")
        experiment.acknowledged += 1
        experiment.resurrected += delays.add(acknowledged, other.answer())
        experiment.resurrected += authority.client(cookie).data() != {}
    delays.note()
    authority.registry.getUtility(IPlugSession).close()


@pytest.mark.parametrize("storage", ["chain", "near cache", "near cache, slow answers"])
@pytest.mark.experiment("two processes change a session of which they keep copies")
def test_no_write_is_lost(experiment, storage, server, two):
    authority = App(plug=server.url)
    for _ in experiment.repeat(short=1, long=20):
        cookie = two[0]("begin")
        for number, process in enumerate(two):
            process.ask("work", f"process {number}", cookie, 1.0)
        counts = {key: count for process in two for key, count in process.answer().items()}
        found = authority.client(cookie).data()
        log = found.pop("log", [])
        del found["number"]
        expected = [[key, n] for key, count in counts.items() for n in range(1, count + 1)]
        experiment.acknowledged += len(expected)
        experiment.lost += sum(count - found.get(key, 0) for key, count in counts.items())
        experiment.lost += sum(each not in log for each in expected)
        experiment.forged += len(log) - len(expected) if len(log) > len(expected) else 0
    authority.registry.getUtility(IPlugSession).close()


@pytest.mark.parametrize("fault", ["killed", "silent"])
@pytest.mark.experiment("the near cache's connection fails")
def test_a_deaf_listener(experiment, fault, start, tmp_path, need):
    need(Valkey)
    experiment.storage = f"near cache, {fault}"
    with Valkey(tmp_path / "server") as server, Deafening(server) as proxy:
        listen(experiment, fault, server, proxy, start)


def listen(experiment, fault, server, proxy, start):
    """Change a session of which a process has a copy when its connection has failed."""
    one, other = start((server.url, {}), near(proxy.url()))
    delays = Delays(experiment, DEAF_AFTER)
    cookie = one("begin")
    for run in experiment.repeat(short=1 if fault == "silent" else 2, long=15):
        wait_until_kept(server, other, cookie)
        if run == 0:
            time.sleep(1)  # for some questions whether the server still hears us
        other.ask("watch", cookie, run, PATIENCE)
        other.answer("watching")
        if fault == "killed":
            assert kill_listeners(server) == 1
        else:
            # At the worst moment: now the listener has every reason to feel safe.
            proxy.said.clear()
            assert proxy.said.wait(PATIENCE)
            said = time.monotonic()
            time.sleep(0.005)
            proxy.silent = True
        acknowledged = one("change", cookie, run)
        experiment.acknowledged += 1
        experiment.lost += delays.add(acknowledged, other.answer())
        proxy.silent = False
        # If the machine was slow, it may have noticed before there was anything to be heard of.
        if fault == "silent" and acknowledged - said < DEAF_AFTER / 4:
            assert delays.seen[-1] > DEAF_AFTER / 4, "it was heard all the same"
    delays.note()
    wait_until_kept(server, other, cookie)


def kill_listeners(server):
    """Let the server close the connections that it announces changes on; return how many."""
    with server.client() as client:
        listening = [each["id"] for each in client.client_list() if "t" in each["flags"]]
        for number in listening:
            client.client_kill_filter(_id=number)
    return len(listening)


@pytest.mark.experiment("the near cache is small")
def test_memory_is_bounded(experiment, server, start):
    experiment.storage = "near cache"
    size, record = 2 * MEGABYTE, os.urandom(10 * KILOBYTE)
    (process,) = start(near(server.url, size))
    plug = App(plug=server.url).registry.getUtility(IPlugSession)
    keys = [session_key(3600) for _ in range(2500)]
    for key in keys:
        plug.dumps(key, None, record)
        experiment.acknowledged += 1
    plug.close()
    ids = [key.session_id for key in keys]
    wait_until_kept(server, process, process("begin"))
    before = process("load_all", ids[:500])  # more than it can keep
    for _ in experiment.repeat(short=1, long=50):
        with experiment.timed():
            after = process("load_all", ids)
    assert after < before + 6 * MEGABYTE, (before, after)
