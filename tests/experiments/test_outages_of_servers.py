"""Servers that end, hang, are slow, full or read-only: requests are told so in time, nothing is
lost, and all goes on without a restart of the application.
"""

from __future__ import annotations

import contextlib
import random
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pymysql
import pytest

from apps import App, set_cookies
from proxies import BLACK_HOLE, Fault, Proxy
from pyramid_pluggable_session import breaker
from pyramid_pluggable_session.interfaces import IPlugSession
from servers.dynamodb import DynamodbLocal
from servers.mariadb import PASSWORD, MariaDB
from servers.memcached import Memcached
from servers.mongodb import Mongodb
from servers.postgresql import PostgreSQL
from servers.redis import Sentinel, Valkey, wait_for

pytestmark = pytest.mark.slow

TIMEOUT = 0.5
CONNECT_TIMEOUT = 0.5
CONNECT_TIMEOUTS = {"postgresql": 2.0}  # libpq knows no shorter one
SLACK = 1.0  # seconds that a busy machine may add, most of the times
PATIENCE = 20.0  # the timeouts where nothing hangs, and a slow machine is no outage
HANGS = 60.0  # so many seconds are no slowness any more
OFTEN = 0.05  # seconds between the requests of a user

# As they keep what they have acknowledged when they are killed. That of a machine is another thing.
SERVERS = {
    "valkey": (Valkey, ("--appendonly", "yes", "--appendfsync", "always"), {}),
    "memcached": (Memcached, (), {}),
    "postgresql": (PostgreSQL, (), {"max_connections": "20"}),
    "mariadb": (
        MariaDB,
        ("--innodb-flush-log-at-trx-commit=2", "--max-connections=20"),
        {},
    ),
    "mongodb": (Mongodb, (), {}),
    "dynamodb": (DynamodbLocal, (), {"on_disk": True}),
}
OF_PLUGS = {
    "postgresql": "purge_interval=0",
    "mariadb": "purge_interval=0",
    "mongodb": "directConnection=true",
}


def on(*storages, soak=()):
    """Let a test run on these storages, on some of them in the long form only."""
    others = [pytest.param(each, marks=pytest.mark.soak) for each in soak]
    return pytest.mark.parametrize("storage", [*storages, *others])


@pytest.fixture(scope="module")
def servers(tmp_path_factory, need):
    """Return a function from a kind to a server of this module's own."""
    started = {}
    with contextlib.ExitStack() as stack:

        def start(kind):
            server_class, arguments, keywords = SERVERS[kind]
            need(server_class)
            if kind not in started:
                server = server_class(tmp_path_factory.mktemp(kind), *arguments, **keywords)
                started[kind] = stack.enter_context(server)
            if started[kind].process is None:
                started[kind].start()
            return started[kind]

        yield start


@pytest.fixture
def server(servers, storage):
    """Return the server of the storage."""
    server = servers(storage)
    yield server
    if server.process is not None:
        server.resume()


@pytest.fixture
def make_app(storage):
    """Return a function that makes an application on a URL; it is closed when the test ends."""
    with contextlib.ExitStack() as stack:

        def make(url, timeout=PATIENCE, connect_timeout=PATIENCE):
            query = f"timeout={timeout}&connect_timeout={connect_timeout}"
            if storage in OF_PLUGS:
                query += "&" + OF_PLUGS[storage]
            app = App(f"{url}{'&' if '?' in url else '?'}{query}")
            app.waits = []  # seconds that requests took
            app.views.update(begin=begin, change=change, look=look, leave=leave)
            stack.callback(app.registry.getUtility(IPlugSession).close)
            return app

        yield make


@pytest.fixture
def make_impatient(make_app, storage):
    """Return a function as of ``make_app``, for an application that waits for nothing."""

    def make(url):
        connect_timeout = CONNECT_TIMEOUTS.get(storage, CONNECT_TIMEOUT)
        app = make_app(url, TIMEOUT, connect_timeout)
        app.at_most = connect_timeout + TIMEOUT + SLACK
        return app

    return make


def begin(request):
    request.session.update(name=request.params["name"], number=0, ballast=request.params["ballast"])
    return {}


def change(request):
    session = request.session
    if "name" in session:
        session["number"] = int(request.params["number"])
    return look(request)


def look(request):
    return {key: value for key, value in request.session.items() if key != "ballast"}


def leave(request):
    request.session.invalidate()
    return {}


class User:
    """One session, and what is known of it: ``acknowledged`` <= what is stored <= ``tried``."""

    def __init__(self, experiment, app, name="user", ballast=""):
        self.experiment = experiment
        self.app = app
        self.name = name
        self.testapp = app.client().testapp
        self.tried = self.acknowledged = 0
        self.shown = []  # moments of the requests that worked
        assert self.ask("begin", name=name, ballast=ballast) == {}

    def ask(self, action, **parameters):
        """Do a request; return its answer, or None if it was told of the outage, in time."""
        began = time.monotonic()
        with self.experiment.timed():
            response = self.testapp.get(f"/do/{action}", parameters, status="*")
        took = time.monotonic() - began
        self.app.waits.append(took)
        assert took < HANGS, f"{action} took {took:.1f} s"
        if response.status_int == 200:
            return response.json
        assert response.status_int == 503, response.status
        assert set_cookies(response) == []
        self.experiment.errors += 1
        return None

    def write(self):
        """Change the session; return whether that was acknowledged."""
        self.tried += 1
        answer = self.ask("change", number=self.tried)
        if answer:
            self.acknowledged = self.tried
            self.experiment.acknowledged += 1
            self.shown.append(time.monotonic())
        return answer is not None

    def come_to(self, app):
        """Come with the same session to another application."""
        self.app, self.testapp.app = app, app.wsgi

    def recover(self):
        """Return when a request has worked, as one does in the end after an outage."""
        wait_for(lambda: self.ask("look") is not None)

    def check(self, since=None):
        """Look whether all that was acknowledged is there, or what was until ``since``."""
        least = self.acknowledged if since is None else since
        data = self.ask("look")
        assert data is not None, "it does not work"
        right = data.get("name") == self.name and least <= data["number"] <= self.tried
        self.experiment.lost += not right and data.get("name") in (None, self.name)
        self.experiment.forged += data.get("name", self.name) != self.name
        self.acknowledged = data.get("number", 0)


@contextlib.contextmanager
def load(users):
    """Let the users change their sessions all the time, each in a thread."""
    ended, failed = threading.Event(), []

    def run(user):
        try:
            while not ended.wait(OFTEN):
                user.write()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(user,), daemon=True) for user in users]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "a request hangs"
    if failed:
        raise failed[0]


@pytest.mark.experiment("the server is killed, or restarted")
@on("valkey", "postgresql", "mariadb", soak=("dynamodb",))
def test_restart(experiment, server, make_app):
    app = make_app(server.url)
    users = [User(experiment, app, f"user{i}", "b" * 1000 * i) for i in range(4)]
    for run in experiment.repeat(short=1, long=20):
        with load(users):
            time.sleep(random.uniform(0.2, 0.5))
            errors = experiment.errors
            server.stop() if run % 2 else server.kill()
            wait_for(lambda errors=errors: experiment.errors >= errors + len(users))
        server.start()
        # On a busy machine a refusal may take long enough to open the breaker.
        time.sleep(breaker.PAUSE)
        users[0].check()
        with ThreadPoolExecutor(len(users)) as pool:
            assert all(pool.map(User.write, users))
            # Nobody asks meanwhile: each comes upon a connection that the server has left.
            server.kill() if run % 2 else server.stop()
            server.start()
            list(pool.map(User.check, users))
            assert all(pool.map(User.write, users))


@pytest.mark.experiment("the server is killed, and keeps nothing")
@on("memcached")
def test_restart_of_a_cache(experiment, server, make_app):
    app = make_app(server.url)
    for _ in experiment.repeat(short=3, long=50):
        users = [User(experiment, app, f"user{i}") for i in range(4)]
        with load(users):
            time.sleep(0.2)
            server.kill()
        assert not users[0].write()
        server.start()
        time.sleep(breaker.PAUSE)
        for user in users:
            # As a new session, and not as an error.
            assert user.ask("look") == {}
            experiment.forged += user.ask("change", number=1) != {}
            assert user.ask("begin", name=user.name, ballast="") == {}
            user.acknowledged = user.tried = 0
            assert user.write()
            user.check()


@pytest.mark.experiment("the server hangs")
@on("valkey", "postgresql", "mongodb", soak=("memcached", "mariadb", "dynamodb"))
def test_pause(experiment, server, make_app, make_impatient):
    direct, app = make_app(server.url), make_impatient(server.url)
    user = User(experiment, direct)
    for _ in experiment.repeat(short=1, long=10):
        leaver = User(experiment, direct, "leaver")
        with through(app, user, leaver):
            wait_for(user.write)
            server.pause()
            try:
                suffer(app, user)
                assert leaver.ask("leave") is None
            finally:
                server.resume()
            user.recover()
        user.check()
        # He was told that it is not known whether he has left.
        experiment.forged += leaver.ask("look") not in ({}, {"name": "leaver", "number": 0})


@contextlib.contextmanager
def through(app, *users):
    """Let the users come to another application on the same storage."""
    before = users[0].app
    for user in users:
        user.come_to(app)
    yield
    for user in users:
        user.come_to(before)


def suffer(app, user):
    """Check that nothing works, and that this is told in time."""
    app.waits.clear()
    for number in range(20):
        assert not (user.write() if number % 2 else user.ask("look"))
    waits = [each for each in app.waits if each > breaker.SLOW]
    # Few wait for it; the others are told at once.
    assert 0 < len(waits) <= 10, f"so many of 20 requests have waited: {waits}"
    assert statistics.median(waits) < app.at_most, f"they have waited too long: {waits}"


@pytest.mark.experiment("the network is slow, then silent")
@on("memcached", "mariadb", soak=("valkey", "postgresql", "mongodb", "dynamodb"))
def test_network(experiment, server, make_app, make_impatient):
    with Proxy(server) as proxy:
        direct, app = make_app(server.url), make_impatient(proxy.url())
        user = User(experiment, direct)
        for run in experiment.repeat(short=1, long=10):
            with through(app, user):
                wait_for(user.write)
                proxy.on_answer = lambda *_: Fault(delay=TIMEOUT / 5)
                wait_for(user.write)  # slow is not too slow
                late = Fault(delay=TIMEOUT * 2) if run % 2 else BLACK_HOLE
                proxy.on_answer = lambda *_, late=late: late
                suffer(app, user)
                proxy.mend()
                user.recover()
            user.check()


@pytest.mark.experiment("the server is read-only")
@on("valkey", "postgresql", "mariadb")
def test_read_only(experiment, server, make_app, storage):
    app = make_app(server.url)
    user, leaver = User(experiment, app), User(experiment, app, "leaver")
    for _ in experiment.repeat(short=3, long=50):
        assert user.write()
        set_read_only(storage, server, True)
        assert not user.write()
        assert leaver.ask("leave") is None
        user.check()
        leaver.check()
        set_read_only(storage, server, False)
        assert user.write()
        user.check()


def set_read_only(storage, server, wanted):
    """Let the server take no writes, or take them again."""
    if storage == "valkey":
        with server.client() as client:
            # Of a primary that is not there.
            client.replicaof(*(("127.0.0.1", 1) if wanted else ("NO", "ONE")))
    elif storage == "mariadb":
        server.execute(f"SET GLOBAL read_only = {wanted:d}")
    else:
        value = "on" if wanted else "off"
        server.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
        server.execute("SELECT pg_reload_conf()")
        # The connections get to know it a moment later.
        show = "SHOW default_transaction_read_only"
        wait_for(lambda: server.execute(show) == [(value,)])
        time.sleep(0.2)


@pytest.mark.experiment("the server is full")
@on("valkey")
def test_full_memory(experiment, server, make_app):
    app = make_app(server.url)
    with server.client() as client:
        try:
            for _ in experiment.repeat(short=3, long=100):
                users = [User(experiment, app, f"user{i}", "b" * 10_000) for i in range(10)]
                client.config_set("maxmemory", "1mb")
                assert not users[0].write()
                assert app.client().testapp.get(
                    "/do/begin", {"name": "late", "ballast": ""}, status=503
                )
                for user in users:
                    user.check()
                # That somebody leaves needs a note that he has left, but no more room.
                assert users[0].ask("leave") is None or users[0].ask("look") == {}
                client.config_set("maxmemory", "0")
                for user in users[1:]:
                    assert user.write()
                    user.check()
        finally:
            client.config_set("maxmemory", "0")


@pytest.mark.experiment("the server forgets what was not used for longest")
@on("memcached")
def test_eviction(experiment, storage, tmp_path, need, make_app):
    need(Memcached)
    # Where there is little memory: what does not fit any more is forgotten.
    with Memcached(tmp_path, "-m", "2") as server:
        app = make_app(server.url)
        gone = 0
        for _ in experiment.repeat(short=2, long=20):
            users = [User(experiment, app, f"user{i}", "b" * 50_000) for i in range(60)]
            for user in users:
                data = user.ask("look")
                assert data is not None, "a full cache is no outage"
                gone += data == {}
                experiment.forged += data not in ({}, {"name": user.name, "number": 0})
                assert user.write()
        assert gone > 0, "there was room for all"


@pytest.mark.experiment("somebody else has all the connections")
@on("postgresql", "mariadb")
def test_connections(experiment, server, make_app, storage):
    app = make_app(server.url)
    for _ in experiment.repeat(short=2, long=30):
        user = User(experiment, app)
        app.registry.getUtility(IPlugSession).close()
        with all_connections(storage, server):
            assert not user.write()
        user.recover()  # the others take a moment to be gone
        user.check()
        assert user.write()


@contextlib.contextmanager
def all_connections(storage, server):
    """Take all connections that the server has for its users."""
    driver, database = (psycopg, "dbname") if storage == "postgresql" else (pymysql, "database")
    where = {"host": server.host, "port": server.port, "user": "app", "password": PASSWORD}
    with contextlib.ExitStack() as stack:

        def take_all():
            while True:
                connection = driver.connect(**where, **{database: "app"}, connect_timeout=30)
                stack.callback(connection.close)

        with pytest.raises(driver.OperationalError, match=r"(?i)too many|connection slots"):
            take_all()
        yield


@pytest.mark.experiment("the primary is killed, and a replica takes over")
@pytest.mark.parametrize("storage", ["sentinel"])
def test_failover(experiment, storage, tmp_path, need, make_app, make_impatient):
    need(Sentinel)
    for run in experiment.repeat(short=1, long=15):
        with Sentinel(tmp_path / str(run)) as sentinel:
            direct, app = make_app(sentinel.url), make_impatient(sentinel.url)
            users = [User(experiment, direct, f"user{i}") for i in range(4)]
            with through(app, *users), load(users):
                until = time.monotonic() + random.uniform(0.5, 1)
                while time.monotonic() < until:
                    replicated = replicate(sentinel.primary, users)
                sentinel.primary.kill()
                killed = time.monotonic()
                wait_for(lambda: sentinel.primary_port() == sentinel.replica.port)
                took_over = time.monotonic()
                # Until each has been answered once more.
                back = [first_after(killed, user) for user in users]
            experiment.slowest = max(experiment.slowest, max(back) - took_over)
            users[0].recover()
            for user, least in zip(users, replicated, strict=True):
                user.check(least)
                assert user.write()
                user.check()


def first_after(moment, user):
    """Return when the first request of the user after a moment worked; wait until one has."""
    wait_for(lambda: user.shown and user.shown[-1] > moment)
    return next(at for at in user.shown if at > moment)


def replicate(primary, users):
    """Return which changes of each user were acknowledged and are at the replica as well."""
    acknowledged = [user.acknowledged for user in users]
    with primary.client() as client:
        # The replica gets the changes in their order.
        client.set("mark", time.monotonic())
        assert client.wait(1, 30_000) == 1
    return acknowledged
