"""The demo on real web servers, used by many at once for a while, with one fault in a hundred."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import threading
import time
from functools import partial
from typing import Any, NamedTuple

import pytest
from load import Demo, Report, Shopper
from served import SECRET

from proxies import NONE, Fault, Proxy
from pyramid_pluggable_session.loader import make_plug
from pyramid_pluggable_session.plugs.redis.near_cache import DEAF_AFTER
from pyramid_pluggable_session.record import Kind
from pyramid_pluggable_session.store import MARKED_FOR
from servers.postgresql import PostgreSQL
from servers.redis import Valkey

pytestmark = pytest.mark.slow

SHOPPERS = 6
MEGABYTE = 1 << 20

# In seconds. A slow machine takes longer to do enough, up to a limit.
SHORT, LONG, LONG_OF_VARIANTS = 2, 600, 120
PATIENCE = 60

# In seconds. What is left behind goes away within the time of the long form.
TIMEOUT, PURGE_INTERVAL = 60, 10

RESTART_EVERY = 2.0, 6.0  # seconds

FAULTS_OF_QUESTIONS = Fault(then="reset"), Fault(then="cut"), Fault(delay=0.3)
# Of these, what was asked for has been done.
FAULTS_OF_ANSWERS = Fault(then="cut"), Fault(delay=0.1, then="cut"), Fault(delay=0.3)
SHARE = 1 / 200  # of each of the two


class Place(NamedTuple):
    """Where the sessions are: the plug, further settings, and what is known of the server."""

    plug: str
    settings: dict[str, str]
    server: Any = None
    staleness: float = 0.0
    """Seconds for which two processes may show different states."""


EMBEDDED = {
    "sqlite": f"sqlite:///{{}}/sessions.db?purge_interval={PURGE_INTERVAL}",
    "file": f"file://{{}}/files?purge_interval={PURGE_INTERVAL}",
}
ON_SERVERS = {
    "valkey": (Valkey, {}, 0.0),
    "valkey, near cache": (
        Valkey,
        {"pluggable_session.redis.near_cache": str(MEGABYTE)},
        DEAF_AFTER,
    ),
    "postgresql": (
        PostgreSQL,
        {"pluggable_session.sqlalchemy.purge_interval": str(PURGE_INTERVAL)},
        0.0,
    ),
}


@pytest.fixture
def place(storage, tmp_path, need):
    if storage in EMBEDDED:
        yield Place(EMBEDDED[storage].format(tmp_path), {})
        return
    server_class, settings, staleness = ON_SERVERS[storage]
    need(server_class)
    folder = tmp_path / "server"
    folder.mkdir()
    with server_class(folder) as server:
        yield Place(server.url, settings, server, staleness)


@pytest.fixture
def seconds(experiment, storage):
    """For how long the shoppers shop."""
    long = LONG_OF_VARIANTS if "," in storage else LONG
    return float(os.environ.get("LOAD_SECONDS") or (long if experiment.long else SHORT))


@pytest.mark.parametrize(
    "storage",
    [
        *EMBEDDED,
        # With a near cache it does all of this as well.
        pytest.param("valkey", marks=pytest.mark.soak),
        *(each for each in ON_SERVERS if each != "valkey"),
    ],
)
@pytest.mark.experiment("the demo under load, with faults")
def test_load(experiment, storage, place, seconds, tmp_path, missing):
    for module in ("waitress", "pyramid_jinja2"):
        if importlib.util.find_spec(module) is None:
            missing(f"{module} is not installed")
    report = Report()
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(Proxy(place.server)) if place.server else None
        settings = {
            "pluggable_session.secret": SECRET,
            "pluggable_session.timeout": str(TIMEOUT),
            "demo.slow_seconds": "0.05",
            **place.settings,
            "plug": proxy.url() if proxy else place.plug,
            "data": str(tmp_path / "data"),
        }
        demos = [stack.enter_context(Demo(tmp_path / name, settings)) for name in ("one", "two")]
        shoppers = [Shopper(f"number {i}", demos, report, place.staleness) for i in range(SHOPPERS)]
        for shopper in shoppers:
            stack.callback(shopper.close)
        samples = shop(shoppers, demos, place, proxy, seconds, report)
        # Without faults from here on, so that all can be told apart that is left.
        for shopper in shoppers:
            shopper.leave()
        plug = make_plug(None, place.plug)
        left = [key for key in plug.scan() if not is_index(plug.loads(key, None))]
    experiment.runs = report.actions.total()
    experiment.acknowledged = report.acknowledged
    experiment.errors = report.errors
    experiment.slowest = report.slowest
    check_left(left, shoppers, report)
    experiment.lost = report.count("lost", "stale")
    experiment.resurrected = report.count("resurrected")
    experiment.forged = report.count("crossed")
    assert not report.findings, "\n".join(map(": ".join, report.findings[:20]))
    assert report.enough(), "hardly anything was tried, or there was no fault"
    if experiment.long:  # in a short time all still grows
        check_flat(samples, survivors=demos if proxy else demos[:1])


def shop(shoppers, demos, place, proxy, seconds, report):
    """Let the shoppers shop while there are faults. Return samples of what the processes need."""
    begin = time.monotonic()
    until, broken, samples = begin + seconds, [], []

    def goes_on():
        now = time.monotonic()
        return now < until or (now < until + PATIENCE and not report.enough())

    def work(shopper):
        try:
            shopper.shop(goes_on)
        except BaseException as error:
            broken.append(error)

    threads = [threading.Thread(target=work, args=(shopper,)) for shopper in shoppers]
    if proxy:
        proxy.on_question = partial(some_fault, FAULTS_OF_QUESTIONS)
        proxy.on_answer = partial(some_fault, FAULTS_OF_ANSWERS)
    else:
        threads.append(threading.Thread(target=restart, args=(demos[1], until, goes_on)))
    for thread in threads:
        thread.start()
    plug = make_plug(None, place.plug)
    # Caches of any kind are full after a third of the time, it is hoped.
    for moment in (1 / 3, 2 / 3, 0.95):
        time.sleep(max(0, begin + moment * seconds - time.monotonic()))
        samples.append(take_sample(demos, place, plug))
    for thread in threads:
        thread.join()
    if proxy:
        proxy.on_question = proxy.on_answer = lambda *_: NONE
    if broken:
        raise broken[0]
    return samples


def some_fault(faults, *_):
    return random.choice(faults) if random.random() < SHARE else NONE


def restart(demo, until, goes_on):
    """Kill the process again and again, and start it."""
    while goes_on():
        demo.kill()
        demo.start()
        time.sleep(min(random.uniform(*RESTART_EVERY), max(1, until - time.monotonic())))


class Sample(NamedTuple):
    """What is in use at a moment. Of the processes, each has a number of its own."""

    memory: list[int]
    descriptors: list[int]
    connections: int
    records: int


def take_sample(demos, place, plug):
    # The last one may just be killed.
    alive = [demo for demo in demos if place.server] or demos[:1]
    return Sample(
        [demo.memory() for demo in alive],
        [demo.descriptors() for demo in alive],
        connections(place.server),
        sum(1 for _ in plug.scan()),
    )


def connections(server):
    """Return how many connections a server has."""
    if isinstance(server, Valkey):
        with server.client() as client:
            return client.info("clients")["connected_clients"]
    if isinstance(server, PostgreSQL):
        ((count,),) = server.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'")
        return count
    return 0


def is_index(record):
    """Tell whether a record is no session's, but lists those of a user."""
    return record is not None and record[1] == Kind.OWNER


def check_left(left, shoppers, report):
    """Check the records that are left: nothing is kept that has ended, and nothing for ever."""
    over = {each.session_id: each for shopper in shoppers for each in shopper.over}
    own = {shopper.known.session_id for shopper in shoppers if shopper.known}
    unknown = 0
    for key in left:
        assert key.expires_at is not None
        if key.session_id in over:
            # A mark that says that the id was given up is no session.
            if key.expires_at > over[key.session_id].at + MARKED_FOR + 1:
                report.find("resurrected", "the record of a session that is over")
        elif key.session_id not in own | report.strays:
            unknown += 1
    # Each of these requests may have begun a session whose cookie never came.
    assert unknown <= report.errors


def check_flat(samples, survivors):
    """Check that nothing grows with time."""
    warm, *_, last = samples
    for i, _ in enumerate(survivors):
        assert last.memory[i] < warm.memory[i] * 1.2 + 16 * MEGABYTE, samples
        assert last.descriptors[i] < warm.descriptors[i] + 12, samples
    assert last.connections < warm.connections + 12, samples
    # What expires is deleted, from when on as much expires as begins.
    assert last.records < warm.records * 3 + 100, samples
