"""What docs/redis-ha.md says of Sentinel, clusters and rights, on real servers."""

from __future__ import annotations

import re

import pytest
from pyramid.exceptions import ConfigurationError
from redis.exceptions import NoPermissionError, RedisError

from apps import SECRET, App
from pyramid_pluggable_session import end_owner, owned_sessions
from pyramid_pluggable_session.interfaces import IPlugSession
from pyramid_pluggable_session.keys import SessionKey, new_session_id
from pyramid_pluggable_session.plugs.redis import RedisPlug
from servers.redis import Redis, RedisWithTls, Sentinel, Valkey
from snippets import DOCS, configurations, rows, snippets
from timing import PATIENT, wait_for

PAGE = DOCS / "redis-ha.md"
TEXT = PAGE.read_text()
SENTINEL, CLUSTER, WITH_USER = (settings for _, settings in configurations(PAGE))
(RIGHTS,) = re.findall(r"(?m)^ACL SETUSER shop on >a-long-password (.*)$", TEXT)
BOUND = next(each.text for each in snippets(PAGE, "text") if "min-replicas" in each.text)


MORE = {
    use: rights.strip("`").replace("\\", "").split()
    for use, rights in rows(PAGE, "with few rights")
}


def key():
    return SessionKey(new_session_id(), None)


def make_app(settings, url):
    """Return an application with the settings of the page, on another server."""
    hosts = re.search("//(.*?)(/|$)", settings["pluggable_session.plug"])
    assert "example.org" in hosts[1]
    plug = settings["pluggable_session.plug"]
    given = {**settings, **{f"pluggable_session.redis.{n}": str(v) for n, v in PATIENT.items()}}
    given["pluggable_session.secret"] = SECRET
    return App(
        plug=plug.replace(hosts[1], url.partition("//")[2].partition("/")[0]), settings=given
    )


def close(app):
    app.registry.getUtility(IPlugSession).close()


def log_in(session):
    session.regenerate_id()
    session.owner = "ada"
    session["user"] = "ada"


@pytest.fixture(scope="module")
def sentinel(tmp_path_factory, need):
    need(Sentinel)
    with Sentinel(tmp_path_factory.mktemp("sentinel")) as servers:
        yield servers


class TestFailover:
    """In this order, on the same servers."""

    def test_a_user_with_few_rights(self, sentinel):
        for server in (sentinel.primary, sentinel.replica):
            with server.client() as client:
                words = ["ACL SETUSER", "shop", "on", ">a-long-password", *RIGHTS.split()]
                client.execute_command(*words)
        app = make_app(WITH_USER, sentinel.url)
        client = app.client()
        client.do(log_in)
        assert client.data()["user"] == "ada"
        close(app)

    def test_the_replica_takes_over(self, sentinel):
        app = make_app(SENTINEL, sentinel.url)
        user, other = app.client(), app.client()
        for each in (user, other):
            each.do(log_in)
        with sentinel.primary.client() as client:
            assert client.wait(1, 60_000) == 1
        cookie = user.cookie
        sentinel.primary.kill()
        assert user.request(lambda request: {}).json == {}  # it does not look
        statuses = []

        def answers():
            response = user.do(dict, status="*")
            statuses.append(response.status_int)
            return response.status_int == 200

        wait_for(answers, 90)
        assert set(statuses[:-1]) <= {503}
        assert (user.cookie, user.data()["user"]) == (cookie, "ada")
        assert other.data()["user"] == "ada"
        close(app)

    def test_too_few_replicas(self, sentinel):
        """What the page says of ``min-replicas-to-write``."""
        sentinel.primary.start()
        with sentinel.primary.client() as client:
            # As Sentinel does it, which takes its time.
            client.replicaof(sentinel.replica.host, sentinel.replica.port)
        with sentinel.replica.client() as client:
            wait_for(lambda: client.info("replication")["connected_slaves"] == 1, 90)
        app = make_app(SENTINEL, sentinel.url)
        user = app.client()
        user.do(log_in)
        with sentinel.replica.client() as client:
            for line in BOUND.splitlines():
                client.config_set(*line.split())
            # It is good once it has said how far it is, which it does each second.
            wait_for(lambda: client.info("replication")["min_slaves_good_slaves"] == 1, 90)
            assert user.do(log_in).status_int == 200
            sentinel.primary.kill()
            wait_for(lambda: client.info("replication")["connected_slaves"] == 0, 90)
            assert user.data()["user"] == "ada"
            for change in (log_in, lambda session: session.invalidate()):
                assert user.do(change, status=503).status_int == 503
            assert user.data()["user"] == "ada"
            client.config_set("min-replicas-to-write", 0)
        close(app)


class TestCluster:
    def test_sessions_and_lists_wherever_they_lie(self, running):
        running("cluster").flush()
        app = make_app(CLUSTER, running("cluster").url)
        clients = [app.client() for _ in range(12)]
        for each in clients:
            each.do(log_in)
        assert all(each.data()["user"] == "ada" for each in clients)
        slots = set()
        for server in running("cluster").servers:
            with server.client() as client:
                slots |= {client.execute_command("CLUSTER KEYSLOT", k) for k in client.scan_iter()}
        assert len(slots) >= 12

        def end_all(request):
            count = len(owned_sessions(request, "ada"))
            end_owner(request, "ada")
            return count

        assert clients[0].request(end_all).json == 12
        assert all(each.data() == {} for each in clients)
        close(app)

    @pytest.mark.parametrize(
        ("settings", "ending", "more", "says"),
        [
            (CLUSTER, "/1", {}, "a cluster has no database but 0"),
            (CLUSTER, "", {"near_cache": "1000000"}, "near_cache works where"),
            (SENTINEL, "", {"near_cache": "1000000"}, "near_cache works where"),
        ],
        ids=["database", "near cache", "near cache with Sentinel"],
    )
    def test_what_does_not_go_together(self, settings, ending, more, says):
        given = {f"pluggable_session.redis.{name}": value for name, value in more.items()}
        with pytest.raises(ConfigurationError, match=says):
            App(plug=settings["pluggable_session.plug"] + ending, settings=given)


@pytest.fixture(params=["valkey", "old"])
def limited(request, running, tmp_path, need):
    """Return a server, and a function that lets the user have other rights."""
    if request.param == "valkey":
        server = running("valkey")
        yield from limit(server)
        return
    need(Redis)
    with Redis(tmp_path) as server:
        yield from limit(server)


def limit(server):
    def allow(*more):
        with server.client() as client:
            words = ["reset", "on", ">a-long-password", *RIGHTS.split(), *more]
            client.execute_command("ACL SETUSER", "shop", *words)
            client.acl_log_reset()

    allow()
    yield server, allow
    with server.client() as client:
        client.execute_command("ACL DELUSER", "shop")


def as_shop(server, database=0):
    url = f"{server.url[:-1]}{database}"
    return RedisPlug(url=url, username="shop", password="a-long-password", **PATIENT)


class TestRights:
    def test_everything_but_what_the_table_names(self, limited):
        server, _ = limited
        plug = as_shop(server)
        session = key()
        plug.dumps(session, None, b"1")
        assert plug.swap(session, None, b"1", b"2")
        assert plug.loads(session, None) == b"2"
        assert session.session_id in {each.session_id for each in plug.scan()}
        plug.clear(session, None)
        with pytest.raises(NoPermissionError):
            plug._commands("other:1", "GET", "other:1")
        plug.close()

    @pytest.mark.parametrize(
        ("use", "needs_it"),
        [
            ("a database other than 0", lambda plug: plug.loads(key(), None)),
            (
                "`psessions check`: versions, and the server's clock",
                lambda plug: plug.versions() and plug.server_time(),
            ),
            ("`psessions stats`: how far it has come", lambda plug: plug.stored()),
        ],
        ids=["database", "check", "stats"],
    )
    def test_what_needs_more(self, limited, use, needs_it):
        server, allow = limited
        for rights in (MORE[use][:-1], MORE[use]):
            allow(*rights)
            plug = as_shop(server, database=1 if "database" in use else 0)
            if rights == MORE[use]:
                needs_it(plug)
            else:
                with pytest.raises(NoPermissionError):
                    needs_it(plug)
            plug.close()

    def test_the_log_of_the_server(self, running):
        server = running("valkey")
        limiting = limit(server)
        _, allow = next(limiting)
        with server.client() as client:
            for rights, logged in (
                ((), 1),
                (MORE["an `ACL LOG` without a line for each connection"], 0),
            ):
                allow(*rights)
                plug = as_shop(server)
                plug.loads(key(), None)
                plug.close()
                assert len(client.acl_log()) == logged
        next(limiting, None)

    def test_those_of_a_cluster_are_those_that_its_plug_tells(self):
        told = RedisPlug().remedy(NoPermissionError())
        assert set(MORE["a cluster"]) < set(told.split()) | {told.split()[-1].rstrip(".")}
        assert set(RIGHTS.split()) - {"resetchannels"} <= set(told.replace(",", "").split())


def test_tls(tmp_path, need):
    need(Redis)
    (ca_certs,) = re.findall(r"`(pluggable_session\.redis\.ca_certs)`", TEXT)
    with RedisWithTls(tmp_path) as server:
        app = App(plug=server.url, settings={ca_certs: server.authority})
        client = app.client()
        client.do(log_in)
        assert client.data()["user"] == "ada"
        close(app)


def test_what_servers_say(running, missing):
    if Valkey.absent():
        missing(Valkey.absent())
    told = [row[0].strip("`") for row in rows(PAGE, "## What can go wrong")]
    server = running("valkey")
    plug = RedisPlug(url=server.url, **PATIENT)
    said = []

    def fail(plug, pattern):
        with pytest.raises(RedisError, match=pattern) as caught:
            plug.dumps(key(), None, b"1")
        said.append(str(caught.value))
        return plug.remedy(caught.value) or ""

    with server.client() as client:
        try:
            client.config_set("min-replicas-to-write", 1)
            assert "min-replicas-to-write" in fail(plug, "NOREPLICAS")
            client.config_set("min-replicas-to-write", 0)
            client.replicaof("127.0.0.1", 1)
            assert "use redis+sentinel://" in fail(plug, "read only")
        finally:
            client.config_set("min-replicas-to-write", 0)
            client.replicaof("no", "one")
        client.execute_command("ACL SETUSER", "shop", "reset", "on", ">a-long-password")
        limited = as_shop(server)
        assert "+evalsha" in fail(limited, "permissions")
        limited.close()
        client.execute_command("ACL DELUSER", "shop")
    plug.close()
    for message in said:
        assert any(words in message for words in told), message
