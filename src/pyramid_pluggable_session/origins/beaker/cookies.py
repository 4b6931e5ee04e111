"""What Beaker puts into cookies, and how it wraps the data of a session.

A cookie, signed by ``session.secret`` or, with the whole session in it, ``session.validate_key``::

    40 characters  HMAC-SHA1 of the rest, hexadecimal
    rest           32 hexadecimal digits: the session id; or the wrapped data

Wrapped data, in a cookie and in every storage, is text::

    n characters   with ``session.encrypt_key`` only: a nonce, random text
    rest           base64 of a pickle or, with ``session.data_serializer = json``, of zipped JSON;
                   encrypted, if so

The nonce has as many characters as the base64 of ``session.encrypt_nonce_bits`` would. The key is
PBKDF2-HMAC-SHA1 of ``encrypt_key``, one round, with ``validate_key`` and the nonce for a salt. What
encrypts is AES-256, with the package cryptography in GCM::

    12 bytes  nonce
    16 bytes  tag
    rest      encrypted

With pycryptodome it is in CTR mode, and the counter of 128 bits begins at 0.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from pyramid.exceptions import ConfigurationError

from ..formats import Reader, own_reader, pickle_reader, read_json, unzip
from ..sessions import LONGEST_COOKIE, Refused

_SIGNATURE: Final = 40
_KEY_BYTES: Final = 32
_CTR: Final = ("pycrypto", "pycryptodome")


class SignedValue:
    """Opens a cookie."""

    def __init__(self, secret: str | None) -> None:
        """With None for a secret, cookies are not signed."""
        self._secret = None if secret is None else secret.encode()

    def open(self, value: str) -> str | None:
        """Return what was signed, None if that was not us."""
        if len(value) > LONGEST_COOKIE or not value.isascii():
            return None
        if self._secret is None:
            return value
        signature, content = value[:_SIGNATURE], value[_SIGNATURE:]
        expected = hmac.new(self._secret, content.encode(), "sha1").hexdigest()
        return content if hmac.compare_digest(signature, expected) else None


class Wrapping:
    """Unwraps the data of sessions as the settings say."""

    def __init__(
        self, given: Mapping[str, Any], allow_pickle: bool, classes: Iterable[type]
    ) -> None:
        """Raise ConfigurationError if it cannot be done."""
        self._read = _reader(given, allow_pickle, classes)
        self._key = given.get("encrypt_key") or None
        self._validate_key = given.get("validate_key") or ""
        self._crypto = str(given.get("crypto_type") or "default")
        self._nonce_length = _nonce_length(given.get("encrypt_nonce_bits") or 128)
        if self._key is None:
            return
        if not self._validate_key:
            raise ConfigurationError(
                "session.encrypt_key is set, and session.validate_key is not. Keep the old "
                "settings session.* as they were."
            )
        try:
            import cryptography  # noqa: F401, PLC0415
        except ImportError as error:
            raise ConfigurationError(
                "To read Beaker's encrypted sessions: "
                "pip install 'pyramid_pluggable_session[encrypt]'"
            ) from error

    def __call__(self, wrapped: str | bytes) -> Any:
        """Return the data. Raise Refused if it is not what Beaker makes with these settings."""
        try:
            text = wrapped.decode("ascii") if isinstance(wrapped, bytes) else wrapped
            nonce, text = text[: self._nonce_length], text[self._nonce_length :]
            if self._key is None:
                nonce, text = "", nonce + text
            content = base64.b64decode(text, validate=True)
        except (UnicodeError, binascii.Error):
            raise Refused("data that is not wrapped as Beaker does it") from None
        if self._key is None:
            return self._read(content)
        return self._read_encrypted(nonce, content)

    def _read_encrypted(self, nonce: str, content: bytes) -> Any:
        refused = Refused("encrypted data that the keys do not fit")
        # Which one Beaker has taken depends on what was installed at the time.
        for decrypted in self._decrypted(nonce, content):
            try:
                return self._read(decrypted)
            except Refused as error:
                refused = error
        raise refused

    def _decrypted(self, nonce: str, content: bytes) -> Iterator[bytes]:
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415
        from cryptography.hazmat.primitives.ciphers import (  # noqa: PLC0415
            Cipher,
            algorithms,
            modes,
        )

        key = hashlib.pbkdf2_hmac(
            "sha1",
            str(self._key).encode(),
            (self._validate_key + nonce).encode(),
            1,
            _KEY_BYTES,
        )
        if self._crypto not in _CTR and len(content) >= 28:  # noqa: PLR2004
            iv, tag, rest = content[:12], content[12:28], content[28:]
            decryptor = Cipher(algorithms.AES(key), modes.GCM(iv, tag)).decryptor()
            try:
                yield decryptor.update(rest) + decryptor.finalize()
                return
            except InvalidTag:
                pass
        if self._crypto != "cryptography":
            counting = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).decryptor()
            yield counting.update(content) + counting.finalize()


def _reader(given: Mapping[str, Any], allow_pickle: bool, classes: Iterable[type]) -> Reader:
    serializer = given.get("data_serializer") or "pickle"
    whose = "Beaker's sessions (session.data_serializer is not json)"
    if serializer == "json":
        return lambda data: read_json(unzip(data))
    if serializer == "pickle":
        return pickle_reader(allow_pickle, classes, whose)
    if not hasattr(serializer, "loads"):
        raise ConfigurationError(f"session.data_serializer = {serializer!r} is not Beaker's.")
    return own_reader(serializer.loads, allow_pickle, classes, whose)


def _nonce_length(bits: Any) -> int:
    try:
        return ((4 * (int(bits) // 8) // 3) + 3) & ~3
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"session.encrypt_nonce_bits must be a number, not {bits!r}."
        ) from None
