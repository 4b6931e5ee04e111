"""Records that are kept in the process, for as long as the server vouches for them."""

import gc
import random
import socket
import threading
import time
import weakref
from types import SimpleNamespace

import pytest
from pyramid.exceptions import ConfigurationError
from redis.exceptions import RedisError
from test_redis import RedisContract

from pyramid_pluggable_session.keys import SessionKey
from pyramid_pluggable_session.plugs.redis import RedisPlug, near_cache
from pyramid_pluggable_session.plugs.redis.listener import Listener
from pyramid_pluggable_session.storage import Storage
from pyramid_pluggable_session.testing import contract, session_key
from servers.redis import Redis, RedisWithTls, Valkey
from timing import PATIENT, wait_for, within

MEGABYTE = 1 << 20


@pytest.fixture(params=["valkey", "redis"])
def server(request, running):
    server = running(request.param)
    server.flush()
    return server


@pytest.fixture
def quick():
    """Let little time pass between questions, and much until the answers are missed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_cache, "HEARTBEAT", 0.05)
        patch.setattr(near_cache, "DEAF_AFTER", 1000.0)
        yield


@pytest.fixture
def make_plug(server):
    plugs = []

    def make(size=MEGABYTE, url=server.url, **options):
        plug = RedisPlug(url=url, near_cache=size, **{**PATIENT, **options})
        plugs.append(plug)
        if size:
            listening(plug)
        return plug

    yield make
    for plug in plugs:
        plug.close()


def near(plug):
    return plug._commands._near()


def listening(plug):
    wait_for(lambda: near(plug)._hears())


def hear(plug):
    """Wait until the plug has heard of every change that was made so far."""
    moment = time.monotonic()
    wait_for(lambda: near(plug)._heard > moment)


def keep(plug, key):
    """Let the plug read a session that it has just written, and keep it."""
    hear(plug)  # of its own change, which throws out what was kept

    def is_kept():
        return plug.loads(key, None) is not None and near(plug)._records

    wait_for(is_kept, despite=plug.outages)


def reads(server):
    """Return how many GETs the server has answered."""
    with server.client() as client:
        return client.info("commandstats").get("cmdstat_get", {}).get("calls", 0)


class TestNearCache(RedisContract):
    @pytest.fixture
    def make_plug(self, make_plug):
        return make_plug

    def test_fork(self, make_plug, quick, monkeypatch):
        """What another process changes is seen when it is announced."""
        in_processes, plugs = contract._in_processes, []

        def then_hear(*works):
            in_processes(*works)
            hear(plugs[0])

        monkeypatch.setattr(contract, "_in_processes", then_hear)
        super().test_fork(lambda: plugs.append(make_plug()) or plugs[-1])

    def test_purge(self, make_plug):
        """The server deletes expired records by itself."""
        assert make_plug().purge() == 0


@pytest.mark.usefixtures("quick")
class TestReading:
    def test_again_asks_nobody(self, server, make_plug):
        plug, key = make_plug(), session_key()
        plug.dumps(key, None, b"record")
        keep(plug, key)
        before = reads(server)
        for _ in range(10):
            assert plug.loads(key, None) == b"record"
        assert reads(server) == before

    def test_what_is_absent_is_asked_for_each_time(self, server, make_plug):
        plug, key = make_plug(), session_key()
        before = reads(server)
        for _ in range(3):
            assert plug.loads(key, None) is None
        assert reads(server) == before + 3

    def test_it_ends_when_the_record_expires(self, make_plug, monkeypatch):
        plug, key = make_plug(), session_key(60)
        plug.dumps(key, None, b"record")
        keep(plug, key)

        def get_after(seconds):
            later = SimpleNamespace(monotonic=lambda: time.monotonic() + seconds)
            monkeypatch.setattr(near_cache, "time", later)
            return near(plug).get("session:" + key.session_id)

        assert get_after(30) == b"record"
        assert get_after(60) is None


@pytest.mark.usefixtures("quick")
class TestChanges:
    @pytest.fixture
    def two(self, make_plug):
        """Two plugs as in two processes, and a session that both have read."""
        one, other, key = make_plug(), make_plug(), session_key()
        one.dumps(key, None, b"old")
        for plug in (one, other):
            keep(plug, key)
        return one, other, key

    @pytest.mark.parametrize("change", ["dumps", "swap", "clear"])
    def test_elsewhere_are_seen_when_they_are_announced(self, two, change):
        one, other, key = two
        if change == "dumps":
            one.dumps(key, None, b"new")
        elif change == "swap":
            assert one.swap(key, None, b"old", b"new")
        else:
            one.clear(key, None)
        expected = None if change == "clear" else b"new"
        assert one.loads(key, None) == expected, "at once, where the change was made"
        wait_for(lambda: other.loads(key, None) == expected)
        assert other.loads(key, None) == expected

    def test_of_all_at_once(self, two, server):
        *plugs, key = two
        server.flush()
        for plug in plugs:
            wait_for(lambda plug=plug: plug.loads(key, None) is None)

    def test_a_swap_on_old_data_fails(self, two):
        one, other, key = two
        one.dumps(key, None, b"new")
        assert other.swap(key, None, b"old", b"late") is False
        assert other.loads(key, None) == b"new", "and what was kept is thrown out"

    def test_a_failed_change_throws_out_what_was_kept(self, two, monkeypatch):
        one, _, key = two

        def fail(*command):
            raise ConnectionError

        with monkeypatch.context() as patch:
            patch.setattr(one._commands, "_commands", fail)
            with pytest.raises(ConnectionError):
                one.dumps(key, None, b"new")
        assert not near(one)._records, "it may have been done"

    def test_announced_between_reading_and_keeping_counts(self, make_plug):
        # The announcement overtakes what was read before the change.
        plug, writer, key = make_plug(), make_plug(0), session_key()
        writer.dumps(key, None, b"old")
        name, kept = "session:" + key.session_id, near(plug)
        token = kept.begin(name)
        data, seconds = plug._commands._commands.read_with_lifetime(name)
        assert data == b"old"
        writer.dumps(key, None, b"new")
        wait_for(lambda: name not in kept._reading)
        kept.put(name, token, data, seconds)
        assert kept.get(name) is None
        assert plug.loads(key, None) == b"new"

    def test_many_at_once_leave_nothing_out_of_date(self, make_plug):
        plug, writer = make_plug(), make_plug(0)
        keys = [session_key() for _ in range(5)]
        for key in keys:
            writer.dumps(key, None, b"0")
        done = threading.Event()

        def read():
            while not done.is_set():
                plug.loads(random.choice(keys), None)

        readers = [threading.Thread(target=read) for _ in range(4)]
        for thread in readers:
            thread.start()
        for number in range(1500):
            writer.dumps(keys[number % 5], None, b"%d" % number)
        hear(plug)
        done.set()
        for thread in readers:
            thread.join()
        hear(plug)
        for key in keys:
            assert plug.loads(key, None) == writer.loads(key, None)


class TestAnnouncements:
    def test_what_has_come_counts_at_once(self, make_plug, monkeypatch):
        """Nobody waits for the thread to wake up."""
        plug, writer, key = make_plug(), make_plug(0), session_key()
        writer.dumps(key, None, b"old")
        keep(plug, key)
        monkeypatch.setattr(near_cache, "HEARTBEAT", 10_000.0)
        monkeypatch.setattr(near_cache, "DEAF_AFTER", 1000.0)
        asleep = threading.Event()
        monkeypatch.setattr(near(plug)._stopped, "wait", lambda _: asleep.set() or done.wait(60))
        done = threading.Event()
        assert asleep.wait(30)
        for number in range(20):
            writer.dumps(key, None, b"%d" % number)
            wait_for(lambda number=number: plug.loads(key, None) == b"%d" % number)
            assert near(plug)._records
        done.set()

    def test_interrupted_leave_nothing_out_of_date(self, make_plug, quick, monkeypatch):
        plug, writer, key = make_plug(), make_plug(0), session_key()
        writer.dumps(key, None, b"old")
        keep(plug, key)
        kept, first = near(plug), near(plug)._listener

        def interrupted(data):
            # What was announced has left the socket, and arrives nowhere.
            raise KeyboardInterrupt

        with kept._lock:
            with monkeypatch.context() as patch:
                patch.setattr(first, "_reader", SimpleNamespace(feed=interrupted))
                writer.dumps(key, None, b"new")
                with pytest.raises(KeyboardInterrupt):
                    wait_for(lambda: kept.get("session:" + key.session_id) is None)
            assert not kept._records
            assert not kept._hears()
        listening(plug)
        assert kept._listener is not first
        keep(plug, key)
        assert plug.loads(key, None) == b"new"

    def test_over_tls(self, need, tmp_path, quick):
        need(Redis)
        with RedisWithTls(tmp_path) as server:
            options = {"ca_certs": server.authority, **PATIENT}
            plug = RedisPlug(url=server.url, near_cache=MEGABYTE, **options)
            writer, key = RedisPlug(url=server.url, **options), session_key()
            writer.dumps(key, None, b"old")
            listening(plug)
            keep(plug, key)
            writer.dumps(key, None, b"new")
            wait_for(lambda: plug.loads(key, None) == b"new")
            plug.close()
            writer.close()

    def test_server_that_refuses(self, server, quick, caplog):
        with server.client() as client:
            client.execute_command(
                *("ACL SETUSER", "deaf", "reset", "on", ">pw", "~session:*"),
                *("+get", "+set", "+pttl", "+hello", "+client", "-client|tracking"),
            )
        plug = RedisPlug(
            url=server.url, username="deaf", password="pw", near_cache=MEGABYTE, **PATIENT
        )
        key = session_key()
        plug.dumps(key, None, b"record")
        wait_for(lambda: "the near cache is off: NoPermissionError" in caplog.text)
        assert plug.loads(key, None) == b"record"
        assert not near(plug)._records
        plug.close()


class TestListener:
    @pytest.fixture
    def ends(self):
        mine, other = socket.socketpair()
        with mine, other:
            yield mine, other

    @pytest.fixture
    def listener(self, ends):
        connection = SimpleNamespace(
            connect=lambda: None, _sock=ends[0], disconnect=lambda: ends[0].close()
        )
        return Listener(connection)

    def test_part_of_an_announcement(self, ends, listener):
        said = b"+PONG\r\n>2\r\n$10\r\ninvalidate\r\n*1\r\n$3\r\nkey\r\n>2\r\n+invalidate\r\n_\r\n"
        heard = []
        for byte in said:
            heard += listener.receive()
            ends[1].send(bytes([byte]))
        heard += listener.receive()
        assert heard == [b"PONG", [b"invalidate", [b"key"]], [b"invalidate", None]]
        assert list(listener.receive()) == []

    @pytest.mark.parametrize(
        ("said", "error"),
        [
            (b"", "ConnectionError"),
            (b"-ERR no\r\n", "ResponseError"),
            (b"-NOPERM no\r\n", "NoPermissionError"),
            (b"HTTP/1.0 400\r\n", "InvalidResponse"),
        ],
    )
    def test_errors(self, ends, listener, said, error):
        ends[1].send(said)
        ends[1].shutdown(socket.SHUT_WR)
        with pytest.raises(RedisError) as caught:
            list(listener.receive())
        assert type(caught.value).__name__ == error

    def test_closed(self, listener):
        listener.close()
        with pytest.raises(RedisError, match="is lost"):
            list(listener.receive())

    def test_nothing_is_left_open(self, ends):
        def interrupted(_):
            raise KeyboardInterrupt

        connection = SimpleNamespace(
            connect=lambda: None,
            _sock=SimpleNamespace(setblocking=interrupted),
            disconnect=lambda: ends[0].close(),
        )
        with pytest.raises(KeyboardInterrupt):
            Listener(connection)
        assert ends[0].fileno() == -1


class TestConnection:
    def test_when_it_is_lost_nothing_is_kept(self, server, make_plug, quick):
        plug, key = make_plug(), session_key()
        plug.dumps(key, None, b"old")
        keep(plug, key)
        with server.client() as client:
            for each in client.client_list():
                if "t" in each["flags"] or "B" in each["flags"]:
                    client.client_kill_filter(_id=each["id"])
        wait_for(lambda: not near(plug)._records)
        assert plug.loads(key, None) == b"old", "the server is asked"
        listening(plug)
        keep(plug, key)

    def test_when_it_is_silent_nothing_is_used(self, need, tmp_path, monkeypatch):
        need(Valkey)
        monkeypatch.setattr(near_cache, "HEARTBEAT", 0.1)
        monkeypatch.setattr(near_cache, "DEAF_AFTER", 0.5)
        with Valkey(tmp_path) as server:
            plug, key = RedisPlug(url=server.url, near_cache=MEGABYTE, timeout=1), session_key()
            other = RedisPlug(url=server.url, **PATIENT)
            other.dumps(key, None, b"old")
            keep(plug, key)
            kept = near(plug)
            # So that it is not the listening thread that throws everything out.
            with monkeypatch.context() as patch:
                patch.setattr(kept, "_forget_all", lambda heard: None)
                server.pause()
                with within(20):
                    wait_for(lambda: kept.get("session:" + key.session_id) is None)
                assert kept._records
                with pytest.raises(plug.outages):
                    plug.loads(key, None)
            server.resume()
            wait_for(lambda: kept._hears())
            wait_for(lambda: plug.loads(key, None) == b"old", despite=plug.outages)
            other.close()
            plug.close()

    def test_when_it_alone_is_silent_there_is_another(self, make_plug, quick, monkeypatch):
        plug, key = make_plug(), session_key()
        plug.dumps(key, None, b"record")
        keep(plug, key)
        kept, silent = near(plug), near(plug)._listener
        monkeypatch.setattr(silent, "receive", lambda: iter(()))
        monkeypatch.setattr(near_cache, "DEAF_AFTER", 0.5)
        wait_for(lambda: kept._listener is not silent)
        assert not kept._records, "a change of them may have gone unnoticed"
        listening(plug)

    def test_when_the_server_has_gone_it_is_an_outage(self, need, tmp_path, caplog, quick):
        need(Redis)
        with Redis(tmp_path) as server:
            plug, key = RedisPlug(url=server.url, near_cache=MEGABYTE, **PATIENT), session_key()
            plug.dumps(key, None, b"old")
            keep(plug, key)
            server.kill()
            wait_for(lambda: not near(plug)._records)
            with pytest.raises(plug.outages):
                plug.loads(key, None)
            server.start()
            wait_for(lambda: near(plug)._hears())
            assert plug.loads(key, None) is None, "it had nothing on disk"
            plug.close()
        assert "the near cache is off: ConnectionError" in caplog.text
        assert key.session_id not in caplog.text

    def test_the_log_shows_no_session_id(self, make_plug, caplog, quick):
        caplog.set_level("DEBUG")
        plug, writer, key = make_plug(), make_plug(0), session_key()
        writer.dumps(key, None, b"old")
        keep(plug, key)
        writer.dumps(key, None, b"new")
        wait_for(lambda: plug.loads(key, None) == b"new")
        assert key.session_id not in caplog.text

    def test_a_child_has_its_own(self, make_plug, in_child, quick):
        plug, key = make_plug(), session_key()
        plug.dumps(key, None, b"old")
        keep(plug, key)
        inherited = near(plug)

        def use():
            assert near(plug) is not inherited
            listening(plug)
            plug.dumps(key, None, b"new")
            assert plug.loads(key, None) == b"new"
            plug.close()

        in_child(use)
        wait_for(lambda: plug.loads(key, None) == b"new")


@pytest.mark.usefixtures("quick")
class TestMemory:
    def test_is_bounded(self, make_plug):
        plug = make_plug(size=20_000)
        keys = [session_key() for _ in range(100)]
        for key in keys:
            plug.dumps(key, None, b"x" * 1000)
        hear(plug)
        for key in keys:
            assert plug.loads(key, None) == b"x" * 1000
        kept = near(plug)
        assert 10 < len(kept._records) <= 15
        assert kept._bytes == sum(len(data) + 300 for data, _ in kept._records.values()) <= 20_000
        assert kept.get("session:" + keys[-1].session_id), "the oldest went first"

    def test_what_is_larger_is_not_kept(self, make_plug):
        plug, key = make_plug(size=1000), session_key()
        plug.dumps(key, None, b"x" * 1000)
        hear(plug)
        assert plug.loads(key, None) == b"x" * 1000
        assert not near(plug)._records

    def test_what_is_absent_or_cannot_be_read_leaves_nothing(self, make_plug, monkeypatch):
        plug = make_plug()
        for _ in range(10):
            assert plug.loads(session_key(), None) is None

        def fail(key):
            raise ConnectionError

        monkeypatch.setattr(plug._commands._commands, "read_with_lifetime", fail)
        with pytest.raises(ConnectionError):
            plug.loads(session_key(), None)
        assert not near(plug)._reading

    def test_reading_again_does_not_count_twice(self, make_plug):
        plug, key = make_plug(), session_key()
        kept, name = near(plug), "session:" + key.session_id
        for _ in range(3):
            kept.put(name, kept.begin(name), b"x" * 100, None)
        assert kept._bytes == 400

    def test_the_thread_ends_with_the_plug(self, server):
        def thread_of(**options):
            plug = RedisPlug(url=server.url, near_cache=MEGABYTE, **PATIENT)
            listening(plug)
            return plug, near(plug)._thread

        plug, thread = thread_of()
        plug.close()
        thread.join(30)
        assert not thread.is_alive()
        assert plug.loads(session_key(), None) is None, "it stays usable"
        plug.close()
        plug, thread = thread_of()
        gone = weakref.ref(plug)
        plug._commands._commands.close()
        del plug
        gc.collect()
        assert gone() is None
        thread.join(30)
        assert not thread.is_alive()


class TestConfiguration:
    @pytest.mark.parametrize("url", ["redis+cluster://h:1,h:2", "redis+sentinel://h:1,h:2/service"])
    def test_is_for_a_single_server(self, url):
        with pytest.raises(ConfigurationError, match=r"near_cache works where .* single server"):
            RedisPlug(url=url, near_cache=1)

    def test_is_not_for_a_client_of_the_applications_own(self, running):
        with running("valkey").client() as client, pytest.raises(ConfigurationError):
            RedisPlug(client=client, near_cache=1)

    def test_is_off_by_default(self, server, make_plug):
        plug, key = make_plug(0), session_key()
        plug.dumps(key, None, b"record")
        before = reads(server)
        for _ in range(3):
            Storage(plug, None).loads(SessionKey(key.session_id, None))
        assert reads(server) == before + 3
