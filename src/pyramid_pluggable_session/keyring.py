"""The keys, derived from the secret: one for each purpose, so that none is used for two."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

_KEY_ID_BYTES = 4


def _hkdf(secret: bytes, salt: bytes, purpose: str) -> bytes:
    """Derive a key of 32 bytes (RFC 5869; one block is enough for that length)."""
    pseudorandom = hmac.digest(salt, secret, "sha512")
    return hmac.digest(pseudorandom, purpose.encode() + b"\x01", "sha512")[:32]


@dataclass(frozen=True)
class Keys:
    """What is derived from one secret."""

    cookie: bytes = field(repr=False)
    record: bytes = field(repr=False)
    encryption: bytes = field(repr=False)
    key_id: bytes

    @classmethod
    def derive(cls, secret: bytes, salt: str) -> Keys:
        """Derive the keys of one secret and one application (``salt``)."""
        salt_bytes = salt.encode()
        return cls(
            cookie=_hkdf(secret, salt_bytes, "cookie"),
            record=_hkdf(secret, salt_bytes, "record"),
            encryption=_hkdf(secret, salt_bytes, "encryption"),
            key_id=_hkdf(secret, salt_bytes, "key id")[:_KEY_ID_BYTES],
        )


class Keyring:
    """The keys of every configured secret: the first one seals, all of them unseal."""

    def __init__(self, secrets: Sequence[bytes], salt: str, hashalg: str) -> None:
        self.all = tuple(Keys.derive(secret, salt) for secret in secrets)
        self.first = self.all[0]
        self.by_id = {keys.key_id: keys for keys in reversed(self.all)}
        self.hashalg = hashalg
        # Never less than half of what the algorithm gives (RFC 2104, section 5).
        self.tag_bytes = min(hashlib.new(hashalg).digest_size, 32)
        # With the key already in: to copy this is cheaper than to begin anew, where OpenSSL looks
        # for the algorithm by its name each time.
        self._begun = {
            key: hmac.new(key, digestmod=hashalg)
            for keys in self.all
            for key in (keys.cookie, keys.record)
        }

    def tag(self, key: bytes, *message: bytes) -> bytes:
        """Return the authentication tag of ``message``, which may come in parts."""
        begun = self._begun.get(key)
        tag = hmac.new(key, digestmod=self.hashalg) if begun is None else begun.copy()
        tag.update(b"".join(message))
        return tag.digest()[: self.tag_bytes]
