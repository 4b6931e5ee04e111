"""Servers that refuse, hang, restart, fail over, or are none at all."""

import http.server
import os
import socket
import threading
import time

import pytest
import redis
from redis.cluster import RedisCluster

from pyramid_pluggable_session.errors import PlugUnavailable
from pyramid_pluggable_session.plugs.redis import RedisPlug
from pyramid_pluggable_session.storage import Storage
from pyramid_pluggable_session.testing import session_key
from servers import free_port
from servers.redis import (
    Cluster,
    Redis,
    RedisWithTls,
    SteadySentinel,
    Valkey,
)
from timing import PATIENCE, PATIENT, again_if_slow, wait_for, within


@pytest.fixture(scope="module", autouse=True)
def _need(need):
    need(Valkey)
    need(Redis)


@pytest.fixture(scope="module")
def valkey(tmp_path_factory):
    with Valkey(tmp_path_factory.mktemp("failing-valkey")) as server:
        yield server


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A server with a password."""
    with Valkey(tmp_path_factory.mktemp("guarded"), password="right") as server:
        with server.client() as client:
            client.execute_command("ACL SETUSER", "reader", "on", ">pw", "~session:*", "+get")
        yield server


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    with RedisWithTls(tmp_path_factory.mktemp("tls")) as server:
        yield server


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("failing-cluster")) as servers:
        yield servers


@pytest.fixture(params=[Valkey, Redis])
def server(request, tmp_path):
    with request.param(tmp_path / "server") as server:
        yield server


@pytest.fixture
def make(request):
    """Return a function that makes a plug, which is closed after the test."""
    plugs = []

    def make(url, **options):
        plugs.append(RedisPlug(url=url, **{**PATIENT, **options}))
        return plugs[-1]

    yield make
    for plug in plugs:
        plug.close()


HASTY = {"connect_timeout": 0.5, "timeout": 0.5}
"""Options of a plug that gives up while a server hangs."""


def failure(plug, operation="loads"):
    """Return the message of the error that an operation ends with."""
    storage, key = Storage(plug, None), session_key()
    operations = {
        "loads": lambda: storage.loads(key),
        "dumps": lambda: storage.dumps(key, b"x"),
        "swap": lambda: storage.swap(key, b"y", b"x"),
        "clear": lambda: storage.clear(key),
    }
    with pytest.raises(PlugUnavailable) as caught:
        operations[operation]()
    assert key.session_id not in str(caught.value)
    return str(caught.value)


class TestRefusals:
    @pytest.mark.parametrize(
        ("login", "message"),
        [
            ("", "(the server asks for a password: set the user and password in pluggable_"),
            (":wrong@", "invalid username-password pair or user is disabled. (see the user and p"),
            ("nobody:wrong@", "(see the user and password in pluggable_session.redis.url, or"),
        ],
    )
    def test_login(self, guarded, make, login, message):
        found = failure(make(f"redis://{login}127.0.0.1:{guarded.port}"))
        assert message in found
        assert "wrong" not in found

    def test_password_that_is_not_needed(self, valkey, make):
        assert "(the server wants no password: remove" in failure(
            make(f"redis://:pw@127.0.0.1:{valkey.port}")
        )

    @pytest.mark.parametrize("operation", ["dumps", "swap", "clear"])
    def test_rights(self, guarded, make, operation):
        plug = make(f"redis://reader:pw@127.0.0.1:{guarded.port}")
        assert "(the user needs the rights ~session:* +get +set" in failure(plug, operation)
        assert plug.loads(session_key(), None) is None

    def test_rights_on_keys(self, guarded, make):
        plug = make(f"redis://reader:pw@127.0.0.1:{guarded.port}", prefix="{app}:")
        assert "(the user needs the rights ~{app}:* +get +set" in failure(plug)

    def test_database(self, valkey, make):
        message = failure(make(f"redis://127.0.0.1:{valkey.port}/99"))
        assert "(see the number of the database in pluggable_session.redis.url" in message

    @pytest.mark.parametrize("operation", ["dumps", "swap"])
    def test_memory_is_full(self, server, make, operation):
        plug = make(server.url)
        with server.client() as client:
            client.config_set("maxmemory", 1)
            assert "memory is full: raise its maxmemory" in failure(plug, operation)
            client.config_set("maxmemory", 0)
        plug.dumps(session_key(), None, b"")

    @pytest.mark.parametrize("operation", ["dumps", "swap", "clear"])
    def test_replica(self, server, make, operation):
        plug = make(server.url)
        with server.client() as client:
            client.replicaof("127.0.0.1", 1)
            assert "that server is a replica: name the primary in" in failure(plug, operation)

    def test_replica_without_its_primary(self, server, make):
        with server.client() as client:
            client.config_set("replica-serve-stale-data", "no")
            client.replicaof("127.0.0.1", 1)
            assert "that server is a replica: name the primary in" in failure(make(server.url))

    def test_snapshots_fail(self, tmp_path, make):
        with Redis(tmp_path / "r", "--enable-protected-configs", "yes") as server:
            os.mkdir(tmp_path / "r" / "dump.rdb")
            with server.client() as client:
                client.config_set("save", "1 1")
                client.set("key", "value")
                client.bgsave()
                wait_for(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
                message = failure(make(server.url), "dumps")
                assert (
                    "(the server cannot write its snapshots: see its log and its disk)" in message
                )
                client.config_set("save", "")

    def test_too_many_clients(self, server, make):
        with server.client() as client:
            client.config_set("maxclients", 1)
            assert "(raise the server's maxclients, or set" in failure(make(server.url))

    def test_loading(self, make):
        assert "(the server is starting and reads its data: wait)" in failure(
            make(answering(b"-LOADING Redis is loading the dataset in memory\r\n"))
        )


class TestWrongServer:
    @pytest.mark.parametrize("scheme", ["redis", "redis+cluster", "redis+sentinel"])
    def test_of_another_kind(self, make, scheme):
        url = answering(b"HTTP/1.1 400 Bad Request\r\n\r\n").replace("redis:", scheme + ":")
        message = failure(make(url + "/name" * (scheme == "redis+sentinel")))
        assert "(no Redis or Valkey server answers there: see host and port in plugg" in message

    def test_http(self, make):
        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *arguments):
                pass

        with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            message = failure(make(f"redis://127.0.0.1:{server.server_port}"))
            assert "no Redis or Valkey server answers there" in message
            message = failure(make(f"rediss://127.0.0.1:{server.server_port}"))
            assert "(if that port does not speak TLS, use redis in place of rediss" in message
            server.shutdown()
            thread.join()

    def test_cluster_that_is_none(self, valkey, make):
        message = failure(make(f"redis+cluster://127.0.0.1:{valkey.port}"))
        assert (
            "(that server is in no cluster: use redis:// in pluggable_session.redis.url)" in message
        )

    def test_node_of_a_cluster(self, cluster, make):
        plug = make(cluster.url.replace("redis+cluster", "redis").partition(",")[0])
        messages = {_message(plug).partition(" (")[2] for _ in range(5)}
        assert messages == {
            "that server is a node of a cluster: use redis+cluster:// in "
            "pluggable_session.redis.url)"
        }

    def test_sentinel_that_is_none(self, valkey, make):
        message = failure(make(f"redis+sentinel://127.0.0.1:{valkey.port}/name"))
        assert "(that server is no Sentinel: use redis:// in" in message

    def test_sentinel_asks_for_a_password(self, guarded, make):
        message = failure(make(f"redis+sentinel://127.0.0.1:{guarded.port}/name"))
        assert "(a Sentinel asks for a password: see pluggable_session.redis.sentinel_p" in message
        url = f"redis+sentinel://127.0.0.1:{guarded.port}/name"
        message = failure(make(url, sentinel_password="right"))
        assert "(that server is no Sentinel" in message

    @pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
    def test_nobody_there(self, make, scheme):
        message = failure(make(f"{scheme}://u:secret@127.0.0.1:{free_port()}"))
        assert (
            "(is the server running? Else see host and port in pluggable_session.redis" in message
        )
        assert "secret" not in message

    def test_no_sentinel_there(self, make):
        message = failure(make(f"redis+sentinel://u:secret@127.0.0.1:{free_port()}/name"))
        assert "(a Sentinel does not answer: see the hosts and ports of the Sentinels" in message
        assert "secret" not in message
        assert "Connection" in message
        assert len(message) < 300

    def test_no_socket_there(self, make, tmp_path):
        message = failure(make(f"redis+unix://{tmp_path}/none"))
        assert "(is the server running? Else see the path of the socket in" in message
        message = failure(make(f"redis+unix://{tmp_path}/{'long' * 50}"))
        assert "(the system does not take so long a path" in message

    def test_unknown_host(self, make):
        message = failure(make("redis://no.such.invalid"))
        assert "(see the host's name in pluggable_session.redis.url)" in message

    def test_socket_of_others(self, valkey, as_nobody, open_folder):
        path = os.path.join(open_folder, "s")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            os.chmod(path, 0)
            listener.listen()
            message = as_nobody(lambda: failure(RedisPlug(url=f"redis+unix://{path}")))
        assert "(the process may not use the socket: see the server's unixsocketperm)" in message

    def test_unknown_error_has_no_remedy(self, valkey):
        assert RedisPlug().remedy(redis.ResponseError("WRONGTYPE")) is None
        own = redis.Redis(port=valkey.port)
        assert RedisPlug(client=own).remedy(ConnectionResetError("reset")) is None
        for error in (ConnectionResetError("reset"), BrokenPipeError("broken")):
            assert "use rediss" in RedisPlug(url="redis://h").remedy(error)
            assert "set pluggable_session.redis.certfile" in RedisPlug(url="rediss://h").remedy(
                error
            )


def answering(answer):
    """Return the URL of a server that has one answer to everything."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with listener:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)
                connection.recv(1000)

    threading.Thread(target=serve, daemon=True).start()
    return f"redis://127.0.0.1:{listener.getsockname()[1]}"


class TestTls:
    def test_everything(self, tls, make):
        plug, key = make(tls.url, ca_certs=tls.authority), session_key()
        big, bigger = os.urandom(300_000), os.urandom(400_000)
        plug.dumps(key, None, big)
        assert plug.loads(key, None) == big
        assert plug.swap(key, None, big, bigger) is True
        assert plug.swap(key, None, big, bigger) is False
        assert plug.loads(key, None) == bigger
        assert [found.session_id for found in plug.scan()] == [key.session_id]
        plug.clear(key, None)

    def test_authority_is_not_trusted(self, tls, make):
        message = failure(make(tls.url))
        assert "(set pluggable_session.redis.ca_certs to the certificate of the auth" in message

    def test_other_name(self, tls, make):
        url = tls.url.replace("127.0.0.1", "localhost")
        message = failure(make(url, ca_certs=tls.authority))
        assert "call the server in pluggable_session.redis.url as its certificate does)" in message

    def test_without_verification(self, tls, make):
        url = tls.url.replace("127.0.0.1", "localhost")
        assert make(url, verify=False).loads(session_key(), None) is None

    def test_not_used(self, tls, make):
        message = failure(make(tls.url.replace("rediss", "redis")))
        assert "(if that port speaks TLS, use rediss in place of redis in" in message

    def test_not_spoken(self, valkey, make):
        message = failure(make(valkey.url.replace("redis", "rediss"), **HASTY))
        assert "(if that port does not speak TLS, use redis in place of rediss in" in message

    def test_certificate_for_the_server(self, tmp_path, make):
        with RedisWithTls(tmp_path, clients=True) as server:
            message = failure(make(server.url, ca_certs=server.authority))
            assert "asks its clients for a certificate, set pluggable_session.redis.cert" in message
            plug = make(
                server.url,
                ca_certs=server.authority,
                certfile=server.certificate,
                keyfile=server.key,
            )
            assert plug.loads(session_key(), None) is None

    @pytest.mark.parametrize("kind", ["cluster", "sentinel"])
    def test_of_several_servers(self, tls, make, kind):
        """Their servers are asked over TLS, and with trust in the same authority."""
        url = tls.url.replace("rediss", f"rediss+{kind}").replace("/0", "/name")
        url = url if kind == "sentinel" else url.replace("/name", "")
        assert "use redis://" in failure(make(url, ca_certs=tls.authority))


class TestOnce:
    """What may have been done already is not done again."""

    @pytest.fixture
    def lost(self):
        """A server that takes commands and ends without an answer, and the commands it took."""
        listener, taken = socket.create_server(("127.0.0.1", 0)), []

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    data = connection.recv(10_000)
                    while b"SETINFO" in data:
                        connection.sendall(b"+OK\r\n")
                        data = connection.recv(10_000)
                    if data:
                        taken.append(data)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}", taken
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()

    @pytest.mark.parametrize("own", [False, True])
    @pytest.mark.parametrize("operation", ["dumps", "swap"])
    def test_answer_is_lost(self, lost, own, operation):
        url, taken = lost
        # The application's client does again what failed.
        plug = (
            RedisPlug(client=redis.Redis.from_url(url, protocol=2)) if own else RedisPlug(url=url)
        )
        failure(plug, operation)
        assert len(taken) == 1
        assert b"SET" in taken[0]
        plug._commands.close()

    @pytest.mark.parametrize("own", [False, True])
    def test_in_a_cluster(self, cluster, own, monkeypatch):
        client = RedisCluster("127.0.0.1", cluster.servers[0].port) if own else None
        plug = RedisPlug(client=client) if own else RedisPlug(url=cluster.url)
        key, times = session_key(), []
        plug.dumps(key, None, b"1")
        read = redis.connection.Connection.read_response

        def losing(self, *arguments, **options):
            answer = read(self, *arguments, **options)
            if answer == b"OK" and not times:
                times.append(1)
                self.disconnect()
                raise redis.ConnectionError("lost")
            return answer

        with monkeypatch.context() as patch:
            patch.setattr(redis.connection.Connection, "read_response", losing)
            with pytest.raises(redis.ConnectionError, match="lost"):
                plug.swap(key, None, b"1", b"2")
        # Done again, it would have found that somebody else had been faster.
        assert plug.loads(key, None) == b"2"
        assert plug.swap(key, None, b"2", b"3") is True
        plug.close()
        if own:
            client.close()


class TestRestarts:
    @pytest.mark.parametrize("end", ["stop", "kill"])
    @pytest.mark.parametrize("form", ["tcp", "socket"])
    def test_next_request_works(self, server, make, end, form):
        plug = make(server.url if form == "tcp" else f"redis+unix://{server.socket}")
        plug.loads(session_key(), None)
        in_use = [threading.Thread(target=plug.loads, args=(session_key(), None)) for _ in range(4)]
        for thread in in_use:
            thread.start()
        for thread in in_use:
            thread.join()
        for _ in range(2):
            getattr(server, end)()
            server.start()
            key = session_key()
            assert plug.swap(key, None, None, b"record") is True
            assert plug.loads(key, None) == b"record"

    def test_outage_in_between(self, server, make):
        plug, key = make(server.url), session_key()
        plug.dumps(key, None, b"record")
        server.kill()
        for _ in range(2):
            failure(plug)
        server.start()
        assert plug.loads(key, None) is None  # it keeps nothing on disk

    def test_over_tls(self, tmp_path, make):
        with RedisWithTls(tmp_path) as server:
            plug = make(server.url, ca_certs=server.authority)
            plug.loads(session_key(), None)
            server.kill()
            server.start()
            assert plug.loads(session_key(), None) is None

    @pytest.mark.parametrize("operation", ["loads", "dumps", "swap", "clear"])
    def test_server_that_hangs(self, server, make, operation):
        key = session_key()
        make(server.url).dumps(key, None, b"record")

        @again_if_slow(2)
        def gives_up():
            plug = make(server.url, **HASTY)
            wait_for(lambda: plug.loads(key, None) == b"record", despite=plug.outages)
            server.pause()
            try:
                with within(2):
                    message = failure(plug, operation)
                failure(plug)
            finally:
                server.resume()
            assert "(is the server busy? pluggable_session.redis.timeout and" in message
            return plug

        plug = gives_up()
        # The answers that came late are not taken for those to other questions.
        wait_for(lambda: plug.loads(key, None) is not None, despite=plug.outages)
        assert plug.loads(key, None) == b"record"

    def test_cluster(self, tmp_path, make):
        cluster = Cluster(tmp_path)
        plug = make(cluster.url)
        failure(plug)
        with cluster:
            cluster.notice_failures()
            wait_for(lambda: _works(plug))
            for server in cluster.servers[:2]:
                server.kill()
                wait_for(lambda: not _works(plug))
                server.start()
                wait_for(lambda: _works(plug))
            server.kill()
            wait_for(lambda: "some of the cluster's nodes are down" in _message(plug))


def _works(plug):
    try:
        for _ in range(20):
            plug.dumps(session_key(), None, b"record")
    except plug.outages:
        return False
    return True


class TestSentinel:
    def test_unknown_service(self, tmp_path, make):
        with SteadySentinel(tmp_path) as servers:
            message = failure(make(servers.url + "x"))
            assert "(the Sentinels know no service of that name that is up: see the" in message
            message = failure(make(f"redis://127.0.0.1:{servers.sentinel.port}"))
            assert "(that server is a Sentinel: use redis+sentinel:// in" in message
            # One of the Sentinels is enough.
            url = servers.url.replace("//", f"//127.0.0.1:{free_port()},")
            assert make(url).loads(session_key(), None) is None

    @pytest.mark.parametrize("fault", ["kill", "pause"])
    def test_failover_under_load(self, tmp_path, make, fault):
        """Writers go on by themselves, and lose nothing that the replica had."""
        # A second time and so on if the machine was too slow to tell.
        assert any(self.recovery(tmp_path / str(n), make, fault) < 2 for n in range(5))

    def recovery(self, folder, make, fault):
        """Return how many seconds after a failover the last writer goes on."""
        with SteadySentinel(folder) as servers:
            plug = make(servers.url, **HASTY)
            replicated, last, stop = {}, {}, threading.Event()
            recovered = {}

            def write(number):
                key, expected = session_key(600), None
                for version in range(1, 1_000_000):
                    if stop.is_set():
                        return
                    data = b"%d" % version
                    try:
                        if plug.swap(key, None, expected, data):
                            last[number] = (key, version)
                            if failed.is_set():
                                recovered.setdefault(number, time.monotonic())
                        expected = plug.loads(key, None)
                    except plug.outages:
                        time.sleep(0.02)
                        expected = _loads_at_last(plug, key, stop)

            failed = threading.Event()
            threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            try:
                wait_for(lambda: len(last) == 4 and min(v for _, v in last.values()) > 20)
                acknowledged = dict(last)
                _replicate(servers.primary)
                replicated.update(acknowledged)
                servers.notice_failures()
                getattr(servers.primary, fault)()
                old = servers.primary.port
                wait_for(lambda: servers.primary_port() != old, 2 * PATIENCE)
                with servers.replica.client() as client:
                    wait_for(lambda: client.info("replication")["role"] == "master")
                failed.set()
                moment = time.monotonic()
                wait_for(lambda: len(recovered) == 4)
            finally:
                stop.set()
                for thread in threads:
                    thread.join()
            with servers.replica.client() as client:
                for key, version in replicated.values():
                    assert int(client.get("session:" + key.session_id)) >= version
            if fault == "pause":
                servers.primary.resume()
        return max(recovered.values()) - moment


def _replicate(server):
    """Wait until the replica has all that was written so far."""
    with server.client() as client:
        until = client.info("replication")["master_repl_offset"]
        wait_for(lambda: client.info("replication")["slave0"]["offset"] >= until)


def _loads_at_last(plug, key, stop):
    while not stop.is_set():
        try:
            return plug.loads(key, None)
        except plug.outages:
            time.sleep(0.02)
    return None


class TestClusterFailover:
    def test_replica_takes_over(self, tmp_path, make):
        with Cluster(tmp_path, replicas=True) as cluster:
            plug, keys = make(cluster.url), [session_key() for _ in range(30)]
            for key in keys:
                plug.dumps(key, None, b"record")
            for server in cluster.servers[:3]:
                _replicate(server)
            cluster.notice_failures()
            cluster.servers[0].kill()
            failures = []

            def all_there():
                try:
                    assert all(plug.loads(key, None) == b"record" for key in keys)
                except plug.outages as error:
                    failures.append(error)
                    return False
                return True

            wait_for(all_there, 2 * PATIENCE)
            assert failures, "no key was on the node that failed"
            assert all(plug.swap(key, None, b"record", b"new") for key in keys)
            assert {key.session_id for key in plug.scan()} == {key.session_id for key in keys}


def _message(plug):
    try:
        for _ in range(30):
            Storage(plug, None).loads(session_key())
    except PlugUnavailable as error:
        return str(error)
    return ""
