import contextlib
import gc
import os
import pathlib
import threading
import time
import uuid

import boto3
import pytest
from botocore.config import Config
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError

from apps import App
from certificates import certificate
from proxies import forward, hang_up, reply
from pyramid_pluggable_session import clock
from pyramid_pluggable_session.errors import PlugUnavailable, SessionTooLarge
from pyramid_pluggable_session.keys import SessionKey
from pyramid_pluggable_session.loader import find_plug
from pyramid_pluggable_session.plugs.dynamodb import DynamodbPlug
from pyramid_pluggable_session.storage import Storage
from pyramid_pluggable_session.testing import PlugContract, session_key
from servers import dynamodb as servers
from servers import free_port
from timing import PATIENCE, PATIENT, again_if_slow, wait_for, within

LARGEST = 409_478

AMAZON = "application/x-amz-json-1.0"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name, value in servers.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def server(running):
    server = running("dynamodb")
    warm_up(server)
    return server


def warm_up(server):
    """Use the server for a while: its first answers take longer than some sessions here last."""
    plug, key = find_plug(None, server.url).make(None), session_key()
    for number in range(40):
        plug.swap(key, None, b"%d" % number, b"")
        plug.dumps(key, None, b"%d" % (number + 1))
        plug.loads(key, None)
    plug.clear(key, None)
    plug.close()


@pytest.fixture(scope="session")
def boto(server):
    """Return a client for the tests' own use."""
    client = make_boto(server.endpoint_url)
    yield client
    client.close()


def make_boto(endpoint_url, **config):
    """Return a client as an application may have one."""
    return boto3.session.Session().client(
        "dynamodb",
        region_name=servers.REGION,
        endpoint_url=endpoint_url,
        config=Config(**config),
    )


ONE_ATTEMPT = {"total_max_attempts": 1}


@pytest.fixture
def table(server):
    """Return the name of a table that is missing yet."""
    return f"sessions-{uuid.uuid4().hex}"


@pytest.fixture
def make_plug(server, table, boto):
    """Return a function that makes a plug on the test's own table."""
    plugs = []

    def make(**options):
        if "client" not in options:
            options = {
                "region": servers.REGION,
                "endpoint_url": server.endpoint_url,
                "create_table": True,
                **PATIENT,
                **options,
            }
        plug = DynamodbPlug(None, **{"table": table, **options})
        plugs.append(plug)
        return plug

    yield make
    for plug in plugs:
        plug.close()
    with contextlib.suppress(boto.exceptions.ResourceNotFoundException):
        boto.delete_table(TableName=table)


@pytest.fixture
def plug(make_plug):
    return make_plug()


@pytest.fixture
def relay(server):
    with servers.Relay(server) as relay:
        yield relay


@pytest.fixture
def relayed(make_plug, relay):
    """Return a plug that speaks through the relay, on a table that is there."""
    plug = make_plug(endpoint_url=relay.endpoint_url)
    plug.clear(session_key(), None)
    relay.taken()
    return plug


def refuse(code, status=400, message="refused"):
    body = f'{{"__type":"com.amazonaws.dynamodb.v20120810#{code}","message":"{message}"}}'
    return lambda handler: reply(handler, status, body.encode(), AMAZON)


class TestDynamodbPlug(PlugContract):
    max_record = LARGEST
    increments = 25  # each try takes boto3 milliseconds of the processor's time, and most fail

    @pytest.fixture
    def make_plug(self, make_plug):
        def make():
            plug = make_plug()
            # To make the client takes as long as the suite's short sessions last.
            plug.loads(session_key(), None)
            return plug

        return make

    def test_purge(self, make_plug):
        """DynamoDB deletes by itself, some time later: there is nothing to do, and nothing done."""
        plug, live, expired = make_plug(), session_key(), session_key(-10)
        for key in (live, expired):
            plug.dumps(key, None, b"record")
        assert plug.purge() == 0
        assert plug.loads(live, None) == b"record"
        assert plug.loads(expired, None) is None


class TestTable:
    def test_is_made_on_request(self, make_plug, table, boto):
        plug, key = make_plug(), session_key()
        with pytest.raises(boto.exceptions.ResourceNotFoundException):
            boto.describe_table(TableName=table)
        plug.dumps(key, None, b"record")
        described = boto.describe_table(TableName=table)["Table"]
        assert described["KeySchema"] == [{"AttributeName": "id", "KeyType": "HASH"}]
        assert described["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
        living = boto.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
        assert living == {"TimeToLiveStatus": "ENABLED", "AttributeName": "ttl"}
        boto.delete_table(TableName=table)
        assert plug.loads(key, None) is None, "also while the process runs"

    def test_is_not_made_without(self, make_plug, table, boto):
        plug = make_plug(create_table=False)
        with pytest.raises(plug.outages, match="non-existent table") as caught:
            plug.loads(session_key(), None)
        advice = plug.remedy(caught.value)
        for word in ("create_table = true", "dynamodb.table", "dynamodb.region", "endpoint_url"):
            assert word in advice
        with pytest.raises(boto.exceptions.ResourceNotFoundException):
            boto.describe_table(TableName=table)

    def test_is_made_by_several_at_once(self, make_plug, relay):
        # Each is told that there is no table before one of them makes it.
        together, keys, errors = threading.Barrier(4), [session_key() for _ in range(4)], []

        def wait(handler):
            together.wait(PATIENCE)
            refuse("ResourceNotFoundException")(handler)

        relay.answers[:] = [wait] * 4

        def work(key):
            try:
                make_plug(endpoint_url=relay.endpoint_url).dumps(key, None, b"record")
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(key,)) for key in keys]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert relay.operations.count("CreateTable") == 4
        assert relay.operations.count("UpdateTimeToLive") == 4
        assert [make_plug().loads(key, None) for key in keys] == [b"record"] * 4

    def test_that_cannot_be_made(self, make_plug, relay):
        plug = make_plug(endpoint_url=relay.endpoint_url)
        deny = refuse("AccessDeniedException", message="not authorized")
        for answers in ([relay.hand_on, deny], [relay.hand_on] * 3 + [deny]):
            relay.answers[:] = answers
            with pytest.raises(plug.outages, match="not authorized") as caught:
                plug.loads(session_key(), None)
            assert relay.answers == [], relay.taken()
            assert "CreateTable" in plug.remedy(caught.value)
        relay.taken()

    def test_with_another_key(self, make_plug, table, boto):
        boto.create_table(
            TableName=table,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "name", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "name", "KeyType": "HASH"}],
        )
        plug = make_plug()
        for operation in (
            lambda: plug.loads(session_key(), None),
            lambda: plug.dumps(session_key(), None, b"record"),
            lambda: plug.swap(session_key(), None, None, b"record"),
        ):
            with pytest.raises(plug.outages, match="ValidationException") as caught:
                operation()
            assert "must be id, a string" in plug.remedy(caught.value)


class TestItems:
    def item(self, boto, table, key):
        return boto.get_item(TableName=table, Key={"id": {"S": key.session_id}})["Item"]

    def test_attributes(self, plug, table, boto):
        key = SessionKey(session_key().session_id, 4_000_000_000.123)
        plug.dumps(key, None, b"record")
        assert self.item(boto, table, key) == {
            "id": {"S": key.session_id},
            "data": {"B": b"record"},
            "expires": {"N": "4000000000.123"},
            "ttl": {"N": "4000000001"},
        }
        assert plug.swap(SessionKey(key.session_id, None), None, b"record", b"other") is True
        assert set(self.item(boto, table, key)) == {"id", "data"}, "it never expires"

    def test_expiry_is_not_rounded(self, plug, monkeypatch):
        # In the future, as the server deletes what has expired by its own clock.
        moment = 4_000_000_000.000001
        key = SessionKey(session_key().session_id, moment)
        before = 4_000_000_000.0000005
        assert before < moment
        for now, live in ((before, True), (moment, False)):
            monkeypatch.setattr(clock, "_time", lambda now=now: now)
            plug.dumps(key, None, b"a")
            assert plug.loads(key, None) == (b"a" if live else None)
            assert [each.expires_at for each in plug.scan()] == [moment] * live
            assert plug.swap(key, None, b"a", b"a") is live
            assert plug.swap(key, None, None, b"b") is (not live)

    def test_scan_reads_page_by_page(self, make_plug, relayed, relay):
        # A page has at most a megabyte.
        keys = {session_key().session_id for _ in range(8)}
        for session_id in keys:
            relayed.dumps(SessionKey(session_id, None), None, b"x" * 400_000)
        relay.taken()
        scan = relayed.scan()
        assert relay.taken() == [], "it is lazy"
        found = [next(scan).session_id]
        assert relay.taken() == ["Scan"]
        found += [key.session_id for key in scan]
        assert len(relay.taken()) > 1
        assert sorted(found) == sorted(keys)

    def test_too_large(self, relayed, relay):
        key = session_key()
        relayed.dumps(key, None, b"x" * LARGEST)
        relay.taken()
        for operation in (
            lambda: relayed.dumps(key, None, b"x" * (LARGEST + 1)),
            lambda: relayed.swap(key, None, None, b"x" * (LARGEST + 1)),
        ):
            with pytest.raises(SessionTooLarge, match=r"409479 bytes.*409478.*400 KB") as caught:
                operation()
            assert (caught.value.size, caught.value.limit) == (LARGEST + 1, LARGEST)
        assert relay.taken() == [], "nothing was sent"

    def test_too_large_for_the_server(self, relayed, relay, monkeypatch):
        from pyramid_pluggable_session.plugs.dynamodb import items

        monkeypatch.setattr(items, "LARGEST_RECORD", 1_000_000)
        with pytest.raises(SessionTooLarge, match="500000 bytes"):
            relayed.dumps(session_key(), None, b"x" * 500_000)
        with pytest.raises(SessionTooLarge, match="500000 bytes"):
            relayed.swap(session_key(), None, None, b"x" * 500_000)
        assert relay.taken() == ["PutItem"] * 2

    def test_largest_is_what_amazon_says(self):
        # Names and values count; a number has two digits in a byte, one more, and 21 at most.
        names = len("id") + len("data") + len("expires") + len("ttl")
        assert names + 64 + LARGEST + 2 * 21 == 400 * 1024


class TestRoundTrips:
    def test_one_for_each_operation(self, relayed, relay):
        key = session_key()
        for operation, name in (
            (lambda: relayed.loads(key, None), "GetItem"),
            (lambda: relayed.dumps(key, None, b"a"), "PutItem"),
            (lambda: relayed.loads(key, None), "GetItem"),
            (lambda: relayed.swap(key, None, b"a", b"b"), "PutItem"),
            (lambda: relayed.swap(key, None, b"a", b"b"), "PutItem"),
            (lambda: relayed.clear(key, None), "DeleteItem"),
            (lambda: relayed.swap(key, None, None, b"b"), "PutItem"),
            (lambda: list(relayed.scan()), "Scan"),
        ):
            operation()
            assert relay.taken() == [name]
        relayed.purge()
        relayed.close()
        assert relay.taken() == []

    def test_reads_are_consistent(self, relayed, relay):
        bodies = []

        def keep(handler):
            bodies.append(handler.body)
            reply(handler, 200, b'{"Items":[]}', AMAZON)

        relay.answers[:] = [keep, keep]
        relayed.loads(session_key(), None)
        list(relayed.scan())
        assert all(b'"ConsistentRead": true' in body for body in bodies)

    def test_a_request_takes_two(self, relayed, relay):
        app = App(relayed)
        client = app.client()
        client.do(lambda session: session.update(a=1))
        assert relay.taken() == ["PutItem"]
        client.do(lambda session: session.update(a=2))
        assert relay.taken() == ["GetItem", "PutItem"]
        assert client.data() == {"a": 2}


class TestRepetition:
    """What failed is sent again only if it was not done, or if it may be done twice."""

    REFUSALS = (
        "ProvisionedThroughputExceededException",
        "ThrottlingException",
        "RequestLimitExceeded",
        "ReplicatedWriteConflictException",
    )

    @pytest.mark.parametrize("code", REFUSALS)
    def test_what_was_refused(self, relayed, relay, code):
        key = session_key()
        for operation, name in (
            (lambda: relayed.dumps(key, None, b"a"), "PutItem"),
            (lambda: relayed.swap(key, None, b"a", b"b"), "PutItem"),
            (lambda: relayed.loads(key, None), "GetItem"),
            (lambda: relayed.clear(key, None), "DeleteItem"),
        ):
            relay.answers[:] = [refuse(code)] * 2
            assert operation() in (None, True, b"b")
            assert relay.taken() == [name] * 3

    @again_if_slow(0.25)
    def test_no_longer_than_the_timeout(self, make_plug, relayed, relay, monkeypatch):
        plug = make_plug(endpoint_url=relay.endpoint_url, timeout=0.5)
        relay.answers.clear()
        wait_for(lambda: plug.loads(session_key(), None) is None, despite=plug.outages)
        relay.taken()
        relay.answers[:] = [refuse("ThrottlingException", message="Rate exceeded")] * 100
        pauses, sleep = [], time.sleep
        with monkeypatch.context() as patch:
            patch.setattr(time, "sleep", lambda pause: pauses.append(pause) or sleep(pause))
            with (
                within(2, at_least=0.1),
                pytest.raises(plug.outages, match="Rate exceeded") as caught,
            ):
                plug.dumps(session_key(), None, b"record")
        assert len(relay.taken()) == len(pauses) + 1 > 1
        for number, pause in enumerate(pauses):
            assert 0.5 <= pause / (0.05 * 2**number) <= 1, "it waits longer and longer"
        assert "raise the capacity" in plug.remedy(caught.value)

    def failures(self):
        def lose_answer(handler):
            forward(handler, self.server)
            hang_up(handler)

        return [
            hang_up,
            lose_answer,
            refuse("InternalServerError", 500),
            refuse("ServiceUnavailable", 503),
        ]

    def test_writes_are_not(self, relayed, relay, server):
        self.server = server
        for failure in self.failures():
            key = session_key()
            for operation in (
                lambda key=key: relayed.dumps(key, None, b"a"),
                lambda key=key: relayed.swap(key, None, b"a", b"b"),
            ):
                relay.answers[:] = [failure]
                with pytest.raises(relayed.outages):
                    operation()
                assert relay.taken() == ["PutItem"]

    def test_reads_and_deletions_are_once(self, relayed, relay, server):
        self.server = server
        for failure in self.failures():
            key = session_key()
            relayed.dumps(key, None, b"record")
            relay.answers[:] = [failure]
            relay.taken()
            assert relayed.loads(key, None) == b"record"
            assert relay.taken() == ["GetItem"] * 2
            relay.answers[:] = [failure]
            assert key.session_id in [each.session_id for each in relayed.scan()]
            assert relay.taken() == ["Scan"] * 2
            relay.answers[:] = [failure]
            relayed.clear(key, None)
            assert relay.taken() == ["DeleteItem"] * 2
            relay.answers[:] = [failure] * 2
            with pytest.raises(relayed.outages):
                relayed.loads(key, None)
            assert relay.taken() == ["GetItem"] * 2

    def test_other_refusals_are_not(self, relayed, relay):
        relay.answers[:] = [refuse("AccessDeniedException")]
        with pytest.raises(relayed.outages):
            relayed.loads(session_key(), None)
        assert relay.taken() == ["GetItem"]

    def test_a_condition_that_fails_is_no_failure(self, relayed, relay):
        assert relayed.swap(session_key(), None, b"expected", b"record") is False
        assert relay.taken() == ["PutItem"]
        relay.answers[:] = [refuse("ItemCollectionSizeLimitExceededException")]
        with pytest.raises(relayed.outages):
            relayed.swap(session_key(), None, b"expected", b"record")


def unavailable(plug):
    """Return the message of what an application gets to see."""
    storage, key = Storage(plug, None), session_key()
    with pytest.raises(PlugUnavailable) as caught:
        storage.loads(key)
    message = str(caught.value)
    assert key.session_id not in message
    return message


class TestFailures:
    @pytest.mark.parametrize(
        "part",
        [
            b"x-amzn-",
            b"x-amzn-RequestId: 1\r\nContent-Length: 999\r\n\r\n",
            b'x-amzn-RequestId: 1\r\nContent-Length: 999\r\n\r\n{"Item": {"data": {"B": "',
            b"x-amzn-RequestId: 1\r\nContent-Length: 2\r\n\r\n[]",
        ],
    )
    def test_an_answer_that_was_cut_off_is_not_an_absence(self, relayed, relay, part):
        key = session_key()
        relayed.dumps(key, None, b"record")

        def cut_off(handler):
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\n"
            handler.wfile.write(head + part)
            hang_up(handler)

        relay.answers[:] = [cut_off] * 2
        with pytest.raises((OSError, *relayed.outages)):
            relayed.loads(key, None)
        relay.answers.clear()
        assert relayed.loads(key, None) == b"record"

    def test_nobody_listens(self, make_plug):
        message = unavailable(make_plug(endpoint_url=f"http://127.0.0.1:{free_port()}"))
        assert "Could not connect" in message
        assert "pluggable_session.dynamodb.region and" in message

    def test_no_such_host(self, make_plug):
        message = unavailable(make_plug(endpoint_url="http://dynamodb.invalid:8000"))
        assert "Could not connect" in message
        assert "pluggable_session.dynamodb.endpoint_url are right" in message

    @again_if_slow(2)
    def test_paused_and_resumed(self, server, make_plug):
        plug, key = make_plug(timeout=0.5), session_key()
        make_plug().dumps(key, None, b"record")
        wait_for(lambda: plug.loads(key, None) == b"record", despite=plug.outages)
        server.pause()
        try:
            with within(2, at_least=0.4):
                message = unavailable(plug)
            with pytest.raises(plug.outages):
                plug.dumps(key, None, b"record")
        finally:
            server.resume()
        assert "Read timeout" in message
        assert "pluggable_session.dynamodb.timeout" in message
        wait_for(lambda: plug.loads(key, None) == b"record", despite=plug.outages)

    def test_timeouts_are_set(self, make_plug):
        plug = DynamodbPlug(table="sessions", region=servers.REGION)
        config = plug._client.boto3().meta.config
        assert (config.connect_timeout, config.read_timeout) == (2.0, 5.0)
        plug.close()
        config = make_plug(connect_timeout=0.5, timeout=1.5)._client.boto3().meta.config
        assert (config.connect_timeout, config.read_timeout) == (0.5, 1.5)

    def test_restarted(self, tmp_path, server):
        with servers.DynamodbLocal(tmp_path, on_disk=True) as other:
            found = find_plug(None, other.url)
            plug, key = found.make(None), session_key()
            plug.dumps(key, None, b"record")
            other.kill()
            assert "Could not connect" in unavailable(plug)
            other.start()
            assert plug.loads(key, None) == b"record"
            assert plug.swap(key, None, b"record", b"other") is True
            plug.close()

    @pytest.mark.parametrize(
        ("status", "kind", "body"),
        [
            (200, "text/html", b"<html>It works!</html>"),
            (200, "application/json", b'{"status": "up"}'),
            (200, "application/json", b""),
            (404, "text/html", b"<html>No such page</html>"),
            (405, "text/plain", b"Method not allowed"),
        ],
    )
    def test_another_kind_of_web_server(self, relayed, relay, status, kind, body):
        # To boto3 some of these are answers without content.
        answer = [lambda handler: reply(handler, status, body, kind)]
        relay.answers[:] = answer
        assert "see that DynamoDB is what listens" in unavailable(relayed)
        for operation in (
            lambda: relayed.dumps(session_key(), None, b"record"),
            lambda: relayed.swap(session_key(), None, None, b"record"),
            lambda: relayed.clear(session_key(), None),
            lambda: list(relayed.scan()),
        ):
            relay.answers[:] = answer
            with pytest.raises((OSError, *relayed.outages)):
                operation()

    def test_answer_with_amazons_id_but_another_type(self, relayed, relay):
        def answer(handler):
            handler.send_response(200)
            handler.send_header("x-amzn-RequestId", "1")
            handler.send_header("Content-Length", "2")
            handler.end_headers()
            handler.wfile.write(b"{}")

        relay.answers[:] = [answer]
        assert relayed.loads(session_key(), None) is None

    def test_another_kind_of_server(self, relayed, relay):
        def answer(handler):
            handler.wfile.write(b"-ERR unknown command\r\n")
            handler.close_connection = True

        relay.answers[:] = [answer] * 2
        assert "see that DynamoDB is what listens" in unavailable(relayed)

    def test_no_credentials(self, make_plug, monkeypatch):
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        message = unavailable(make_plug())
        assert "Unable to locate credentials" in message
        assert "give credentials" in message
        assert "pluggable_session.dynamodb.profile" in message

    def test_half_of_the_credentials(self, make_plug, monkeypatch):
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        message = unavailable(make_plug())
        assert "Partial credentials" in message
        assert "give credentials" in message

    def test_wrong_credentials(self, make_plug, monkeypatch):
        # The only wrong ones to DynamoDB Local.
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "not-a-key")
        message = unavailable(make_plug())
        assert "UnrecognizedClientException" in message
        assert "give credentials" in message

    @pytest.mark.parametrize(
        ("code", "words"),
        [
            ("AccessDeniedException", ["dynamodb:GetItem, PutItem, DeleteItem and Scan"]),
            ("InvalidSignatureException", ["give credentials", "clock"]),
            ("ExpiredTokenException", ["give credentials", "expired"]),
            ("SomethingNew", []),
        ],
    )
    def test_refusals(self, relayed, relay, code, words):
        relay.answers[:] = [refuse(code)]
        message = unavailable(relayed)
        assert f"({code})" in message
        for word in words:
            assert word in message
        if not words:
            assert message.endswith("refused")

    def test_what_was_signed_is_not_shown(self, relayed, relay):
        message = "it does not match.\\n\\nIt should have been\\nx-amz-security-token:secret"
        relay.answers[:] = [refuse("InvalidSignatureException", message=message)]
        storage = Storage(relayed, None)
        with pytest.raises(PlugUnavailable, match="does not match") as caught:
            storage.loads(session_key())
        assert "secret" not in str(caught.value) + str(caught.value.__cause__)

    def test_errors_of_others_have_no_remedy(self, plug):
        assert plug.remedy(OSError("disk full")) is None


@pytest.fixture
def untrusted(tmp_path):
    """Return the path of a certificate with its key that nobody trusts."""
    path = tmp_path / "certificate.pem"
    path.write_text("".join(pathlib.Path(each).read_text() for each in certificate(tmp_path)))
    return path


class TestTls:
    def test_certificate(self, make_plug, server, untrusted, monkeypatch):
        with servers.Relay(server, untrusted) as relay:
            message = unavailable(make_plug(endpoint_url=relay.endpoint_url))
            assert "CERTIFICATE_VERIFY_FAILED" in message
            assert "AWS_CA_BUNDLE" in message
            assert relay.taken() == []
            monkeypatch.setenv("AWS_CA_BUNDLE", str(untrusted))
            plug, key = make_plug(endpoint_url=relay.endpoint_url), session_key()
            plug.dumps(key, None, b"record")
            assert plug.loads(key, None) == b"record"
            plug.close()
            message = unavailable(make_plug(endpoint_url=relay.endpoint_url.replace("s", "", 1)))
            assert "see that DynamoDB is what listens" in message

    def test_not_spoken(self, make_plug, server):
        message = unavailable(make_plug(endpoint_url=f"https://127.0.0.1:{server.port}"))
        assert "must begin with http or https" in message


class TestConfiguration:
    def options(self, spec, **settings):
        named = {f"pluggable_session.dynamodb.{name}": value for name, value in settings.items()}
        return find_plug(Configurator(settings=named), spec).options

    def refused(self, spec, *words, **settings):
        with pytest.raises(ConfigurationError) as caught:
            self.options(spec, **settings)
        for word in words:
            assert word in str(caught.value)
        return str(caught.value)

    def test_url(self):
        options = self.options(
            "dynamodb://My-table_1.x?region=eu-central-1&endpoint_url=http%3A%2F%2F[::1]%3A8000"
            "&create_table=true&timeout=1.5&connect_timeout=1&profile=staging"
        )
        assert options == {
            "table": "My-table_1.x",
            "region": "eu-central-1",
            "endpoint_url": "http://[::1]:8000",
            "profile": "staging",
            "create_table": True,
            "connect_timeout": 1.0,
            "timeout": 1.5,
            "client": None,
        }
        assert self.options("dynamodb://sessions/?endpoint_url=https://x")["table"] == "sessions"

    def test_settings(self):
        arn = "arn:aws:dynamodb:eu-central-1:123456789012:table/sessions"
        options = self.options("dynamodb", table=arn, region=" eu-central-1 ", profile="none")
        assert options["table"] == arn
        assert options["region"] == "eu-central-1"
        assert options["profile"] is None
        assert self.options("dynamodb")["table"] == "sessions"

    def test_the_server_of_the_tests(self, server):
        plug, key = find_plug(None, server.url).make(None), session_key()
        plug.dumps(key, None, b"record")
        assert plug.loads(key, None) == b"record"
        plug.clear(key, None)
        plug.close()

    @pytest.mark.parametrize(
        "url",
        [
            "dynamodb://",
            "dynamodb:",
            "dynamodb://ab",
            "dynamodb://sessions:8000",
            "dynamodb://sessions/more",
            "dynamodb://sessions#more",
            "dynamodb:///sessions",
            "dynamodb://" + "x" * 256,
        ],
    )
    def test_bad_table(self, url):
        self.refused(url, "table, in the URL of the dynamodb plug,", "dynamodb://sessions")

    def test_credentials_in_the_url(self):
        message = self.refused("dynamodb://key:secret@sessions", "name of a table", "(hidden)")
        assert "secret" not in message

    def test_unknown_option(self):
        self.refused(
            "dynamodb://sessions?regoin=x",
            "regoin, in the URL of the dynamodb plug, is not known",
            "Did you mean pluggable_session.dynamodb.region?",
        )
        self.refused("dynamodb://sessions?zzz=x", "Known are: ", "endpoint_url")

    @pytest.mark.parametrize("region", ["", "eu central", "EU", "eu-", "http://x"])
    def test_bad_region(self, region):
        if region:
            self.refused(f"dynamodb://sessions?region={region}", "region", "such as eu-central-1")
        with pytest.raises(ConfigurationError, match="region is not set"):
            DynamodbPlug(None, region=None)

    @pytest.mark.parametrize(
        "url",
        [
            "localhost:8000",
            "ftp://localhost",
            "http://",
            "http://localhost:port",
            "http://localhost:99999",
            "http://localhost:0",
            "http://[::1",
            "http://localhost/path",
            "http://localhost?a=b",
        ],
    )
    def test_bad_endpoint(self, url):
        self.refused("dynamodb", "dynamodb.endpoint_url must be a URL", endpoint_url=url)

    def test_credentials_in_the_endpoint(self):
        message = self.refused("dynamodb", "endpoint_url", endpoint_url="http://a:secret@localhost")
        assert "secret" not in message

    def test_region_of_boto3(self, make_plug, monkeypatch):
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
        plug = make_plug(region=None)
        assert plug._client.boto3().meta.region_name == "eu-west-3"
        assert make_plug()._client.boto3().meta.region_name == servers.REGION

    def test_profile(self, make_plug, tmp_path, monkeypatch):
        file = tmp_path / "config"
        file.write_text("[profile shop]\nregion = eu-west-2\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
        plug = make_plug(region=None, profile="shop")
        assert plug._client.boto3().meta.region_name == "eu-west-2"
        with pytest.raises(ConfigurationError, match=r"dynamodb\.profile must be one.*\(ship\)"):
            make_plug(profile="ship")

    def test_unreachable_server_is_no_mistake(self, make_plug):
        make_plug(endpoint_url=f"http://127.0.0.1:{free_port()}")


class TestOwnClient:
    @pytest.fixture
    def own(self, server):
        client = make_boto(server.endpoint_url, retries=ONE_ATTEMPT)
        yield client
        client.close()

    def test_client(self, make_plug, own):
        plug, key = make_plug(client=own, create_table=True), session_key()
        plug.dumps(key, None, b"record")
        plug.close()
        assert plug.loads(key, None) == b"record"
        assert plug._client.boto3() is own

    def test_is_not_closed(self, make_plug, own, monkeypatch):
        monkeypatch.setattr(own, "close", lambda: pytest.fail("it was closed"))
        plug = make_plug(client=own, create_table=True)
        plug.loads(session_key(), None)
        plug.close()
        monkeypatch.undo()

    def test_function(self, table, server, in_child):
        calls = []

        def make(config):
            calls.append((os.getpid(), config))
            return make_boto(server.endpoint_url, retries=ONE_ATTEMPT)

        plug, key = DynamodbPlug("config", table=table, create_table=True, client=make), None
        assert calls == [], "the application may not be configured yet"
        key = session_key()
        plug.dumps(key, None, b"record")
        assert plug.loads(key, None) == b"record"
        assert calls == [(os.getpid(), "config")]

        def use():
            assert plug.loads(key, None) == b"record"
            return len(calls)

        assert in_child(use) == 2, "each process has its own"
        plug._client.boto3().close()

    @pytest.mark.parametrize("config", [{}, {"retries": {"total_max_attempts": 3}}])
    def test_that_sends_again(self, make_plug, server, config):
        client = make_boto(server.endpoint_url, **config)
        with pytest.raises(ConfigurationError, match=r'dynamodb\.client .*"total_max_attempts": 1'):
            make_plug(client=client)
        plug = make_plug(client=lambda config: client)
        with pytest.raises(ConfigurationError, match="sends again"):
            plug.loads(session_key(), None)
        client.close()

    @pytest.mark.parametrize("option", ["region", "endpoint_url", "profile"])
    def test_contradiction(self, make_plug, own, option):
        with pytest.raises(ConfigurationError, match=r"dynamodb\.client is .*Remove"):
            make_plug(client=own, **{option: "x"})


class TestProcesses:
    def test_nothing_is_made_before_the_first_use(self, make_plug, monkeypatch):
        plug = make_plug()
        assert plug._client.boto3._thing is None

    def test_child_has_its_own(self, plug, in_child):
        plug.dumps(session_key(), None, b"record")
        inherited = plug._client.boto3()

        def use():
            plug.close()
            assert plug.loads(session_key(), None) is None
            return plug._client.boto3() is inherited

        assert in_child(use) is False
        assert plug._client.boto3() is inherited

    def test_closed_plug_stays_usable(self, plug):
        key = session_key()
        plug.close()
        plug.dumps(key, None, b"record")
        plug.close()
        plug.close()
        assert plug.loads(key, None) == b"record"

    def test_connections_are_closed(self, plug, monkeypatch):
        plug.loads(session_key(), None)
        client, closed = plug._client.boto3(), []
        close = client.close
        monkeypatch.setattr(client, "close", lambda: closed.append(close()))
        plug.close()
        assert closed == [None]

    def test_nothing_is_left_open(self, server, table):
        # An unclosed socket is a ResourceWarning, here an error.
        plug = DynamodbPlug(table=table, region=servers.REGION, endpoint_url=server.endpoint_url)
        with pytest.raises(plug.outages):
            plug.loads(session_key(), None)
        del plug
        gc.collect()

    def test_connections_are_used_again(self, relayed, relay):
        accepted = []
        accept = relay.listener.get_request
        relay.listener.get_request = lambda: accepted.append(1) or accept()
        for _ in range(20):
            relayed.loads(session_key(), None)
        assert accepted == []

    def test_many_threads(self, plug, caplog):
        key, errors = session_key(), []
        plug.dumps(key, None, b"record")

        def work():
            for _ in range(5):
                if plug.loads(key, None) != b"record":
                    errors.append("wrong")

        threads = [threading.Thread(target=work) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert "pool is full" not in caplog.text, "a connection for each thread"
