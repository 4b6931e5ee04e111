import json
import socket
import threading
import uuid

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud import datastore
from google.cloud.datastore_v1.types import LookupResponse
from pyramid import testing
from pyramid.exceptions import ConfigurationError

from proxies import forward, hang_up, reply
from pyramid_pluggable_session import clock
from pyramid_pluggable_session.errors import PlugUnavailable, SessionTooLarge
from pyramid_pluggable_session.keys import SessionKey
from pyramid_pluggable_session.loader import find_plug
from pyramid_pluggable_session.plugs.datastore import DatastorePlug, entities
from pyramid_pluggable_session.plugs.datastore.remedies import remedy
from pyramid_pluggable_session.storage import Storage
from pyramid_pluggable_session.testing import PlugContract, session_key
from servers import free_port
from servers.datastore import (
    PROJECT,
    DatastoreEmulator,
    Relay,
    clean_environment,
    refuse,
)
from timing import PATIENCE, PATIENT, again_if_slow, wait_for, within

SETTING = "pluggable_session.datastore."


@pytest.fixture(scope="session")
def emulator(running):
    return running("datastore")


@pytest.fixture
def namespace():
    # One for each test: it then begins with an empty storage.
    return f"t-{uuid.uuid4().hex}"


@pytest.fixture
def make_plug(emulator, namespace):
    plugs = []

    def make(**options):
        options = {"emulator_host": emulator.address, **PATIENT, **options}
        plugs.append(DatastorePlug(project=PROJECT, namespace=namespace, **options))
        return plugs[-1]

    yield make
    for plug in plugs:
        plug.close()


@pytest.fixture
def plug(make_plug):
    return make_plug()


@pytest.fixture
def relay(emulator):
    with Relay(emulator) as relay:
        yield relay


@pytest.fixture
def relayed(make_plug, relay):
    """Return a plug that speaks to the emulator through the relay."""
    plug = make_plug(emulator_host=relay.address)
    yield plug
    plug.close()  # before the relay, whose threads wait for it


@pytest.fixture
def hasty(make_plug, relay):
    """Return a plug that does so, too, but for no longer than a second."""
    plug = make_plug(emulator_host=relay.address, timeout=1.0)
    yield plug
    plug.close()


@pytest.fixture
def client(emulator, namespace):
    """Return a client of the application's own."""
    return make_client(emulator, namespace, False)


def make_client(emulator, namespace, grpc):
    client = datastore.Client(
        PROJECT,
        namespace=namespace,
        credentials=datastore.client.AnonymousCredentials(),
        _use_grpc=grpc,
    )
    client.base_url = f"http://{emulator.address}"
    return client


def unavailable(plug, operation="loads", *arguments, key=None):
    """Do an operation as the session does; return the message of its failure."""
    with pytest.raises(PlugUnavailable) as caught:
        getattr(Storage(plug, None), operation)(key or session_key(), *arguments)
    return str(caught.value)


def run_together(functions):
    """Call functions, each in a thread of its own, and wait for them."""
    errors = []

    def run(function):
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(each,)) for each in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    assert not errors


class TestDatastorePlug(PlugContract):
    max_record = 1_048_000
    many = 120  # a page has 100
    increments = 5  # ten a second are all that the emulator does of these

    @pytest.fixture
    def make_plug(self, make_plug):
        return make_plug


class TestConfiguration:
    @pytest.fixture(autouse=True)
    def _environment(self):
        with clean_environment():
            yield

    def refused(self, *words, **options):
        with pytest.raises(ConfigurationError) as caught:
            DatastorePlug(**options)
        for word in words:
            assert word in str(caught.value)
        return str(caught.value)

    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("datastore://p-1/?kin=K", ["kin, in the URL of", "Did you mean kind"]),
            ("datastore://p-1/?x&y=1", ["x, in the URL of", "Known are: client,"]),
            ("datastore://p-1/sessions", ["datastore://project-id"]),
            ("datastore:///p-1", ["datastore://project-id"]),
            ("datastore://p-1/#x", ["datastore://project-id"]),
            ("firestore://p-1/", ["datastore://project-id"]),
            ("datastore://app:hunter2@p-1/", ["no user and no password", "credentials_file"]),
            ("datastore://My_Project/", ["the id of a project", "'My_Project'"]),
            ("datastore://p-1:8081/", ["the id of a project"]),
        ],
    )
    def test_urls(self, url, words):
        message = self.refused(*words, url=url)
        assert "hunter2" not in message

    def test_unknown_options_of_a_url_do_not_name_the_url_itself(self):
        assert "url," not in self.refused(url="datastore://p/?x=1").replace("URL", "")

    @pytest.mark.parametrize(
        ("url", "option", "project"),
        [
            ("datastore://my-project", None, "my-project"),
            ("datastore://example.com:my-project/", None, "example.com:my-project"),
            ("datastore:", "my-project", "my-project"),
            ("datastore://my-project", "my-project", "my-project"),
            (None, "my-project", "my-project"),
        ],
    )
    def test_projects(self, url, option, project):
        plug = DatastorePlug(url=url, project=option, emulator_host="127.0.0.1:1")
        assert plug._client().project == project

    def test_two_projects(self):
        self.refused(f"{SETTING}project", "another", url="datastore://one-1", project="two-2")

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("project", "My Project"),
            ("namespace", "a/b"),
            ("namespace", "__x"),
            ("database", "(other)"),
            ("database", "Ab"),
            ("kind", ""),
            ("kind", "__Stat__"),
            ("kind", "a b"),
            ("emulator_host", "localhost"),
            ("emulator_host", "http://localhost:80"),
            ("emulator_host", "localhost:70000"),
            ("emulator_host", "localhost:0"),
            ("timeout", "0"),
            ("connect_timeout", "-1"),
            ("client", "nonsense.client"),
        ],
    )
    def test_values(self, name, value):
        config = testing.setUp(settings={SETTING + name: value})
        with pytest.raises(ConfigurationError, match=f"{SETTING}{name} must be"):
            find_plug(config, "datastore")

    def test_a_url_with_everything(self):
        found = find_plug(
            None,
            "datastore://my-project/?namespace=n.1&kind=Session&database=(default)&timeout=3"
            "&emulator_host=[::1]:8081&connect_timeout=1",
        )
        assert found.shown_options() == {
            "url": "datastore://my-project/",
            "project": None,
            "namespace": "n.1",
            "database": None,
            "kind": "Session",
            "credentials_file": None,
            "emulator_host": "[::1]:8081",
            "connect_timeout": 1.0,
            "timeout": 3.0,
            "client": None,
        }
        plug = found.make(None)
        assert plug._client().namespace == "n.1"
        assert plug._client().base_url == "http://[::1]:8081"

    def test_a_database(self):
        found = find_plug(None, "datastore://p-1/?database=sessions&emulator_host=h:1")
        assert found.make(None)._client().database == "sessions"

    def test_the_defaults_are_those_of_the_options(self):
        assert find_plug(None, "datastore:").options == {
            **DatastorePlug.__init__.__kwdefaults__,
            "url": "datastore:",
        }

    def test_the_constructor_looks_for_nothing(self, monkeypatch):
        def look(*arguments, **keywords):
            raise AssertionError("it looked for credentials")

        monkeypatch.setattr("google.auth.default", look)
        plug = DatastorePlug()
        with pytest.raises(AssertionError, match="it looked"):
            plug.loads(session_key(), None)

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (None, ["No such file or directory"]),
            ("hunter2", ["something else"]),
            ('"hunter2"', ["something else"]),
            ('{"private_key": "hunter2"}', ["something else"]),
            (
                '{"private_key": "hunter2", "client_email": "a", "token_uri": "b"}',
                ["something else"],
            ),
            (b"\xff\xfe", ["something else"]),
        ],
    )
    def test_files_that_have_no_credentials(self, tmp_path, content, words):
        path = tmp_path / "key.json"
        if content is not None:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        message = self.refused(
            f"{SETTING}credentials_file", str(path), *words, credentials_file=str(path)
        )
        assert "hunter2" not in message

    def test_an_emulator_takes_no_credentials(self):
        self.refused("emulator_host", "exclude", emulator_host="h:1", credentials_file="/x")

    @pytest.mark.parametrize(
        "name", ["project", "namespace", "database", "credentials_file", "emulator_host", "url"]
    )
    def test_a_client_and_how_to_make_one(self, name):
        value = "datastore://p-1" if name == "url" else "x"
        name_said = "project" if name == "url" else name
        self.refused("client", name_said, "exclude", client=object(), **{name: value})

    @pytest.mark.parametrize("given", [object(), lambda config: config])
    def test_what_is_no_client(self, given):
        self.refused("google.cloud.datastore.Client", client=given)


class TestCredentials:
    @pytest.fixture(autouse=True)
    def _environment(self):
        with clean_environment():
            yield

    @pytest.fixture
    def key_file(self, tmp_path):
        key = rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

        def make(token_uri):
            path = tmp_path / "key.json"
            content = {
                "type": "service_account",
                "project_id": PROJECT,
                "private_key": key.decode(),
                "client_email": "app@test-project.iam.gserviceaccount.com",
                "token_uri": token_uri,
            }
            path.write_text(json.dumps(content))
            return str(path)

        return make

    def token(self, path, status, **content):
        def answer(handler):
            reply(handler, status, json.dumps(content).encode())

        # A token's path has no ":", so all of it is the method.
        return path, answer

    def test_none(self):
        message = unavailable(DatastorePlug(project=PROJECT))
        assert "DefaultCredentialsError" in message
        assert f"{SETTING}credentials_file" in message

    def test_no_project(self):
        message = unavailable(DatastorePlug(emulator_host="127.0.0.1:1"))
        assert f"with an emulator, set {SETTING}project" in message

    def test_the_project_of_the_environment(self, monkeypatch):
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "theirs-1")
        assert DatastorePlug(emulator_host="h:1")._client().project == "theirs-1"

    def test_a_service_account(self, emulator, relay, key_file, monkeypatch, namespace):
        monkeypatch.setattr(datastore.client, "_DATASTORE_BASE_URL", f"http://{relay.address}")
        relay.answers.append(self.token("/token", 200, access_token="letmein", expires_in=3600))
        plug = DatastorePlug(
            credentials_file=key_file(f"http://{relay.address}/token"), namespace=namespace
        )
        key = session_key()
        plug.dumps(key, None, b"record")
        assert plug.loads(key, None) == b"record"
        assert relay.taken() == ["/token", "commit", "lookup"]
        assert relay.headers[-1]["Authorization"] == "Bearer letmein"
        assert f"projects/{PROJECT}" not in relay.headers[-1].as_string()
        plug.close()

    def test_a_refused_service_account(self, relay, key_file, monkeypatch):
        monkeypatch.setattr(datastore.client, "_DATASTORE_BASE_URL", f"http://{relay.address}")
        relay.answers.append(self.token("/token", 400, error="invalid_grant"))
        plug = DatastorePlug(credentials_file=key_file(f"http://{relay.address}/token"))
        message = unavailable(plug)
        assert "invalid_grant" in message
        assert "the clock is right" in message
        assert "PRIVATE KEY" not in message
        plug.close()

    def test_no_way_to_a_token(self, key_file):
        plug = DatastorePlug(credentials_file=key_file(f"http://127.0.0.1:{free_port()}/token"))
        assert "oauth2.googleapis.com" in unavailable(plug)
        plug.close()

    def test_an_emulator_of_the_environment(self, emulator, key_file, monkeypatch, namespace):
        monkeypatch.setenv("DATASTORE_EMULATOR_HOST", emulator.address)
        plug = DatastorePlug(
            credentials_file=key_file("http://nowhere"), project=PROJECT, namespace=namespace
        )
        assert plug.loads(session_key(), None) is None
        plug.close()

    def test_the_option_comes_before_the_environment(self, monkeypatch):
        monkeypatch.setenv("DATASTORE_EMULATOR_HOST", "other:1")
        plug = DatastorePlug(project=PROJECT, emulator_host="h:1")
        assert plug._client().base_url == "http://h:1"


class TestStoring:
    def test_the_entity(self, plug, client):
        key = SessionKey("a" * 64, clock.now() + 100.1234567)
        plug.dumps(key, None, b"record")
        entity = client.get(client.key("PluggableSession", key.session_id))
        assert entity.exclude_from_indexes == {"data"}
        assert set(entity) == {"data", "expires"}
        assert 0 <= entity["expires"].timestamp() - key.expires_at < 0.000002

    def test_one_that_never_expires(self, plug, client):
        plug.dumps(SessionKey("a" * 64, None), None, b"record")
        assert set(client.get(client.key("PluggableSession", "a" * 64))) == {"data"}

    def test_one_that_expires_after_all_time(self, plug):
        key = SessionKey("a" * 64, 1e15)
        plug.dumps(key, None, b"record")
        assert plug.loads(key, None) == b"record"

    def test_places_are_apart(self, emulator, plug, namespace):
        key = session_key()
        plug.dumps(key, None, b"record")
        url = f"datastore://{PROJECT}/?emulator_host={emulator.address}"
        for place, found in (
            (f"&namespace={namespace}", b"record"),
            ("", None),
            (f"&namespace={namespace}&kind=Other", None),
            (f"&namespace={namespace}&database=other", None),
        ):
            other = find_plug(None, url + place).make(None)
            assert other.loads(key, None) == found, place
            other.close()

    def test_round_trips(self, relayed, relay):
        key = session_key()
        for operation, methods in (
            (lambda: relayed.loads(key, None), ["lookup"]),
            (lambda: relayed.dumps(key, None, b"one"), ["commit"]),
            (lambda: relayed.loads(key, None), ["lookup"]),
            (lambda: relayed.swap(key, None, b"one", b"two"), ["lookup", "commit"]),
            (lambda: relayed.swap(key, None, b"one", b"two"), ["lookup", "rollback"]),
            (lambda: list(relayed.scan()), ["runQuery"]),
            (lambda: relayed.purge(), ["runQuery"]),
            (lambda: relayed.clear(key, None), ["commit"]),
        ):
            operation()
            assert relay.taken() == methods

    def test_one_connection_serves_them_all(self, relayed, relay, monkeypatch):
        connected = []
        connect = socket.create_connection
        monkeypatch.setattr(
            "urllib3.util.connection.create_connection",
            lambda *a, **k: connected.append(a) or connect(a[0], a[1]),
        )
        for _ in range(5):
            relayed.loads(session_key(), None)
        assert len(connected) == 1
        relayed.close()
        relayed.loads(session_key(), None)
        assert len(connected) == 2

    def test_many_threads_keep_their_connections(self, plug, caplog):
        run_together([lambda: plug.loads(session_key(), None)] * 30)
        assert caplog.records == [], "urllib3 warns of connections that it drops"

    def test_too_large(self, relayed, relay):
        key = session_key()
        for operation in (
            lambda data: relayed.dumps(key, None, data),
            lambda data: relayed.swap(key, None, None, data),
        ):
            with pytest.raises(SessionTooLarge, match="1048600 bytes") as caught:
                operation(b"x" * 1_048_600)
            assert caught.value.size == 1_048_600
            assert 1_048_000 < caught.value.limit < 1_048_400
            assert relay.taken() == []

    def test_too_large_for_datastore_after_all(self, plug, monkeypatch):
        monkeypatch.setattr(entities, "_PROPERTY_LIMIT", 1_050_000)
        monkeypatch.setattr(entities, "_ENTITY_LIMIT", 1_050_000)
        key = session_key()
        for operation in (
            lambda data: plug.dumps(key, None, data),
            lambda data: plug.swap(key, None, None, data),
        ):
            with pytest.raises(SessionTooLarge):
                operation(b"x" * 1_049_000)

    def test_the_longest_names(self, emulator):
        plug = DatastorePlug(
            project=PROJECT, namespace="n" * 100, kind="k" * 200, emulator_host=emulator.address
        )
        key = session_key()
        limit = entities.size_limit(plug._key(key))
        plug.dumps(key, None, b"x" * limit)
        assert len(plug.loads(key, None)) == limit
        # Google's way to count: https://cloud.google.com/datastore/docs/concepts/storage-size
        name = 16 + 101 + 201 + 65
        assert 32 + name + (5 + limit) + (8 + 8) <= 1_048_572
        plug.close()


class TestTransactions:
    def test_aborted_is_tried_again(self, relayed, relay):
        key = session_key()
        relay.answers += [("commit", refuse(409, 10, "aborted")) for _ in range(3)]
        relayed.dumps(key, None, b"one")
        assert relay.taken() == ["commit"] * 4
        relay.answers += [("commit", refuse(409, 10, "aborted")) for _ in range(2)]
        assert relayed.swap(key, None, b"one", b"two") is True
        assert relay.taken() == ["lookup", "commit"] * 3
        assert relayed.loads(key, None) == b"two"

    def test_aborted_as_another_one_won(self, relayed, relay, plug):
        key = session_key()
        plug.dumps(key, None, b"one")

        def lose(handler):
            refuse(409, 10, "aborted")(handler)
            plug.dumps(key, None, b"theirs")

        relay.answers.append(("commit", lose))
        assert relayed.swap(key, None, b"one", b"two") is False
        assert relayed.loads(key, None) == b"theirs"

    @again_if_slow(0.5)
    def test_aborted_all_the_time(self, hasty, relay):
        relay.taken()
        relay.answers[:] = [("commit", refuse(409, 10, "aborted")) for _ in range(500)]
        with within(5):
            message = unavailable(hasty, "swap", None, b"record")
        assert "others write the same record" in message
        assert 3 < len(relay.taken()) < 200

    @pytest.mark.parametrize("status", [None, 500, 503, 504])
    def test_what_may_have_been_done_is_not_repeated(self, relayed, relay, plug, emulator, status):
        def done_but(handler):
            forward(handler, emulator)
            (refuse(status) if status else hang_up)(handler)

        key = session_key()
        relay.answers.append(("commit", done_but))
        unavailable(relayed, "dumps", b"one", key=key)
        assert relay.taken() == ["commit"]
        assert plug.loads(key, None) == b"one"
        relay.answers.append(("commit", done_but))
        unavailable(relayed, "swap", b"one", b"two", key=key)
        assert relay.taken() == ["lookup", "commit"]
        assert plug.loads(key, None) == b"two"

    def test_reading_is_repeated(self, relayed, relay, plug):
        key = session_key()
        plug.dumps(key, None, b"one")
        relay.answers += [("lookup", refuse(503, 14)), ("lookup", refuse(503, 14))]
        assert relayed.loads(key, None) == b"one"
        relay.answers += [("lookup", refuse(503, 14))]
        assert relayed.swap(key, None, b"one", b"two") is True
        relay.answers += [("runQuery", refuse(503, 14))]
        assert [found.session_id for found in relayed.scan()] == [key.session_id]

    def test_a_lookup_that_is_put_off(self, relayed, relay, plug, emulator):
        def put_off(handler):
            # Datastore began the transaction all the same.
            _, body, _ = forward(handler, emulator)
            answer = LookupResponse.deserialize(body)
            key = (answer.found or answer.missing)[0].entity.key
            body = LookupResponse(deferred=[key], transaction=answer.transaction)
            reply(handler, 200, LookupResponse.serialize(body))

        key = session_key()
        plug.dumps(key, None, b"one")
        relay.answers.append(("lookup", put_off))
        assert relayed.loads(key, None) == b"one"
        relay.answers.append(("lookup", put_off))
        assert relayed.swap(key, None, b"one", b"two") is True
        assert relay.taken() == ["lookup", "lookup", "lookup", "lookup", "commit"]
        assert plug.loads(key, None) == b"two"


class TestOwnClient:
    @pytest.fixture(params=["http", "grpc"])
    def client(self, request, emulator, namespace):
        client = make_client(emulator, namespace, request.param == "grpc")
        yield client
        if request.param == "grpc":
            client._datastore_api.transport.close()
        client.close()

    def test_it_is_used_and_left_open(self, client, plug, monkeypatch):
        monkeypatch.setattr(client, "close", lambda: pytest.fail("closed"), raising=False)
        own = DatastorePlug(
            "config", client=lambda config: config == "config" and client, timeout=PATIENCE
        )
        key = session_key()
        own.dumps(key, None, b"one")
        assert plug.loads(key, None) == b"one"
        assert own.swap(key, None, b"one", b"two") is True
        assert own.swap(key, None, b"one", b"three") is False
        assert [found.session_id for found in own.scan()] == [key.session_id]
        own.close()
        assert own.loads(key, None) == b"two"
        own.clear(key, None)
        assert plug.loads(key, None) is None
        monkeypatch.undo()

    def test_transactions_of_the_application_are_not_joined(self, client, plug):
        own, key = DatastorePlug(client=client, timeout=PATIENCE), session_key()
        for rounds in range(2):
            with client.transaction() as transaction:
                assert own.loads(key, None) is None
                own.dumps(key, None, b"one")
                assert plug.loads(key, None) == b"one", "it waits for the application's commit"
                assert own.loads(key, None) == b"one", "it reads in the application's transaction"
                assert own.swap(key, None, b"one", b"two") is True
                assert len(list(own.scan())) == 1
                assert client.current_transaction is transaction
                if rounds:
                    transaction.rollback()
            assert plug.loads(key, None) == b"two"
            own.clear(key, None)

    @again_if_slow(3)
    def test_timeouts(self, client, emulator):
        own = DatastorePlug(client=client, timeout=0.5)
        wait_for(lambda: own.loads(session_key(), None) is None, despite=own.outages)
        emulator.pause()
        try:
            with within(3):
                message = unavailable(own)
        finally:
            emulator.resume()
        assert f"{SETTING}timeout" in message


class TestScan:
    def test_renewed_meanwhile(self, plug):
        keys = [session_key(60) for _ in range(110)]
        for key in keys:
            plug.dumps(key, None, b"record")
        found = []
        for key in plug.scan():
            found.append(key.session_id)
            plug.dumps(SessionKey(key.session_id, clock.now() + 600), None, b"record")
        assert sorted(found) == sorted(key.session_id for key in keys)


class TestPurge:
    def test_more_than_a_page(self, relayed, relay, client):
        expires = entities.moment(clock.now() - 10)
        for start in (0, 110):
            many = []
            for number in range(start, start + 110):
                entity = datastore.Entity(client.key("PluggableSession", f"{number:064x}"))
                entity.update(data=b"", expires=expires)
                many.append(entity)
            client.put_multi(many)
        assert relayed.purge() == 220
        batch = ["lookup", "commit"]
        assert relay.taken() == (["runQuery"] + batch * 4) * 2 + ["runQuery"] + batch
        assert relayed.purge() == 0

    def test_a_full_page_once(self, relayed, relay):
        for _ in range(100):
            relayed.dumps(session_key(-1), None, b"")
        relay.taken()
        assert relayed.purge() == 100
        assert relay.taken()[-3:] == ["lookup", "commit", "runQuery"]

    @pytest.mark.parametrize("method", ["lookup", "commit"])
    def test_renewed_meanwhile(self, relayed, relay, plug, emulator, method):
        expired = [session_key(-1) for _ in range(3)]
        for key in expired:
            plug.dumps(key, None, b"old")
        renewed = SessionKey(expired[1].session_id, clock.now() + 60)
        renewing = threading.Thread(target=plug.dumps, args=(renewed, None, b"new"))

        def renew(handler):
            renewing.start()
            # Where the emulator lets a transaction keep a write waiting, that goes on without.
            renewing.join(0.3)
            reply(handler, *forward(handler, emulator))

        relay.answers.append((method, renew))
        deleted = relayed.purge()
        renewing.join(PATIENCE)
        assert plug.loads(renewed, None) == b"new"
        assert deleted in (2, 3)
        assert plug.purge() == 0

    def test_all_renewed_meanwhile(self, make_plug, relay, plug, emulator):
        relayed = make_plug(emulator_host=relay.address)
        keys = [session_key(-1) for _ in range(100)]
        for key in keys:
            plug.dumps(key, None, b"old")

        def renew(handler):
            for key in keys:
                plug.dumps(SessionKey(key.session_id, clock.now() + 60), None, b"new")
            reply(handler, *forward(handler, emulator))

        relay.answers.append(("lookup", renew))
        assert relayed.purge() == 0
        assert relay.taken() == ["runQuery"] + ["lookup", "rollback"] * 4
        assert len(list(plug.scan())) == 100
        relayed.close()

    def test_two_at_once(self, make_plug, plug):
        for _ in range(60):
            plug.dumps(session_key(-1), None, b"")
        deleted = []
        run_together([lambda: deleted.append(make_plug().purge())] * 2)
        assert sum(deleted) == 60


class TestFork:
    def test_while_other_threads_are_at_it(self, plug, in_child):
        key, stop = session_key(), threading.Event()
        plug.dumps(key, None, b"record")

        def read():
            while not stop.is_set():
                assert plug.loads(key, None) == b"record"

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(5):
                assert in_child(lambda: plug.loads(key, None)) == b"record"
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def test_the_child_has_a_client_of_its_own(self, plug, in_child):
        client = plug._client()
        assert in_child(lambda: plug._client() is client) is False
        assert plug._client() is client


class TestFailures:
    def test_nobody_listens(self):
        plug = DatastorePlug(project=PROJECT, emulator_host=f"127.0.0.1:{free_port()}")
        message = unavailable(plug)
        assert "see that it runs" in message
        assert f"{SETTING}emulator_host" in message

    def test_no_such_host(self):
        plug = DatastorePlug(project=PROJECT, emulator_host="nowhere.invalid:1")
        assert f"{SETTING}emulator_host" in unavailable(plug)

    @pytest.mark.parametrize(
        "operation", [["loads"], ["dumps", b"x"], ["clear"], ["swap", None, b"x"]]
    )
    @again_if_slow(2)
    def test_a_server_that_hangs(self, emulator, make_plug, operation):
        plug, key = make_plug(), session_key()
        plug.dumps(key, None, b"record")
        emulator.pause()
        try:
            with within(2):
                message = unavailable(make_plug(timeout=0.5), *operation)
        finally:
            emulator.resume()
        assert f"no answer within {SETTING}timeout" in message
        assert plug.loads(key, None) == b"record"

    def test_a_server_that_was_killed_and_started_again(self, tmp_path, emulator):
        with DatastoreEmulator(tmp_path) as server:
            plug, key = find_plug(None, server.url).make(None), session_key()
            plug.dumps(key, None, b"record")
            server.kill()
            unavailable(plug)
            server.start()
            assert plug.loads(key, None) is None
            plug.dumps(key, None, b"record")
            assert plug.loads(key, None) == b"record"
            plug.close()

    @pytest.mark.parametrize(
        "answer",
        [
            lambda handler: reply(handler, 200, b"<html>welcome</html>"),
            lambda handler: reply(handler, 501, b"<html>what?</html>"),
            lambda handler: reply(handler, 200, b""),
        ],
    )
    def test_a_server_of_another_kind(self, relayed, relay, answer):
        relay.answers += [("lookup", answer)] * 2
        assert "what answers is not Datastore" in unavailable(relayed)
        unavailable(relayed, "swap", None, b"record")

    def test_a_server_that_does_not_speak_http(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def answer():
                connection, _ = listener.accept()
                with connection:
                    connection.recv(100_000)
                    connection.sendall(b"-ERR unknown command\r\n")

            thread = threading.Thread(target=answer)
            thread.start()
            port = listener.getsockname()[1]
            plug = DatastorePlug(project=PROJECT, emulator_host=f"127.0.0.1:{port}", **PATIENT)
            assert f"{SETTING}emulator_host" in unavailable(plug)
            thread.join()
            plug.close()

    @pytest.mark.parametrize(
        ("status", "code", "words"),
        [
            (400, 9, "in Datastore mode, not in native mode"),
            (403, 7, "roles/datastore.user"),
            (404, 5, "gcloud firestore databases create"),
            (429, 8, "quota"),
            (504, 4, f"{SETTING}timeout"),
        ],
    )
    def test_refusals(self, relayed, relay, status, code, words):
        relay.answers += [(method, refuse(status, code)) for method in ("lookup", "commit")]
        assert words in unavailable(relayed)
        assert words in unavailable(relayed, "dumps", b"record")

    def test_one_for_which_there_is_no_remedy(self, relayed, relay):
        relay.answers.append(("lookup", refuse(501, 12, "odd")))
        message = unavailable(relayed)
        assert message.endswith("odd")

    @again_if_slow(5)
    def test_reading_is_not_repeated_for_ever(self, hasty, relay):
        relay.answers[:] = [("lookup", refuse(503, 14))] * 500
        with within(5, at_least=0.5):
            message = unavailable(hasty)
        assert "check the network" in message

    def test_messages_without_the_session_id(self, relayed, relay):
        key = session_key()
        relay.answers.append(("lookup", refuse(400, 3, f"bad key {key.session_id}")))
        message = unavailable(relayed, key=key)
        assert "bad key (session id)" in message
        assert key.session_id not in message

    @pytest.mark.parametrize(
        ("error", "words"),
        [
            (requests.exceptions.SSLError(), "REQUESTS_CA_BUNDLE"),
            (requests.exceptions.ProxyError(), "HTTPS_PROXY"),
            (requests.exceptions.ConnectTimeout(), f"{SETTING}connect_timeout"),
            (requests.exceptions.ReadTimeout(), f"within {SETTING}timeout"),
            (api.DeadlineExceeded("x"), f"within {SETTING}timeout"),
            (api.Aborted("x"), "others write"),
            (api.RetryError("x", api.Aborted("x")), "others write"),
            (api.RetryError("x", None), None),
            (api.PermissionDenied("x"), "roles/datastore.user"),
            (api.Unauthenticated("x"), "roles/datastore.user"),
            (api.InvalidArgument("x"), "Datastore mode"),
            (auth.TransportError("x"), "oauth2.googleapis.com"),
            (OSError("Project was not passed"), f"{SETTING}project"),
            (OSError(5, "Input/output error"), None),
            (PermissionError("Project"), None),
        ],
    )
    def test_remedies(self, error, words):
        found = remedy(error)
        assert found is None if words is None else words in found
