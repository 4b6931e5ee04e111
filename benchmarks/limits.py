"""The limits: what the parts that nobody can do without cost by themselves, in microseconds."""

from __future__ import annotations

import hmac
import json
import pickle
import secrets

import msgspec
import ormsgpack

from pyramid_pluggable_session.serializers.msgpack import MsgpackSerializer

from .timing import microseconds
from .workload import LARGE_STATE, STATE


def measure():
    """Return (what, microseconds for 1 KB, microseconds for 20 KB)."""
    return [
        (name, *(round(microseconds(function, *arguments(state)), 2) for state in _STATES))
        for name, function, arguments in _all()
    ]


_STATES = (STATE, LARGE_STATE)


def _all():
    ours = MsgpackSerializer()
    encode_json, decode_json = json.dumps, json.loads
    secret = secrets.token_bytes(32)

    def packed(state):
        return ormsgpack.packb(state)

    yield "HMAC-SHA256 of a session id", _digest_id, lambda state: (secret,)
    for name in ("sha256", "sha512", "blake2b"):
        yield (
            f"HMAC-{name} of the state",
            hmac.digest,
            lambda state, name=name: (secret, packed(state), name),
        )
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        pass
    else:
        cipher, nonce = AESGCM(secret), secrets.token_bytes(12)
        yield "AES-256-GCM, encrypt", cipher.encrypt, lambda s: (nonce, packed(s), None)
        yield (
            "AES-256-GCM, decrypt",
            cipher.decrypt,
            lambda s: (nonce, cipher.encrypt(nonce, packed(s), None), None),
        )
    for name, dumps, loads in (
        ("our msgpack", ours.dumps, ours.loads),
        ("msgspec.msgpack", msgspec.msgpack.encode, msgspec.msgpack.decode),
        ("ormsgpack", ormsgpack.packb, ormsgpack.unpackb),
        ("json", encode_json, decode_json),
        ("pickle", pickle.dumps, pickle.loads),
    ):
        yield f"{name}, dump", dumps, lambda state: (state,)
        yield f"{name}, load", loads, lambda state, dumps=dumps: (dumps(state),)
    yield "secrets.token_hex(32)", secrets.token_hex, lambda state: (32,)


def _digest_id(secret):
    return hmac.digest(secret, b"0" * 64, "sha256")
