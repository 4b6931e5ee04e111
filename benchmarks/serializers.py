"""Compare what could be the default serializer: time to dump, time to load, size.

    python benchmarks/serializers.py

Every candidate marked "lossless" does what the default promises: each type comes back as it was,
or is refused; sets have a fixed order. The "bare" ones are the libraries by themselves, which do
not: they are the limit. What is not installed is left out (cbor2 and msgspec are no dependencies).

The candidates take turns, so that a slow moment of the machine hits all alike. The time is the
median of the rounds, and the ratio is to ormsgpack bare in the same round, or to the default where
the state has types that ormsgpack by itself changes.
"""

from __future__ import annotations

import importlib
import json
import pickle
import statistics
import time
import uuid
from datetime import date, datetime, timezone
from decimal import Decimal
from functools import partial

import ormsgpack
from pyramid.session import JSONSerializer

from pyramid_pluggable_session.serializers import msgpack as ours

ROUNDS = 30
ROUND_SECONDS = 0.01


# What is stored -------------------------------------------------------------------------------


def plain_state(cart_items):
    """Return a session with only what every library can store."""
    return {
        "_csrft_": "8f1d2c3b4a59687766554433221100ffeeddccbb",
        "_f_": ["Your changes were saved."],
        "_f_error": ["The coupon has expired."],
        "user_id": 48213,
        "login": "ada.lovelace@example.org",
        "display_name": "Ada Lovelace",
        "locale": "en_GB",
        "time_zone": "Europe/London",
        "admin": False,
        "roles": ["editor", "reviewer", "translator"],
        "groups": [3, 17, 204, 1138],
        "logged_in_at": 1767225600.25,
        "visits": 42,
        "referrer": "https://www.example.org/articles/2026/01/notes-on-the-engine",
        "next_page": None,
        "last_search": "analytical engine",
        "recent": [90210 + 7 * number for number in range(10)],
        "preferences": {"page_size": 50, "columns": ["title", "year"], "dark": True, "zoom": 1.25},
        "cart": {
            "currency": "EUR",
            "items": [
                {"sku": f"SKU-{1000 + number}", "title": "Notes", "quantity": 1 + number % 3,
                 "cents": 1999 + number, "gift": False}
                for number in range(cart_items)
            ],
        },
    }  # fmt: skip


def rich_state():
    """Return a session that uses types beyond JSON's, as applications do."""
    state = plain_state(6)
    state["logged_in_at"] = datetime(2026, 1, 1, 12, 30, tzinfo=timezone.utc)
    state["birthday"] = date(1815, 12, 10)
    state["permissions"] = {"view", "edit", "publish", "review"}
    state["position"] = (51.5, -0.12)
    state["device"] = uuid.UUID(int=0x1234567890ABCDEF1234567890ABCDEF)
    state["cart"]["total"] = Decimal("59.97")
    state["groups"] = {3: "staff", 17: "editors"}
    return state


STATES = {"1 KB plain": plain_state(8), "1 KB rich": rich_state(), "20 KB plain": plain_state(380)}


# The candidates -------------------------------------------------------------------------------
# All share the extension types of the default, so what differs is the library, and what it takes
# to keep it from changing types. Only ormsgpack asks about nearly every type that is not exactly
# its own, so that a check is enough; for the others a tree is made in which nothing is left that
# they would change.


def tree_maker(*, plain, mark, tag, make_dict, order):
    """Return a function that replaces all but the exact types in ``plain``."""

    def convert(value):
        kind = type(value)
        if kind in plain:
            return value
        if kind is dict:
            for key in value:
                if type(key) is not str and type(key) is not int:
                    raise TypeError("key")
            return make_dict(
                {key: item if type(item) in plain else convert(item) for key, item in value.items()}
            )
        if kind is list:
            return [item if type(item) in plain else convert(item) for item in value]
        if kind in ours._MARKS:
            items = [item if type(item) in plain else convert(item) for item in value]
            if kind is not tuple:
                items.sort(key=order)
            return mark(kind, items)
        return tag(kind, value)

    return convert


def lossless_cbor2():
    cbor2 = importlib.import_module("cbor2")
    codes = {kind: 60000 + code for code, kind in ours._MARKED.items()}

    def tag(kind, value):
        code, encode, _ = ours._EXTENSIONS[kind]
        return cbor2.CBORTag(60000 + code, encode(value))

    def from_tag(decode, payload, _immutable):
        return decode(payload)

    def loads(data):
        return cbor2.loads(data, semantic_decoders=decoders)

    convert = tree_maker(
        plain=frozenset({type(None), bool, int, float, str, bytes, uuid.UUID}),
        mark=lambda kind, items: cbor2.CBORTag(codes[kind], items),
        tag=tag,
        make_dict=dict,
        order=cbor2.dumps,
    )
    decoders = {60000 + code: partial(from_tag, kind) for code, kind in ours._MARKED.items()}
    decoders |= {60000 + code: partial(from_tag, decode) for code, decode in ours._DECODERS.items()}
    return lambda state: cbor2.dumps(convert(state)), partial(
        cbor2.loads, semantic_decoders=decoders
    )


def lossless_msgspec():
    msgpack = importlib.import_module("msgspec").msgpack
    encode = msgpack.Encoder().encode
    marks = {kind: msgpack.Ext(code, b"") for code, kind in ours._MARKED.items()}

    def tag(kind, value):
        code, to_bytes, _ = ours._EXTENSIONS[kind]
        return msgpack.Ext(code, to_bytes(value))

    def tag_int(kind, value):
        return value if kind is int and -(2**63) <= value < 2**64 else tag(kind, value)

    options = {
        "mark": lambda kind, items: [marks[kind], *items],
        "make_dict": dict,
        "order": encode,
    }
    plain = frozenset({type(None), bool, float, str, bytes})
    convert = tree_maker(plain=plain | {int}, tag=tag, **options)
    convert_long_ints = tree_maker(plain=plain, tag=tag_int, **options)

    def dumps(state):
        try:
            return encode(convert(state))
        except OverflowError:
            return encode(convert_long_ints(state))

    def loads(data):
        found = []
        value = msgpack.decode(data, ext_hook=partial(from_ext, found))
        return ours._rebuild(value, found) if found else value

    def from_ext(found, code, data):
        return ours._from_extension(found, code, bytes(data))

    return dumps, loads


def lossless_json():
    """Tags, as Flask has them: what JSON cannot say is {"$": [code, payload]}."""
    codes = {kind: code for code, kind in ours._MARKED.items()}
    kinds = {-1: dict, **ours._MARKED}
    encode_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode

    def tag(kind, value):
        code, encode = (0, bytes) if kind is bytes else ours._EXTENSIONS[kind][:2]
        return {"$": [code, encode(value).decode("latin-1")]}

    def make_dict(items):
        if "$" in items or any(type(key) is int for key in items):
            return {"$": [-1, list(items.items())]}
        return items

    def from_tag(value):
        if "$" not in value:
            return value
        code, payload = value["$"]
        if code in kinds:
            return kinds[code](payload)
        raw = payload.encode("latin-1")
        return raw if code == 0 else ours._DECODERS[code](raw)

    convert = tree_maker(
        plain=frozenset({type(None), bool, int, float, str}),
        mark=lambda kind, items: {"$": [codes[kind], items]},
        tag=tag,
        make_dict=make_dict,
        order=encode_json,
    )
    decode_json = json.JSONDecoder(object_hook=from_tag).decode
    return (
        lambda state: encode_json(convert(state)).encode(),
        lambda data: decode_json(data.decode()),
    )


def default():
    serializer = ours.MsgpackSerializer()
    return serializer.dumps, serializer.loads


def bare_ormsgpack():
    return ormsgpack.packb, ormsgpack.unpackb


def bare_cbor2():
    cbor2 = importlib.import_module("cbor2")
    return cbor2.dumps, cbor2.loads


def bare_msgspec():
    msgpack = importlib.import_module("msgspec").msgpack
    return msgpack.Encoder().encode, msgpack.Decoder().decode


def bare_json():
    serializer = JSONSerializer()
    return serializer.dumps, serializer.loads


def bare_pickle():
    return partial(pickle.dumps, protocol=pickle.HIGHEST_PROTOCOL), pickle.loads


BASE = "ormsgpack, bare"
DEFAULT = "ormsgpack, lossless (the default)"
CANDIDATES = {
    DEFAULT: default,
    "msgspec.msgpack, lossless": lossless_msgspec,
    "cbor2, lossless": lossless_cbor2,
    "json with tags, lossless": lossless_json,
    BASE: bare_ormsgpack,
    "msgspec.msgpack, bare": bare_msgspec,
    "cbor2, bare": bare_cbor2,
    "json, bare": bare_json,
    "pickle, bare": bare_pickle,
}


# Measuring ------------------------------------------------------------------------------------


def same(one, other):
    if type(one) is not type(other) or one != other:
        return False
    if isinstance(one, dict):
        return all(same(one[key], other[key]) for key in one)
    return not isinstance(one, (list, tuple)) or all(map(same, one, other))


def microseconds(function, argument, repeat):
    start = time.perf_counter()
    for _ in range(repeat):
        function(argument)
    return (time.perf_counter() - start) / repeat * 1e6


def measure(functions):
    """Return for each name (microseconds, ratio to BASE, or where that fails to the default)."""
    base = BASE if BASE in functions else DEFAULT
    repeats = {
        name: max(1, int(ROUND_SECONDS / (min(microseconds(*call, 20) for _ in range(5)) / 1e6)))
        for name, call in functions.items()
    }
    rounds = [
        {name: microseconds(*call, repeats[name]) for name, call in functions.items()}
        for _ in range(ROUNDS)
    ]
    return {
        name: (
            statistics.median(each[name] for each in rounds),
            statistics.median(each[name] / each[base] for each in rounds),
        )
        for name in functions
    }


def usable(candidates, state):
    """Return what of the candidates can store ``state``, each with the bytes it makes of it."""
    found = {}
    for name, (dumps, loads) in candidates.items():
        try:
            data = dumps(state)
            lossless = same(loads(data), state)
        except (TypeError, ValueError):
            lossless = False
        if lossless:
            found[name] = (dumps, loads, data)
        elif "lossless" in name:
            raise AssertionError(f"{name} is not")
    return found


def main():
    candidates = {}
    for name, make in CANDIDATES.items():
        try:
            candidates[name] = make()
        except ImportError as error:
            print(f"left out: {name} ({error})\n")
    for title, state in STATES.items():
        found = usable(candidates, state)
        dumps = measure({name: (each[0], state) for name, each in found.items()})
        loads = measure({name: (each[1], each[2]) for name, each in found.items()})
        print(f"| {title}, {len(state)} keys | dumps µs | ratio | loads µs | ratio | bytes |")
        print("|---|---:|---:|---:|---:|---:|")
        for name, (_, _, data) in found.items():
            cells = [f"{took:.1f} | {ratio:.1f}" for took, ratio in (dumps[name], loads[name])]
            print(f"| {name} | {cells[0]} | {cells[1]} | {len(data)} |")
        print()


if __name__ == "__main__":
    main()
