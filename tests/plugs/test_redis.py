import multiprocessing
import socket
import threading
import time

import pytest
import redis
from redis.cluster import RedisCluster

from pyramid_pluggable_session import clock
from pyramid_pluggable_session.errors import SessionTooLarge
from pyramid_pluggable_session.keys import SessionKey
from pyramid_pluggable_session.plugs.redis import RedisPlug
from pyramid_pluggable_session.plugs.redis.script import SWAP_DIGEST
from pyramid_pluggable_session.testing import PlugContract, session_key
from servers.redis import (
    Redis,
    Valkey,
)
from timing import PATIENT, again_if_slow, wait_for

# What the README says that a user of the server needs.
RIGHTS = ["~session:*", "+get", "+set", "+del", "+exists", "+eval", "+evalsha", "+scan", "+pttl"]


@pytest.fixture(scope="session")
def valkey(running):
    return running("valkey")


@pytest.fixture(scope="session")
def old_redis(running):
    return running("redis")


@pytest.fixture(scope="session")
def cluster(running):
    return running("cluster")


@pytest.fixture(scope="session")
def sentinel(running):
    return running("sentinel")


class RedisContract(PlugContract):
    # A record lives from the moment at which the server gets it: on its way, it does not age.
    expiry_resolution = 0.2

    # So a stall on that way lets it live longer than these tests wait: for 0.5 seconds and more.
    test_expiry = again_if_slow(0.5)(PlugContract.test_expiry)
    test_rewriting_changes_the_expiry = again_if_slow(0.5)(
        PlugContract.test_rewriting_changes_the_expiry
    )
    test_swap_and_expiry = again_if_slow(0.5)(PlugContract.test_swap_and_expiry)

    @again_if_slow(0.5)
    def test_scan(self, make_plug, server):
        server.flush()
        super().test_scan(make_plug)

    @pytest.fixture
    def make_plug(self, server):
        server.flush()
        plugs = []

        def make():
            plugs.append(self.plug(server))
            return plugs[-1]

        yield make
        for plug in plugs:
            plug.close()

    def plug(self, server):
        return RedisPlug(url=server.url, **PATIENT)

    def test_purge(self, make_plug):
        """The server deletes expired records by itself."""
        plug, live, never = make_plug(), session_key(), session_key(None)
        for key in (live, never, session_key(0.01)):
            plug.dumps(key, None, b"record")
        time.sleep(0.1)
        assert plug.purge() == 0
        assert {key.session_id for key in plug.scan()} == {live.session_id, never.session_id}
        assert plug.loads(live, None) == plug.loads(never, None) == b"record"


class TestValkey(RedisContract):
    @pytest.fixture
    def server(self, valkey):
        return valkey


class TestRedis(RedisContract):
    @pytest.fixture
    def server(self, old_redis):
        return old_redis


class TestCluster(RedisContract):
    @pytest.fixture
    def server(self, cluster):
        return cluster


class TestSentinel(RedisContract):
    @pytest.fixture
    def server(self, sentinel):
        return sentinel


class TestFewRights(RedisContract):
    @pytest.fixture
    def server(self, old_redis):
        return old_redis

    def plug(self, server):
        with server.client() as client:
            client.execute_command("ACL SETUSER", "app", "reset", "on", ">p@ss/w:rd", *RIGHTS)
        return RedisPlug(url=server.url.replace("//", "//app:p%40ss%2Fw%3Ard@"), **PATIENT)


class TestOwnClient(RedisContract):
    @pytest.fixture
    def server(self, valkey):
        return valkey

    def plug(self, server):
        return RedisPlug(client=redis.ConnectionPool(host=server.host, port=server.port))

    def close_plug(self, plug):
        # The plug closes nothing that it did not make.
        super().close_plug(plug)
        plug._commands._client().connection_pool.disconnect()

    @pytest.fixture
    def make_plug(self, server):
        server.flush()
        plugs = []
        yield lambda: plugs.append(self.plug(server)) or plugs[-1]
        for plug in plugs:
            self.close_plug(plug)


# Each kind of server, by the name of its fixture.


@pytest.fixture(params=["valkey", "old_redis", "cluster", "sentinel"])
def server(request):
    found = request.getfixturevalue(request.param)
    found.flush()
    return found


@pytest.fixture
def plug(server):
    plug = RedisPlug(url=server.url, **PATIENT)
    yield plug
    plug.close()


@pytest.fixture
def sent(monkeypatch):
    """Count how often something is sent to a server."""
    times = []
    send = redis.connection.AbstractConnection.send_packed_command

    def counting(self, command, check_health=True):
        times.append(command)
        return send(self, command, check_health)

    monkeypatch.setattr(redis.connection.AbstractConnection, "send_packed_command", counting)
    return times


class TestRoundTrips:
    def test_each_operation_is_one(self, plug, sent):
        key, absent, expired = session_key(), session_key(), session_key(-1)
        # The first ones connect, and find out whether the server can compare and has the script.
        plug.dumps(key, None, b"0")
        plug.swap(key, None, b"0", b"1")
        for _ in range(30):
            # Each node of a cluster gets it by itself.
            plug.swap(session_key(-1), None, b"0", b"1")

        def trips(operation, *arguments):
            sent.clear()
            operation(*arguments)
            return len(sent)

        assert trips(plug.loads, key, None) == 1
        assert trips(plug.loads, absent, None) == 1
        assert trips(plug.dumps, key, None, b"2") == 1
        assert trips(plug.swap, key, None, b"2", b"3") == 1
        assert trips(plug.swap, key, None, b"2", b"4") == 1
        assert trips(plug.swap, key, None, None, b"4") == 1
        assert trips(plug.swap, absent, None, None, b"4") == 1
        assert trips(plug.swap, SessionKey(key.session_id, 1.0), None, b"3", b"") == 1
        assert trips(plug.swap, expired, None, None, b"") == 1
        assert trips(plug.dumps, expired, None, b"") == 1
        assert trips(plug.clear, absent, None) == 1

    def test_scan_takes_two_for_a_page(self, valkey, sent):
        valkey.flush()
        plug = RedisPlug(url=valkey.url)
        for _ in range(3000):
            plug.dumps(session_key(), None, b"")
        sent.clear()
        assert len(list(plug.scan())) == 3000
        assert len(sent) <= 2 * 8
        plug.close()

    def test_expiry_comes_with_the_data(self, plug, server):
        """No moment in which a record would stay for ever."""
        key = session_key(60)
        plug.dumps(key, None, b"1")
        (found,) = plug.scan()
        assert found.expires_at == pytest.approx(key.expires_at, abs=20)
        later = SessionKey(key.session_id, key.expires_at + 60)
        assert plug.swap(later, None, b"1", b"2")
        (found,) = plug.scan()
        assert found.expires_at == pytest.approx(later.expires_at, abs=20)

    def test_milliseconds_are_rounded_up(self, valkey, sent, monkeypatch):
        plug = RedisPlug(url=valkey.url)
        monkeypatch.setattr(clock, "now", lambda: 1000.0)
        plug.dumps(SessionKey("a" * 64, 1000.0001), None, b"")
        assert sent[-1][0].endswith(b"$2\r\nPX\r\n$1\r\n1\r\n")
        plug.dumps(SessionKey("a" * 64, 1000.0), None, b"")
        assert b"DEL" in sent[-1][0]
        plug.close()


class TestSwap:
    def test_to_an_expired_record(self, plug):
        key = session_key()
        expired = SessionKey(key.session_id, clock.now() - 1)
        assert plug.swap(expired, None, None, b"late") is True
        assert plug.loads(key, None) is None
        plug.dumps(key, None, b"record")
        assert plug.swap(expired, None, None, b"late") is False
        assert plug.swap(expired, None, b"other", b"late") is False
        assert plug.loads(key, None) == b"record"
        assert plug.swap(expired, None, b"record", b"late") is True
        assert plug.loads(key, None) is None

    def test_by_command_where_there_is_one(self, valkey, sent):
        plug, key = RedisPlug(url=valkey.url), session_key()
        plug.dumps(key, None, b"1")
        sent.clear()
        assert plug.swap(key, None, b"1", b"2")
        assert len(sent) == 1
        assert b"IFEQ" in b"".join(sent[0])
        plug.close()

    def test_by_script_elsewhere(self, old_redis, sent):
        plug, key = RedisPlug(url=old_redis.url), session_key()
        plug.dumps(key, None, b"1")
        assert plug.swap(key, None, b"1", b"2")
        sent.clear()
        assert plug.swap(key, None, b"2", b"3")
        assert len(sent) == 1
        assert SWAP_DIGEST.encode() in b"".join(sent[0])
        plug.close()

    def test_server_that_forgot_the_script(self, old_redis):
        plug, key = RedisPlug(url=old_redis.url), session_key()
        plug.dumps(key, None, b"1")
        assert plug.swap(key, None, b"1", b"2")
        with old_redis.client() as client:
            client.script_flush()
        assert plug.swap(key, None, b"2", b"3")
        assert plug.loads(key, None) == b"3"
        plug.close()

    def test_server_of_another_version(self, need, tmp_path):
        need(Redis)
        need(Valkey)
        new, old = Valkey(tmp_path / "new"), Redis(tmp_path / "old")
        old.port = new.port
        plug = RedisPlug(url=new.url)
        for server in (new, old, new):
            with server:
                key = session_key()
                plug.dumps(key, None, b"1")
                assert plug.swap(key, None, b"1", b"2")
                assert not plug.swap(key, None, b"1", b"3")
                assert plug.loads(key, None) == b"2"
        plug.close()

    def test_another_error_is_not_taken_for_an_old_server(self, valkey, sent):
        plug, key = RedisPlug(url=valkey.url), session_key()
        plug._commands("session:" + key.session_id, "LPUSH", "session:" + key.session_id, "x")
        sent.clear()
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            plug.swap(key, None, b"1", b"2")
        assert len(sent) == 1
        plug.close()


def test_socket(valkey):
    plug, key = RedisPlug(url=f"redis+unix://{valkey.socket}?db=1"), session_key()
    big, bigger = bytes(300_000), bytes(400_000)
    plug.dumps(key, None, big)
    assert plug.loads(key, None) == big
    assert plug.swap(key, None, big, bigger) is True
    assert plug.swap(key, None, big, bigger) is False
    assert [found.session_id for found in plug.scan()] == [key.session_id]
    plug.clear(key, None)
    assert plug.loads(key, None) is None
    plug.close()


class TestKeys:
    def test_of_others_are_ignored(self, plug, server):
        key = session_key()
        plug.dumps(key, None, b"record")
        for name in ("session:", "session:other", "session:" + "A" * 64, b"session:\xff" * 9, "x"):
            plug._commands(name, "SET", name, "x")
        assert [found.session_id for found in plug.scan()] == [key.session_id]

    def test_prefix_separates(self, valkey):
        valkey.flush()
        # Characters that mean something to SCAN do not here.
        prefixes = ["a:", "*:", "?:", "[a]:", "^a:", "\\*:", "[^b]:", "ä ö:", "a-c:"]
        plugs = [RedisPlug(url=valkey.url, prefix=prefix) for prefix in prefixes]
        keys = [session_key() for _ in plugs]
        for plug, key in zip(plugs, keys, strict=True):
            plug.dumps(key, None, plug._prefix.encode())
        for plug, key in zip(plugs, keys, strict=True):
            assert [found.session_id for found in plug.scan()] == [key.session_id]
            assert plug.loads(key, None) == plug._prefix.encode()
            plug.close()

    @pytest.mark.parametrize(
        "form", ["redis://{host}:{port}/{db}", "redis+unix://{socket}?db={db}"]
    )
    def test_databases_separate(self, valkey, form):
        valkey.flush()
        plugs = [
            RedisPlug(
                url=form.format(host=valkey.host, port=valkey.port, socket=valkey.socket, db=db)
            )
            for db in (0, 1)
        ]
        key = session_key()
        plugs[1].dumps(key, None, b"record")
        assert [plug.loads(key, None) for plug in plugs] == [None, b"record"]
        assert [len(list(plug.scan())) for plug in plugs] == [0, 1]
        for plug in plugs:
            plug.close()

    def test_database_behind_sentinels(self, sentinel):
        sentinel.flush()
        plug, key = RedisPlug(url=sentinel.url + "/3"), session_key()
        plug.dumps(key, None, b"record")
        with sentinel.primary.client(db=3) as client:
            assert client.dbsize() == 1
        plug.close()

    def test_scan_of_records_that_go(self, plug, server, monkeypatch):
        going, staying = [session_key() for _ in range(20)], session_key(None)
        for key in (*going, staying):
            plug.dumps(key, None, b"")
        execute = redis.client.Pipeline.execute

        def later(self, **options):
            while going:
                plug.clear(going.pop(), None)
            return execute(self, **options)

        monkeypatch.setattr(redis.client.Pipeline, "execute", later)
        assert list(plug.scan()) == [staying]


class TestConnections:
    def test_at_most_so_many(self, valkey):
        plug, key = RedisPlug(url=valkey.url, max_connections=2, timeout=60.0), session_key()
        plug.dumps(key, None, b"record")
        errors = []

        def use():
            try:
                for _ in range(20):
                    assert plug.loads(key, None) == b"record"
                    assert len(list(plug.scan())) >= 1
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=use) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert plug._commands._client().connection_pool._created_connections <= 2
        plug.close()

    def test_none_becomes_free(self, valkey):
        plug = RedisPlug(url=valkey.url, max_connections=1, timeout=0.2)
        started, done = threading.Event(), threading.Event()

        def hold():
            with plug._commands._turn():
                started.set()
                done.wait(60)

        thread = threading.Thread(target=hold)
        thread.start()
        assert started.wait(30)
        with pytest.raises(plug.outages, match="No connection became free") as caught:
            plug.loads(session_key(), None)
        assert plug.remedy(caught.value) == "raise pluggable_session.redis.max_connections"
        done.set()
        thread.join()
        wait_for(lambda: plug.loads(session_key(), None) is None, despite=plug.outages)
        plug.close()

    def test_closed_plug_stays_usable(self, plug, server):
        plug.close()  # nothing is open yet
        key = session_key()
        plug.dumps(key, None, b"record")
        pools = list(_pools(plug))
        plug.close()
        assert not any(each.is_connected for pool in pools for each in pool._available_connections)
        assert plug.loads(key, None) == b"record"

    def test_interrupted_operation_leaves_no_answer_behind(self, valkey, monkeypatch):
        plug, keys = RedisPlug(url=valkey.url), [session_key(), session_key()]
        for key in keys:
            plug.dumps(key, None, key.session_id.encode())

        def interrupted(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(redis.Redis, "parse_response", interrupted)
            with pytest.raises(KeyboardInterrupt):
                plug.loads(keys[0], None)
        (pool,) = _pools(plug)
        assert not any(each.is_connected for each in pool._available_connections)
        assert plug.loads(keys[1], None) == keys[1].session_id.encode()
        plug.close()

    def test_unread_answer_is_not_taken_for_the_next(self, valkey):
        plug, key = RedisPlug(url=valkey.url), session_key()
        plug.dumps(key, None, b"record")
        (pool,) = _pools(plug)
        (connection,) = pool._available_connections
        before = connection._sock
        connection.send_command("ECHO", "of somebody else")
        wait_for(lambda: connection.can_read())
        assert plug.loads(key, None) == b"record"
        assert connection._sock is not before
        plug.close()

    @pytest.mark.parametrize("times", [1, 2])
    def test_server_that_says_too_much(self, times):
        """What it says before it is asked is the answer to no question."""
        accepted = []

        def serve():
            while True:
                try:
                    accepted.append(listener.accept()[0])
                except OSError:
                    return
                with accepted[-1] as connection:
                    while question := connection.recv(10_000):
                        answer = b"$-1\r\n" if b"GET" in question else b"+OK\r\n"
                        if b"SETINFO" in question and len(accepted) <= times:
                            answer *= 10
                        connection.sendall(answer * question.count(b"*"))

        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=serve)
            thread.start()
            plug = RedisPlug(url=f"redis://127.0.0.1:{listener.getsockname()[1]}", **PATIENT)
            if times == 1:
                assert plug.loads(session_key(), None) is None
            else:
                with pytest.raises(plug.outages, match="speaks before it is asked"):
                    plug.loads(session_key(), None)
            (pool,) = _pools(plug)
            assert not pool._in_use_connections
            assert len(accepted) == 2
            plug.close()
            listener.shutdown(socket.SHUT_RDWR)
        thread.join()

    def test_of_a_server_that_is_no_primary_any_more(self, sentinel):
        plug = RedisPlug(url=sentinel.url, **PATIENT)
        plug.loads(session_key(), None)
        (pool,) = _pools(plug)
        connection = pool.get_connection()
        pool.proxy.master_address = ("127.0.0.1", 1)
        pool.release(connection)
        assert not connection.is_connected
        assert plug.loads(session_key(), None) is None
        assert pool._available_connections == [connection]
        plug.close()

    def test_more_than_redis_py_would_open(self, valkey):
        plug = RedisPlug(url=valkey.url)
        (pool,) = _pools(plug)
        held = [pool.get_connection() for _ in range(105)]
        assert plug.loads(session_key(), None) is None
        for connection in held:
            pool.release(connection)
        plug.close()

    def test_fork_beside_threads(self, plug, in_child):
        """A lock of the pool that a thread held at the fork does not stop the child."""
        key, stop = session_key(), threading.Event()
        plug.dumps(key, None, b"record")

        def use():
            while not stop.is_set():
                plug.loads(key, None)

        threads = [threading.Thread(target=use) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(5):
                assert in_child(lambda: plug.loads(key, None)) == b"record"
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not multiprocessing.active_children()

    def test_driver_does_nothing_again(self, plug):
        client = plug._commands._client()
        sentinel = getattr(_pools(plug)[0], "sentinel_manager", None)
        clients = [client] if sentinel is None else [client, *sentinel.sentinels]
        for each in clients:
            retry = each.retry if isinstance(each, RedisCluster) else each.get_retry()
            assert retry.get_retries() == 0

    def test_nothing_but_answers(self, valkey):
        """Messages that the server sends unasked would hide that it closed a connection."""
        plug = RedisPlug(url=valkey.url)
        pool = plug._commands._client().connection_pool
        assert pool.connection_kwargs["protocol"] == 2
        assert not pool.maint_notifications_enabled()
        plug.close()


class TestSize:
    def test_too_large(self, valkey):
        plug = RedisPlug(url=valkey.url)
        huge = bytes(512 * 1024 * 1024 + 1)  # of zeros that are nowhere until they are read
        for operation in (
            lambda: plug.dumps(session_key(), None, huge),
            lambda: plug.swap(session_key(), None, None, huge),
        ):
            with pytest.raises(SessionTooLarge, match="536870912 bytes") as caught:
                operation()
            assert (caught.value.size, caught.value.limit) == (len(huge), len(huge) - 1)


class TestRights:
    @pytest.mark.parametrize("right", RIGHTS[1:])
    def test_none_too_many(self, old_redis, right):
        left = [each for each in RIGHTS if each != right]
        with old_redis.client() as client:
            client.execute_command("ACL SETUSER", "few", "reset", "on", ">few", *left)
            client.script_flush()
        plug = RedisPlug(url=old_redis.url.replace("//", "//few:few@"))
        key = session_key()

        def everything():
            plug.dumps(key, None, b"1")
            plug.loads(key, None)
            plug.swap(key, None, b"1", b"2")
            plug.swap(session_key(-1), None, None, b"")
            list(plug.scan())
            plug.clear(key, None)

        with pytest.raises(redis.exceptions.NoPermissionError) as caught:
            everything()
        assert right in plug.remedy(caught.value)
        plug.close()

    def test_in_a_cluster(self, cluster):
        cluster.flush()
        for server in cluster.servers:
            with server.client() as client:
                client.execute_command(
                    *("ACL SETUSER", "few", "reset", "on", ">few", *RIGHTS),
                    *("+cluster|slots", "+command"),
                )
        plug = RedisPlug(url=cluster.url, username="few", password="few")
        for _ in range(20):
            key = session_key()
            plug.dumps(key, None, b"1")
            assert plug.swap(key, None, b"1", b"2")
            assert plug.loads(key, None) == b"2"
        assert len(list(plug.scan())) == 20
        plug.close()


class TestClusterRedirections:
    def test_slot_that_moves(self, cluster):
        """While a slot moves from node to node, and after that."""
        cluster.flush()
        plug, keys = RedisPlug(url=cluster.url), [session_key() for _ in range(2)]
        with cluster.servers[0].client() as client:
            # Two keys in one slot, by a hash tag.
            plug._prefix = "{tag}:"
            slot = client.execute_command("CLUSTER KEYSLOT", "{tag}:")
        source, target = (
            next(s for s in cluster.servers if _owns(s, slot)),
            next(s for s in cluster.servers if not _owns(s, slot)),
        )
        plug.dumps(keys[0], None, b"1")
        with source.client() as at_source, target.client() as at_target:
            ids = [each.execute_command("CLUSTER MYID") for each in (at_source, at_target)]
            at_target.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[0])
            at_source.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[1])
            # What is not at the source is asked for at the target.
            plug.dumps(keys[1], None, b"1")
            assert at_target.dbsize() == 1
            assert plug.loads(keys[1], None) == b"1"
            assert plug.swap(keys[1], None, b"1", b"2") is True
            assert plug.swap(keys[1], None, b"1", b"3") is False
            assert plug.loads(keys[0], None) == b"1"
            assert {key.session_id for key in plug.scan()} == {key.session_id for key in keys}
            at_source.migrate(target.host, target.port, "{tag}:" + keys[0].session_id, 0, 1000)
            assert plug.loads(keys[0], None) == b"1"
            for each in (at_target, at_source):
                each.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[1])
            assert plug.swap(keys[0], None, b"1", b"2") is True
            assert plug.loads(keys[0], None) == b"2"
            assert len(list(plug.scan())) == 2
            # As it was, for the next test.
            plug.clear(keys[0], None)
            plug.clear(keys[1], None)
            for each in (at_source, at_target):
                each.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[0])
        plug.close()

    def test_records_are_on_every_node(self, cluster):
        cluster.flush()
        plug = RedisPlug(url=cluster.url)
        for _ in range(100):
            plug.dumps(session_key(), None, b"")
        for server in cluster.servers:
            with server.client() as client:
                assert client.dbsize() > 10
        plug.close()


def _owns(server, slot):
    with server.client() as client:
        return _slots(client, slot)


def _slots(client, slot):
    me = client.execute_command("CLUSTER MYID").decode()
    nodes = client.execute_command("CLUSTER NODES").values()
    (mine,) = (node["slots"] for node in nodes if node["node_id"] == me)
    return any(int(first) <= slot <= int(last) for first, last in mine)


def _pools(plug):
    client = plug._commands._client()
    if isinstance(client, RedisCluster):
        return [node.redis_connection.connection_pool for node in client.get_nodes()]
    return [client.connection_pool]
