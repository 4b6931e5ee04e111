"""What is stored and sent today must be read by every later version.

If one of these fails, a release would log everybody out. Give the record's format a new number and
keep reading the old one.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from pyramid.request import Request

from pyramid_pluggable_session.cookie import CookieAttributes, SessionCookie
from pyramid_pluggable_session.keyring import Keyring
from pyramid_pluggable_session.record import Kind, Meta, Record, Sealer, Unreadable
from pyramid_pluggable_session.serializers import MsgpackSerializer

KEYRING = Keyring([b"golden" * 8], "salt", "sha512")
SESSION_ID = "ab" * 32
RECORD = Record(Kind.SESSION, Meta(1000.0, 2000.5, None, True), "msgpack", b"\x81\xa1a\x01")
SIGNED = (
    "0101060734ad520d408f400000000000409f4200000000007ff00000000000006d73677061636b81a16101"
    "261a30634326eea594d755d61a0e26f36ab9d03bc5c0cabb5fe293f92b240095"
)
ENCRYPTED = (
    "0101070734ad520d408f400000000000409f4200000000007ff00000000000006d73677061636b"
    "08fc2952649f4cabf162be66e7af85e8787c085f4f0f4a7335d3a3a517d1ccd8"
)
SIGNATURE = "40ee57397e634582c3cd380207760f9aec0aba516236b7d4a70844ab03481d26"


@pytest.mark.parametrize("stored", [SIGNED, ENCRYPTED])
def test_a_record_is_read(stored):
    assert Sealer(KEYRING, encrypt=False).unseal(SESSION_ID, bytes.fromhex(stored)) == RECORD


def test_a_signed_record_is_written_as_it_was():
    assert Sealer(KEYRING, encrypt=False).seal(SESSION_ID, RECORD).hex() == SIGNED


def test_a_record_costs_little_beside_its_body():
    record = RECORD._replace(meta=Meta(1.0, 2.0), body=b"")
    assert len(Sealer(KEYRING, encrypt=False).seal(SESSION_ID, record)) == 63
    assert len(Sealer(KEYRING, encrypt=True).seal(SESSION_ID, record)) == 59


def test_a_cookie_is_read():
    request = Request.blank("/", headers={"Cookie": f"session={SESSION_ID}{SIGNATURE}"})
    found = SessionCookie(CookieAttributes(), KEYRING).read(request)
    assert found == (SESSION_ID, None, False, SESSION_ID + SIGNATURE)


def test_a_cookie_is_written_as_it_was():
    headers = SessionCookie(CookieAttributes(), KEYRING).set_headers(
        Request.blank("/"), SESSION_ID, None
    )
    assert headers == [
        ("Set-Cookie", f"session={SESSION_ID}{SIGNATURE}; Path=/; HttpOnly; SameSite=Lax")
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data[:20], "too short"),
        (lambda data: data[:40], "too short"),
        (lambda data: b"\x02" + data[1:], "unknown format"),
        (lambda data: data[:2] + b"\x80" + data[3:], "unknown format"),
        (lambda data: data[:4] + b"none" + data[8:], "unknown key"),
        (lambda data: data[:-1] + b"x", "bad signature"),
    ],
)
@pytest.mark.parametrize("stored", [SIGNED, ENCRYPTED])
def test_anything_else_is_refused_with_a_reason(stored, change, reason):
    with pytest.raises(Unreadable, match=reason):
        Sealer(KEYRING, encrypt=False).unseal(SESSION_ID, change(bytes.fromhex(stored)))


def test_a_kind_that_a_later_version_may_know_is_refused():
    sealed = Sealer(KEYRING, encrypt=False).seal(SESSION_ID, RECORD._replace(kind=99))
    with pytest.raises(Unreadable, match="unknown kind"):
        Sealer(KEYRING, encrypt=False).unseal(SESSION_ID, sealed)


STATE = {
    "a": (1, {2}, frozenset()),
    "b": [None, True, 2**70, 1.5, b"x"],
    "c": {1: datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=2)), fold=1)},
    "d": [date(2026, 1, 2), time(3, 4), timedelta(-1, 5), Decimal("1.50"), UUID(int=5)],
}
STATE_BYTES = (
    "84a16194c700100192c700110291c70012a16295c0c3c71201343030303030303030303030303030303030cb3ff8"
    "000000000000c40178a1638101c72706323032362d30312d30325430333a30343a30352e30303030303620312037"
    "323030303030303030a16495c70a04323032362d30312d3032c70b0530333a30343a3030203020c706072d312035"
    "2030d602312e3530d80300000000000000000000000000000005"
)


def test_what_the_default_serializer_wrote_is_read():
    serializer = MsgpackSerializer()
    assert serializer.loads(bytes.fromhex(STATE_BYTES)) == STATE
    assert serializer.dumps(STATE).hex() == STATE_BYTES
