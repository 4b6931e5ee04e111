"""Pickles of data are read, and no others: nothing in them is run."""

from __future__ import annotations

import collections
import contextlib
import datetime
import os
import pickle
import subprocess
import sys
import uuid
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyramid_pluggable_session.origins.pickles import LARGEST, loads, loads_envelope
from pyramid_pluggable_session.origins.sessions import Refused

UTC = datetime.timezone.utc
PLAIN = [
    *(None, True, False, 0, -1, 255, 256, 65536, 2**31, -(2**31), 2**63, -(2**200), 10**4000),
    *(1.5, float("inf"), "", "ä", "x" * 300, "\0", b"", b"\x00\xff", b"x" * 300),
    *([], [1], (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {}, {"a": 1}, {1: {2: [3]}}),
    *(set(), {1, 2}, frozenset(), frozenset({1})),
    datetime.datetime(2026, 1, 2, 3, 4, 5, 6),
    datetime.datetime(2026, 1, 2, fold=1, tzinfo=UTC),
    datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=2), "X")),
    *(datetime.date(2026, 1, 2), datetime.time(1, 2, tzinfo=UTC), datetime.timedelta(3, 4, 5)),
    *(Decimal("12.50"), Decimal("NaN").copy_abs(), uuid.UUID(int=2**127 + 1)),
]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", PLAIN, ids=lambda value: repr(value)[:30])
def test_plain_data_is_read(value, protocol):
    data = pickle.dumps([value, value], protocol)
    read = loads(data)
    assert repr(read) == repr(pickle.loads(data))
    assert type(read[0]) is type(value)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    | st.binary() | st.datetimes() | st.decimals(allow_nan=False) | st.uuids(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner)
    | st.tuples(inner, inner) | st.sets(st.integers()),
    max_leaves=20,
)  # fmt: skip


@given(values, st.integers(0, pickle.HIGHEST_PROTOCOL))
@settings(max_examples=200)
def test_what_python_writes_is_read(value, protocol):
    assert loads(pickle.dumps(value, protocol)) == value


@given(st.binary())
@settings(max_examples=300)
def test_nothing_else_comes_of_garbage(data):
    with contextlib.suppress(Refused):
        loads(data)


@given(values, st.integers(0, 5), st.data())
@settings(max_examples=300)
def test_nothing_else_comes_of_damage(value, protocol, draw):
    data = bytearray(pickle.dumps(value, protocol))
    at = draw.draw(st.integers(0, len(data) - 1))
    data[at] = draw.draw(st.integers(0, 255))
    with contextlib.suppress(Refused):
        loads(bytes(data))


def test_an_ordered_dict_is_a_dict():
    assert loads(pickle.dumps(collections.OrderedDict(a=1))) == {"a": 1}


def test_python_2s_texts_are_read():
    assert loads(b"\x80\x02}q\x00U\x04nameq\x01U\x05\xc3\xa4 tes.") == {"name": "ä te"}


def calls(name, *arguments):
    """Return a pickle of a call."""

    class Call:
        def __reduce__(self):
            return name, arguments

    return Call()


class Own:
    """A class of an application."""

    def __init__(self, number=0):
        self.number = number

    def __eq__(self, other):
        return self.number == other.number

    __hash__ = None


class Slots:
    __slots__ = ("number",)


def run(command):
    raise AssertionError("run")


HOSTILE = {
    "os.system": pickle.dumps(calls(os.system, "false")),
    "subprocess": pickle.dumps(calls(subprocess.Popen, ["false"])),
    "eval": pickle.dumps(calls(eval, "1")),
    "getattr": pickle.dumps(calls(getattr, "", "join")),
    "import": pickle.dumps(calls(__import__, "os")),
    "a class of the application": pickle.dumps(Own()),
    "INST": b"(S'false'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'false'\no.",
    "EXT": b"\x80\x02\x82\x01.",
    "PERSID": b"Pid\n.",
    "BINPERSID": b"Nq\x00Q.",
    "NEXT_BUFFER": b"\x80\x05\x97.",
    "BYTEARRAY8": b"\x80\x05\x96" + b"\xff" * 7 + b"\x7f.",
    "a dotted name": b"\x80\x04\x8c\x08datetime\x8c\x0bsys.modules\x93.",
    "a name alone": b"cos\nsystem\n.",
    "a name in a list": b"(lcos\nsystem\na.",
    "a name as a key": b"}cos\nsystem\nNs.",
    "a mark": b"(.",
    "a mark in a tuple": b"((t.",
    "an attribute of a class": b"cuuid\nUUID\n}S'int'\nI1\nsb.",
    "an attribute of a class by slots": b"cuuid\nUUID\n(N}S'int'\nI1\nstb.",
    "an attribute of a function": b"c_codecs\nencode\n}S'x'\nI1\nsb.",
    "another base": b"ccopy_reg\n_reconstructor\n(cuuid\nUUID\nc__builtin__\nint\nI1\ntR.",
    "zip": pickle.dumps(calls(__import__("codecs").encode, "x", "bz2")),
    "bytes of a number": b"c__builtin__\nbytes\n(I999999999999\ntR.",
    "a bytearray of a number": b"c__builtin__\nbytearray\n(I999999999999\ntR.",
    "no end": b"\x80\x04N",
    "two values": b"NN.",
    "nothing": b".",
    "a memo of nothing": b"g7\n.",
    "a long that is cut": b"\x8b\xff\xff\xff\x7f\x01.",
    "a text that is cut": b"\x8d" + b"\xff" * 8 + b"x.",
}


@pytest.mark.parametrize("name", list(HOSTILE))
def test_a_hostile_pickle_is_refused(name, monkeypatch):
    monkeypatch.setattr(os, "system", run)
    for read in (loads, loads_envelope):
        with pytest.raises(Refused):
            read(HOSTILE[name])


def test_a_class_cannot_be_changed():
    before = dict(vars(Own))
    name = f"{Own.__module__}\nOwn\n".encode()
    for program in (b"c" + name + b"}S'x'\nI1\nsb.", b"c" + name + b"(N}S'x'\nI1\nstb."):
        with pytest.raises(Refused):
            loads(program, {f"{Own.__module__}.Own": Own})
    assert dict(vars(Own)) == before


@pytest.mark.parametrize("made", [b"cuuid\nUUID\n", b"]", b"}", b"N", b"(I1\nt"])
def test_nothing_but_instances_can_be_changed(made):
    with pytest.raises(Refused, match="changes something else than an instance"):
        loads(made + b"}S'x'\nI1\nsb.")


def test_a_memo_far_away_takes_no_memory():
    """Python's own machine would make a table of that length."""
    assert loads(b"Nr\xff\xff\xff\x7f.") is None


def test_what_repeats_itself_beyond_measure_is_refused():
    value = ["x"]
    for _ in range(40):
        value = [value] * 10
    with pytest.raises(Refused, match="too many values, or too deep"):
        loads(pickle.dumps(value))


def test_what_contains_itself_is_refused():
    value = []
    value.append(value)
    with pytest.raises(Refused, match="too deep"):
        loads(pickle.dumps(value))
    value = {}
    value["x"] = value
    with pytest.raises(Refused, match="too deep"):
        loads(pickle.dumps(value))


def test_what_is_too_long_is_refused():
    with pytest.raises(Refused, match=f"more than {LARGEST} bytes"):
        loads(pickle.dumps("x" * LARGEST))


def test_a_message_shows_no_data():
    with pytest.raises(Refused) as refused:
        loads(b"}S'a secret'\nN\x94bogus.")
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_listed_classes_are_admitted(protocol):
    name = f"{Own.__module__}.Own"
    assert loads(pickle.dumps([Own(7)], protocol), {name: Own}) == [Own(7)]
    if protocol >= 2:
        slots = Slots()
        slots.number = 3
        read = loads(pickle.dumps(slots, protocol), {f"{Slots.__module__}.Slots": Slots})
        assert read.number == 3
    money = collections.namedtuple("Money", "amount")
    sys.modules[__name__].Money = money
    assert loads(pickle.dumps(calls(money, 3), protocol), {f"{money.__module__}.Money": money}) == (
        3,
    )


@pytest.mark.parametrize("value", [datetime.date(2026, 1, 2), {1}, Decimal(1), uuid.uuid4()])
def test_an_envelope_has_texts_alone(value):
    assert loads_envelope(pickle.dumps({"session": ["x", b"y", (1, 2.5, None)]})) == {
        "session": ["x", b"y", (1, 2.5, None)]
    }
    if value != {1}:
        with pytest.raises(Refused, match="not allowed"):
            loads_envelope(pickle.dumps(value))
