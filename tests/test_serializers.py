"""What goes in comes out, or is refused by its path; whatever bytes come in, it is a ValueError."""

from __future__ import annotations

import collections
import copy
import dataclasses
import enum
import math
import os
import pickle
import random
import struct
import subprocess
import sys
import textwrap
import uuid
import zoneinfo
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Context, Decimal, localcontext

import ormsgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyramid_pluggable_session.errors import UnserializableValue
from pyramid_pluggable_session.serializers import (
    BUILT_IN,
    MAX_DEPTH,
    JSONSerializer,
    MsgpackSerializer,
    PickleSerializer,
    adapt,
    msgpack,
)

MSGPACK = MsgpackSerializer()
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
# Before 1.13 ormsgpack allocates whatever length an array claims, and crashes if it cannot. Nobody
# without the secret gets such bytes past the authentication, so it is good enough for Python 3.10.
HOSTILE = pytest.mark.skipif(
    tuple(map(int, ormsgpack.__version__.split(".")[:2])) < (1, 13), reason="needs ormsgpack 1.13"
)
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def assert_same(one, other):
    """Equal, of the same types all the way down, and alike in what ``==`` does not see."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(map(describe, one)) == list(map(describe, other))  # the order too
        for mine, theirs in zip(one.values(), other.values(), strict=True):
            assert_same(mine, theirs)
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            assert_same(mine, theirs)
    else:
        assert describe(one) == describe(other)


def describe(value):
    """Return what is equal only for what nobody can tell apart (zones: by their offset)."""
    kind = type(value)
    if kind is float:
        return kind, struct.pack(">d", value)
    if kind is Decimal:
        return kind, value.as_tuple()
    if kind in (datetime, time):
        return kind, value.replace(tzinfo=None), value.fold, value.utcoffset()
    if kind in (set, frozenset):
        return kind, frozenset(map(describe, value))
    if kind is tuple:
        return kind, tuple(map(describe, value))
    return kind, value


offsets = st.timedeltas(
    min_value=timedelta(days=-1, microseconds=1), max_value=timedelta(days=1, microseconds=-1)
).map(timezone)
zones = st.sampled_from([BERLIN, zoneinfo.ZoneInfo("America/St_Johns"), zoneinfo.ZoneInfo("UTC")])
hashable_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(2**200), max_value=2**200),
    st.sampled_from([near + by for near in (2**63, 2**64, -(2**63)) for by in (-1, 0, 1)]),
    st.floats(),
    st.text(),
    st.binary(),
    st.datetimes(timezones=st.none() | offsets),
    st.builds(lambda value: value.replace(fold=1), st.datetimes(timezones=st.none() | offsets)),
    st.dates(),
    st.times(timezones=st.none() | offsets),
    st.builds(lambda value: value.replace(fold=1), st.times()),
    st.timedeltas(),
    st.decimals().filter(lambda value: not value.is_snan()),  # a signaling NaN has no hash
    st.uuids(),
)  # fmt: skip
leaves = hashable_leaves | st.sampled_from([Decimal("sNaN"), Decimal("-sNaN12"), Decimal("NaN7")])
hashables = st.recursive(
    hashable_leaves,
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.frozensets(inner, max_size=4),
    max_leaves=8,
)
keys = st.text() | st.integers(min_value=-(2**63), max_value=2**64 - 1)
values = st.recursive(
    leaves | hashables | st.sets(hashables, max_size=5),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
    ),
    max_leaves=12,
)
states = st.dictionaries(keys, values, max_size=6)


# --- what goes in comes out ----------------------------------------------------------------------


@given(states)
@FUZZ
def test_round_trip_is_lossless_and_canonical(state):
    data = MSGPACK.dumps(state)
    loaded = MSGPACK.loads(data)
    assert_same(loaded, state)
    assert MSGPACK.dumps(loaded) == data


@pytest.mark.parametrize(
    "value",
    [
        None, True, False, 0, -1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 2**100_000,
        -(2**100_000), 0.0, -0.0, 1.5, math.inf, -math.inf, math.nan, "", "text", "Grüße 🙂", "\0",
        b"", b"\x00\xff", [], (), {}, set(), frozenset(), [[]], ((),), {"": {}}, {-5: {7: "x"}},
        {1: "int", "1": "str"}, (1, (2, [3, (4,)])), {(1, frozenset({(2,)}))}, [{1}, ((),)],
        Decimal("1.10"), Decimal("-0"), Decimal("0E+5"), Decimal("1E-999999"), Decimal("Infinity"),
        Decimal("-Infinity"), Decimal("NaN"), Decimal("-NaN123"), Decimal("sNaN"), Decimal("sNaN9"),
        datetime(2026, 10, 25, 2, 30), datetime.min, datetime.max, datetime(2026, 1, 1, fold=1),
        datetime(2026, 1, 1, tzinfo=timezone.utc), date.min, date.max, time.min, time.max,
        time(2, 30, fold=1), time(1, 2, 3, 4, tzinfo=timezone(timedelta(hours=-3, minutes=-30))),
        datetime(1800, 1, 1, tzinfo=timezone(timedelta(seconds=3208))),
        datetime(1800, 1, 1, tzinfo=timezone(-timedelta(seconds=1, microseconds=7))),
        timedelta.min, timedelta.max, timedelta(microseconds=-1), timedelta(),
        uuid.UUID(int=0), uuid.UUID(int=2**128 - 1),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_each_type_comes_back_as_it_was(value):
    for state in ({"key": value}, {"key": [value, (value,)]}):
        assert_same(MSGPACK.loads(MSGPACK.dumps(state)), state)


@given(st.datetimes(min_value=datetime(1900, 1, 2), timezones=zones), st.sampled_from([0, 1]))
@FUZZ
def test_a_zone_comes_back_as_its_offset_at_that_time(moment, fold):
    moment = moment.replace(fold=fold)
    loaded = MSGPACK.loads(MSGPACK.dumps(moment))
    assert_same(loaded, moment)
    assert loaded.timestamp() == moment.timestamp()
    assert type(loaded.tzinfo) is timezone


def test_the_order_of_a_dict_is_part_of_the_state():
    assert list(MSGPACK.loads(MSGPACK.dumps({"b": 1, "a": 2}))) == ["b", "a"]
    assert MSGPACK.dumps({"b": 1, "a": 2}) != MSGPACK.dumps({"a": 2, "b": 1})


def test_state_is_not_changed():
    state = {"a": [(1, {2, (3,)})], "b": {4: frozenset({Decimal(5)})}}
    before = copy.deepcopy(state)
    MSGPACK.dumps(state)
    assert_same(state, before)


# --- equal states give equal bytes ---------------------------------------------------------------


@given(st.lists(hashables, max_size=12), st.randoms(use_true_random=False))
@FUZZ
def test_sets_are_written_in_one_order(members, rng):
    members = list({describe(member): member for member in members}.values())
    # 1, 1.0 and True are one member: which of them a set keeps depends on the order.
    members = list(dict.fromkeys(members))
    shuffled = rng.sample(members, len(members))
    assert MSGPACK.dumps(set(members)) == MSGPACK.dumps(set(shuffled))
    assert MSGPACK.dumps({frozenset(members)}) == MSGPACK.dumps({frozenset(shuffled)})


def test_sets_are_written_in_one_order_by_all_processes():
    code = textwrap.dedent("""
        from pyramid_pluggable_session.serializers import MsgpackSerializer
        words = {f"word {number}" for number in range(50)}
        print(MsgpackSerializer().dumps([words, {(w, frozenset(words)) for w in words}]).hex())
    """)
    outputs = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(outputs) == 1


def test_the_decimal_context_makes_no_difference():
    value = Decimal("1.234E+50")
    data = MSGPACK.dumps(value)
    with localcontext(Context(prec=1, capitals=0)):
        assert MSGPACK.dumps(value) == data
        assert_same(MSGPACK.loads(data), value)


def test_sets_deep_inside_each_other_are_not_slow():
    value = (0,)
    for _ in range(45):
        value = (frozenset([value, 1]),)
    assert_same(MSGPACK.loads(MSGPACK.dumps(value)), value)


# --- what is refused -----------------------------------------------------------------------------


class Text(str):
    __slots__ = ()


class Number(enum.IntEnum):
    ONE = 1


class Colour(str, enum.Enum):
    RED = "secret"


class Moment(datetime):
    pass


class Zoneless(tzinfo):
    def utcoffset(self, moment):
        return None


Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass
class Card:
    number: str = "secret"


REFUSED = [
    (Text("secret"), "plain str"),
    (Number.ONE, ".value"),
    (Colour.RED, ".value"),
    (Point("secret", 2), "plain tuple"),
    (collections.OrderedDict(secret=1), "plain dict"),
    (collections.defaultdict(list, secret=1), "plain dict"),
    (collections.Counter("secret"), "plain dict"),
    (collections.deque(["secret"]), "plain values"),
    (Moment(2026, 1, 1), "plain datetime"),
    (type("Numbers", (list,), {})(["secret"]), "plain list"),
    (type("Members", (frozenset,), {})(["secret"]), "plain frozenset"),
    (type("Price", (Decimal,), {})("1.5"), "plain Decimal"),
    (type("Size", (int,), {})(5), "plain int"),
    (type("Share", (float,), {})(5), "plain float"),
    (type("Raw", (bytes,), {})(b"secret"), "plain bytes"),
    (bytearray(b"secret"), "bytes(value)"),
    (memoryview(b"secret"), "bytes(value)"),
    (Card(), "plain values"),
    (object(), "plain values"),
    (1j, "plain values"),
    (range(3), "plain values"),
    ({"secret": 1}.keys(), "plain values"),
    (len, "plain values"),
    (Card, "plain values"),
    (ormsgpack.Ext(1, b"secret"), "plain values"),
    ("secret \ud800", "surrogates"),
    (datetime(2026, 1, 1, tzinfo=Zoneless()), "UTC"),
    (time(2, 30, tzinfo=BERLIN), "UTC offset"),
]
REFUSED_KEYS = [
    True, None, 1.5, b"secret", ("secret",), date(2026, 1, 1), uuid.UUID(int=5), Text("secret"),
    Number.ONE, Colour.RED, 2**64, -(2**63) - 1, "secret \ud800", frozenset(), Decimal(1),
]  # fmt: skip


@pytest.mark.parametrize(("value", "remedy"), REFUSED, ids=lambda value: type(value).__name__)
def test_refused_by_path_and_type_and_never_shown(value, remedy):
    with pytest.raises(UnserializableValue) as caught:
        MSGPACK.dumps({"user": 5, "cart": {"items": [1, (2, value)]}})
    message = str(caught.value)
    assert caught.value.path == ("cart", "items", 1, 1)
    assert message.startswith("session['cart']['items'][1][1] is of type ")
    assert type(value).__qualname__ in message
    assert remedy in message
    assert "secret" not in message
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("key", REFUSED_KEYS, ids=lambda key: type(key).__name__)
def test_refused_keys(key):
    with pytest.raises(UnserializableValue) as caught:
        MSGPACK.dumps({"cart": [{"fine": 1, key: 1}]})
    message = str(caught.value)
    assert caught.value.path == ("cart", 0)
    assert message.startswith("session['cart'][0] has a key of type ")
    assert type(key).__qualname__ in message
    assert "64 bits" in message
    assert "secret" not in message


def test_refused_in_a_set():
    with pytest.raises(UnserializableValue, match=r"session\['tags'\]\{\.\.\.\}\[1\] is of type"):
        MSGPACK.dumps({"tags": {(1, Number.ONE)}})


def test_refused_at_the_top():
    with pytest.raises(UnserializableValue, match=r"^session is of type object"):
        MSGPACK.dumps(object())


def nested(kind, levels):
    value = 1
    for _ in range(levels):
        value = {"k": value} if kind is dict else kind([value])
    return value


@pytest.mark.parametrize("kind", [list, tuple, dict, frozenset])
def test_depth(kind):
    deepest = nested(kind, MAX_DEPTH)
    assert MSGPACK.loads(MSGPACK.dumps(deepest)) == deepest
    for levels in (MAX_DEPTH + 1, 250, 900):
        with pytest.raises(UnserializableValue, match=r"too many .* flatter") as caught:
            MSGPACK.dumps({"cart": nested(kind, levels)})
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize("serializer", [MSGPACK, JSONSerializer()], ids=lambda one: one.name)
def test_cycles(serializer):
    loop = []
    loop.append({"x": loop})
    with pytest.raises(UnserializableValue, match="a part of") as caught:
        serializer.dumps({"fine": 1, "loop": loop})
    assert caught.value.path == ("loop", 0, "x")


def test_wide_cycles_are_refused_at_once():
    loop = []
    loop.extend([loop] * 50)
    with pytest.raises(UnserializableValue, match="a part of"):
        MSGPACK.dumps(loop)


# --- whatever bytes come in ----------------------------------------------------------------------


def load(data, serializer=MSGPACK):
    """Load: either there is a value, or a ValueError, and nothing else."""
    try:
        return serializer.loads(data)
    except ValueError:
        return None


@HOSTILE
@given(st.binary(max_size=200))
@FUZZ
def test_random_bytes(data):
    load(data)


@HOSTILE
@given(states, st.randoms(use_true_random=False))
@FUZZ
def test_truncated_or_changed_bytes(state, rng):
    data = MSGPACK.dumps(state)
    for _ in range(10):
        with pytest.raises(ValueError, match="not readable as msgpack"):
            MSGPACK.loads(data[: rng.randrange(len(data))])
        with pytest.raises(ValueError, match="not readable as msgpack"):
            MSGPACK.loads(data + rng.randbytes(rng.randrange(1, 9)))
        broken = bytearray(data)
        broken[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        load(bytes(broken))


@HOSTILE
def test_structured_garbage():
    """Bytes that begin things: lengths, extension types, arrays, marks."""
    rng = random.Random(5)
    heads = [bytes([byte]) for byte in (*range(0x80, 0xA5), *range(0xC0, 0xE0), 0xFF)]
    heads += [b"\xc7\x00" + bytes([code]) for code in msgpack._MARKED]
    heads += [b"\xd4" + bytes([code]) for code in range(20)]
    for _ in range(20_000):
        load(b"".join(rng.choices(heads, k=rng.randrange(1, 12))))


@HOSTILE
@pytest.mark.parametrize(
    "data",
    [
        b"", b"\xc1", b"\xa1\xff", b"\x01\x01", b"\x90\x90",
        b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff\x01", b"\xdd\x7f\xff\xff\xff" + b"\0" * 999,
        b"\x91" * 5000, b"\x91" * 5000 + b"\x01", b"\x81\x01" * 100_000, b"\x91" * 1022 + b"\x90",
        b"\x92\xc7\x00\x10" * 5000 + b"\x01", b"\xd4\x63\x00", b"\xd4\x00\x00", b"\xd4\xff\x00",
        b"\x92\xc7\x00\x11\x90", b"\x92\xc7\x00\x11\x80", b"\x92\xc7\x00\x12\x92\xc7\x00\x11\x01",
        b"\xc7\x00\x10", b"\x92\x01\xc7\x00\x10", b"\x81\xc7\x00\x10\x01", b"\x81\x01\xc7\x00\x10",
        b"\xd4\x10\x00", b"\x81\x90\xc7\x00\x10", b"\x81\x81\x01\x01\x01",
        *(ormsgpack.packb(ormsgpack.Ext(code, junk))
          for code in range(1, 8)
          for junk in (b"", b"\xff", b"x" * 99, b"0", b"9" * 99, b"0x", b"1 2", b"9" * 20 + b" 0 0")
          if (code, junk) not in {(1, b"0"), (1, b"9" * 99), (2, b"0"), (2, b"9" * 99),
                                  (7, b""), (7, b"0"), (7, b"1 2")}),
    ],
    ids=lambda data: data[:12].hex(),
)  # fmt: skip
def test_malformed(data):
    with pytest.raises(ValueError, match="not readable as msgpack"):
        MSGPACK.loads(data)


@pytest.mark.parametrize("data", [None, 5, "text", [1]])
def test_what_is_no_bytes(data):
    with pytest.raises(ValueError, match="not readable as msgpack"):
        MSGPACK.loads(data)


@given(st.binary(max_size=50))
@FUZZ
def test_malformed_for_the_others(data):
    load(data, JSONSerializer())
    with pytest.raises(ValueError, match="not readable as pickle"):
        PickleSerializer().loads(data.replace(b".", b""))  # without its end it is no pickle


# --- json, pickle and other people's -------------------------------------------------------------


def test_built_in():
    assert list(BUILT_IN) == ["msgpack", "json", "pickle"]
    for name, kind in BUILT_IN.items():
        serializer = kind()
        assert serializer.name == name
        assert serializer.loads(serializer.dumps({"a": [1, "b", None]})) == {"a": [1, "b", None]}
    assert [kind.canonical for kind in BUILT_IN.values()] == [True, False, False]


def test_json_has_pyramids_rules():
    serializer = JSONSerializer()
    assert serializer.dumps({"a": (1, 2)}) == b'{"a": [1, 2]}'
    with pytest.raises(UnserializableValue, match=r"session\['b'\]\[0\] is of type set") as caught:
        serializer.dumps({"a": 1, "b": [{"secret"}]})
    assert caught.value.path == ("b", 0)
    # Why it is not canonical.
    data = serializer.dumps({1: "a", "1": "b"})
    assert serializer.dumps(serializer.loads(data)) != data


def test_pickle():
    serializer = PickleSerializer()
    assert_same(serializer.loads(serializer.dumps(Point(1, {2}))), Point(1, {2}))
    assert pickle.loads(serializer.dumps(5)) == 5
    with pytest.raises(UnserializableValue, match=r"session\['call'\] is of type function"):
        serializer.dumps({"a": 1, "call": lambda: "secret"})
    with pytest.raises(ValueError, match="not readable as pickle"):
        serializer.loads(b"cno.such.module\nname\n.")


class Theirs:
    def dumps(self, state):
        if not isinstance(state, dict) or "secret" in repr(state):
            raise KeyError(f"what {state!r}")
        return repr(state).encode()

    def loads(self, data):
        raise LookupError(data)


@pytest.mark.parametrize("theirs", [Theirs, Theirs()], ids=["class", "object"])
def test_adapt(theirs):
    serializer = adapt(theirs)
    assert serializer.name == f"{__name__}.Theirs"
    assert serializer.canonical is False
    assert serializer.dumps({}) == b"{}"
    with pytest.raises(UnserializableValue) as caught:
        serializer.dumps({"a": 1, "b": "secret"})
    assert caught.value.path == ("b",)
    assert "secret" not in str(caught.value)
    with pytest.raises(ValueError, match=r"^not readable as .*Theirs \(LookupError\)$"):
        serializer.loads(b"secret")


def test_adapt_keeps_what_they_say_of_themselves():
    class Named(Theirs):
        name = "named"
        canonical = True

    assert (adapt(Named).name, adapt(Named).canonical) == ("named", True)


def test_adapt_keeps_our_own():
    assert adapt(MSGPACK) is MSGPACK
    assert isinstance(adapt(PickleSerializer), PickleSerializer)


@pytest.mark.parametrize("obj", [object(), object, None, 5, Point(1, 2)])
def test_adapt_refuses_what_is_no_serializer(obj):
    with pytest.raises(TypeError, match=r"has no (dumps|loads)"):
        adapt(obj)


def test_adapt_refuses_the_name_of_a_built_in():
    class Impostor(Theirs):
        name = "msgpack"

    with pytest.raises(ValueError, match="'msgpack' is the name of another"):
        adapt(Impostor)


def test_dumps_of_a_third_party_that_returns_text():
    class Texts(Theirs):
        def dumps(self, state):
            return "secret"

    with pytest.raises(TypeError, match="returned str instead of bytes"):
        adapt(Texts).dumps({})
