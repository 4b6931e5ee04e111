"""Published test vectors against our tags and our encryption: RFC 4231, NIST CAVP, RFC 5869.

They come with the package ``cryptography-vectors``. Wycheproof's are not on any registry of Python
packages; the NIST ones have tags that must be refused, too.
"""

from __future__ import annotations

import hmac

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pyramid_pluggable_session import record
from pyramid_pluggable_session.keyring import Keyring, Keys
from pyramid_pluggable_session.keys import new_session_id

pytestmark = pytest.mark.slow

NONCE, TAG = 12, 16


@pytest.fixture(scope="module")
def vectors(missing):
    """Return a function that reads a file of vectors into blocks of names and values."""
    try:
        import cryptography_vectors
    except ImportError:
        return missing("cryptography-vectors is not installed")

    def read(path):
        block = {}
        with cryptography_vectors.open_vector_file(path, "r") as file:
            for line in map(str.strip, file):
                name, equals, value = line.partition("=")
                if equals:
                    block[name.strip()] = value.strip()
                elif line == "FAIL":
                    block["FAIL"] = True
                elif not line and block.keys() & {"Tag", "MD"}:
                    yield block
                    block = {}
        if block:
            yield block

    return read


@pytest.mark.parametrize("name", ["sha224", "sha256", "sha384", "sha512"])
def test_our_tags_are_hmac(vectors, name):
    """RFC 4231, cut to what a tag has."""
    keyring = Keyring([b"any"], "salt", name)
    count = 0
    for each in vectors(f"HMAC/rfc-4231-{name}.txt"):
        key, message, digest = (bytes.fromhex(each[part]) for part in ("Key", "Msg", "MD"))
        tag = keyring.tag(key, message)
        assert len(tag) == keyring.tag_bytes >= len(hmac.digest(b"", b"", name)) // 2
        assert tag == digest[: len(tag)]
        changed = message[:-1] + bytes([message[-1] ^ 1])
        assert keyring.tag(key, changed) != digest[: len(tag)]
        count += 1
    assert count >= 5


def test_our_decryption_takes_what_it_should_and_nothing_else(vectors, monkeypatch):
    """NIST CAVP, AES-256-GCM, with nonces and tags of our sizes.

    The key of a record is derived from its session's id, so a vector's own key is put in its place.
    """
    taken = refused = 0
    for each in vectors("ciphers/AES/GCM/gcmDecrypt256.rsp"):
        key, nonce, body, head, tag = (
            bytes.fromhex(each[part]) for part in ("Key", "IV", "CT", "AAD", "Tag")
        )
        if len(nonce) != NONCE or len(tag) != TAG:
            continue
        monkeypatch.setattr(record, "_cipher", lambda keys, bound, key=key: AESGCM(key))
        sealed = head + nonce + body + tag
        try:
            opened = record._decrypt(None, b"", sealed, len(head))
        except record.Unreadable:
            assert "FAIL" in each
            refused += 1
        else:
            assert "FAIL" not in each
            assert opened == bytes.fromhex(each["PT"])
            taken += 1
    assert taken > 100
    assert refused > 100


def test_our_keys_are_derived_with_hkdf():
    """RFC 5869, as somebody else has written it."""
    keys = Keys.derive(b"the secret", "the salt")
    for purpose in ("cookie", "record", "encryption"):
        theirs = HKDF(SHA512(), 32, b"the salt", purpose.encode()).derive(b"the secret")
        assert getattr(keys, purpose) == theirs
    assert HKDF(SHA512(), 4, b"the salt", b"key id").derive(b"the secret") == keys.key_id


def test_an_encrypted_record_is_what_its_documentation_says():
    """Opened without a line of ours."""
    keyring = Keyring([b"the secret"], "the salt", "sha512")
    session_id = new_session_id()
    body = b"the body"
    meta = record.Meta(1.0, 2.0)
    sealed = record.Sealer(keyring, encrypt=True).seal(
        session_id, record.Record(record.Kind.SESSION, meta, "msgpack", body)
    )
    at = 24 + len("msgpack")
    key = hmac.digest(keyring.first.encryption, session_id.encode(), "sha256")
    head, nonce, rest = sealed[:at], sealed[at : at + NONCE], sealed[at + NONCE :]
    assert AESGCM(key).decrypt(nonce, rest, session_id.encode() + head) == body
