"""The format of ``docs/records.md``: records are read by the page's tables, not by the package.

What opens them here is the standard library and the page; ormsgpack and AES-GCM come from where
anybody has them.
"""

from __future__ import annotations

import dbm
import hashlib
import hmac
import math
import sqlite3
import struct
import uuid
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import NamedTuple

import ormsgpack
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from apps import SECRET, App, PlainPlug
from pyramid_pluggable_session import (
    SessionTooLarge,
    UnserializableValue,
    end_owner,
    owned_sessions,
)
from pyramid_pluggable_session.interfaces import IPlugSession
from pyramid_pluggable_session.keys import SessionKey, handle
from pyramid_pluggable_session.record import Kind
from pyramid_pluggable_session.store import GRACE
from pyramid_pluggable_session.testing import FakeClock
from snippets import DOCS, rows, run_python

PAGE = DOCS / "records.md"
FLAGS = {name: int(bit) for bit, name in rows(PAGE, "The session id is its 64 characters.")}
NOW = 1_800_000_000.0


def keys(secret=SECRET):
    return run_python(PAGE, "records_page").keys(secret.encode())


def fields(table, data):
    """Return the fields that a table of the page finds in bytes, and what is left of them.

    A field without a length takes what those behind it leave.
    """
    found: dict = {}
    todo = [(row[0], row[1].strip("`"), row[2]) for row in rows(PAGE, table)]
    for number, (name, form, condition) in enumerate(todo):
        if condition in FLAGS and not found["flags"] & FLAGS[condition]:
            continue
        if form == "rest":
            behind = sum(struct.calcsize(">" + each[1]) for each in todo[number + 1 :])
            found[name], data = data[: len(data) - behind], data[len(data) - behind :]
            continue
        sized = ">" + form.format_map(found)
        (found[name],) = struct.unpack_from(sized, data)
        data = data[struct.calcsize(sized) :]
    return found, data


def header_of(found, record):
    """Return the header: what is before the body."""
    behind = sum(len(found[name]) for name in ("body", "tag"))
    return record[: len(record) - behind]


def open_plain(session_id, record, secret=SECRET):
    """Return the fields of a record that is not encrypted, its tag checked."""
    found, rest = fields("<!-- record -->", record)
    assert rest == b""
    key = keys(secret)
    assert found["key id"] == key["key id"]
    covered = session_id.encode() + header_of(found, record) + found["body"]
    assert found["tag"] == hmac.digest(key["record"], covered, "sha256")[:32]
    return with_owner(found)


def with_owner(found):
    if found["flags"] & FLAGS["owned"]:
        owner, found["body"] = fields("<!-- owner -->", found["body"])
        found |= owner
    return found


def stored(app, client):
    return app.plug.loads(SessionKey(client.session_id, None), None)


def put(**values):
    return lambda session: session.update(values)


@pytest.fixture
def clock():
    with FakeClock(NOW) as fake:
        yield fake


@pytest.fixture
def app():
    return App()


class TestTheCookie:
    def test_is_an_id_and_its_signature(self, app):
        client = app.client()
        client.do(put(a=1))
        sizes = [int(row[0]) for row in rows(PAGE, "## The cookie")]
        assert len(client.cookie) == sum(sizes)
        session_id, signature = client.cookie[: sizes[0]], client.cookie[sizes[0] :]
        assert set(client.cookie) <= set("0123456789abcdef")
        expected = hmac.digest(keys()["cookie"], session_id.encode(), "sha256")[:32]
        assert signature == expected.hex()

    @pytest.mark.parametrize(("hashalg", "size"), [("sha1", 20), ("sha512", 32)])
    def test_with_another_hash(self, hashalg, size):
        app = App(hashalg=hashalg)
        client = app.client()
        client.do(put(a=1))
        assert len(client.cookie) == 64 + 2 * size
        digest = hmac.digest(keys()["cookie"], client.session_id.encode(), hashalg)
        assert client.cookie[64:] == digest[:size].hex()
        assert stored(app, client)[-size:] != digest[:size]
        assert len(stored(app, client)) == 31 + len(ormsgpack.packb({"a": 1})) + size


class TestARecord:
    def test_is_read_by_the_tables(self, app, clock):
        client = app.client()
        client.do(put(cart=["tea"], n=1))
        clock.advance(200)
        client.do(put(n=2))
        found = open_plain(client.session_id, stored(app, client))
        assert found["format"] == 1
        assert found["kind"] == 1
        assert found["flags"] == 0
        assert found["serializer"] == b"msgpack"
        assert found["created"] == NOW
        assert found["renewed"] == NOW + 200
        assert "timeout" not in found
        assert ormsgpack.unpackb(found["body"]) == {"cart": ["tea"], "n": 2}

    @pytest.mark.parametrize("timeout", [60.0, None])
    @pytest.mark.parametrize("persistent", [True, False])
    def test_with_all_that_may_be_in_it(self, app, clock, timeout, persistent):
        client = app.client()

        def change(session):
            session["a"] = 1
            session.timeout = timeout
            session.persistent = persistent
            session.owner = "adä"

        client.do(change)
        found = open_plain(client.session_id, stored(app, client))
        assert found["timeout"] == (math.inf if timeout is None else timeout)
        assert found["owner"].decode() == "adä"
        assert found["listed until"] > NOW
        assert ormsgpack.unpackb(found["body"]) == {"a": 1}
        cookie = next(name for name in FLAGS if f"= {persistent}" in name)
        assert found["flags"] == FLAGS["own timeout"] + FLAGS["owned"] + FLAGS[cookie]

    def test_encrypted(self, clock):
        app = App(encrypt="true")
        client = app.client()

        def change(session):
            session["a"] = 1
            session.timeout = 60
            session.owner = "ada"

        client.do(change)
        record = stored(app, client)
        # As the page says: the header as it was, then something else.
        header_size = 24 + 8 + len("msgpack")
        header = record[:header_size]
        assert header[-7:] == b"msgpack"
        assert header[2] & FLAGS["encrypted"]
        found, rest = fields("<!-- encrypted -->", record[header_size:])
        assert rest == b""
        bound = client.session_id.encode()
        key = hmac.digest(keys()["encryption"], bound, "sha256")
        body = AESGCM(key).decrypt(
            found["nonce"], found["encrypted body"] + found["GCM tag"], bound + header
        )
        opened = with_owner({"flags": header[2], "body": body})
        assert opened["owner"] == b"ada"
        assert ormsgpack.unpackb(opened["body"]) == {"a": 1}

    def test_made_by_the_page_is_one_of_ours(self, app, clock):
        client = app.client()
        client.do(put(a=1))
        head = struct.pack(">BBBB4sdd", 1, 1, 0, 7, keys()["key id"], NOW, NOW) + b"msgpack"
        body = ormsgpack.packb({"made": "elsewhere"})
        covered = client.session_id.encode() + head + body
        record = head + body + hmac.digest(keys()["record"], covered, "sha256")[:32]
        app.plug.dumps(SessionKey(client.session_id, None), None, record)
        assert client.data() == {"made": "elsewhere"}

    def test_of_another_id_is_refused_logged_and_deleted(self, app, caplog):
        one, other = app.client(), app.client()
        one.do(put(a=1))
        other.do(put(a=2))
        app.plug.dumps(SessionKey(other.session_id, None), None, stored(app, one))
        assert other.data() == {}
        assert "bad signature" in caplog.text
        assert stored(app, other) is None
        assert one.session_id.encode() not in stored(app, one)

    def test_of_an_older_secret_names_it(self):
        plug = PlainPlug()
        old = App(plug=plug).client()
        old.do(put(a=1))
        new_secret = SECRET[::-1]
        app = App(plug=plug, secret=f"{new_secret}\n{SECRET}")
        client = app.client(old.cookie)
        assert fields("<!-- record -->", stored(app, client))[0]["key id"] == keys()["key id"]
        client.do(put(a=2))
        assert open_plain(client.session_id, stored(app, client), new_secret)["kind"] == 1

    def test_the_page_knows_every_kind_and_flag(self):
        kinds = [int(row[0].partition(":")[0]) for row in rows(PAGE, "`session.owner`, as UTF-8 |")]
        assert kinds == [int(kind) for kind in Kind]
        from pyramid_pluggable_session import record

        assert sum(FLAGS.values()) == ~record._UNKNOWN_FLAGS


class TestMarks:
    def test_of_a_session_that_moved(self, app, clock):
        client = app.client()
        client.do(put(a=1))
        old = client.session_id
        client.do(lambda session: session.regenerate_id())
        found = open_plain(old, app.plug.loads(SessionKey(old, None), None))
        assert found["kind"] == 2
        assert found["body"] == b""
        clock.advance(61)
        assert app.plug.loads(SessionKey(old, None), None) is None

    def test_of_one_that_was_ended_by_another(self, app, clock):
        client = app.client()
        client.do(lambda session: setattr(session, "owner", "ada"))
        app.client().request(lambda request: {"ended": end_owner(request, "ada")})
        found = open_plain(client.session_id, stored(app, client))
        assert found["kind"] == 3
        assert found["body"] == b""
        clock.advance(61)
        assert stored(app, client) is None

    def test_the_list_of_a_users_sessions(self, clock):
        app = App(encrypt="true")
        client = app.client()
        client.do(lambda session: setattr(session, "owner", "ada"))
        # Found under a hash of the user id, whether encrypted or not.
        salt = "pyramid_pluggable_session."
        index = hashlib.sha256(f"owner\0{len(salt)}:{salt}ada".encode()).hexdigest()
        assert app.plug.loads(SessionKey(index, None), None)[1] == 4
        box = []
        client.request(lambda request: box.extend(owned_sessions(request, "ada")))
        assert len(box) == 1


class TestWhereItIsKept:
    @pytest.fixture
    def at(self, tmp_path):
        """Return a function that stores a session in a storage, and gives its id and record."""
        apps = []

        def at(spec, **settings):
            app = App(plug=spec, settings=settings)
            apps.append(app)
            client = app.client()
            client.do(put(a=1))
            plug = app.registry.getUtility(IPlugSession)
            record = plug.loads(SessionKey(client.session_id, None), None)
            open_plain(client.session_id, record)
            return client.session_id, record

        yield at
        for app in apps:
            getattr(app.registry.getUtility(IPlugSession), "close", lambda: None)()

    def place(self, name):
        """Return where a storage keeps a record by the table, and what is around it."""
        (row,) = (row for row in rows(PAGE, "## Where it is kept") if f"`{name}`" in row[0])
        return row[1:]

    def opened(self, name, data):
        """Return the expiry and the record that a storage keeps as one by the table."""
        assert self.place(name)[1] == "8 bytes before it: the expiry (`d`)"
        return *struct.unpack_from(">d", data), data[8:]

    def test_file(self, at, tmp_path, clock):
        session_id, record = at(f"file://{tmp_path}/files")
        where, _ = self.place("file")
        where = where.strip("`").replace("<path>", f"{tmp_path}/files")
        where = where.replace("<first two digits of the id>", session_id[:2])
        with open(where.replace("<id>", session_id), "rb") as file:
            data = file.read()
        assert self.opened("file", data) == (NOW + 1200 + GRACE, record)

    def test_sqlite(self, at, tmp_path, clock):
        session_id, record = at(f"sqlite:///{tmp_path}/sessions.db")
        database = sqlite3.connect(tmp_path / "sessions.db")
        try:
            found = database.execute("SELECT id, data, expires FROM sessions").fetchall()
        finally:
            database.close()
        assert found == [(session_id, record, NOW + 1200 + GRACE)]

    def test_dbm(self, at, tmp_path, clock):
        session_id, record = at(f"dbm:///{tmp_path}/sessions")
        with dbm.open(f"{tmp_path}/sessions", "r") as database:
            data = database[session_id.encode()]
        assert self.opened("dbm", data) == (NOW + 1200 + GRACE, record)

    def test_redis(self, at, running):
        import redis

        server = running("valkey")
        session_id, record = at(server.url)
        with redis.Redis.from_url(server.url.replace("valkey://", "redis://")) as client:
            name = f"session:{session_id}"
            assert client.get(name) == record
            assert client.ttl(name) <= 1200 + GRACE
        assert "`session:<id>`" in self.place("redis")[0]

    def test_memcached(self, at, running):
        from pymemcache import Client

        server = running("memcached")
        session_id, record = at(server.url)
        host, _, port = server.url.partition("://")[2].partition("?")[0].rpartition(":")
        client = Client((host, int(port)))
        try:
            data = client.get(f"session:{session_id}")
        finally:
            client.close()
        assert self.opened("memcached", data)[1] == record

    def test_cookie(self):
        import base64

        app = App(plug="cookie")
        client = app.client()
        client.do(put(a=1))
        value = client.testapp.cookies["session.0"]
        name, count, text = value.split(".")
        assert (name, count) == (handle(client.session_id), "1")
        record = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        assert record[2] & FLAGS["encrypted"]

    def test_every_storage_has_a_row(self):
        named = [name for row in rows(PAGE, "## Where it is kept") for name in row[0].split("`")]
        there = {row[0].split("`")[1] for row in rows(DOCS / "storages.md", "## What each can do")}
        assert there - set(named) == {"chain", "migration"}


class TestHowLargeItIs:
    @pytest.mark.parametrize(
        ("encrypt", "change", "more"),
        [
            ("false", None, 63),
            ("true", None, 59),
            ("false", ("timeout", 60), 63 + 8),
            ("false", ("owner", "ada"), 63 + 10 + 3),
        ],
        ids=["plain", "encrypted", "timeout", "owner"],
    )
    def test_it_has_so_many_bytes_more_than_its_data(self, encrypt, change, more):
        app = App(encrypt=encrypt)
        client = app.client()

        def fill(session):
            session["a"] = "x" * 100
            if change:
                setattr(session, *change)

        client.do(fill)
        assert len(stored(app, client)) == len(ormsgpack.packb({"a": "x" * 100})) + more
        for number in (63, 31, 32, 59):
            assert str(number) in PAGE.read_text().partition("## How large it is")[2][:400]

    def test_max_size_is_about_the_whole_record(self):
        app = App(max_size=str(63 + len(ormsgpack.packb({"a": "x" * 100}))))
        app.client().do(put(a="x" * 100))
        with pytest.raises(SessionTooLarge):
            app.client().do(put(a="x" * 101))


class Pair(NamedTuple):
    a: int
    b: int


class Colour(Enum):
    RED = 1


class Own:
    pass


# An example of each type in the page's table, and what of it is in the extension.
EXAMPLES = {
    1: (2**70, b"400000000000000000"),
    2: (Decimal("1.50"), b"1.50"),
    3: (uuid.UUID(int=7), uuid.UUID(int=7).bytes),
    4: (date(2026, 1, 2), b"2026-01-02"),
    5: (time(12, 30), b"12:30:00 0 "),
    6: (
        datetime(2026, 1, 2, 12, 30, tzinfo=timezone(timedelta(hours=2))),
        b"2026-01-02T12:30:00 0 7200000000",
    ),
    7: (timedelta(1, 2, 3), b"1 2 3"),
    16: ((1, 2), b""),
    17: ({1}, b""),
    18: (frozenset({1}), b""),
}


class TestWhatCanBeStored:
    def test_the_table_has_every_extension(self):
        numbers = [
            int(row[1].partition("extension ")[2].partition(",")[0])
            for row in rows(PAGE, "## What can be stored")
            if "extension" in row[1]
        ]
        assert numbers == list(EXAMPLES)

    @pytest.mark.parametrize("code", EXAMPLES)
    def test_it_comes_back_and_is_stored_as_the_page_says(self, app, code):
        value, inside = EXAMPLES[code]
        client = app.client()
        client.do(put(value=value))
        back = client.data()["value"]
        assert (type(back), back) == (type(value), value)
        seen = []
        body = open_plain(client.session_id, stored(app, client))["body"]
        ormsgpack.unpackb(body, ext_hook=lambda *extension: seen.append(extension))
        assert seen == [(code, inside)]
        (row,) = (
            row
            for row in rows(PAGE, "## What can be stored")
            if f"extension {code}," in row[1] + ","
        )
        assert f"`{type(value).__name__}`" in row[0]

    def test_the_types_that_messagepack_has(self, app):
        values = [None, True, 1.5, "x", b"x", [1], {"a": 1, 2: 3}, -(2**63), 2**64 - 1]
        client = app.client()
        client.do(put(values=values))
        assert client.data() == {"values": values}
        body = open_plain(client.session_id, stored(app, client))["body"]
        option = ormsgpack.OPT_NON_STR_KEYS
        assert ormsgpack.unpackb(body, option=option) == {"values": values}

    @pytest.mark.parametrize(
        "value",
        [Pair(1, 2), Colour.RED, bytearray(b"x"), Own(), {2**70: 1}, {(1, 2): 1}],
        ids=["named tuple", "enum", "bytearray", "class", "large key", "tuple as key"],
    )
    def test_the_rest_is_refused_naming_the_key(self, app, value):
        with pytest.raises(UnserializableValue, match="basket"):
            app.client().do(put(basket=value))

    def test_a_time_zone_comes_back_as_its_offset(self, app):
        from zoneinfo import ZoneInfo

        moment = datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))
        client = app.client()
        client.do(put(moment=moment))
        back = client.data()["moment"]
        assert back == moment
        assert back.tzinfo == timezone(timedelta(hours=2))

    def test_a_list_in_two_places_comes_back_as_two(self, app):
        shared = [1]
        client = app.client()
        client.do(put(a=shared, b=shared))
        data = client.data()
        assert data["a"] == data["b"]
        assert data["a"] is not data["b"]

    def test_a_hundred_containers_deep(self, app):
        def nested(depth):
            value: list = []
            for _ in range(depth - 1):
                value = [value]
            return value

        app.client().do(put(a=nested(99)))  # the session itself is the hundredth
        with pytest.raises(UnserializableValue):
            app.client().do(put(a=nested(100)))

    def test_the_setting_changes_and_nobody_is_logged_out(self):
        plug = PlainPlug()
        client = App(plug=plug, serializer="pickle").client()
        client.do(put(a=(1, 2)))
        assert App(plug=plug).client(client.cookie).data() == {}, "pickle is not read unasked"
        client = App(plug=plug, serializer="pickle").client()
        client.do(put(a=(1, 2)))
        both = App(plug=plug, serializer="msgpack pickle").client(client.cookie)
        assert both.data() == {"a": (1, 2)}
        both.do(put(b=1))
        assert App(plug=plug, serializer="json").client(client.cookie).data() == {
            "a": (1, 2),
            "b": 1,
        }

    def test_json_by_pyramids_rules(self):
        client = App(serializer="json").client()
        client.do(put(a=(1, 2)))
        assert client.data() == {"a": [1, 2]}


def test_the_record_stays_a_minute_longer(app, clock):
    client = app.client()
    client.do(put(a=1))
    clock.advance(1200 + GRACE - 1)
    assert stored(app, client) is not None
    clock.advance(1)
    assert stored(app, client) is None
