"""Fuzz records and serializers: ``python tests/fuzz/fuzz_record.py -max_total_time=600``.

What we sealed comes back equal, for its own session only; what was changed by a single bit does not
come back at all; and bytes of anybody's making are refused, not an error of another kind.
"""

from __future__ import annotations

import math
import struct
import sys
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import atheris
from fuzzing import instrumented, run

keyring, record, serializers, errors = instrumented("keyring", "record", "serializers", "errors")

IDS = ("0123456789abcdef" * 4, "fedcba9876543210" * 4)
RING = keyring.Keyring([b"first" * 9, b"second" * 9], "salt", "sha512")
OLD_RING = keyring.Keyring([b"second" * 9], "salt", "sha512")
FOREIGN_RING = keyring.Keyring([b"foreign" * 9], "salt", "sha512")
SEALERS = [record.Sealer(ring, encrypt) for ring in (RING, OLD_RING) for encrypt in (False, True)]
UNSEALER = record.Sealer(RING, False)
FOREIGN = [record.Sealer(FOREIGN_RING, encrypt) for encrypt in (False, True)]
MSGPACK, JSON = serializers.MsgpackSerializer(), serializers.JSONSerializer()


def refused(session_id, sealed):
    try:
        UNSEALER.unseal(session_id, sealed)
    except record.Unreadable:
        return True
    return False


def any_record(data):
    seconds = [data.ConsumeRegularFloat() for _ in range(2)]
    timeout = data.PickValueInList([record.DEFAULT, None, abs(data.ConsumeRegularFloat())])
    return record.Record(
        data.PickValueInList(list(record.Kind)),
        record.Meta(*seconds, timeout, data.PickValueInList([None, True, False])),
        data.PickValueInList(["msgpack", "json", "a.b.C", "n\u00e4me"]),
        data.ConsumeBytes(data.ConsumeIntInRange(0, 300)),
    )


def changed(data, sealed):
    """Return the bytes with something overwritten, put in or left out, or all of them others."""
    at, length = (data.ConsumeIntInRange(0, len(sealed)) for _ in range(2))
    new = data.ConsumeBytes(data.ConsumeIntInRange(0, 40))
    return data.PickValueInList(
        [
            sealed[:at] + new + sealed[at + len(new) :],
            sealed[:at] + new + sealed[at:],
            sealed[:at] + sealed[at + length :],
            sealed[:at] + bytes(byte ^ 1 for byte in sealed[at : at + 1]) + sealed[at + 1 :],
            new,
        ]
    )


def fuzz_seal(data):
    original = any_record(data)
    sealed = data.PickValueInList(SEALERS).seal(IDS[0], original)
    assert UNSEALER.unseal(IDS[0], sealed) == original
    assert refused(IDS[1], sealed)
    other = changed(data, sealed)
    assert other == sealed or refused(IDS[0], other), (sealed, other)
    assert refused(IDS[0], data.PickValueInList(FOREIGN).seal(IDS[0], original))


def fuzz_unseal(data):
    """Bytes with a header that makes sense, but no tag that does."""
    head = struct.pack(
        ">BBBB4s",
        data.ConsumeIntInRange(0, 2),
        data.ConsumeIntInRange(0, 3),
        data.ConsumeIntInRange(0, 17),
        data.ConsumeIntInRange(0, 255),
        data.PickValueInList([RING.first.key_id, OLD_RING.first.key_id, b"none"]),
    )
    rest = data.ConsumeBytes(sys.maxsize)
    assert refused(IDS[0], head + rest)
    assert refused(IDS[0], rest)


def fuzz_loads(data):
    """Bytes that nobody made: a value that can be stored again as it is, or ValueError."""
    serializer = data.PickValueInList([MSGPACK, JSON])
    try:
        value = serializer.loads(data.ConsumeBytes(sys.maxsize))
        stored = serializer.dumps(value)
    except (ValueError, errors.UnserializableValue):
        return
    assert serializer.dumps(serializer.loads(stored)) == stored


def any_zone(data):
    offset = timedelta(microseconds=data.ConsumeIntInRange(-1, 10**10))
    return data.PickValueInList([None, timezone.utc, timezone(offset)])


def any_moment(data):
    moment = datetime.fromtimestamp(data.ConsumeIntInRange(-(10**10), 10**11), timezone.utc)
    return moment.replace(
        microsecond=data.ConsumeIntInRange(0, 999_999),
        fold=data.ConsumeIntInRange(0, 1),
        tzinfo=any_zone(data),
    )


LEAVES = [
    lambda data: data.PickValueInList([None, True, False]),
    lambda data: data.ConsumeInt(data.ConsumeIntInRange(1, 12)),
    lambda data: data.ConsumeFloat(),
    lambda data: text(data),
    lambda data: data.ConsumeBytes(data.ConsumeIntInRange(0, 40)),
    lambda data: Decimal(data.ConsumeInt(8)).scaleb(data.ConsumeIntInRange(-30, 30)),
    lambda data: UUID(int=data.ConsumeUInt(16) % 2**128),
    any_moment,
    lambda data: any_moment(data).timetz(),
    lambda data: any_moment(data).date(),
    lambda data: timedelta(microseconds=data.ConsumeInt(7)),
]


def any_value(data, room=6):
    kind = data.PickValueInList([None, None, dict, list, tuple, set, frozenset] if room else [None])
    if kind is None:
        return data.PickValueInList(LEAVES)(data)
    items = [any_value(data, room - 1) for _ in range(data.ConsumeIntInRange(0, 4))]
    if kind is dict:
        keys = [text(data) if data.ConsumeBool() else data.ConsumeInt(8) for _ in items]
        return dict(zip(keys, items, strict=True))
    try:
        return kind(items)
    except TypeError:  # something that cannot be in a set
        return items


def text(data):
    return data.ConsumeUnicodeNoSurrogates(data.ConsumeIntInRange(0, 40))


def same(a, b):
    """Tell whether two values are equal and of the same types, not-a-number included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, (set, frozenset)):
        return len(a) == len(b) and MSGPACK.dumps(a) == MSGPACK.dumps(b)
    if isinstance(a, (datetime, time)):
        return (a, a.utcoffset(), a.fold) == (b, b.utcoffset(), b.fold)
    if isinstance(a, (date, Decimal)):
        return str(a) == str(b)
    return a == b


def unreadable(data):
    try:
        MSGPACK.loads(data)
    except ValueError:
        return True
    return False


def fuzz_dumps(data):
    value = any_value(data)
    stored = MSGPACK.dumps(value)
    assert same(MSGPACK.loads(stored), value), value
    assert MSGPACK.dumps(MSGPACK.loads(stored)) == stored, value
    for other in (stored + data.ConsumeBytes(8), stored[: data.ConsumeIntInRange(0, len(stored))]):
        assert other == stored or unreadable(other), (value, other)


PARTS = [fuzz_seal, fuzz_unseal, fuzz_dumps]
if sys.version_info >= (3, 11):
    # Hostile bytes crash the ormsgpack that there is for 3.10. Only a forged record could bring it
    # such bytes.
    PARTS.append(fuzz_loads)


def one_input(data):
    provider = atheris.FuzzedDataProvider(data)
    provider.PickValueInList(PARTS)(provider)


if __name__ == "__main__":
    run(one_input)
