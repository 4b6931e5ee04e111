"""What somebody gains who can write to the storage or read it: nothing but an older state."""

from __future__ import annotations

import base64
import json
import logging

import pytest
from attacks import (
    INVENTED_ID,
    OTHER_SECRET,
    flipped,
    forged_record,
    plant_record,
    put,
    send,
    stolen_record,
    visitor,
)

from apps import SECRET, App, set_cookies
from pyramid_pluggable_session.keyring import Keys
from pyramid_pluggable_session.record import Kind
from pyramid_pluggable_session.testing import FakeClock

LOGGER = "pyramid_pluggable_session"
MODES = pytest.mark.parametrize("encrypt", [False, True], ids=["signed", "encrypted"])


@pytest.fixture(autouse=True)
def clock():
    with FakeClock() as fake:
        yield fake


@pytest.fixture
def app(clock):
    return App()


class SpySerializer:
    """A serializer that notes what it is asked to read."""

    name = "spy"
    canonical = True

    def __init__(self):
        self.read = []

    def dumps(self, state):
        return json.dumps(state, sort_keys=True).encode()

    def loads(self, data):
        self.read.append(data)
        return json.loads(data)


def assert_refused(app, client, reason, caplog):
    """Assert that the record of ``client`` is not accepted, and all that follows from it."""
    planted = client.session_id
    caplog.clear()
    app.event_names()
    with caplog.at_level(logging.WARNING, LOGGER):
        response = client.do(lambda session: (dict(session), session.new))
    assert response.result == ({}, True)
    assert set_cookies(response) == []
    assert app.event_names() == [f"SessionRejected:record: {reason}"]
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == [reason]
    assert stolen_record(app, planted) is None


class TestASwappedRecord:
    @MODES
    def test_of_somebody_else_is_refused(self, caplog, encrypt):
        app = App(encrypt=encrypt)
        alice, mallory = visitor(app, who="alice"), visitor(app, who="mallory")
        plant_record(app, mallory.session_id, stolen_record(app, alice.session_id))
        assert_refused(app, mallory, "bad signature", caplog)

    def test_leaves_the_owner_of_the_copy_alone(self, app):
        alice, mallory = visitor(app, who="alice"), visitor(app, who="mallory")
        plant_record(app, mallory.session_id, stolen_record(app, alice.session_id))
        mallory.data()
        assert alice.data() == {"who": "alice"}

    def test_is_followed_by_a_session_with_a_new_id(self, app):
        alice, mallory = visitor(app, who="alice"), visitor(app, who="mallory")
        before = mallory.session_id
        plant_record(app, before, stolen_record(app, alice.session_id))
        mallory.do(put(a=1))
        assert mallory.session_id not in (before, alice.session_id)
        assert mallory.data() == {"a": 1}

    def test_that_says_moved_does_not_hold_for_another_session(self, app):
        other, client = visitor(app, a=1), visitor(app, who="alice")
        old = other.session_id
        other.do(lambda session: session.regenerate_id())
        plant_record(app, client.session_id, stolen_record(app, old))
        client.data()
        assert app.event_names()[-1] == "SessionRejected:record: bad signature"


class TestATamperedRecord:
    @MODES
    def test_is_refused_whatever_bit_was_flipped(self, encrypt):
        spy = SpySerializer()
        app = App(encrypt=encrypt, serializer=spy)
        client = visitor(app, who="alice")
        good, session_id = stolen_record(app, client.session_id), client.session_id
        accepted = []
        for bit in range(len(good) * 8):
            plant_record(app, session_id, flipped(good, bit))
            if client.data() != {} or stolen_record(app, session_id) is not None:
                accepted.append(bit)
        assert accepted == []
        assert spy.read == []

    @MODES
    def test_is_refused_whatever_its_length(self, encrypt):
        spy = SpySerializer()
        app = App(encrypt=encrypt, serializer=spy)
        client = visitor(app, who="alice")
        good, session_id = stolen_record(app, client.session_id), client.session_id
        accepted = []
        for length in range(len(good)):
            plant_record(app, session_id, good[:length])
            if client.data() != {} or stolen_record(app, session_id) is not None:
                accepted.append(length)
        assert accepted == []
        assert spy.read == []

    @MODES
    @pytest.mark.parametrize("more", [b"\0", b"x" * 1000])
    def test_is_refused_if_something_was_added(self, caplog, encrypt, more):
        app = App(encrypt=encrypt)
        client = visitor(app, who="alice")
        plant_record(app, client.session_id, stolen_record(app, client.session_id) + more)
        assert_refused(app, client, "bad signature", caplog)

    def test_is_accepted_as_long_as_it_is_not_tampered_with(self, app):
        """So that the tests above do not pass for another reason."""
        client = visitor(app, who="alice")
        plant_record(app, client.session_id, stolen_record(app, client.session_id))
        assert client.data() == {"who": "alice"}

    @pytest.mark.parametrize(
        ("record", "reason"),
        [
            (b"", "too short"),
            (b"\1", "too short"),
            (b"\1\1\0\7" + b"\0" * 20 + b"msgpack", "unknown key"),
            (b"\xff" * 200, "unknown format"),
            (b"\x80\x04\x95" + b"." * 200, "unknown format"),
        ],
    )
    def test_is_logged_with_the_reason(self, app, caplog, record, reason):
        client = visitor(app, who="alice")
        plant_record(app, client.session_id, record)
        assert_refused(app, client, reason, caplog)

    def test_is_found_again_when_it_comes_while_the_session_is_being_saved(self, app):
        client = visitor(app, who="alice")

        def slow(session):
            session["a"] = 1
            plant_record(app, client.session_id, b"garbage")

        response = client.do(slow)
        assert set_cookies(response) == []
        assert app.event_names()[-1] == "SessionDropped:ended"


class TestAForeignRecord:
    @pytest.fixture
    def client(self, app):
        return visitor(app, who="alice")

    @pytest.fixture
    def forge(self, client, clock):
        def forge(**options):
            return forged_record(client.session_id, {"who": "admin"}, now=clock.now, **options)

        return forge

    def test_of_our_secret_and_salt_would_be_accepted(self, app, client, forge):
        """So that the tests below do not pass for another reason."""
        plant_record(app, client.session_id, forge())
        assert client.data() == {"who": "admin"}

    def test_of_another_secret_is_refused(self, app, client, forge, caplog):
        plant_record(app, client.session_id, forge(secret=OTHER_SECRET))
        assert_refused(app, client, "unknown key", caplog)

    def test_of_another_application_with_our_secret_is_refused(self, app, client, forge, caplog):
        plant_record(app, client.session_id, forge(salt="another application"))
        assert_refused(app, client, "unknown key", caplog)

    def test_of_another_secret_is_refused_under_the_id_of_our_key(self, app, client, forge, caplog):
        ours, theirs = forge(), forge(secret=OTHER_SECRET)
        plant_record(app, client.session_id, theirs[:4] + ours[4:8] + theirs[8:])
        assert_refused(app, client, "bad signature", caplog)

    def test_that_is_a_mark_is_no_session(self, app, client, forge):
        plant_record(app, client.session_id, forge(kind=Kind.MOVED))
        assert client.data() == {}

    def test_in_pickle_is_not_read_unless_pickle_is_configured(self, caplog):
        client = visitor(App(), who="alice")
        pickling = App(plug=client.app.plug, serializer="pickle")
        pickling.client(cookie=client.cookie).do(put(who="admin"))
        assert_refused(client.app, client, "serializer 'pickle' is not configured", caplog)

    def test_that_is_a_bare_pickle_is_never_loaded(self, app, caplog):
        client = visitor(App(serializer="pickle"), who="alice")
        exploit = b"\x80\x04cbuiltins\nexec\n(\x8c\x16raise SystemExit('owned')\x85R."
        head = stolen_record(client.app, client.session_id)[:30]
        plant_record(client.app, client.session_id, head + exploit + b"\0" * 32)
        assert_refused(client.app, client, "bad signature", caplog)


class TestWhatIsStoredIsNoCookie:
    """Somebody reads the whole storage, a backup say, and sends what he found as a cookie."""

    @MODES
    def test_in_any_encoding(self, encrypt):
        app = App(encrypt=encrypt)
        client = visitor(app, who="alice")
        session_id = client.session_id
        record = stolen_record(app, session_id)
        accepted = []
        for blob in (session_id.encode(), bytes.fromhex(session_id), record):
            for text in (
                blob.hex(),
                blob.decode("latin-1"),
                base64.b64encode(blob).decode(),
                base64.urlsafe_b64encode(blob).decode(),
                base64.urlsafe_b64encode(blob).decode().rstrip("="),
            ):
                for start in ("", session_id):
                    whole = start + text
                    for value in {whole, whole[:192], whole[:128], whole[-192:], whole[-128:]}:
                        if send(app, f"session={value}").result != {}:
                            accepted.append(value)
        assert accepted == []

    @MODES
    def test_no_piece_of_a_record_signs_its_id(self, encrypt):
        """A tag has the length of a cookie's signature; it is one for another purpose."""
        app = App(encrypt=encrypt)
        client = visitor(app, who="alice")
        record = stolen_record(app, client.session_id)
        accepted = [
            at
            for at in range(len(record) - 31)
            if send(app, f"session={client.session_id}{record[at : at + 32].hex()}").result != {}
        ]
        assert accepted == []

    def test_does_not_reach_the_storage(self, app):
        client = visitor(app, who="alice")
        record = stolen_record(app, client.session_id)
        app.plug.taken()
        send(app, f"session={client.session_id}{record[-32:].hex()}")
        send(app, f"session={client.session_id}")
        assert app.plug.taken() == []

    def test_does_not_name_its_session_in_the_record(self, app):
        client = visitor(app, who="alice")
        record = stolen_record(app, client.session_id)
        assert client.session_id.encode() not in record
        assert bytes.fromhex(client.session_id) not in record
        assert client.cookie[64:].encode() not in record
        assert bytes.fromhex(client.cookie[64:]) not in record


class TestAnOlderRecordOfTheSameSession:
    """The limit of what a seal can do: whoever writes to the storage can bring back the past."""

    def test_is_accepted_in_place_of_a_newer_one(self, app):
        client = visitor(app, credit=100)
        older = stolen_record(app, client.session_id)
        client.do(put(credit=0))
        plant_record(app, client.session_id, older)
        assert client.data() == {"credit": 100}

    def test_is_accepted_after_a_logout(self, app):
        client = visitor(app, who="alice")
        cookie, session_id = client.cookie, client.session_id
        older = stolen_record(app, session_id)
        client.do(lambda session: session.invalidate())
        plant_record(app, session_id, older)
        assert app.client(cookie=cookie).data() == {"who": "alice"}

    def test_is_not_accepted_after_the_idle_timeout(self, app, clock):
        client = visitor(app, who="alice")
        older = stolen_record(app, client.session_id)
        clock.advance(1200)
        plant_record(app, client.session_id, older)
        assert client.data() == {}

    def test_is_not_accepted_after_the_lifetime(self, clock):
        app = App(timeout="none", lifetime=100)
        client = visitor(app, who="alice")
        older = stolen_record(app, client.session_id)
        clock.advance(100)
        plant_record(app, client.session_id, older)
        assert client.data() == {}


class TestAnEmptyOrStrangeStorage:
    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda d: d.decode("latin-1")])
    def test_may_return_a_record_as_another_type(self, app, monkeypatch, kind):
        client = visitor(app, who="alice")
        record = stolen_record(app, client.session_id)
        monkeypatch.setattr(app.plug, "loads", lambda session, request: kind(record))
        assert client.data() == {"who": "alice"}

    def test_may_return_text_that_no_record_is(self, app, monkeypatch):
        client = visitor(app, who="alice")
        monkeypatch.setattr(app.plug, "loads", lambda session, request: "\u20ac" * 100)
        assert client.data() == {}

    def test_with_a_record_of_an_invented_id_is_not_asked_for_it(self, app, clock):
        plant_record(app, INVENTED_ID, forged_record(INVENTED_ID, {"who": "admin"}, now=clock.now))
        assert send(app, f"session={INVENTED_ID}").result == {}

    def test_shared_by_two_applications_keeps_their_sessions_apart(self, app):
        client = visitor(app, who="alice")
        other = App(plug=app.plug, salt="another application")
        assert send(other, f"session={client.cookie}").result == {}
        assert client.data() == {"who": "alice"}

    def test_shared_by_two_processes_of_one_application_is_one(self, app):
        client = visitor(app, who="alice")
        other = App(plug=app.plug)
        assert other.registry.settings["pluggable_session.secret"] == SECRET
        assert send(other, f"session={client.cookie}").result == {"who": "alice"}


class TestTheKeys:
    def test_are_different_for_every_purpose_secret_and_application(self):
        """So that what is signed for one purpose is nothing in another."""
        made = [
            Keys.derive(secret, salt) for secret in (b"secret", b"other") for salt in ("a", "b")
        ]
        for_purposes = [(each.cookie, each.record, each.encryption) for each in made]
        assert len({key for keys in for_purposes for key in keys}) == 12

    def test_are_not_told_by_what_names_them_in_a_record(self):
        keys = Keys.derive(SECRET.encode(), "salt")
        assert len(keys.key_id) == 4
        for key in (keys.cookie, keys.record, keys.encryption, SECRET.encode()):
            assert keys.key_id not in key
