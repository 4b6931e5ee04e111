"""``encrypt = true``: AES-256-GCM, never silently plain; and switching it on and off."""

from __future__ import annotations

import subprocess
import sys

import pytest
from attacks import forged_record, plant_record, put, stolen_record, visitor
from pyramid.exceptions import ConfigurationError

from apps import App, CountingPlug
from pyramid_pluggable_session import record as record_module
from pyramid_pluggable_session.testing import FakeClock

WORD = "a-word-that-is-easily-found"


@pytest.fixture(autouse=True)
def clock():
    with FakeClock() as fake:
        yield fake


def is_plain(app, client):
    return WORD.encode() in stolen_record(app, client.session_id)


class TestAnEncryptedRecord:
    @pytest.fixture
    def app(self, clock):
        return App(encrypt="true")

    def test_holds_none_of_the_data(self, app):
        client = visitor(app, word=WORD, other={"key-in-a-dict": [WORD] * 10})
        record = stolen_record(app, client.session_id)
        assert WORD.encode() not in record
        assert b"word" not in record
        assert b"key-in-a-dict" not in record

    def test_is_read_back(self, app):
        assert visitor(app, word=WORD).data() == {"word": WORD}

    def test_that_is_not_encrypted_holds_the_data(self):
        """So that the test above does not pass for another reason."""
        app = App(encrypt="false")
        assert is_plain(app, visitor(app, word=WORD))

    def test_looks_different_each_time(self, app):
        client = visitor(app, word=WORD)
        seen = set()
        for _ in range(50):
            client.do(lambda session: session.update(n=session.get("n", 0) ^ 1))
            seen.add(stolen_record(app, client.session_id)[-16:])
        assert len(seen) == 50

    def test_has_a_nonce_of_its_own_each_time(self, monkeypatch):
        nonces = []

        def spy(cipher):
            def encrypt(nonce, body, bound):
                nonces.append(nonce)
                return cipher.encrypt(nonce, body, bound)

            return type("Spy", (), {"encrypt": staticmethod(encrypt), "decrypt": cipher.decrypt})

        cipher_for = record_module._cipher
        monkeypatch.setattr(record_module, "_cipher", lambda *args: spy(cipher_for(*args)))
        app = App(encrypt="true")
        for _ in range(20):
            client = visitor(app, a=1)
            client.do(put(a=2))
        assert len(nonces) == 40
        assert len(set(nonces)) == 40
        assert {len(nonce) for nonce in nonces} == {12}

    def test_of_two_sessions_with_the_same_data_has_nothing_in_common(self, app):
        one, other = (stolen_record(app, visitor(app, word=WORD).session_id) for _ in range(2))
        assert one[-40:] != other[-40:]

    def test_of_one_session_cannot_be_read_as_anothers(self, app):
        alice, mallory = visitor(app, who="alice"), visitor(app, who="mallory")
        plant_record(app, mallory.session_id, stolen_record(app, alice.session_id))
        assert mallory.data() == {}

    @pytest.mark.parametrize("field", ["kind", "flags", "created", "renewed"])
    def test_has_a_header_that_cannot_be_changed(self, app, field):
        """The header is not encrypted, but authenticated: nobody makes a session live longer."""
        at = {"kind": 1, "flags": 2, "created": 10, "renewed": 18}[field]
        client = visitor(app, word=WORD)
        record = bytearray(stolen_record(app, client.session_id))
        record[at] ^= 4
        plant_record(app, client.session_id, bytes(record))
        assert client.data() == {}

    def test_of_a_moved_session_holds_nothing_either(self, app):
        client = visitor(app, word=WORD)
        old = client.session_id
        client.do(lambda session: session.regenerate_id())
        assert WORD.encode() not in stolen_record(app, old)
        assert client.data() == {"word": WORD}


class TestWithoutTheCryptographyPackage:
    @pytest.fixture
    def without_cryptography(self, monkeypatch):
        for name in list(sys.modules):
            if name.partition(".")[0] == "cryptography":
                monkeypatch.setitem(sys.modules, name, None)

    @pytest.mark.usefixtures("without_cryptography")
    def test_an_application_that_encrypts_does_not_start(self):
        with pytest.raises(ConfigurationError, match="cryptography"):
            App(encrypt="true")

    @pytest.mark.usefixtures("without_cryptography")
    def test_an_application_with_the_cookie_plug_does_not_start(self):
        with pytest.raises(Exception, match="cryptography") as caught:
            App(plug="cookie")
        assert isinstance(caught.value, ConfigurationError)

    @pytest.mark.usefixtures("without_cryptography")
    def test_an_application_that_does_not_encrypt_works(self):
        assert visitor(App(), word=WORD).data() == {"word": WORD}

    def test_encrypted_records_are_refused_not_read(self, request, caplog):
        encrypting = App(encrypt="true")
        client = visitor(encrypting, word=WORD)
        request.getfixturevalue("without_cryptography")
        plain = App(plug=encrypting.plug)
        assert plain.client(cookie=client.cookie).data() == {}
        assert "the cryptography package is not installed" in caplog.text

    def test_nothing_imports_it_unless_it_is_needed(self):
        code = """
import sys
from pyramid.config import Configurator
config = Configurator(settings={"pluggable_session.secret": "s" * 40})
config.include("pyramid_pluggable_session")
config.set_session_plug("memory")
config.make_wsgi_app()
print([name for name in sys.modules if name.startswith("cryptography")])
"""
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "[]"


class TestSwitching:
    @pytest.fixture(params=[("false", "true"), ("true", "false")], ids=["on", "off"])
    def switched(self, request):
        """Return an application and the same with the other mode, on one storage."""
        before, after = request.param
        old = App(encrypt=before)
        return old, App(plug=old.plug, encrypt=after)

    def test_reads_what_the_other_mode_has_stored(self, switched):
        old, new = switched
        client = visitor(old, word=WORD)
        assert new.client(cookie=client.cookie).data() == {"word": WORD}

    def test_changes_nothing_as_long_as_nothing_is_saved(self, switched):
        old, new = switched
        client = visitor(old, word=WORD)
        before = stolen_record(old, client.session_id)
        new.client(cookie=client.cookie).data()
        assert stolen_record(old, client.session_id) == before

    def test_takes_effect_at_the_next_save(self, switched):
        old, new = switched
        client = visitor(old, word=WORD)
        was_plain = is_plain(old, client)
        new.client(cookie=client.cookie).do(put(other=1))
        assert is_plain(old, client) is not was_plain

    def test_is_rolling_as_both_read_what_both_write(self, switched):
        old, new = switched
        client = visitor(old, word=WORD)
        again = new.client(cookie=client.cookie)
        for number in range(4):
            (client, again)[number % 2].do(put(number=number))
            assert client.data() == again.data() == {"word": WORD, "number": number}

    def test_merges_with_a_request_in_the_other_mode(self, switched):
        old, new = switched
        client = visitor(old, word=WORD)
        again = new.client(cookie=client.cookie)
        client.do(lambda session: (session.update(a=1), again.do(put(b=2))))
        assert client.data() == {"word": WORD, "a": 1, "b": 2}

    def test_renews_sessions_that_are_only_read(self, switched, clock):
        old, new = switched
        client = visitor(old, word=WORD)
        was_plain = is_plain(old, client)
        clock.advance(600)
        new.client(cookie=client.cookie).data()
        assert is_plain(old, client) is not was_plain


class TestTheKeys:
    def test_of_a_signed_record_open_no_encrypted_one(self, clock):
        """A signed record whose flag says that it is encrypted is tampered with, and refused."""
        app = App(plug=CountingPlug(), encrypt="true")
        client = visitor(app, word=WORD)
        forged = bytearray(forged_record(client.session_id, {"who": "admin"}, now=clock.now))
        forged[2] |= 1
        plant_record(app, client.session_id, bytes(forged))
        assert client.data() == {}
