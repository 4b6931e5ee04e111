"""Sessions of pyramid_beaker, made by it, go on in ours."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import pathlib
import pickle
import re
import time
import zlib
from http.cookiejar import CookieJar

import pytest
from peers import DATA, RICH, SECRET, beaker, check_moved, imported, names, ours, visit, with_value
from pyramid.exceptions import ConfigurationError

from pyramid_pluggable_session import clock
from pyramid_pluggable_session.origins.beaker.cookies import Wrapping
from pyramid_pluggable_session.origins.beaker.memcached import MemcachedStorage
from pyramid_pluggable_session.origins.sessions import Refused

KEY = "beaker.session.id"
BEAKERS = {"_accessed_time", "_creation_time", "_domain", "_path"}
JSON = {"data_serializer": "json"}

# Beaker's, on redis-py 8.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")


@pytest.fixture
def place(tmp_path, running):
    """Return a function from a type of Beaker's to its settings."""

    def place(kind):
        url = {
            "ext:database": lambda: f"sqlite:///{tmp_path}/beaker.db",
            "ext:redis": lambda: running("valkey").url,
            "ext:memcached": lambda: running("memcached").address,
            "ext:mongodb": lambda: running("mongodb").url,
            "ext:rediscluster": lambda: running("cluster").url,
        }
        if kind in ("file", "dbm"):
            return {"type": kind, "data_dir": str(tmp_path / "beaker")}
        more = {"lock_dir": str(tmp_path), "url": url[kind]()}
        if kind == "ext:memcached":
            imported("memcache")
            more["memcache_module"] = "memcache"
        if kind == "ext:rediscluster":
            nodes = more["url"].removeprefix("redis+cluster://").split(",")
            more = {"urls": ",".join(f"redis://{node}" for node in nodes)}
        return {"type": kind, **more}

    return place


def settings_of(given):
    return {f"session.{name}": value for name, value in given.items()}


STORAGES = ["file", "dbm", "ext:database", "ext:redis", "ext:memcached", "ext:mongodb"]


@pytest.mark.parametrize("kind", [*STORAGES, "ext:rediscluster"])
def test_a_stored_session_goes_on(kind, place):
    given = {**place(kind), "secret": SECRET, "timeout": "600"}
    theirs, browser = beaker(**given), CookieJar()
    theirs.log_in(browser, RICH)
    before = with_value(browser, KEY, str)
    app = ours(settings_of(given), **{"import.allow_pickle": "true"})
    check_moved(app, browser, KEY, RICH)
    assert theirs.do(before, dict).keys() == BEAKERS, "the old record is still there"


@pytest.mark.parametrize("kind", STORAGES)
def test_what_is_not_there_is_not_imported(kind, place):
    given = {**place(kind), "secret": SECRET, **JSON}
    theirs, browser = beaker(**given), CookieJar()
    theirs.log_in(browser)
    unknown = "0" * 32
    signed = hmac.new(SECRET.encode(), unknown.encode(), "sha1").hexdigest() + unknown
    browser = with_value(browser, KEY, lambda _: signed)
    app = ours(settings_of(given))
    client = visit(app, browser)
    assert client.do(lambda session: (dict(session), session.new)).result == ({}, True)
    assert app.plug.ids() == []


COOKIES = {
    "signed": {"validate_key": SECRET},
    "encrypted": {"validate_key": SECRET, "encrypt_key": "k" * 40},
    "encrypted with a short nonce": {
        "validate_key": SECRET,
        "encrypt_key": "k" * 40,
        "encrypt_nonce_bits": "48",
        "crypto_type": "cryptography",
    },
}


@pytest.mark.parametrize("serializer", ["pickle", "json"])
@pytest.mark.parametrize("keys", COOKIES.values(), ids=list(COOKIES))
def test_a_session_in_a_cookie_goes_on(keys, serializer):
    given = {"type": "cookie", **keys, "data_serializer": serializer, "timeout": "600"}
    data = RICH if serializer == "pickle" else DATA
    theirs, browser = beaker(**given), CookieJar()
    theirs.log_in(browser, data)
    app = ours(settings_of(given), **{"import.allow_pickle": serializer == "pickle"})
    check_moved(app, browser, KEY, data)


def test_a_stored_session_that_is_encrypted_goes_on(place):
    given = {
        **place("file"),
        "secret": SECRET,
        "validate_key": "v",
        "encrypt_key": "k" * 40,
        **JSON,
    }
    theirs, browser = beaker(**given), CookieJar()
    theirs.log_in(browser)
    check_moved(ours(settings_of(given)), browser, KEY)


def test_what_pycryptodome_has_encrypted_is_read():
    """By a vector: AES-256-CTR with a counter that begins at 0, as its class Counter makes it."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    given = {"encrypt_key": "k", "validate_key": "v", "data_serializer": "json"}
    nonce = base64.b64encode(os.urandom(16)).decode()
    key = hashlib.pbkdf2_hmac("sha1", b"k", b"v" + nonce.encode(), 1, 32)
    content = zlib.compress(json.dumps(DATA).encode())
    encryptor = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    wrapped = nonce + base64.b64encode(encryptor.update(content)).decode()
    assert Wrapping(given, False, ())(wrapped) == DATA
    assert Wrapping({**given, "crypto_type": "pycryptodome"}, False, ())(wrapped) == DATA
    with pytest.raises(Exception, match="do not fit"):
        Wrapping({**given, "crypto_type": "cryptography"}, False, ())(wrapped)


def flip(text):
    """Return a text with another last but one character."""
    return text[:-2] + ("0" if text[-2] != "0" else "1") + text[-1]


@pytest.mark.parametrize(
    "change",
    [flip, lambda v: flip(v[:40] + "xx") + v[42:], lambda v: v[:40], lambda v: v[:70],
     lambda v: v[40:], lambda v: "0" * 40 + v[40:], lambda v: "", lambda v: v * 300,
     lambda v: v[:40] + "../../../etc/passwd", lambda v: v[:40] + "%ff" * 8],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["file", "cookie"])
def test_a_forged_cookie_is_ignored(kind, change, place):
    given = {"type": "cookie", "validate_key": SECRET, **JSON}
    if kind == "file":
        given = {**place("file"), "secret": SECRET, **JSON}
    theirs, browser = beaker(**given), CookieJar()
    theirs.log_in(browser)
    app = ours(settings_of(given))
    client = visit(app, with_value(browser, KEY, change))
    assert client.do(lambda session: (dict(session), session.new)).result == ({}, True)
    assert app.plug.calls == [], "no storage is asked"


def test_the_cookie_of_another_application_is_ignored(place):
    given = {**place("file"), "secret": SECRET, **JSON}
    theirs, browser = beaker(**given), CookieJar()
    theirs.log_in(browser)
    app = ours(settings_of({**given, "secret": "another"}))
    assert visit(app, browser).data() == {}


@pytest.mark.parametrize("kind", ["file", "cookie"])
def test_an_expired_session_is_ignored(kind, place, monkeypatch):
    given = {"type": "cookie", "validate_key": SECRET, **JSON, "timeout": "600"}
    if kind == "file":
        given = {**place("file"), "secret": SECRET, **JSON, "timeout": "600"}
    theirs, browser = beaker(**given), CookieJar()
    theirs.log_in(browser)
    app = ours(settings_of(given))
    now = time.time()
    monkeypatch.setattr(clock, "now", lambda: now + 595)
    assert visit(app, with_value(browser, KEY, str)).data() == DATA
    app = ours(settings_of(given))
    theirs.log_in(browser)
    monkeypatch.setattr(clock, "now", lambda: now + 605)
    assert visit(app, browser).data() == {}


def test_an_unsigned_id_is_only_believed_if_that_is_asked_for(place):
    given = {**place("file"), **JSON}
    theirs, browser = beaker(**given), CookieJar()
    theirs.log_in(browser)
    with pytest.raises(ConfigurationError, match=r"import\.allow_unsigned = true"):
        ours(settings_of(given))
    app = ours(settings_of(given), **{"import.allow_unsigned": "true"})
    (path,) = pathlib.Path(given["data_dir"]).rglob("*.cache")
    (pathlib.Path(given["data_dir"]).parent / "x.cache").write_bytes(path.read_bytes())
    assert visit(app, with_value(browser, KEY, lambda _: "../x")).data() == {}, "out of its folder"
    for forged in ("../../../etc/passwd", "0" * 32, "x" * 32, "a" * 9000):
        assert visit(app, with_value(browser, KEY, lambda _, to=forged: to)).data() == {}
    check_moved(app, browser, KEY)


def test_pickles_are_only_read_if_that_is_asked_for(place):
    with pytest.raises(ConfigurationError, match=r"import\.allow_pickle = true"):
        ours(settings_of({**place("file"), "secret": SECRET}))


class Bomb:
    def __reduce__(self):
        return os.system, ("touch {}".format(os.environ["BOMB"]),)


@pytest.mark.parametrize("kind", ["file", "dbm", "ext:redis", "ext:database", "cookie"])
@pytest.mark.parametrize("protocol", range(6))
def test_a_hostile_pickle_runs_nothing(kind, protocol, place, tmp_path, monkeypatch, caplog):
    """It lies in their storage, or in a cookie that is well signed."""
    bomb = tmp_path / "exploded"
    monkeypatch.setenv("BOMB", str(bomb))
    given = {"type": "cookie", "validate_key": SECRET}
    if kind != "cookie":
        given = {**place(kind), "secret": SECRET}
    theirs, browser = beaker(**given), CookieJar()
    serializer = imported("beaker.util").PickleSerializer
    monkeypatch.setattr(serializer, "dumps", lambda self, data: pickle.dumps(data, protocol))
    theirs.log_in(browser, {"auth.userid": "ada", "x": Bomb()})
    app = ours(settings_of(given), **{"import.allow_pickle": "true"})
    assert visit(app, browser).data() == {}
    assert not bomb.exists()
    assert re.search(r"not imported from beaker: a pickle with '\w+.system'", caplog.text)
    assert app.event_names() == [f"SessionRejected:{app_reason(caplog)}"]
    theirs.do(browser, dict)
    assert bomb.exists(), "it would have"


def app_reason(caplog):
    return "record: " + caplog.records[-1].session_reason


@pytest.mark.parametrize("kind", ["file", "dbm", "ext:redis", "ext:database"])
def test_a_hostile_envelope_runs_nothing(kind, place, tmp_path, monkeypatch, caplog):
    """What Beaker's storages are pickles of, around the data."""
    bomb = tmp_path / "exploded"
    monkeypatch.setenv("BOMB", str(bomb))
    given = {**place(kind), "secret": SECRET, **JSON}
    theirs, browser = beaker(**given), CookieJar()
    theirs.log_in(browser)

    def plant(session):
        namespace = session._session().namespace
        namespace.acquire_write_lock()
        namespace["session"] = Bomb()
        namespace.release_write_lock()

    before = with_value(browser, KEY, str)
    theirs.views["plant"] = plant
    theirs.do(browser, plant)
    # Beaker has stored its own again, after the view.
    from beaker.session import Session

    monkeypatch.setattr(Session, "save", lambda self, accessed_only=False: None)
    theirs.do(before, plant)
    app = ours(settings_of(given))
    assert visit(app, before).data() == {}
    assert not bomb.exists()
    assert "a pickle with" in caplog.text


@pytest.mark.parametrize("damage", [b"", b"\x80", b"{}", b"garbage", b"\x80\x04N.", b"\x80\x04}."])
def test_a_damaged_file_is_refused(damage, place):
    given = {**place("file"), "secret": SECRET, **JSON}
    theirs, browser = beaker(**given), CookieJar()
    theirs.log_in(browser)
    (path,) = pathlib.Path(given["data_dir"]).rglob("*.cache")
    path.write_bytes(damage)
    app = ours(settings_of(given))
    assert visit(app, browser).data() == {}
    assert path.read_bytes() == damage, "it is left to Beaker"


def test_the_cookie_of_a_path_of_its_own_goes(place):
    given = {**place("file"), "secret": SECRET, **JSON}
    theirs, browser = beaker(**given), CookieJar()
    theirs.do(browser, lambda session: (session.update(DATA), setattr(session, "path", "/do")))
    app = ours(settings_of(given))
    assert visit(app, browser).data() == DATA
    assert names(browser) == ["sid"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"type": "memory"}, "in the memory of the old processes"),
        ({}, "in the memory of the old processes"),
        ({"type": "ext:google"}, "App Engine"),
        ({"type": "ext:riak"}, "none of Beaker's"),
        ({"type": "file"}, "session.file_dir or session.data_dir must be set"),
        ({"type": "cookie"}, "session.validate_key is not set"),
        ({"type": "ext:redis"}, "session.url must be set"),
        ({"type": "ext:mongodb", "url": "mongodb://localhost/"}, "names no database"),
        ({"type": "ext:sqla"}, "the engine and the table themselves"),
        ({"data_dir": "d", "data_serializer": "xml"}, "'xml' is not Beaker's"),
        ({"data_dir": "d", "timeout": "soon"}, "session.timeout must be seconds"),
        ({"data_dir": "d", "encrypt_key": "k"}, "session.validate_key is not"),
        ({"data_dir": "d", "encrypt_nonce_bits": "many"}, "must be a number"),
        ({"data_dir": "d", "session_class": "C"}, "a class of your own"),
    ],
)
def test_what_cannot_be_imported_is_said_at_the_start(given, says):
    given = {"secret": SECRET, "data_serializer": "json", **given}
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        ours(settings_of(given))


@pytest.mark.parametrize(
    ("kind", "module", "extra"),
    [
        ({"type": "ext:redis", "url": "redis://localhost"}, "redis", "redis"),
        ({"type": "ext:memcached", "url": "localhost"}, "pymemcache.client.base", "memcached"),
        ({"type": "ext:database", "url": "sqlite://"}, "sqlalchemy", "sqlalchemy"),
        ({"type": "ext:mongodb", "url": "mongodb://localhost/db"}, "pymongo", "mongodb"),
        ({"data_dir": "d", "encrypt_key": "k", "validate_key": "v"}, "cryptography", "encrypt"),
    ],
)
def test_a_driver_that_is_missing_is_named(kind, module, extra, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=rf"pyramid_pluggable_session\[{extra}\]"):
        ours(settings_of({"secret": SECRET, **JSON, **kind}))


def wrapped(content):
    return base64.b64encode(content).decode()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("*", "not wrapped"),
        (b"\xff", "not wrapped"),
        (wrapped(b"no zip"), "damaged data"),
        (wrapped(zlib.compress(b"{" * 10)), "damaged JSON"),
        (wrapped(zlib.compress(b"[" * 100_000)), "damaged JSON"),
        (wrapped(zlib.compress(json.dumps(DATA).encode())[:-5]), "zipped data, cut"),
        (wrapped(zlib.compress(b" " * 5_000_000)), "of more than"),
    ],
)
def test_what_is_not_beakers_is_refused(text, says):
    with pytest.raises(Refused, match=says):
        Wrapping(JSON, False, ())(text)


def test_what_the_keys_do_not_fit_is_refused():
    theirs = Wrapping({**JSON, "encrypt_key": "k", "validate_key": "v"}, False, ())
    for content in (b"", b"x" * 10, b"x" * 60):
        with pytest.raises(Refused):
            theirs("n" * 24 + wrapped(content))


class Own:
    """A serializer of the application's own."""

    def dumps(self, data):
        return json.dumps(data).encode()

    def loads(self, data):
        return json.loads(data)


def test_a_serializer_of_the_applications_own_is_used(place):
    given = {**place("file"), "secret": SECRET}
    theirs, browser = beaker(**given), CookieJar()
    theirs.log_in(browser)
    app = ours(settings_of({**given, "data_serializer": Own()}))
    assert visit(app, browser).data() == {}, "it is a pickle"
    assert Wrapping({"data_serializer": Own()}, False, ())(wrapped(b"{}")) == {}
    with pytest.raises(ConfigurationError, match="allow_pickle"):
        Wrapping({"data_serializer": pickle}, False, ())


def test_what_clients_of_memcached_do_to_values_is_undone():
    storage = MemcachedStorage({"url": "h1:11212;inet:h2; unix:/socket"})
    text = b"eyJ9"
    assert storage.unpack(b"\x10" + text) == text
    assert storage.unpack(b"\x08" + zlib.compress(text)) == text
    assert storage.unpack(b"\x01" + pickle.dumps(text.decode())) == text.decode()
    with pytest.raises(Refused, match="no text"):
        storage.unpack(b"\x01" + pickle.dumps([text]))
    storage.close()


def test_an_engine_and_a_table_of_the_application(tmp_path):
    sqla = imported("beaker.ext.sqla")
    import sqlalchemy as sa

    sqla.SqlaNamespaceManager._init_dependencies()
    engine = sa.create_engine(f"sqlite:///{tmp_path}/own.db")
    metadata = sa.MetaData()
    table = sqla.make_cache_table(metadata, "own")
    metadata.create_all(engine)
    given = {"type": "ext:sqla", "bind": engine, "table": table, "lock_dir": str(tmp_path)}
    given |= {"secret": SECRET, **JSON}
    theirs, browser = beaker(**given), CookieJar()
    theirs.log_in(browser)
    check_moved(ours(settings_of(given)), browser, KEY)
    with engine.connect() as connection:
        assert connection.execute(sa.select(table)).all() == []


def test_beakers_other_prefix_is_read(place):
    given = {**place("file"), "secret": SECRET, **JSON}
    theirs, browser = beaker(**given), CookieJar()
    theirs.log_in(browser)
    check_moved(ours({f"beaker.session.{k}": v for k, v in given.items()}), browser, KEY)
