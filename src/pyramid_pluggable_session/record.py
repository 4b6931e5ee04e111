r"""Records: what a plug stores for a session, sealed.

Layout, big-endian::

    1 byte   format, 1
    1 byte   kind
    1 byte   flags
    1 byte   length of the serializer's name
    4 bytes  id of the key it is sealed with
    8 bytes  created, epoch seconds (float)
    8 bytes  renewed, epoch seconds (float)
    8 bytes  this session's own idle timeout in seconds (float, inf for none), if flagged
    n bytes  name of the serializer
    rest     body and authentication tag; or nonce, encrypted body and tag

If so flagged, the body of a session begins with its owner. That is personal data, to be encrypted
if anything is::

    8 bytes  listed_until, epoch seconds (float, inf for ever)
    2 bytes  length of the owner
    n bytes  owner

The tag covers the header, the body and the session id, and its key depends on the salt: a record is
good for one session of one application. With encryption every session has a key of its own, so that
random nonces stay far from the limit for one key (NIST SP 800-38D, section 8.3).
"""

from __future__ import annotations

import enum
import hmac
import math
import os
import struct
from typing import Any, Final, NamedTuple

from pyramid.exceptions import ConfigurationError

from .keyring import Keyring, Keys

FORMAT: Final = 1
_HEAD: Final = struct.Struct(">BBBB4sdd")
_TIMEOUT: Final = struct.Struct(">d")
_OWNER: Final = struct.Struct(">dH")
_NONCE_BYTES: Final = 12
_GCM_TAG_BYTES: Final = 16

_ENCRYPTED = 1
_OWN_TIMEOUT = 2
_PERSISTENT = 4
_TRANSIENT = 8
_OWNED = 16
_UNKNOWN_FLAGS = ~(_ENCRYPTED | _OWN_TIMEOUT | _PERSISTENT | _TRANSIENT | _OWNED)


class Kind(enum.IntEnum):
    """What a record is for. One kind is never read as another."""

    SESSION = 1
    MOVED = 2
    """A mark in the place of a session that goes on under another id."""
    ENDED = 3
    """A mark in the place of a session that somebody else has ended."""
    OWNER = 4
    """An index of the sessions of one owner."""
    IMPORTED = 5
    """A mark for a session of another package that was imported, or a count of such."""


_KINDS = {int(kind): kind for kind in Kind}


class Default(enum.Enum):
    """Stands for "as configured" where None means "none"."""

    DEFAULT = enum.auto()


DEFAULT: Final = Default.DEFAULT


class Meta(NamedTuple):
    """What is known of a session beside its data. Times are epoch seconds, ``timeout`` seconds.

    ``listed_until`` is how long the index of its owner lists the session, whatever happens.
    """

    created: float
    renewed: float
    timeout: float | None | Default = DEFAULT
    persistent: bool | None = None
    owner: str | None = None
    listed_until: float = 0.0


class Record(NamedTuple):
    """An opened record. ``body`` is the state as ``serializer`` (a name) wrote it."""

    kind: Kind
    meta: Meta
    serializer: str
    body: bytes


class Unreadable(Exception):
    """A record that was not sealed by us, for this session, in a form we know."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Sealer:
    """Seals and unseals records."""

    def __init__(self, keyring: Keyring, encrypt: bool) -> None:
        """Raise ConfigurationError if ``encrypt`` is asked for and cannot be had."""
        self._keyring = keyring
        self._encrypt = encrypt
        if encrypt:
            require_cryptography()

    def seal(self, session_id: str, record: Record) -> bytes:
        """Return ``record`` as bytes that only :meth:`unseal` for the same id will open."""
        kind, meta, serializer, body = record
        keys = self._keyring.first
        flags = _ENCRYPTED if self._encrypt else 0
        own_timeout = b""
        if meta.timeout is not DEFAULT:
            flags |= _OWN_TIMEOUT
            own_timeout = _TIMEOUT.pack(math.inf if meta.timeout is None else meta.timeout)
        if meta.persistent is not None:
            flags |= _PERSISTENT if meta.persistent else _TRANSIENT
        if meta.owner is not None:
            flags |= _OWNED
            owner = meta.owner.encode()
            body = _OWNER.pack(meta.listed_until, len(owner)) + owner + body
        name = serializer.encode()
        head = (
            _HEAD.pack(FORMAT, kind, flags, len(name), keys.key_id, meta.created, meta.renewed)
            + own_timeout
            + name
        )
        bound = session_id.encode()
        if self._encrypt:
            nonce = os.urandom(_NONCE_BYTES)
            encrypted: bytes = _cipher(keys, bound).encrypt(nonce, body, bound + head)
            return head + nonce + encrypted
        return head + body + self._keyring.tag(keys.record, bound, head, body)

    def unseal(self, session_id: str, sealed: bytes) -> Record:
        """Return the record; raise :class:`Unreadable` for anything that is not ours."""
        try:
            form, kind, flags, name_length, key_id, created, renewed = _HEAD.unpack_from(sealed)
        except struct.error:
            raise Unreadable("too short") from None
        if form != FORMAT or flags & _UNKNOWN_FLAGS:
            raise Unreadable("unknown format")
        keys = self._keyring.by_id.get(key_id)
        if keys is None:
            raise Unreadable("unknown key")
        name_at = _HEAD.size + (_TIMEOUT.size if flags & _OWN_TIMEOUT else 0)
        body_at = name_at + name_length
        bound = session_id.encode()
        if flags & _ENCRYPTED:
            body = _decrypt(keys, bound, sealed, body_at)
        else:
            body_end = len(sealed) - self._keyring.tag_bytes
            if body_end < body_at:
                raise Unreadable("too short")
            head, body = sealed[:body_at], sealed[body_at:body_end]
            tag = self._keyring.tag(keys.record, bound, head, body)
            if not hmac.compare_digest(tag, sealed[body_end:]):
                raise Unreadable("bad signature")
        # From here on every byte is one that we wrote.
        timeout: float | None | Default = DEFAULT
        if flags & _OWN_TIMEOUT:
            (seconds,) = _TIMEOUT.unpack_from(sealed, _HEAD.size)
            timeout = None if seconds == math.inf else seconds
        persistent = True if flags & _PERSISTENT else False if flags & _TRANSIENT else None
        known = _KINDS.get(kind)
        if known is None:
            raise Unreadable("unknown kind")
        meta = Meta(created, renewed, timeout, persistent)
        if flags & _OWNED:
            listed_until, length = _OWNER.unpack_from(body)
            owner = body[_OWNER.size : _OWNER.size + length].decode()
            meta = meta._replace(owner=owner, listed_until=listed_until)
            body = body[_OWNER.size + length :]
        return Record(known, meta, sealed[name_at:body_at].decode(), body)

    def is_current(self, sealed: bytes) -> bool:
        """Tell whether :meth:`seal` would use the same key, and encryption or none, as now.

        It is not looked into: ``sealed`` has been unsealed before.
        """
        _, _, flags, _, key_id, _, _ = _HEAD.unpack_from(sealed)
        return key_id == self._keyring.first.key_id and bool(flags & _ENCRYPTED) == self._encrypt


def require_cryptography(extra: str = "encrypt") -> None:
    """Raise ConfigurationError if records cannot be encrypted here: they are never left plain."""
    try:
        _aes_gcm()
    except ImportError as error:
        raise ConfigurationError(
            "Encrypted sessions (pluggable_session.encrypt = true, or the cookie plug) need the "
            f"cryptography package: pip install 'pyramid_pluggable_session[{extra}]'."
        ) from error


def _decrypt(keys: Keys, bound: bytes, sealed: bytes, body_at: int) -> bytes:
    head, nonce = sealed[:body_at], sealed[body_at : body_at + _NONCE_BYTES]
    if len(sealed) < body_at + _NONCE_BYTES + _GCM_TAG_BYTES:
        raise Unreadable("too short")
    try:
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415

        cipher = _cipher(keys, bound)
    except ImportError:
        raise Unreadable("encrypted, and the cryptography package is not installed") from None
    try:
        body: bytes = cipher.decrypt(nonce, sealed[body_at + _NONCE_BYTES :], bound + head)
    except InvalidTag:
        raise Unreadable("bad signature") from None
    return body


def _aes_gcm() -> Any:
    # The core does without this package as long as nobody asks for encryption.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    return AESGCM


def _cipher(keys: Keys, bound: bytes) -> Any:
    return _aes_gcm()(hmac.digest(keys.encryption, bound, "sha256"))
