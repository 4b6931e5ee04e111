"""MongoDB. SecantusDB stands in for it unless MONGODB_URI names a real one: see servers/mongodb."""

import contextlib
import os
import socket
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from bson.datetime_ms import DatetimeMS
from pymongo import MongoClient, ReadPreference, monitoring
from pymongo.errors import AutoReconnect, DuplicateKeyError, OperationFailure
from pyramid.exceptions import ConfigurationError
from pyramid.testing import DummyRequest

from pyramid_pluggable_session import clock
from pyramid_pluggable_session.errors import PlugUnavailable, SessionTooLarge
from pyramid_pluggable_session.loader import find_plug
from pyramid_pluggable_session.plugs.mongodb import MongodbPlug
from pyramid_pluggable_session.plugs.mongodb.documents import LARGEST
from pyramid_pluggable_session.storage import Storage
from pyramid_pluggable_session.testing import PlugContract, session_key
from servers import free_port
from servers.mongodb import Mongodb
from timing import PATIENCE, PATIENT, again_if_slow, wait_for, within

REAL = os.environ.get("MONGODB_URI")
only_real = pytest.mark.skipif(not REAL, reason="only a real MongoDB does, named by MONGODB_URI")


@pytest.fixture(scope="session")
def stand_in(running):
    return running("mongodb")


@pytest.fixture(scope="session")
def url(request):
    return REAL or request.getfixturevalue("stand_in").url


@pytest.fixture(scope="session")
def database(url):
    """A database of this run's own."""
    name = f"pluggable_session_{uuid.uuid4().hex[:12]}"
    yield name
    with MongoClient(url) as client:
        client.drop_database(name)


@pytest.fixture
def place(url, database):
    """Where a test has its sessions: in a collection of its own."""
    return {"url": url, "database": database, "collection": f"test_{uuid.uuid4().hex[:12]}"}


@pytest.fixture
def make(place):
    """Return a function that makes a plug, and close it in the end."""
    plugs = []

    def make(**options):
        plugs.append(MongodbPlug(None, **{**place, **PATIENT, **options}))
        return plugs[-1]

    yield make
    for plug in plugs:
        plug.close()


@pytest.fixture
def plug(make):
    return make()


@pytest.fixture
def collection(place):
    """The collection as anybody else sees it."""
    with MongoClient(place["url"]) as client:
        yield client[place["database"]][place["collection"]]


class Commands(monitoring.CommandListener):
    """Lists the commands that pymongo sends."""

    def __init__(self):
        self.names = []

    def started(self, event):
        self.names.append(event.command_name)

    def succeeded(self, event):
        pass

    def failed(self, event):
        pass

    def taken(self):
        names, self.names = self.names, []
        return names


class TestMongodbPlug(PlugContract):
    expiry_resolution = 0.001  # a date has milliseconds

    @pytest.fixture
    def make_plug(self, make):
        return make

    def test_swap_between_threads(self, make_plug):
        """As in the contract, but for SecantusDB, which is slow, not so often."""
        if REAL:
            super().test_swap_between_threads(make_plug)
            return
        plug, key = make_plug(), session_key()
        plug.dumps(key, None, b"0")

        def increment():
            for _ in range(10):
                stored = False
                while not stored:
                    found = plug.loads(key, None)
                    stored = plug.swap(key, None, found, b"%d" % (int(found) + 1))

        with ThreadPoolExecutor(8) as pool:
            for future in [pool.submit(increment) for _ in range(8)]:
                future.result(2 * PATIENCE)
        assert plug.loads(key, None) == b"80"

    def test_purge(self, make_plug):
        """MongoDB deletes by itself what has expired, so there is nothing to do."""
        plug = make_plug()
        live, never, expired = session_key(), session_key(None), session_key(-1)
        for key in (live, never, expired):
            plug.dumps(key, None, b"record")
        assert plug.purge() == 0
        assert plug.loads(live, None) == b"record"
        assert plug.loads(never, None) == b"record"
        assert plug.loads(expired, None) is None


@pytest.fixture(scope="module")
def standalone(tmp_path_factory, need):
    need(Mongodb)
    with Mongodb(tmp_path_factory.mktemp("standalone"), standalone=True) as server:
        yield server


@pytest.mark.parametrize("test", ["test_swap", "test_swap_and_expiry", "test_fork", "test_scan"])
def test_standalone_server(standalone, make, test):
    # It has no replica set: there is no majority, and pymongo does not repeat a write.
    suite = TestMongodbPlug()
    getattr(suite, test)(lambda: make(url=standalone.url))


def test_purge_without_index(make):
    PlugContract().test_purge(lambda: make(create_index=False))


class TestDocuments:
    def test_fields(self, plug, collection):
        key, never = session_key(), session_key(None)
        plug.dumps(key, None, b"record")
        plug.dumps(never, None, b"record")
        assert collection.find_one({"_id": never.session_id}) == {
            "_id": never.session_id,
            "data": b"record",
        }
        found = collection.find_one({"_id": key.session_id}, {"data": 0})
        assert set(found) == {"_id", "expires"}

    def test_expiry_is_rounded_up(self, plug, collection, monkeypatch):
        key = session_key()._replace(expires_at=2_000_000_000.0001)
        plug.dumps(key, None, b"record")
        query = {"expires": DatetimeMS(2_000_000_000_001)}
        assert collection.count_documents(query) == 1
        monkeypatch.setattr(clock, "now", lambda: 2_000_000_000.0)
        assert plug.loads(key, None) == b"record"
        assert [found.session_id for found in plug.scan()] == [key.session_id]
        monkeypatch.setattr(clock, "now", lambda: 2_000_000_000.00099)
        assert plug.loads(key, None) == b"record", "early"
        monkeypatch.setattr(clock, "now", lambda: 2_000_000_000.001)
        assert plug.loads(key, None) is None
        assert list(plug.scan()) == []

    @only_real
    def test_expiry_after_the_year_9999(self, plug):
        # SecantusDB refuses a date that Python's datetime cannot hold.
        key = session_key()._replace(expires_at=1e13)
        plug.dumps(key, None, b"record")
        assert plug.loads(key, None) == b"record"
        assert [found.expires_at for found in plug.scan()] == [1e13]

    def test_largest(self, make):
        # A record of the largest size can be stored, and swapped for another one.
        plug, key = make(), session_key()
        one, two = b"1" * LARGEST, b"2" * LARGEST
        plug.dumps(key, None, one)
        assert plug.swap(key, None, one, two) is True
        for store in (
            lambda: plug.dumps(key, None, one + b"1"),
            lambda: plug.swap(key, None, two, one + b"1"),
            lambda: plug.swap(key, None, None, one + b"1"),
        ):
            with pytest.raises(SessionTooLarge, match=f"takes {LARGEST} at most") as caught:
                store()
            assert (caught.value.size, caught.value.limit) == (LARGEST + 1, LARGEST)
        assert plug.loads(key, None) == two

    def test_index(self, plug, collection):
        plug.loads(session_key(), None)
        assert not collection.index_information(), "it is made for the first record"
        plug.dumps(session_key(), None, b"record")
        index = collection.index_information()["expires_1"]
        assert index["key"] == [("expires", 1)]
        assert index["expireAfterSeconds"] == 0

    def test_index_is_made_by_a_swap(self, plug, collection):
        assert plug.swap(session_key(), None, None, b"record") is True
        assert "expires_1" in collection.index_information()

    def test_no_index(self, make, collection):
        make(create_index=False).dumps(session_key(), None, b"record")
        assert set(collection.index_information()) == {"_id_"}

    def test_purge_spares_what_is_written_anew(self, make, monkeypatch):
        plug, key = make(create_index=False), session_key(-1)
        plug.dumps(key, None, b"expired")
        plug.dumps(session_key(-1), None, b"expired")
        documents = plug._collection()
        delete_many = type(documents).delete_many

        def write_first(self, where):
            monkeypatch.undo()
            plug.dumps(session_key()._replace(session_id=key.session_id), None, b"new")
            return delete_many(self, where)

        monkeypatch.setattr(type(documents), "delete_many", write_first)
        assert plug.purge() == 1
        assert plug.loads(key, None) == b"new"

    def test_places(self, url, database):
        # The setting comes before the URL's path, and without either it is "sessions".
        server = url.partition("://")[2].partition("/")[0]
        for path, setting, expected in (
            ("/fromurl", None, "fromurl"),
            ("/admin", "own", "own"),
            ("/", None, "sessions"),
        ):
            plug = MongodbPlug(url=f"mongodb://{server}{path}", database=setting)
            assert plug._collection().full_name == f"{expected}.sessions"
            plug.close()


class TestRoundTrips:
    @pytest.fixture
    def commands(self):
        return Commands()

    @pytest.fixture
    def plug(self, place, commands):
        with MongoClient(place.pop("url"), event_listeners=[commands]) as client:
            yield MongodbPlug(client=client, **place)

    def test_one_for_each_operation(self, plug, commands):
        key = session_key()
        for _ in range(2):
            plug.loads(key, None)
            assert commands.taken() == ["find"]
        plug.dumps(key, None, b"one")
        assert commands.taken() == ["createIndexes", "update"]
        for operation, command in (
            (lambda: plug.dumps(key, None, b"one"), "update"),
            (lambda: plug.swap(key, None, b"one", b"two"), "update"),
            (lambda: plug.swap(key, None, b"one", b"three"), "update"),
            (lambda: plug.swap(key, None, None, b"three"), "update"),
            (lambda: plug.loads(key, None), "find"),
            (lambda: list(plug.scan()), "find"),
            (lambda: plug.clear(key, None), "delete"),
            (lambda: plug.swap(key, None, None, b"three"), "update"),
        ):
            operation()
            assert commands.taken() == [command]
        plug.purge()
        assert commands.taken() == []


class TestOwnClient:
    def test_guarantees(self, url, place):
        del place["url"]
        with MongoClient(url, readPreference="secondaryPreferred", tz_aware=True) as client:
            documents = MongodbPlug(client=client, **place)._collection()
            assert documents.read_preference == ReadPreference.PRIMARY
            assert documents.write_concern.document == {"w": "majority", "wtimeout": 5000}

    def test_what_the_client_says_of_writes_counts(self, url):
        with MongoClient(url, w=1, journal=True) as client:
            concern = MongodbPlug(client=client, timeout=2)._collection().write_concern
            assert concern.document == {"w": 1, "j": True, "wtimeout": 2000}

    def test_callable_gets_config(self, url, place):
        del place["url"]
        config, key = object(), session_key()
        with MongoClient(url) as client:
            given = []

            def make(config):
                given.append(config)
                return client

            plug = MongodbPlug(config, client=make, **place)
            assert given == [config]
            plug.dumps(key, None, b"record")
            assert plug.loads(key, None) == b"record"

    def test_is_not_closed(self, url, place):
        del place["url"]
        with MongoClient(url) as client:
            plug = MongodbPlug(client=client, **place)
            plug.loads(session_key(), None)
            plug.close()
            assert plug.loads(session_key(), None) is None
            del plug
            assert client.admin.command("ping")["ok"]

    def test_its_database(self, url):
        server = url.partition("://")[2].partition("/")[0]
        with MongoClient(f"mongodb://{server}/named") as client:
            assert MongodbPlug(client=client)._collection().full_name == "named.sessions"

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda client: client["database"], "not Database"),
            (lambda client: lambda config: None, "not NoneType"),
            (lambda client: "mongodb://localhost", "not str"),
        ],
    )
    def test_something_else(self, make, message):
        with (
            MongoClient(connect=False) as client,
            pytest.raises((ConfigurationError, TypeError)) as caught,
        ):
            MongodbPlug(client=make(client))
        assert message in str(caught.value)

    def test_no_confirmation(self):
        with (
            MongoClient(connect=False, w=0) as client,
            pytest.raises(ConfigurationError, match=r"mongodb\.client cannot be used: with w=0"),
        ):
            MongodbPlug(client=client)

    @pytest.mark.parametrize(
        "other", [{"url": "mongodb://other"}, {"username": "u"}, {"password": "hidden words"}]
    )
    def test_contradiction(self, other):
        with (
            MongoClient(connect=False) as client,
            pytest.raises(ConfigurationError, match="client is set, and so is url") as caught,
        ):
            MongodbPlug(client=client, **other)
        assert "hidden words" not in str(caught.value)


class TestConfiguration:
    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("mongodb://", "at least one hostname"),
            ("mongodb:/database", "mongodb://"),
            ("mongodb://:27017/database", "names no host"),
            ("mongodb://host:99999", "Port must be"),
            ("mongodb://host:port", "Port"),
            ("mongodb://user@host", "password is required"),
            ("mongodb://host/?replicaset=a&nonsense=1", "nonsense"),
            ("mongodb://host/?replicaSte=a", "replicaset"),
            ("mongodb://host/?tls=perhaps", "tls must be"),
            ("mongodb://host/?tlsCAFile=/no/such/file", "No such file"),
            ("mongodb://host/?tls=true&ssl=false", "conflicting"),
            ("mongodb://host/?w=0", "with w=0 nobody learns"),
            ("mongodb://host/?readPreference=nearest", "read from the primary"),
            ("mongodb://host/database.collection", "mongodb.collection names"),
            ("mongodb://host/a b", "Bad database name"),
            ("mongodb://a,b/?directConnection=true", "directConnection"),
            ("mongodb+srv://host:27017/database", "one host and no port"),
            ("mongodb+srv://a.example.net,b.example.net", "one host and no port"),
            ("mongodb+srv://", "at least one hostname"),
            ("mongodb+srv://host.example.net/?tls=perhaps", "tls must be"),
        ],
    )
    def test_url(self, url, message):
        with pytest.raises(ConfigurationError, match=r"pluggable_session\.mongodb\.url") as caught:
            MongodbPlug(url=url)
        assert message in str(caught.value)
        assert "mongodb://user:password@host1,host2/database?replicaSet=name" in str(caught.value)

    @pytest.mark.parametrize(
        "url",
        [
            "mongodb://user:pa@word@host/database",
            "mongodb://user:pa/word@host/database",
            "mongodb://user:pa?word@host/database",
            "mongodb://user:12/word@host",
            "mongodb://user:pa%word@host",
            "mongodb://user:pa:word@host/?nonsense=1",
            "mongodb+srv://user:12/word@host",
        ],
    )
    def test_password_is_not_shown(self, url):
        with pytest.raises(ConfigurationError, match="percent-encoded") as caught:
            MongodbPlug(url=url)
        assert "word@" not in str(caught.value).replace("user:password@host1", "")
        assert '"word' not in str(caught.value)
        assert caught.value.__cause__ is None

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"url": "mongodb://u:first@host", "password": "secret"}, "password is another one"),
            ({"password": "secret"}, "no user for"),
            ({"database": "a/b"}, "database"),
            ({"collection": "a$b"}, "collection"),
        ],
    )
    def test_other_options(self, options, message):
        with pytest.raises(ConfigurationError) as caught:
            MongodbPlug(**options)
        assert message in str(caught.value)
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize(
        "url",
        [
            "mongodb://h1,h2:27018/database?replicaSet=rs0",
            "mongodb://%2Ftmp%2Fmongodb-27017.sock/database",
            "mongodb://[::1]:27017",
            "mongodb://user:p%40ss@host/database?authSource=admin&readPreference=primary",
        ],
    )
    def test_good_urls(self, url):
        plug = MongodbPlug(url=url)
        assert plug._collection().database.client is not None
        plug.close()

    def test_srv_asks_no_name_server_at_the_start(self, monkeypatch):
        asked = []

        def resolve(*args, **options):
            asked.append(args[0])
            raise OSError("no network")

        monkeypatch.setattr("dns.resolver.resolve", resolve)
        url = "mongodb+srv://user:pw@no.such.example/database?srvMaxHosts=2&srvServiceName=x&w=1"
        plug = MongodbPlug(url=url, connect_timeout=0.3, timeout=0.5)
        assert asked == []
        with pytest.raises(plug.outages) as caught:
            plug.loads(session_key(), None)
        assert asked[0] == "_x._tcp.no.such.example"
        assert plug.remedy(caught.value) is None
        plug.close()

    def test_arguments_of_the_client(self):
        plug = MongodbPlug(
            url="mongodb://host/?connectTimeoutMS=1500&appName=mine",
            username="user",
            password="p@ss/word",
            connect_timeout=0.75,
            timeout=3,
        )
        client = plug._collection().database.client
        options = client.options
        assert options.timeout == 3
        assert options.server_selection_timeout == 0.75
        assert options.pool_options.connect_timeout == 1.5
        assert options.pool_options.appname == "mine"
        assert options.pool_options._credentials.username == "user"
        assert options.pool_options._credentials.password == "p@ss/word"
        assert options.retry_writes
        plug.close()

    def test_through_the_settings(self):
        found = find_plug(
            None, "mongodb://user:hush@h1,h2/database?replicaSet=rs0&collection=c&timeout=2"
        )
        assert found.options["collection"] == "c"
        assert found.options["timeout"] == 2.0
        assert found.options["url"] == "mongodb://user:hush@h1,h2/database?replicaSet=rs0"
        assert "hush" not in str(found.shown_options())
        plug = found.make(None)
        assert plug._collection().full_name == "database.c"
        assert "hush" not in repr(plug)
        plug.close()


class TestProcesses:
    def test_inherited_client_is_not_touched(self, plug, in_child):
        plug.dumps(session_key(), None, b"record")
        inherited = plug._collection()

        def use():
            key = session_key()
            plug.dumps(key, None, b"record")
            assert plug.loads(key, None) == b"record"
            assert plug._collection() is not inherited
            plug.close()

        in_child(use)
        assert plug._collection() is inherited
        assert plug.loads(session_key(), None) is None

    def test_constructor_does_not_connect(self):
        plug = MongodbPlug(url=f"mongodb://127.0.0.1:{free_port()}")
        plug.close()

    def test_closed_plug_stays_usable(self, plug):
        key = session_key()
        plug.dumps(key, None, b"record")
        plug.close()
        assert plug.loads(key, None) == b"record"

    def test_dropped_plug_closes_its_client(self, place):
        # A client that is left open is a ResourceWarning, here an error.
        plug = MongodbPlug(**place, **PATIENT)
        plug.loads(session_key(), None)
        client = plug._collection().database.client
        del plug
        assert client._closed


def failure(plug, operation="loads"):
    """Return the error that the session gets."""
    storage, key = Storage(plug, DummyRequest()), session_key()
    with pytest.raises(PlugUnavailable) as caught:
        storage.loads(key) if operation == "loads" else storage.dumps(key, b"record")
    assert key.session_id not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def slow():
    """Return a function that makes a plug which waits for long, and close it in the end."""
    with contextlib.ExitStack() as stack:

        def make(url, **options):
            plug = MongodbPlug(url=url, **{**PATIENT, **options})
            stack.callback(plug.close)
            return plug

        yield make


@pytest.fixture
def fast(slow):
    """Return a function that makes a plug which soon gives up."""
    return lambda url, **options: slow(url, connect_timeout=0.5, timeout=1.0, **options)


class TestUnreachable:
    @pytest.fixture
    def check(self, fast):
        @again_if_slow(0.5)
        def check(url, *words):
            plug = fast(url)
            with within(3):
                message = failure(plug)
            for word in words:
                assert word in message
            assert "hush" not in message

        return check

    def test_nobody_listens(self, check):
        check(
            f"mongodb://user:hush@127.0.0.1:{free_port()}",
            *("refused", "see that MongoDB runs", "pluggable_session.mongodb.url"),
        )

    def test_unknown_host(self, check):
        check("mongodb://user:hush@no.such.host.invalid", "see the host in")

    def test_never_answers(self, check):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            check(
                f"mongodb://127.0.0.1:{listener.getsockname()[1]}",
                "timed out",
                "see that MongoDB runs",
            )

    @pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
    def test_something_else_listens(self, check, answer):
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def serve():
                while True:
                    try:
                        connection, _ = listener.accept()
                    except OSError:
                        return
                    with connection:
                        connection.recv(1000)
                        connection.sendall(answer)

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            try:
                url = f"mongodb://127.0.0.1:{listener.getsockname()[1]}"
                check(url, "see that MongoDB runs at", "whether it wants tls=true")
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                thread.join(PATIENCE)

    def test_another_replica_set(self, check, stand_in):
        check(stand_in.url + "?replicaSet=other", "replicaSet in pluggable_session")


class TestFaults:
    """On the stand-in, whatever MONGODB_URI says, as nobody else's server is to be stopped."""

    @pytest.fixture
    def server(self, stand_in):
        if stand_in.process is None:
            stand_in.start()
        return stand_in

    @pytest.fixture
    def fresh(self, tmp_path, need):
        need(Mongodb)
        server = Mongodb(tmp_path)
        yield server
        server.stop()

    @pytest.fixture
    def faulty(self, server, slow):
        return slow(server.url)

    @pytest.mark.parametrize("operation", ["loads", "dumps"])
    @again_if_slow(3)
    def test_killed(self, server, fast, operation):
        plug = fast(server.url)
        wait_for(lambda: plug.loads(session_key(), None) is None, despite=plug.outages)
        server.kill()
        try:
            with within(3):
                message = failure(plug, operation)
        finally:
            server.start()
        assert "see that MongoDB runs" in message

    @again_if_slow(20)
    def test_killed_and_started_again(self, server, faulty):
        # While it starts, SecantusDB may say that it is in no replica set; a client that hears that
        # never asks it again.
        faulty.close()
        key = session_key()
        faulty.dumps(key, None, b"record")
        server.kill()
        server.start()
        # Killed, SecantusDB forgets what it stored last. MongoDB confirms what is in its journal.
        assert faulty.loads(key, None) in (b"record", None)
        faulty.dumps(key, None, b"other")
        assert faulty.loads(key, None) == b"other"

    @again_if_slow(20)
    def test_restarted_between_two_requests(self, server, faulty):
        # While it starts, SecantusDB may say that it is in no replica set; a client that hears that
        # never asks it again.
        faulty.close()
        key = session_key()
        faulty.dumps(key, None, b"record")
        server.stop()
        server.start()
        assert faulty.swap(key, None, b"record", b"other") is True
        assert faulty.loads(key, None) == b"other"

    @pytest.mark.parametrize("operation", ["loads", "dumps"])
    @again_if_slow(3)
    def test_paused(self, server, fast, operation):
        plug, key = fast(server.url), session_key()
        wait_for(lambda: plug.loads(key, None) is None, despite=plug.outages)
        server.pause()
        try:
            with within(3):
                message = failure(plug, operation)
            with within(5):
                plug.close()
        finally:
            server.resume()
        assert "timed out" in message or "Timeout" in message
        wait_for(lambda: plug.loads(key, None) is None, despite=plug.outages)

    def test_users(self, fresh, slow):
        server = fresh.start()
        with server.client() as client:
            client.admin.command("createUser", "reader", pwd="hush", roles=["read"])
            for user, roles in (("writer", ["readWrite"]), ("other", [])):
                client.sessions.command("createUser", user, pwd="hush", roles=roles)
        server.stop()
        server.auth = True
        server.start()
        base = f"{server.host}:{server.port}/sessions"
        key = session_key()
        plug = slow(f"mongodb://{base}", username="writer", password="hush")
        plug.dumps(key, None, b"record")
        assert plug.loads(key, None) == b"record"
        for credentials, operation, *words in (
            ("writer:wrong@", "loads", "see the user, its password and authSource"),
            ("nobody:hush@", "loads", "see the user, its password and authSource"),
            ("", "loads", "role readWrite"),
            ("other:hush@", "loads", "role readWrite"),
            ("other:hush@", "dumps", "role readWrite"),
        ):
            message = failure(slow(f"mongodb://{credentials}{base}"), operation)
            for word in words:
                assert word in message
            assert "hush" not in message
            assert "wrong" not in message

    def test_tls(self, fresh, slow, fast, require_program):
        require_program("openssl")
        server = fresh
        public = server.use_tls()
        server.start()
        slow(f"{server.url}?tls=true&tlsCAFile={public}").dumps(session_key(), None, b"record")

        @again_if_slow(0.5)
        def check(options, words):
            plug = fast(server.url + options)
            with within(4):
                message = failure(plug)
            assert words in message

        check("?tls=true", "add tlsCAFile=")
        check("", "whether it wants tls=true")

    @again_if_slow(0.5)
    def test_tls_that_the_server_does_not_speak(self, server, fast):
        message = failure(fast(server.url + "?tls=true"))
        assert "see whether the server speaks TLS" in message

    def test_a_repeated_write_is_done_once(self, server):
        # MongoDB numbers the writes of a replica set. Else the second try of a swap would find the
        # record of the first, and say that somebody else was faster.
        commands, key = Commands(), session_key()
        with server.client(event_listeners=[commands]) as client:
            plug = MongodbPlug(client=client)
            plug.dumps(key, None, b"one")
            commands.taken()
            server.fail(
                failCommands=["update"],
                errorLabels=["RetryableWriteError"],
                writeConcernError={"code": 262, "errmsg": "done, but too late"},
            )
            assert plug.swap(key, None, b"one", b"two") is True
            assert commands.taken() == ["update", "update"]
            assert plug.loads(key, None) == b"two"

    def test_unconfirmed_write(self, server, faulty):
        faulty.dumps(session_key(), None, b"record")
        server.fail(
            failCommands=["update"],
            writeConcernError={"code": 64, "errmsg": "waiting for replication timed out"},
        )
        message = failure(faulty, "dumps")
        assert "too few members" in message

    @pytest.mark.parametrize(
        ("code", "words"),
        [
            (13, "role readWrite"),
            (50, "pluggable_session.mongodb.timeout"),
            (10107, "so that the primary is found"),
            (13435, "so that the primary is found"),
            (8000, "see the user, its password"),
            (59, "failpoint"),
        ],
    )
    def test_refusals(self, server, slow, code, words):
        plug = slow(server.url + "?retryReads=false")
        plug.loads(session_key(), None)
        server.fail(code, failCommands=["find"])
        assert words in failure(plug)

    def test_index_of_another_kind(self, server, slow):
        with server.client() as client:
            client.sessions.other.create_index("expires", expireAfterSeconds=3600)
        plug = slow(server.url, collection="other")
        for _ in range(2):
            assert "create_index to false" in failure(plug, "dumps")
        plug = slow(server.url, collection="other", create_index=False)
        plug.dumps(session_key(), None, b"record")

    def test_duplicate_key_is_an_answer_only_to_swap(self, server, slow, faulty):
        key = session_key()
        faulty.dumps(key, None, b"record")
        assert faulty.swap(key, None, None, b"other") is False
        server.fail(11600, failCommands=["update"])
        with pytest.raises((AutoReconnect, OperationFailure)) as caught:
            slow(server.url + "?retryWrites=false").swap(key, None, None, b"other")
        assert not isinstance(caught.value, DuplicateKeyError)
