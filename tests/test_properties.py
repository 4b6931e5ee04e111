"""Claims that hold for whatever there is: made-up data, made-up histories, made-up attacks."""

from __future__ import annotations

import json
import re
from copy import deepcopy

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from apps import App
from pyramid_pluggable_session.keys import SessionKey
from pyramid_pluggable_session.merge import merge, same
from pyramid_pluggable_session.plugs.chain import ChainPlug
from pyramid_pluggable_session.plugs.file import FilePlug
from pyramid_pluggable_session.plugs.memory import MemoryPlug
from pyramid_pluggable_session.plugs.sqlite import SqlitePlug
from pyramid_pluggable_session.serializers import MsgpackSerializer
from pyramid_pluggable_session.testing import FakeClock

TIMEOUT = 1200
GRACE = 60
MARKED_FOR = 60


def written(state):
    """Return a state as bytes: equal only if the values, their types and their order are."""
    return MsgpackSerializer().dumps(dict(state))


# Data -----------------------------------------------------------------------------------------

# Few and small, so that two of them often meet.
keys = st.sampled_from(["a", "b", "c", "d"])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 2),
    st.sampled_from([0.0, -0.0, 1.0, float("inf")]),
    st.sampled_from(["", "x", "y", "\u20ac"]),
    st.binary(max_size=1),
)
members = st.one_of(st.integers(0, 9), st.sampled_from(["x", "y"]), st.none())
values = st.recursive(
    scalars | st.sets(members, max_size=4) | st.frozensets(members, max_size=3),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(keys, inner, max_size=3),
    ),
    max_leaves=6,
)
states = st.dictionaries(keys, values, max_size=4)


# A session is a dict that comes back ----------------------------------------------------------


class Model(dict):
    """What a session is to its application, without anything being stored."""

    ended = False
    moved = False
    timeout = TIMEOUT

    def flash(self, message, queue="", allow_duplicate=True):
        messages = self.setdefault(f"_f_{queue}", [])
        if allow_duplicate or message not in messages:
            messages.append(message)

    def pop_flash(self, queue=""):
        return self.pop(f"_f_{queue}", [])

    def peek_flash(self, queue=""):
        return self.get(f"_f_{queue}", [])

    def invalidate(self):
        self.clear()
        self.ended = True
        self.moved = False
        self.timeout = TIMEOUT

    def regenerate_id(self):
        self.moved = True


def change_inside(session, key, value):
    """Change the value of a key in its own way, without the session being told."""
    inside = session.get(key)
    if isinstance(inside, list):
        inside.append(value)
    elif isinstance(inside, dict):
        inside["inside"] = value
    elif isinstance(inside, set):
        inside.add(7)


def change_deep_inside(session, key, value):
    inside = session.get(key)
    while isinstance(inside, (list, tuple, dict)) and inside:
        parent, inside = inside, next(iter(inside.values() if isinstance(inside, dict) else inside))
        if isinstance(parent, list):
            parent[0] = value
            return


# Each takes a session or a model, a key and a value.
OPERATIONS = {
    "read": lambda s, k, v: s.get(k),
    "in": lambda s, k, v: k in s,
    "len": lambda s, k, v: len(s),
    "items": lambda s, k, v: dict(s),
    "set": lambda s, k, v: s.__setitem__(k, v),
    "delete": lambda s, k, v: s.__delitem__(k) if k in s else None,
    "pop": lambda s, k, v: s.pop(k, None),
    "popitem": lambda s, k, v: s.popitem() if s else None,
    "setdefault": lambda s, k, v: s.setdefault(k, v),
    "update": lambda s, k, v: s.update({k: v}, d=1),
    "or": lambda s, k, v: s.__ior__({k: v}) and None,
    "clear": lambda s, k, v: s.clear(),
    "inside": change_inside,
    "deep inside": change_deep_inside,
    "flash": lambda s, k, v: s.flash(v),
    "flash into a queue": lambda s, k, v: s.flash(v, k),
    "flash once": lambda s, k, v: s.flash(v, allow_duplicate=False),
    "pop_flash": lambda s, k, v: s.pop_flash(),
    "pop_flash of a queue": lambda s, k, v: s.pop_flash(k),
    "peek_flash": lambda s, k, v: s.peek_flash(),
    "set the timeout": lambda s, k, v: setattr(s, "timeout", 300 if k in "ab" else None),
    "invalidate": lambda s, k, v: s.invalidate(),
    "regenerate_id": lambda s, k, v: s.regenerate_id(),
}
ONLY_CHANGES = sorted(OPERATIONS.keys() - {"invalidate", "regenerate_id", "set the timeout"})


def scripts(names=tuple(OPERATIONS)):
    """Make what a view does with a session: some operations, one after the other."""
    return st.lists(st.tuples(st.sampled_from(names), keys, values), min_size=1, max_size=8)


def play(script, session):
    """Do it, and return what each operation returned."""
    # Copies, since a session and its model must not share what is put into them.
    return [
        deepcopy(OPERATIONS[name](session, key, deepcopy(value))) for name, key, value in script
    ]


class Browser:
    """A client of the application, and what should be stored for it."""

    def __init__(self, app):
        self.client = app.client()
        self.has_cookie = False
        self.state = None  # None: nothing is stored
        self.renewed = 0
        self.timeout = TIMEOUT

    def lives_at(self, now, grace=0):
        if self.state is None:
            return False
        return self.timeout is None or now < self.renewed + self.timeout + grace


class Histories(RuleBasedStateMachine):
    """Two browsers, and time that passes."""

    def __init__(self, app):
        super().__init__()
        self.app = app
        self.clock = FakeClock()
        self.clock.__enter__()
        for key in list(app.plug.scan()):
            app.plug.clear(key, None)
        self.marks = {}

    def teardown(self):
        self.clock.__exit__()

    @initialize()
    def begin(self):
        self.browsers = [Browser(self.app), Browser(self.app)]

    @rule(number=st.integers(0, 1), script=scripts())
    def request(self, number, script):
        browser, now = self.browsers[number], self.clock.now
        if not browser.lives_at(now):
            browser.state, browser.timeout = None, TIMEOUT
        stored = browser.state
        old_id = browser.client.session_id if stored is not None else None
        model = Model(deepcopy(stored or {}))
        model.timeout = browser.timeout
        # Whatever it does, it looks at everything before and after.
        everything = ("items", "a", None)
        script = [everything, *script, everything]
        expected = play(script, model)

        results = browser.client.do(lambda session: play(script, session)).result

        assert written({"results": results}) == written({"results": expected})
        if model.ended:
            stored = None
        changed = written(model) != written(stored or {})
        if stored is None:
            save = bool(model)
            if model.ended:
                browser.has_cookie = False
        else:
            changed = changed or model.timeout != browser.timeout
            due = model.timeout is not None and now - browser.renewed >= model.timeout / 10
            save = changed or model.moved or due
            if model.moved:
                self.marks[old_id] = now + MARKED_FOR
        if save:
            browser.state, browser.timeout = dict(model), model.timeout
            browser.renewed, browser.has_cookie = now, True
        elif stored is None:
            browser.state = None
        if save and (old_id is None or model.moved or model.ended):
            assert browser.client.session_id != old_id

    @rule(number=st.integers(0, 1))
    def read(self, number):
        self.request(number, [("items", "a", None)])

    @rule(seconds=st.sampled_from([1, 30, 60, 120, 240, 300, 1140, 1199, 1200, 9999]))
    def time_passes(self, seconds):
        self.clock.advance(seconds)

    @invariant()
    def exactly_the_sessions_that_should_be_are_stored(self):
        now = self.clock.now
        expected = {
            browser.client.session_id for browser in self.browsers if browser.lives_at(now, GRACE)
        }
        expected |= {session_id for session_id, until in self.marks.items() if now < until}
        assert {key.session_id for key in self.app.plug.scan()} == expected

    @invariant()
    def exactly_the_browsers_that_should_have_a_cookie_have_one(self):
        for browser in self.browsers:
            assert bool(browser.client.cookie) is browser.has_cookie


def make_plug(name, folder):
    """Return a plug that can be scanned, for the tests of this module."""
    if name == "memory":
        return MemoryPlug()
    if name == "sqlite":
        return SqlitePlug(path=folder / "sessions.db")
    if name == "file":
        return FilePlug(path=folder / "files")
    return ChainPlug(None, [MemoryPlug(), SqlitePlug(path=folder / "sessions.db")])


def play_histories(app, examples, steps):
    run_state_machine_as_test(
        lambda: Histories(app),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize(
    ("plug", "examples"), [("memory", 120), ("sqlite", 12), ("file", 12), ("chain", 12)]
)
def test_a_session_is_a_dict_that_comes_back(plug, examples, tmp_path):
    play_histories(App(plug=make_plug(plug, tmp_path)), examples, steps=30)


def test_a_session_is_a_dict_that_comes_back_if_it_is_encrypted():
    play_histories(App(plug=MemoryPlug(), encrypt="true"), 12, steps=30)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("plug", "examples"), [("memory", 500), ("sqlite", 100), ("file", 100), ("chain", 100)]
)
def test_a_session_is_a_dict_that_comes_back_for_a_long_time(plug, examples, tmp_path):
    play_histories(App(plug=make_plug(plug, tmp_path)), examples, steps=60)


class TestTwoRequestsAtOnce:
    """What is stored in the end is what both have done, whichever way they overlap."""

    app = None

    def overlap(self, base, theirs, ours):
        app = TestTwoRequestsAtOnce.app = TestTwoRequestsAtOnce.app or App(plug=MemoryPlug())
        client = app.client()
        client.do(lambda session: session.update({"always": 1, **deepcopy(base)}))
        other = app.client(cookie=client.cookie)
        app.event_names()

        def both(session):
            dict(session)  # both have looked before either of them is saved
            other.do(lambda session: play(theirs, session))
            play(ours, session)

        client.do(both)
        return client.data(), app.event_names()

    def expected(self, base, theirs, ours):
        start = {"always": 1, **deepcopy(base)}
        after_theirs, after_ours = Model(deepcopy(start)), Model(deepcopy(start))
        play(theirs, after_theirs)
        play(ours, after_ours)
        return merge(start, dict(after_theirs), dict(after_ours))

    def check(self, base, theirs, ours):
        state, conflicts = self.expected(base, theirs, ours)
        stored, names = self.overlap(base, theirs, ours)
        assert same(stored, state)
        assert names == (["SessionConflict"] if conflicts else [])

    @settings(max_examples=150)
    @given(states, scripts(ONLY_CHANGES), scripts(ONLY_CHANGES))
    def test_are_merged(self, base, theirs, ours):
        self.check(base, theirs, ours)

    @pytest.mark.soak
    @settings(max_examples=3000)
    @given(states, scripts(ONLY_CHANGES), scripts(ONLY_CHANGES))
    def test_are_merged_many_times(self, base, theirs, ours):
        self.check(base, theirs, ours)

    @settings(max_examples=50)
    @given(states, scripts(ONLY_CHANGES))
    def test_of_which_one_ends_the_session_leave_nothing(self, base, ours):
        stored, _ = self.overlap(base, [("invalidate", "a", None)], ours)
        assert stored == {}

    @settings(max_examples=50)
    @given(states, scripts(ONLY_CHANGES))
    def test_of_which_one_moves_the_session_leave_nothing_under_the_old_id(self, base, ours):
        stored, _ = self.overlap(base, [("regenerate_id", "a", None)], ours)
        assert stored == {}


# Merging --------------------------------------------------------------------------------------

LAWS = settings(max_examples=100)


def value_at(state, path):
    """Return what is at ``a.b`` in nested dicts; a type for nothing, which equals no value."""
    for key in path.split("."):
        if not isinstance(state, dict) or key not in state:
            return object
        state = state[key]
    return state


def without_lists(state):
    """Return a state that nothing can be appended to."""
    return {
        key: without_lists(value) if isinstance(value, dict) else value
        for key, value in state.items()
        if not isinstance(value, list)
    }


class TestMerging:
    @LAWS
    @given(states, states)
    def test_only_their_changes_gives_theirs(self, base, theirs):
        merged, conflicts = merge(base, theirs, deepcopy(base))
        assert same(merged, theirs)
        assert conflicts == []

    @LAWS
    @given(states, states)
    def test_only_our_changes_gives_ours(self, base, ours):
        merged, conflicts = merge(base, deepcopy(base), ours)
        assert same(merged, ours)
        assert conflicts == []

    @LAWS
    @given(states, states)
    def test_the_same_changes_on_both_sides_gives_them_once(self, base, both):
        """But for appends: two equal ones are two, as flash messages are."""
        base, both = without_lists(base), without_lists(both)
        merged, conflicts = merge(base, both, deepcopy(both))
        assert same(merged, both)
        assert conflicts == []

    @LAWS
    @given(states, states)
    def test_the_same_changes_on_both_sides_are_no_conflict(self, base, both):
        assert merge(base, both, deepcopy(both))[1] == []

    @LAWS
    @given(values)
    def test_the_same_default_set_by_both_sides_gives_it_once(self, value):
        assert same(merge({}, {"k": value}, {"k": deepcopy(value)}), ({"k": value}, []))

    @LAWS
    @given(states)
    def test_no_changes_gives_no_changes(self, base):
        merged, conflicts = merge(base, deepcopy(base), deepcopy(base))
        assert same(merged, base)
        assert conflicts == []

    @LAWS
    @given(states, states, states)
    def test_changes_none_of_its_arguments(self, base, theirs, ours):
        before = deepcopy((base, theirs, ours))
        merge(base, theirs, ours)
        assert same((base, theirs, ours), before)

    @LAWS
    @given(states, states, states)
    def test_gives_something_that_can_be_stored(self, base, theirs, ours):
        merged, _ = merge(base, theirs, ours)
        assert same(MsgpackSerializer().loads(written(merged)), merged)

    @LAWS
    @given(states, states, states)
    def test_keeps_every_key_that_only_one_side_changed(self, base, theirs, ours):
        merged, _ = merge(base, theirs, ours)
        for key in base.keys() | theirs.keys() | ours.keys():
            b, t, o = (value_at(state, key) for state in (base, theirs, ours))
            if same(t, b):
                assert same(value_at(merged, key), o)
            elif same(o, b):
                assert same(value_at(merged, key), t)

    @LAWS
    @given(states, states, states)
    def test_keeps_every_key_inside_that_only_one_side_changed(self, base, theirs, ours):
        """The same one level down: ``cart.items`` here and ``cart.coupon`` there."""
        base, theirs, ours = {"in": base}, {"in": theirs}, {"in": ours}
        merged, _ = merge(base, theirs, ours)
        for key in base["in"].keys() | theirs["in"].keys() | ours["in"].keys():
            path = f"in.{key}"
            b, t, o = (value_at(state, path) for state in (base, theirs, ours))
            if same(t, b):
                assert same(value_at(merged, path), o)
            elif same(o, b):
                assert same(value_at(merged, path), t)

    @LAWS
    @given(states, states, states)
    def test_reports_a_conflict_only_where_both_sides_changed_the_same(self, base, theirs, ours):
        merged, conflicts = merge(base, theirs, ours)
        for path in conflicts:
            b, t, o = (value_at(state, path) for state in (base, theirs, ours))
            assert not same(t, b)
            assert not same(o, b)
            assert not same(t, o)
            assert same(value_at(merged, path), o)

    @LAWS
    @given(states, states, states)
    def test_makes_up_no_key(self, base, theirs, ours):
        merged, _ = merge(base, theirs, ours)
        assert merged.keys() <= theirs.keys() | ours.keys()

    @LAWS
    @given(st.lists(values, max_size=3), st.lists(values), st.lists(values))
    def test_keeps_what_both_sides_appended_to_a_list(self, base, theirs, ours):
        merged, conflicts = merge({"k": base}, {"k": base + theirs}, {"k": base + ours})
        assert same(merged, {"k": base + theirs + ours})
        assert conflicts == []

    @LAWS
    @given(st.lists(values, min_size=1, max_size=3), st.lists(values, min_size=1), st.booleans())
    def test_keeps_what_was_pushed_here_while_it_was_popped_there(self, base, new, emptied):
        popped = {"k": []} if emptied else {}
        pushed = {"k": base + new}
        assert same(merge({"k": base}, popped, pushed), ({"k": new}, []))
        assert same(merge({"k": base}, pushed, popped), ({"k": new}, []))

    @LAWS
    @given(st.sets(members), st.sets(members), st.sets(members), st.sampled_from([set, frozenset]))
    def test_adds_and_removes_in_a_set_what_either_side_did(self, base, theirs, ours, kind):
        merged, conflicts = merge({"k": kind(base)}, {"k": kind(theirs)}, {"k": kind(ours)})
        added, removed = (theirs - base) | (ours - base), (base - theirs) | (base - ours)
        assert same(merged, {"k": kind((base | added) - removed)})
        assert conflicts == []

    @LAWS
    @given(scalars, scalars, scalars)
    def test_takes_ours_and_reports_it_where_nothing_else_fits(self, base, theirs, ours):
        assume(not (same(base, theirs) or same(base, ours) or same(theirs, ours)))
        assert same(merge({"k": base}, {"k": theirs}, {"k": ours}), ({"k": ours}, ["k"]))

    @pytest.mark.soak
    @settings(max_examples=5000)
    @given(states, states, states)
    def test_keeps_its_laws_many_times(self, base, theirs, ours):
        for law in (
            TestMerging.test_keeps_every_key_that_only_one_side_changed,
            TestMerging.test_keeps_every_key_inside_that_only_one_side_changed,
            TestMerging.test_reports_a_conflict_only_where_both_sides_changed_the_same,
            TestMerging.test_changes_none_of_its_arguments,
        ):
            law.hypothesis.inner_test(self, base, theirs, ours)


class TestSame:
    @LAWS
    @given(values)
    def test_holds_between_a_value_and_its_copy(self, value):
        assert same(value, deepcopy(value))

    @LAWS
    @given(values)
    def test_holds_between_a_value_and_what_comes_back_from_the_storage(self, value):
        assert same(MsgpackSerializer().loads(written({"k": value}))["k"], value)

    @LAWS
    @example([0, 8], [8, 0])
    @given(st.lists(members), st.lists(members))
    def test_does_not_mind_in_which_order_nested_sets_were_filled(self, one, other):
        values = (
            [{frozenset(one)}, {(frozenset(one), 1)}],
            [{frozenset(other)}, {(frozenset(other), 1)}],
        )
        assert same(*values) is (set(one) == set(other))

    @LAWS
    @given(values, values)
    def test_says_what_the_stored_bytes_say(self, one, other):
        """But for the order of the keys of a dict, which is stored."""
        if written({"k": one}) == written({"k": other}):
            assert same(one, other)
        if not same(one, other):
            assert written({"k": one}) != written({"k": other})


# Attacks --------------------------------------------------------------------------------------

FUZZ = settings(max_examples=200)
bytes_of_a_header = st.text(st.characters(max_codepoint=255), max_size=300)


class SpySerializer:
    """A serializer that notes what it is asked to read."""

    name = "spy"
    canonical = True

    def __init__(self):
        self.read = []

    def dumps(self, state):
        return json.dumps(state, sort_keys=True).encode()

    def loads(self, data):
        self.read.append(data)
        return json.loads(data)


class Target:
    """An application under attack, and Alice, who has a session there."""

    def __init__(self, encrypt):
        self.spy = SpySerializer()
        self.app = App(plug=MemoryPlug(), serializer=self.spy, encrypt=encrypt, timeout="none")
        client = self.app.client()
        client.do(lambda session: session.update(who="alice"))
        self.cookie = client.cookie
        self.key = SessionKey(client.session_id, None)
        self.record = self.app.plug.loads(self.key, None)

    def send(self, header):
        """Return what a request with this ``Cookie`` header finds in its session."""
        response = self.app.client(HTTP_COOKIE=header).do(dict)
        assert response.status_int == 200
        return response.result

    def plant(self, record):
        """Put a record in the place of Alice's, and return what she then finds in her session."""
        self.app.plug.dumps(self.key, None, record)
        self.spy.read.clear()
        return self.send(f"session={self.cookie}")


@pytest.fixture(scope="module")
def target():
    return Target(encrypt="false")


@pytest.fixture(scope="module", params=["false", "true"], ids=["signed", "encrypted"])
def either_target(request):
    return Target(encrypt=request.param)


@st.composite
def damaged(draw, good):
    """Make something out of ``good`` (text) that is nearly the same."""
    kind = draw(st.sampled_from(["flip", "cut", "insert", "remove", "repeat", "swap", "case"]))
    at = draw(st.integers(0, len(good) - 1))
    if kind == "flip":
        return good[:at] + chr(ord(good[at]) ^ 1 << draw(st.integers(0, 7))) + good[at + 1 :]
    if kind == "cut":
        return good[:at]
    if kind == "insert":
        return good[:at] + draw(st.characters(max_codepoint=255)) + good[at:]
    if kind == "remove":
        return good[:at] + good[at + 1 :]
    if kind == "repeat":
        return good[:at] + good
    if kind == "swap":
        return good[at:] + good[:at]
    return good.upper()


def has_the_cookie(header, good):
    """Read RFC 6265 once more, in another way than the code does."""
    return any(
        re.fullmatch(f"[ \t]*session[ \t]*=[ \t]*{good}[ \t]*", piece)
        for piece in header.split(";")
    )


class TestTheCookieHeader:
    @FUZZ
    @given(bytes_of_a_header)
    def test_of_any_bytes_is_no_error_and_accepted_by_nobody(self, target, header):
        assert target.send(header) == {}

    @FUZZ
    @given(st.data())
    def test_with_damage_is_accepted_only_if_the_damage_is_beside_the_cookie(self, target, data):
        header = data.draw(damaged(f"session={target.cookie}"))
        let_in = target.send(header) == {"who": "alice"}
        assert let_in is has_the_cookie(header, target.cookie)

    @FUZZ
    @given(st.data())
    def test_with_a_damaged_value_is_accepted_by_nobody(self, target, data):
        value = data.draw(damaged(target.cookie))
        assume(not has_the_cookie(f"session={value}", target.cookie))
        assert target.send(f"session={value}") == {}

    @FUZZ
    @given(st.data())
    def test_put_together_from_pieces_is_accepted_only_with_a_whole_cookie(self, target, data):
        good = target.cookie
        pieces = ["session", "=", ";", ",", " ", "\t", '"', "\\", "\0", "\xa0", "a=b", "$Version=1"]
        pieces += [good, f"session={good}", good[:64], good[64:]]
        header = "".join(data.draw(st.lists(st.sampled_from(pieces), max_size=12)))
        let_in = target.send(header) == {"who": "alice"}
        assert let_in is has_the_cookie(header, good)

    @settings(max_examples=10)
    @given(bytes_of_a_header, st.integers(1, 2000))
    def test_of_great_length_is_no_error(self, target, text, times):
        assert target.send(text * times) == {}
        assert target.send("session=" + text * times) == {}

    @pytest.mark.soak
    @settings(max_examples=10_000)
    @given(st.data())
    def test_is_safe_many_times(self, target, data):
        header = data.draw(damaged(f"session={target.cookie}") | bytes_of_a_header)
        let_in = target.send(header) == {"who": "alice"}
        assert let_in is has_the_cookie(header, target.cookie)


class TestARecord:
    def check_refused(self, target, record):
        """Check that a request which finds this record gets an empty session and no error."""
        assert target.plant(record) == {}
        assert target.spy.read == []
        assert target.app.plug.loads(target.key, None) is None

    def test_that_is_good_is_read(self, either_target):
        """So that the tests below do not pass for another reason."""
        assert either_target.plant(either_target.record) == {"who": "alice"}
        assert len(either_target.spy.read) == 1

    @FUZZ
    @given(record=st.binary(max_size=200))
    def test_of_any_bytes_is_refused_unread(self, either_target, record):
        self.check_refused(either_target, record)

    @FUZZ
    @given(record=st.binary(max_size=200), cut=st.integers(1, 40))
    def test_that_begins_like_a_good_one_is_refused_unread(self, either_target, record, cut):
        forged = either_target.record[:cut] + record
        assume(forged != either_target.record)
        self.check_refused(either_target, forged)

    @FUZZ
    @given(data=st.data())
    def test_that_is_damaged_is_refused_unread(self, either_target, data):
        good = either_target.record.decode("latin-1")
        record = data.draw(damaged(good)).encode("latin-1", "replace")
        assume(record != either_target.record)
        self.check_refused(either_target, record)

    @settings(max_examples=5)
    @given(record=st.binary(min_size=1, max_size=20), times=st.integers(1, 200_000))
    def test_of_great_length_is_refused_unread(self, either_target, record, times):
        self.check_refused(either_target, either_target.record + record * times)

    @pytest.mark.soak
    @settings(max_examples=5000)
    @given(data=st.data())
    def test_is_safe_many_times(self, either_target, data):
        good = either_target.record.decode("latin-1")
        record = data.draw(damaged(good)).encode("latin-1", "replace")
        assume(record != either_target.record)
        self.check_refused(either_target, record)
