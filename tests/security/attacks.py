"""What an attacker can do, as short functions for the tests of this directory."""

from __future__ import annotations

from apps import SECRET
from pyramid_pluggable_session.keyring import Keyring
from pyramid_pluggable_session.keys import SessionKey
from pyramid_pluggable_session.record import Kind, Meta, Record, Sealer
from pyramid_pluggable_session.serializers import MsgpackSerializer

OTHER_SECRET = "fedcba9876543210" * 3
INVENTED_ID = "0123456789abcdef" * 4
SALT = "pyramid_pluggable_session."  # the default of the setting


def put(**values):
    """Return an action for ``Client.do`` that writes."""
    return lambda session: session.update(values)


def visitor(app, **values):
    """Return a client whose session holds ``values``."""
    client = app.client()
    client.do(put(**values))
    return client


def send(app, header, action=dict):
    """Make one request with exactly this ``Cookie`` header, and ``action(session)`` in its view."""
    return app.client(HTTP_COOKIE=header).do(action)


def stolen_record(app, session_id):
    """Return what the storage holds for a session."""
    return app.plug.loads(SessionKey(session_id, None), None)


def plant_record(app, session_id, data):
    """Put bytes into the storage in place of a session's record."""
    app.plug.dumps(SessionKey(session_id, None), None, data)


def forged_record(session_id, state, *, now, secret=SECRET, salt=SALT, kind=Kind.SESSION):
    """Return a record as an application with this secret and this salt would make it."""
    sealer = Sealer(Keyring([secret.encode()], salt, "sha256"), encrypt=False)
    body = MsgpackSerializer().dumps(state)
    return sealer.seal(session_id, Record(kind, Meta(now, now), "msgpack", body))


def flipped(data, bit):
    """Return ``data`` with one bit changed."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
