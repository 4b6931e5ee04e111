import contextlib
import gc
import http.server
import itertools
import os
import select
import socket
import ssl
import stat
import tempfile
import threading
import time

import pytest
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError

from apps import App
from certificates import certificate
from proxies import NONE, Fault, Proxy
from pyramid_pluggable_session import clock, loader, storage
from pyramid_pluggable_session.errors import PlugUnavailable, SessionTooLarge
from pyramid_pluggable_session.keys import SessionKey, new_session_id
from pyramid_pluggable_session.plugs.memcached import MemcachedPlug, answers, connection, items
from pyramid_pluggable_session.plugs.memcached import pool as pools
from pyramid_pluggable_session.plugs.memcached import servers as placing
from pyramid_pluggable_session.storage import Storage
from pyramid_pluggable_session.testing import PlugContract, session_key
from servers import free_port
from servers.memcached import Memcached
from timing import PATIENCE, PATIENT, again_if_slow, wait_for, within

_numbers = itertools.count()


@pytest.fixture(scope="session")
def start(need):
    """Return a function that starts a server, to be stopped at the end at the latest."""
    need(Memcached)
    with contextlib.ExitStack() as stack:

        def start(*options, **more):
            # The path of a Unix socket must be short.
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            return stack.enter_context(Memcached(folder, *options, **more))

        yield start


@pytest.fixture(scope="session")
def server(start):
    return start()


@pytest.fixture
def own_server(start):
    """A server that the test may stop."""
    server = start()
    yield server
    server.stop()


@pytest.fixture
def prefix():
    return f"{next(_numbers)}:"


@pytest.fixture
def plug(server, prefix):
    return MemcachedPlug(url=server.url, prefix=prefix, **PATIENT)


@pytest.fixture(scope="module")
def unix_server(start):
    return start(unix=True)


@pytest.fixture(scope="module")
def three_servers(start):
    return [start() for _ in range(3)]


@pytest.fixture(scope="module")
def small_server(start):
    """A server with a low limit to the size of records."""
    return start("-I", "512k")


class MemcachedContract(PlugContract):
    waits = False  # until memcached has noticed that a record has expired
    try_number = 0  # for a storage that is empty each time

    @again_if_slow(0)
    def test_scan(self, make_plug):
        # A record lives from the moment at which memcached gets it: a stall on that way adds to it.
        self.try_number += 1
        self.expiry_resolution = 6.0
        self.enforces_expiry = self.waits
        super().test_scan(make_plug)

    def test_purge(self, make_plug):
        """memcached purges by itself."""
        plug, live, soon = make_plug(), session_key(), session_key(0.3)
        plug.dumps(live, None, b"live")
        plug.dumps(soon, None, b"record")
        self._wait_for(soon)
        assert plug.purge() == 0
        assert plug.loads(live, None) == b"live"


class TestMemcachedPlug(MemcachedContract):
    waits = True

    @pytest.fixture
    def make_plug(self, server, prefix):
        return lambda: MemcachedPlug(
            url=server.url, prefix=f"{prefix}{self.try_number}:", **PATIENT
        )


class TestOnUnixSocket(MemcachedContract):
    many = 50

    @pytest.fixture
    def make_plug(self, unix_server, prefix):
        return lambda: MemcachedPlug(
            url=unix_server.url, prefix=f"{prefix}{self.try_number}:", **PATIENT
        )


class TestOnSeveralServers(MemcachedContract):
    many = 100

    @pytest.fixture
    def make_plug(self, three_servers, prefix):
        orders = itertools.cycle(itertools.permutations(three_servers))
        return lambda: MemcachedPlug(
            url=url_of(next(orders)), prefix=f"{prefix}{self.try_number}:", **PATIENT
        )


def url_of(servers):
    return "memcached://" + ",".join(server.address for server in servers)


class Listening(Proxy):
    """Lists what is asked."""

    def __init__(self, server):
        super().__init__(server)
        self.asked = []

    def on_question(self, piece, connection):
        self.asked.append(piece)
        return NONE

    def taken(self):
        """Return the first words of what was asked since the last time."""
        taken, self.asked = self.asked, []
        return [question.split()[0].decode() for question in taken]


@pytest.fixture
def proxy(server):
    with Listening(server) as proxy:
        yield proxy


@pytest.fixture
def behind(proxy, prefix):
    """A plug behind the proxy, with a connection that is already open."""
    plug = MemcachedPlug(url=proxy.url(), prefix=prefix, **PATIENT)
    plug.loads(session_key(), None)
    proxy.taken()
    yield plug
    plug.close()


def failure(plug, operation=None):
    """Return the message that the application gets for a failure to load."""
    with pytest.raises(PlugUnavailable) as caught:
        (operation or (lambda storage: storage.loads(session_key())))(Storage(plug, None))
    return str(caught.value)


class TestConfiguration:
    def refused(self, *words, **options):
        with pytest.raises(ConfigurationError) as caught:
            MemcachedPlug(**options)
        for word in words:
            assert word in str(caught.value)
        return str(caught.value)

    @pytest.mark.parametrize(
        ("url", "names"),
        [
            ("memcached://localhost", ["localhost:11211"]),
            ("memcached://LOCALHOST:1,b.example/", ["localhost:1", "b.example:11211"]),
            ("MEMCACHED://[::1],[FE80::1%eth0]:2", ["[::1]:11211", "[fe80::1%eth0]:2"]),
            ("memcached://127.0.0.1,other_host:65535", ["127.0.0.1:11211", "other_host:65535"]),
            ("memcached:///run/mem%20cached.sock", ["/run/mem cached.sock"]),
        ],
    )
    def test_urls(self, url, names):
        assert [str(place) for place in placing.addresses(url, [])] == names

    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("localhost:11211", "must be a URL such as memcached://host:11211,"),
            ("memcached:localhost", "must be a URL such as"),
            ("redis://localhost", "must be a URL such as"),
            ("memcached://", "'' is not a server"),
            ("memcached:///", "'' is not a server"),
            ("memcached://a,,b", "'' is not a server"),
            ("memcached://a b", "'a b' is not a server"),
            ("memcached://::1", "in brackets, as in memcached://[::1]:11211"),
            ("memcached://host/0", "'host/0' is not a server"),
            ("memcached://host#x", "'host#x' is not a server"),
            ("memcached://host:port", "'host:port' is not a server"),
            ("memcached://host:0", "a port that is not from 1 to 65535"),
            ("memcached://host:65536", "a port that is not from 1 to 65535"),
            ("memcached://a,b,A:11211", "names the server a:11211 more than once"),
            ("memcached://h?timeout=1", "Set pluggable_session.memcached.timeout, or give"),
            ("memcached://h?timout=1&x=2", "timout, in the URL of the memcached plug, is not kno"),
            ("memcached://h?zzz", "Known are: connect_timeout, prefix, timeout, tls, tls_ca_file"),
        ],
    )
    def test_bad_urls(self, url, words):
        self.refused(words, url=url)

    def test_password_is_not_shown(self):
        message = self.refused(
            "has a user or password in it", url="memcached://someone:hidden@localhost"
        )
        assert "someone" not in message
        assert "hidden" not in message

    def test_prefix(self):
        assert items.prefix("p" * 186) == "p" * 186
        for value in ("", "p" * 187, "a b", "a\n", "a\0", "ä", "\x7f", None, 1):
            with pytest.raises(ValueError, match="1 to 186 printable ASCII characters"):
                items.prefix(value)

    def test_longest_prefix(self, server):
        plug, key = MemcachedPlug(url=server.url, prefix="~" * 186), session_key()
        plug.dumps(key, None, b"record")
        assert plug.loads(key, None) == b"record"
        assert list(plug.scan()) != []

    def test_prefixes_are_apart(self, server, plug):
        key = session_key()
        plug.dumps(key, None, b"record")
        other = MemcachedPlug(url=server.url, prefix="other:")
        assert other.loads(key, None) is None
        other.clear(key, None)
        assert plug.loads(key, None) == b"record"
        assert list(other.scan()) == []

    def test_by_settings(self, server, prefix):
        settings = {"pluggable_session.memcached.prefix": prefix}
        config = Configurator(settings=settings)
        key = session_key()
        plug = loader.make_plug(config, f"{server.url}?timeout=2&connect_timeout=1")
        plug.dumps(key, None, b"record")
        found = server.ask(f"get {prefix}{key.session_id}".encode(), end=b"END\r\n")
        assert found.startswith(b"VALUE")
        with pytest.raises(ConfigurationError, match="Did you mean timeout, in the URL"):
            loader.make_plug(config, f"{server.url}?timeot=2")
        config.registry.settings["pluggable_session.memcached.prefix"] = "a b"
        with pytest.raises(ConfigurationError, match=r"memcached.prefix must be 1 to 186"):
            loader.make_plug(config, "memcached")

    def test_constructor_does_not_connect(self):
        MemcachedPlug(url="memcached://host.invalid").close()

    def test_tls(self, tmp_path):
        self.refused("tls_ca_file is set, but", tls_ca_file="/ca.pem")
        self.refused("must not be true for a Unix socket", url="memcached:///s", tls=True)
        self.refused("/no/ca.pem", "No such file", tls=True, tls_ca_file="/no/ca.pem")
        (tmp_path / "ca.pem").write_text("nonsense")
        self.refused("has no certificates", tls=True, tls_ca_file=str(tmp_path / "ca.pem"))


class TestRoundTrips:
    def test_every_operation_is_one(self, behind, proxy):
        key = session_key()
        assert behind.loads(key, None) is None
        assert proxy.taken() == ["gets"]
        assert behind.swap(key, None, None, b"one") is True
        assert proxy.taken() == ["add"]
        assert behind.loads(key, None) == b"one"
        assert behind.swap(key, None, b"one", b"two") is True
        assert proxy.taken() == ["gets", "cas"]
        behind.dumps(key, None, b"three")
        assert proxy.taken() == ["set"]
        behind.clear(key, None)
        assert proxy.taken() == ["delete"]

    def test_request_loads_and_swaps(self, behind, proxy):
        client = App(behind).client()
        client.do(lambda session: session.__setitem__("a", 1))
        assert proxy.taken() == ["add"]
        client.do(lambda session: session["a"])
        assert proxy.taken() == ["gets"]
        client.do(lambda session: session.__setitem__("a", 2))
        assert proxy.taken() == ["gets", "cas"]

    def test_large_records_ask_for_the_limit_once(self, behind, proxy):
        for _ in range(3):
            behind.dumps(session_key(), None, b"r" * 5000)
        assert proxy.taken() == ["stats", "set", "set", "set"]

    def test_small_records_do_not(self, behind, proxy, prefix):
        fits = 1024 - 64 - len(prefix) - 64 - 8
        behind.dumps(session_key(), None, b"r" * fits)
        assert proxy.taken() == ["set"]
        behind.dumps(session_key(), None, b"r" * (fits + 1))
        assert proxy.taken() == ["stats", "set"]


class TestSwap:
    """What was read last saves a question, and nothing depends on it."""

    def test_nothing_read_before(self, behind, proxy, plug):
        key = session_key()
        plug.dumps(key, None, b"one")
        assert behind.swap(key, None, b"one", b"two") is True
        assert proxy.taken() == ["gets", "cas"]

    def test_something_else_read_before(self, behind, proxy, plug):
        key, other = session_key(), session_key()
        for each in (key, other):
            plug.dumps(each, None, b"same")
        behind.loads(other, None)
        proxy.taken()
        assert behind.swap(key, None, b"same", b"two") is True
        assert proxy.taken() == ["gets", "cas"]
        assert plug.loads(other, None) == b"same"

    def test_written_by_others_since(self, behind, plug):
        key = session_key()
        plug.dumps(key, None, b"one")
        behind.loads(key, None)
        plug.dumps(key, None, b"other")
        assert behind.swap(key, None, b"one", b"two") is False
        assert plug.loads(key, None) == b"other"

    def test_same_value_written_since(self, behind, proxy, plug):
        key = session_key()
        plug.dumps(key, None, b"one")
        behind.loads(key, None)
        plug.dumps(key, None, b"other")
        plug.dumps(key, None, b"one")
        proxy.taken()
        assert behind.swap(key, None, b"one", b"two") is True
        assert proxy.taken() == ["cas", "gets", "cas"]
        assert plug.loads(key, None) == b"two"

    def test_other_value_expected_than_read(self, behind, proxy, plug):
        key = session_key()
        plug.dumps(key, None, b"one")
        behind.loads(key, None)
        proxy.taken()
        assert behind.swap(key, None, b"other", b"two") is False
        assert proxy.taken() == ["gets"]

    def test_cleared_since(self, behind, plug):
        key = session_key()
        plug.dumps(key, None, b"one")
        behind.loads(key, None)
        plug.clear(key, None)
        assert behind.swap(key, None, b"one", b"two") is False
        assert plug.loads(key, None) is None

    def test_expired_since(self, plug, monkeypatch):
        key = session_key(60)
        plug.dumps(key, None, b"one")
        plug.loads(key, None)
        monkeypatch.setattr(clock, "now", lambda: key.expires_at + 1)
        later = SessionKey(key.session_id, key.expires_at + 60)
        assert plug.swap(later, None, b"one", b"two") is False
        # memcached still has it.
        assert plug.swap(later, None, None, b"three") is True
        assert plug.loads(later, None) == b"three"

    def test_token_of_another_thread_is_not_used(self, behind, proxy, plug):
        key, other = session_key(), session_key()
        plug.dumps(key, None, b"one")
        behind.loads(key, None)
        thread = threading.Thread(target=behind.loads, args=(other, None))
        thread.start()
        thread.join()
        proxy.taken()
        assert behind.swap(key, None, b"one", b"two") is True
        assert proxy.taken() == ["cas"]

    def test_server_that_gives_the_same_token_again(self, own_server):
        # It counts from the start again, and the same token stands for another value.
        plug, other, key = (
            MemcachedPlug(url=own_server.url),
            MemcachedPlug(url=own_server.url),
            session_key(),
        )
        other.dumps(key, None, b"one")
        assert plug.loads(key, None) == b"one"
        (_, token) = token_of(other, key)
        own_server.kill()
        own_server.start()
        other.dumps(key, None, b"new")
        assert token_of(other, key) == (b"new", token)
        assert plug.swap(key, None, b"one", b"two") is False
        assert plug.loads(key, None) == b"new"

    def test_stored_expired(self, server, plug, prefix):
        key = session_key()
        plug.dumps(key, None, b"one")
        past = SessionKey(key.session_id, clock.now() - 1)
        assert plug.swap(past, None, b"wrong", b"two") is False
        assert plug.loads(key, None) == b"one"
        assert plug.swap(past, None, b"one", b"two") is True
        assert plug.loads(key, None) is None
        name = f"get {prefix}{key.session_id}".encode()
        assert server.ask(name, end=b"END\r\n") == b"END\r\n", "it is kept for nothing"
        assert plug.swap(past, None, None, b"three") is True
        assert plug.swap(key, None, None, b"four") is True

    def test_without_cas(self, start):
        server = start("-C")
        plug, key = MemcachedPlug(url=server.url), session_key()
        plug.dumps(key, None, b"one")
        message = failure(plug, lambda storage: storage.swap(key, b"one", b"two"))
        assert "start it without -C" in message
        server.stop()


def token_of(plug, key):
    with plug._pool(key).connection() as connection:
        stamped, token = connection.gets("session:" + key.session_id)
    return stamped[8:], token


class TestExpiry:
    NOW = 1_700_000_000.25

    @pytest.mark.parametrize(
        ("expires_at", "exptime"),
        [
            (None, 0),
            (NOW - 1, -1),
            (NOW, -1),
            (NOW + 0.01, 6),
            (NOW + 60, 65),
            (NOW + 60.01, 66),
            (NOW + 30 * 86400 - 5, 30 * 86400),
            (NOW + 30 * 86400 - 4.5, 1_699_999_996 + 31 * 86400),
            (NOW + 365 * 86400, 1_700_000_001 + 366 * 86400),
            (2.0**31 - 1 - 86400, 2**31 - 1),
            (2.0**31 - 1 - 86399, 0),
            (2.0**31, 0),
            (2.0**32 + 60, 0),
            (1e300, 0),
        ],
    )
    def test_exptime(self, monkeypatch, expires_at, exptime):
        monkeypatch.setattr(clock, "now", lambda: self.NOW)
        assert items.exptime(expires_at) == exptime

    @pytest.mark.parametrize(
        "seconds", [30 * 86400 - 2, 30 * 86400, 30 * 86400 + 2, 10**8, 10**9, 10**10, 10**15]
    )
    def test_far_away(self, plug, seconds):
        key = session_key(seconds)
        plug.dumps(key, None, b"record")
        assert plug.loads(key, None) == b"record"

    def test_memcached_forgets_by_itself(self, server, plug, prefix):
        key = session_key(0.5)
        plug.dumps(key, None, b"record")
        name = f"get {prefix}{key.session_id}".encode()
        wait_for(lambda: server.ask(name, end=b"END\r\n") == b"END\r\n")

    def test_it_is_never_early(self, plug):
        # memcached's clock ticks once a second, at any moment of ours.
        keys = []
        for number in range(40):
            keys.append(session_key(0.5 + number / 40))
            plug.dumps(keys[-1], None, b"record")
            time.sleep(0.025)
        while keys := [key for key in keys if clock.now() < key.expires_at]:
            for key in keys:
                found = plug.loads(key, None)
                assert found == b"record" or clock.now() >= key.expires_at
            time.sleep(0.01)


class TestTooLarge:
    def test_old_record_stays(self, small_server, prefix):
        plug, key = MemcachedPlug(url=small_server.url, prefix=prefix), session_key()
        plug.dumps(key, None, b"old")
        for operation in (
            lambda: plug.dumps(key, None, b"r" * 600_000),
            lambda: plug.swap(key, None, b"old", b"r" * 600_000),
        ):
            with pytest.raises(SessionTooLarge, match=r"memcached -I") as caught:
                operation()
            assert caught.value.size == 600_000
            assert caught.value.limit == 524_288 - 64 - 8 - 64 - len(prefix)
            assert plug.loads(key, None) == b"old"

    def test_limit_is_the_right_one(self, small_server, prefix):
        plug, key = MemcachedPlug(url=small_server.url, prefix=prefix), session_key()
        with pytest.raises(SessionTooLarge) as caught:
            plug.dumps(key, None, b"r" * 600_000)
        limit = caught.value.limit
        plug.dumps(key, None, b"r" * limit)
        assert plug.loads(key, None) == b"r" * limit
        with pytest.raises(SessionTooLarge, match=f"has {limit + 1} bytes"):
            plug.dumps(key, None, b"r" * (limit + 1))

    def test_server_that_does_not_tell(self, plug, monkeypatch):
        key = session_key()
        with plug._pool(key).connection() as connection:
            monkeypatch.setattr(connection.client, "stats", lambda *which: {})
        plug.dumps(key, None, b"r" * 900_000)
        with pytest.raises(SessionTooLarge):
            plug.dumps(key, None, b"r" * 2_000_000)


class TestSeveralServers:
    def test_place_of_a_session_never_changes(self):
        # Whoever changes this logs people out.
        names = ["a:11211", "b:11211", "c:11211"]
        found = [placing.choose(names, f"{n:064x}")[0] for n in range(20)]
        assert "".join(found) == "babbcbcacabcaabababb"
        for order in itertools.permutations(names):
            assert [placing.choose(order, f"{n:064x}")[0] for n in range(20)] == found

    def test_every_server_has_its_share(self):
        names = ["a:11211", "b:11211", "c:11211"]
        found = [placing.choose(names, new_session_id()) for _ in range(3000)]
        for name in names:
            assert 800 < found.count(name) < 1200

    def test_new_server_takes_only_its_share(self):
        names, ids = ["a:1", "b:1", "c:1"], [new_session_id() for _ in range(1000)]
        before = {each: placing.choose(names, each) for each in ids}
        after = {each: placing.choose([*names, "d:1"], each) for each in ids}
        assert {after[each] for each in ids if before[each] != after[each]} == {"d:1"}

    def test_one_is_down(self, start):
        servers = [start() for _ in range(3)]
        plug = MemcachedPlug(url=url_of(servers), **PATIENT)
        keys = [session_key() for _ in range(60)]
        for key in keys:
            plug.dumps(key, None, b"before")
        down = servers[0]
        lost = [key for key in keys if str(plug._pool(key)) == down.address]
        kept = [key for key in keys if key not in lost]
        assert lost
        assert kept
        down.kill()
        for key in lost:
            assert down.address in failure(plug, lambda storage, key=key: storage.loads(key))
            for operation in (
                lambda key=key: plug.dumps(key, None, b"moved"),
                lambda key=key: plug.swap(key, None, None, b"moved"),
                lambda key=key: plug.clear(key, None),
            ):
                with pytest.raises(plug.outages):
                    operation()
        for key in kept:
            assert plug.loads(key, None) == b"before"
            assert plug.swap(key, None, b"before", b"after") is True
        with pytest.raises(plug.outages):
            list(plug.scan())
        down.start()
        for key in lost:
            assert plug.loads(key, None) is None, "it came back from another server"
            plug.dumps(key, None, b"again")
        for key in keys:
            assert plug.loads(key, None) == (b"again" if key in lost else b"after")
        for server in servers:
            server.stop()


class TestConnections:
    def test_late_answer_reaches_nobody(self, proxy, plug, prefix):
        mine, other = session_key(), session_key()
        plug.dumps(mine, None, b"mine")
        plug.dumps(other, None, b"other")
        hasty = MemcachedPlug(url=proxy.url(), prefix=prefix, timeout=0.3)

        def ask(key):
            try:
                return hasty.loads(key, None)
            except hasty.outages as error:
                if "TimeoutError" not in str(error):
                    raise
                return "too late"

        wait_for(lambda: ask(mine) == b"mine")
        proxy.on_answer = lambda *_: Fault(delay=1.0)
        wait_for(lambda: ask(mine) == "too late")
        proxy.on_answer = lambda *_: NONE
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            assert ask(other) in (b"other", "too late")
            assert ask(mine) in (b"mine", "too late")
            time.sleep(0.05)
        wait_for(lambda: ask(other) == b"other")
        hasty.close()

    @pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, BaseException])
    def test_whatever_ends_a_use_ends_the_connection(self, plug, error):
        pool = plug._pool(session_key())
        seen = []

        def use():
            with pool.connection() as connection:
                seen.append(connection)
                connection.socket.sendall(b"gets someone-elses-session\r\n")
                raise error

        with pytest.raises(error):
            use()
        (connection,) = seen
        assert connection.socket.fileno() == -1
        assert connection not in pool._idle
        assert plug.loads(session_key(), None) is None

    def test_unread_answer_is_not_taken_for_the_next(self, plug):
        pool = plug._pool(session_key())
        with pool.connection() as connection:
            connection.socket.sendall(b"version\r\n")
        wait_for(lambda: not connection.is_quiet())
        with pool.connection() as other:
            assert other is not connection
        assert connection.socket.fileno() == -1

    def test_answer_for_another_key(self, plug, prefix):
        key, other = session_key(), session_key()
        plug.dumps(other, None, b"other")
        with plug._pool(key).connection() as connection:
            connection.socket.sendall(f"gets {prefix}{other.session_id}\r\n".encode())
        pool = plug._pool(key)
        pool._idle_one = lambda: connection  # as if the answer had come after the check
        message = failure(plug, lambda storage: storage.loads(key))
        assert "is the address of a memcached server" in message
        assert other.session_id not in message
        del pool._idle_one

    def test_one_connection_is_used_again(self, own_server):
        plug = MemcachedPlug(url=own_server.url)
        plug.loads(session_key(), None)
        before = own_server.stat("total_connections")
        for _ in range(20):
            plug.dumps(session_key(), None, b"record")
        assert own_server.stat("total_connections") == before + 1, "one is the question itself"

    def test_threads_have_connections_of_their_own(self, plug, monkeypatch):
        monkeypatch.setattr(pools, "_IDLE_AT_MOST", 3)
        pool, together, seen = plug._pool(session_key()), threading.Barrier(8), []

        def use():
            with pool.connection() as connection:
                seen.append(connection)
                together.wait(30)

        threads = [threading.Thread(target=use) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(seen)) == 8
        assert len(pool._idle) <= 3
        assert sum(each.socket.fileno() != -1 for each in seen) == len(pool._idle)

    def test_server_restarted(self, own_server):
        plug, key = MemcachedPlug(url=own_server.url), session_key()
        for operation in (
            lambda: plug.loads(key, None),
            lambda: plug.dumps(key, None, b"record"),
            lambda: plug.swap(key, None, None, b"record"),
            lambda: plug.clear(key, None),
        ):
            plug.loads(key, None)
            own_server.kill()
            own_server.start()
            operation()

    def test_idle_for_long(self, plug, monkeypatch):
        monkeypatch.setattr(pools, "_IDLE_SECONDS", 0.0)
        pool = plug._pool(session_key())
        with pool.connection() as first:
            pass
        with pool.connection() as second:
            assert second is not first
        assert first.socket.fileno() == -1

    def test_closed_while_in_use(self, plug):
        key = session_key()
        pool = plug._pool(key)
        with pool.connection() as connection:
            plug.close()
        assert connection.socket.fileno() == -1
        assert plug.loads(key, None) is None

    def test_nothing_is_left_open(self, server):
        plug = MemcachedPlug(url=server.url)
        pool = plug._pool(session_key())
        plug.loads(session_key(), None)
        (connection,) = pool._idle
        del plug
        gc.collect()
        assert connection.socket.fileno() == -1

    def test_fork_lets_go_of_connections(self, plug, in_child):
        key = session_key()
        plug.dumps(key, None, b"record")
        (connection,) = plug._pool(key)._idle
        assert in_child(lambda: connection.socket.fileno()) == -1
        assert in_child(lambda: plug.loads(key, None)) == b"record"
        assert connection.is_quiet()
        assert plug.loads(key, None) == b"record"

    def test_every_address_of_a_name_is_tried(self, server, monkeypatch):
        # Often localhost is ::1 first, and memcached listens on 127.0.0.1 only.
        both = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", free_port())),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: both)
        plug = MemcachedPlug(url="memcached://memcached.example")
        assert plug.loads(session_key(), None) is None

    def test_ipv6(self, start, prefix):
        try:
            with socket.socket(socket.AF_INET6) as listener:
                listener.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        server = start("-l", "::1")
        plug, key = MemcachedPlug(url=f"memcached://[::1]:{server.port}"), session_key()
        plug.dumps(key, None, b"record")
        assert plug.loads(key, None) == b"record"
        server.stop()


class TestFailures:
    def test_nobody_listens(self):
        port = free_port()
        message = failure(MemcachedPlug(url=f"memcached://127.0.0.1:{port}"))
        assert f"ServerError: 127.0.0.1:{port}: ConnectionRefusedError" in message
        assert "(start the server, or correct pluggable_session.memcached.url)" in message

    def test_no_socket(self, tmp_path):
        message = failure(MemcachedPlug(url=f"memcached://{tmp_path}/none"))
        assert "(start the server, or correct pluggable_session.memcached.url)" in message

    def test_socket_of_another_user(self, start, as_nobody):
        server = start(unix=True)
        os.chmod(os.path.dirname(server.unix), 0o755)
        assert stat.S_IMODE(os.stat(server.unix).st_mode) == 0o700
        if os.geteuid() != 0:
            pytest.skip("only root can become another user")
        message = as_nobody(lambda: failure(MemcachedPlug(url=server.url)))
        assert "(memcached -a)" in message
        server.stop()

    def test_unknown_host(self, monkeypatch):
        def fail(*args, **options):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", fail)
        message = failure(MemcachedPlug(url="memcached://host.invalid"))
        assert "check the host name in pluggable_session.memcached.url" in message

    @pytest.mark.parametrize(
        "operation",
        [
            lambda plug, key: plug.loads(key, None),
            lambda plug, key: plug.dumps(key, None, b"other"),
            lambda plug, key: plug.swap(key, None, b"record", b"other"),
            lambda plug, key: plug.clear(key, None),
        ],
    )
    @again_if_slow(3)
    def test_paused(self, own_server, operation):
        plug, key = MemcachedPlug(url=own_server.url, timeout=0.3), session_key()
        wait_for(lambda: plug.loads(key, None) is None, despite=plug.outages)
        own_server.pause()
        try:
            with within(3), pytest.raises(plug.outages) as caught:
                operation(plug, key)
        finally:
            own_server.resume()
        assert "raise pluggable_session.memcached.timeout" in plug.remedy(caught.value)

        def works():
            # What is still on its way to the server may come after it.
            plug.dumps(key, None, b"later")
            return plug.loads(key, None) == b"later"

        wait_for(works, despite=plug.outages)
        plug.close()

    def test_full_backlog(self):
        # A listener that accepts nobody: further connections are not answered at all.
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            for _ in range(4):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(listener.getsockname())
            plug = MemcachedPlug(
                url=f"memcached://127.0.0.1:{listener.getsockname()[1]}",
                connect_timeout=0.2,
                timeout=PATIENCE,
            )
            with within(PATIENCE / 2):
                assert "TimeoutError" in failure(plug)

    @pytest.mark.parametrize(
        "answer",
        [
            b"-ERR unknown command 'gets'\r\n",  # Redis
            b"HTTP/1.0 400 Bad request\r\n\r\n",
            b"ERROR\r\n",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"VALUE too few\r\n",
            b"VALUE session:other 0 1 1\r\nx\r\nEND\r\n",
            b"VALUE session:other 0 many 1\r\nx\r\nEND\r\n",
            b"",
        ],
    )
    def test_another_kind_of_server(self, answer):
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def serve():
                client, _ = listener.accept()
                with client:
                    client.recv(1000)
                    client.sendall(answer)

            thread = threading.Thread(target=serve)
            thread.start()
            port = listener.getsockname()[1]
            plug = MemcachedPlug(url=f"memcached://127.0.0.1:{port}", **PATIENT)
            message = failure(plug)
            thread.join()
        assert "pluggable_session.memcached.url" in message

    def test_an_answer_that_is_none_is_not_a_logout(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def serve():
                client, _ = listener.accept()
                with client:
                    client.recv(1000)
                    client.sendall(b"HTTP/1.0 400 Bad request\r\n\r\n")

            thread = threading.Thread(target=serve)
            thread.start()
            port = listener.getsockname()[1]
            plug = MemcachedPlug(url=f"memcached://127.0.0.1:{port}", **PATIENT)
            with pytest.raises(plug.outages, match="answer to a delete"):
                plug.clear(session_key(), None)
            thread.join()

    def test_web_server(self):
        with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as web:
            web.RequestHandlerClass.log_message = lambda *args: None
            thread = threading.Thread(target=web.serve_forever, args=(0.05,))
            thread.start()
            url = f"memcached://127.0.0.1:{web.server_port}"
            message = failure(MemcachedPlug(url=url, **PATIENT))
            web.shutdown()
            thread.join()
        assert "correct pluggable_session.memcached.url" in message

    def test_wants_a_password(self, start, tmp_path):
        (tmp_path / "passwords").write_text("user:password\n")
        server = start("-Y", str(tmp_path / "passwords"))
        assert "(memcached -Y), which the memcached plug cannot give" in failure(
            MemcachedPlug(url=server.url)
        )
        server.stop()

    def test_full_without_eviction(self, start):
        server = start("-M", "-m", "2")
        plug = MemcachedPlug(url=server.url)

        def fill(storage):
            for _ in range(200):
                storage.dumps(session_key(), b"r" * 500_000)

        assert "(give the server more memory (memcached -m))" in failure(plug, fill)
        server.stop()

    def test_other_errors_have_no_remedy(self, plug):
        assert plug.remedy(RuntimeError("?")) is None

    def test_nothing_secret_is_told(self, plug, own_server):
        plug, key = MemcachedPlug(url=own_server.url), session_key()
        own_server.kill()
        with pytest.raises(PlugUnavailable) as caught:
            Storage(plug, None).loads(key)
        assert key.session_id not in str(caught.value)
        assert key.session_id not in repr(caught.value.__cause__)
        assert storage.describe(plug) == "memcached"


class Saying:
    """A socket that has received these pieces, and then nothing more."""

    def __init__(self, *pieces):
        self.pieces = list(pieces)

    def recv(self, most):
        piece = self.pieces.pop(0) if self.pieces else b""
        if piece[most:]:
            self.pieces.insert(0, piece[most:])
        return piece[:most]


class TestAnswers:
    FOUND = b"VALUE key 0 9 17\r\nEND\r\nEND\r\r\nEND\r\n"

    def test_in_pieces(self):
        for first in range(1, len(self.FOUND)):
            for second in range(first + 1, len(self.FOUND) + 1):
                pieces = self.FOUND[:first], self.FOUND[first:second], self.FOUND[second:]
                found = answers.value(Saying(*filter(None, pieces)), b"key")
                assert found == (b"END\r\nEND\r", b"17")
        for cut in range(1, 5):
            assert answers.value(Saying(b"END\r\n"[:cut], b"END\r\n"[cut:]), b"key") == (None, None)
            assert answers.word(Saying(b"STORED\r"[:cut], b"STORED\r\n"[cut:]), b"cas") == b"STORED"

    def test_large(self):
        data = os.urandom(1_000_000)
        said = b"VALUE key 0 1000000 17\r\n" + data + b"\r\nEND\r\n"
        assert answers.value(Saying(said), b"key") == (data, b"17")

    @pytest.mark.parametrize(
        "said",
        [
            FOUND[:-1],
            FOUND + b"V",
            FOUND.replace(b"9", b"8"),
            FOUND.replace(b"9", b"10"),
            FOUND.replace(b"9", b"-7"),
            FOUND.replace(b"9", b""),
            FOUND.replace(b" 17", b""),
            FOUND.replace(b"key", b"yek"),
            b"END\r\nEND\r\n",
            b"STORED\r\n",
            b"E" * 100_000,
            b"",
        ],
    )
    def test_that_are_none(self, said):
        with pytest.raises(pools._ERRORS):
            answers.value(Saying(said), b"key")

    @pytest.mark.parametrize(
        "said", [b"EXISTS\r\n", b"STORED\r\nSTORED\r\n", b"STORED", b"stored\r\n"]
    )
    def test_to_a_set_that_are_none(self, said):
        with pytest.raises(pools._ERRORS):
            answers.word(Saying(said), b"set")

    def test_to_others_are_not_shown(self):
        with pytest.raises(pools._ERRORS) as caught:
            answers.word(Saying(b"VALUE session:abcdef 0 1 1\r\nx\r\nEND\r\n"), b"set")
        assert "abc" not in str(caught.value)
        assert "VALUE" in str(caught.value)

    def test_without_poll(self, monkeypatch):
        monkeypatch.delattr(select, "poll")
        mine, other = socket.socketpair()
        with mine, other:
            look = connection._looking_at(mine)
            assert not look(0)
            other.send(b"x")
            assert look(30)


class TestScan:
    def test_abandoned(self, plug):
        for _ in range(50):
            plug.dumps(session_key(), None, b"record")
        pool = plug._pool(session_key())
        scan = plug.scan()
        next(scan)
        scan.close()
        assert not pool._idle, "the rest of the list is still on the way"
        assert len(list(plug.scan())) == 50

    def test_others_names(self, server, plug, prefix):
        key = session_key()
        plug.dumps(key, None, b"record")
        for name in (prefix + "x", prefix + "a" * 65, "%" + prefix + "a" * 64, "a" * 64):
            server.ask(b"set %s 0 60 1" % name.encode(), b"x")
        assert [found.session_id for found in plug.scan()] == [key.session_id]

    def test_month_ahead(self, plug):
        key = session_key(90 * 86400)
        plug.dumps(key, None, b"record")
        (found,) = plug.scan()
        assert 0 <= found.expires_at - key.expires_at < 86400 + 2

    def test_waits_for_another(self, plug):
        for _ in range(3000):
            plug.dumps(session_key(), None, b"record")
        found = []
        scanning = [threading.Thread(target=lambda: found.append(list(plug.scan())))] * 1
        scanning += [threading.Thread(target=lambda: found.append(list(plug.scan())))]
        for thread in scanning:
            thread.start()
        for thread in scanning:
            thread.join()
        assert [len(each) for each in found] == [3000, 3000]

    def test_dumping_disabled(self, start):
        server = start("-X")
        plug = MemcachedPlug(url=server.url)
        with pytest.raises(plug.outages) as caught:
            list(plug.scan())
        assert "dumping disabled (memcached -X)" in plug.remedy(caught.value)
        server.stop()


@pytest.fixture(scope="session")
def tls_files(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("certificate"))


class TestTls:
    @pytest.fixture
    def secured(self, start, tls_files, missing):
        chain, key = tls_files
        try:
            server = start("-Z", "-o", f"ssl_chain_cert={chain},ssl_key={key}")
        except RuntimeError as error:
            if "without" not in str(error) and "option" not in str(error):
                raise
            missing("this memcached has no TLS")
        yield server
        server.stop()

    def test_spoken(self, secured, tls_files):
        plug = MemcachedPlug(url=secured.url, tls=True, tls_ca_file=tls_files[0])
        key = session_key()
        plug.dumps(key, None, b"r" * 500_000)
        assert plug.loads(key, None) == b"r" * 500_000
        assert plug.swap(key, None, b"r" * 500_000, b"other") is True
        assert len(list(plug.scan())) == 1
        (connection,) = plug._pool(key)._idle
        plug.loads(key, None)
        assert list(plug._pool(key)._idle) == [connection]
        assert isinstance(connection.socket, ssl.SSLSocket)

    def test_not_trusted(self, secured):
        message = failure(MemcachedPlug(url=secured.url, tls=True))
        assert "set pluggable_session.memcached.tls_ca_file to the authority" in message

    def test_wrong_name(self, secured, tls_files):
        url = f"memcached://localhost:{secured.port}"
        message = failure(MemcachedPlug(url=url, tls=True, tls_ca_file=tls_files[0]))
        assert "has the host name that is in it" in message

    def test_not_spoken_by_us(self, secured):
        message = failure(MemcachedPlug(url=secured.url, timeout=2))
        assert "if the server speaks TLS, set pluggable_session.memcached.tls = true" in message

    def test_not_spoken_by_the_server(self, server, tls_files):
        message = failure(
            MemcachedPlug(
                url=server.url, tls=True, tls_ca_file=tls_files[0], timeout=1, connect_timeout=1
            )
        )
        assert "pluggable_session.memcached" in message
