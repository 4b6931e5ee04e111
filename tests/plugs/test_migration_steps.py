"""The migration plug, step by step: in every order of two processes' steps it is one storage.

Two processes of the kinds that may run side by side work on one session. Their operations must
look as if each had been done at one moment between its beginning and its end, whatever the order of
the steps that they consist of, and also when one of the processes is killed between two of them.
"""

from __future__ import annotations

import itertools
import random
from typing import Any, NamedTuple

import pytest
from interleaving import Schedule, SteppedPlug, every_choice, some_choices

from pyramid_pluggable_session.plugs.migration import MigrationPlug, places
from pyramid_pluggable_session.testing import session_key

KEY = session_key(3600)
FENCE = places._FENCE + b"R"
DEAD = places._ANNOUNCEMENT + b"of a killed process"


class Operation(NamedTuple):
    """An operation as a process saw it. ``end`` is infinite if it was killed on the way."""

    name: str
    arguments: tuple[Any, ...]
    result: Any
    begin: float
    end: float
    must_be_done: bool = True


class Plain:
    """A storage as processes see it that know this one only.

    To them an announcement is a damaged record. Where ids are used again, in the index of an
    owner's sessions, such a record is replaced as if there were none.
    """

    def __init__(self, plug):
        self.plug = plug
        self.clear = plug.clear
        self.dumps = plug.dumps

    def loads(self, session, request):
        found = self.plug.loads(session, request)
        return None if found is not None and found.startswith(places._ANNOUNCEMENT) else found

    def swap(self, session, request, expected, session_data):
        if expected is not None:
            return self.plug.swap(session, request, expected, session_data)
        found = None
        while not self.plug.swap(session, request, found, session_data):
            found = self.plug.loads(session, request)
            if found is not None and not found.startswith(places._ANNOUNCEMENT):
                return False
        return True


class World:
    """The two storages, and the processes with their views of them."""

    def __init__(self, old=None, new=None):
        self.a, self.b = SteppedPlug(), SteppedPlug()
        for plug, data in ((self.a, old), (self.b, new)):
            if data is not None:
                plug.dumps(KEY, None, data)
        self.moment = 0
        self.history = []

    def view(self, kind):
        """Return the storage as processes of this kind see it."""
        return {
            "plain old": lambda: Plain(self.a),
            "phase 1": lambda: MigrationPlug(None, self.a, self.b, "old"),
            "phase 2": lambda: MigrationPlug(None, self.a, self.b, "new"),
            "exchanged, phase 1": lambda: MigrationPlug(None, self.b, self.a, "old"),
            "exchanged, phase 2": lambda: MigrationPlug(None, self.b, self.a, "new"),
            "plain new": lambda: Plain(self.b),
        }[kind]()

    def do(self, plug, name, *arguments):
        """Do an operation and note it."""
        begin, place = self._tick(), len(self.history)
        self.history.append(Operation(name, arguments, None, begin, float("inf")))
        if name == "promote":
            plug.promote(KEY)
            result = None
        else:
            result = getattr(plug, name)(KEY, None, *arguments)
        self.history[place] = Operation(name, arguments, result, begin, self._tick())
        return result

    def _tick(self):
        self.moment += 1
        return self.moment

    def run(self, works, choose, kills):
        schedule = Schedule(works, choose, kills)
        self.a.schedule = self.b.schedule = schedule
        schedule.run()
        self.a.schedule = self.b.schedule = None


def explained(history, state):
    """Tell whether the operations may have been done in some order, each at one moment."""
    seen = set()

    def explain(left, state):
        if not left:
            return True
        if (left, state) in seen:
            return False
        seen.add((left, state))
        first_end = min(history[n].end for n in left)
        for n in left:
            each = history[n]
            if each.begin > first_end:
                continue  # another one had ended before it began
            killed = each.end == float("inf")
            if (killed or not each.must_be_done) and explain(left - {n}, state):
                return True
            result, after = apply(each, state)
            if (killed or result == each.result) and explain(left - {n}, after):
                return True
        return False

    return explain(frozenset(range(len(history))), state)


def with_more_ends(history):
    """Let each end count up to three times.

    What begins under the same id at that very moment may end with it. No id is used again like
    that.
    """
    again = [each._replace(must_be_done=False) for each in history if each.name == "clear"]
    return history + again + again


def apply(operation, state):
    """Return the result of an operation on a storage, and what is stored then."""
    match operation.name, operation.arguments:
        case "loads", ():
            return state, state
        case "dumps", (data,):
            return None, data
        case "clear", ():
            return None, None
        case "swap", (expected, data):
            return (True, data) if state == expected else (False, state)
        case "promote", ():
            return None, state


# What a process does. It knows the record R where there is one.
WORKS = {
    "read": lambda do: do("loads"),
    "change": lambda do: do("swap", b"R", b"A"),
    "change twice": lambda do: do("swap", b"R", b"A") and do("swap", b"A", b"AA"),
    "change what it reads": lambda do: change_what_it_reads(do),
    "store": lambda do: do("dumps", b"D"),
    "end": lambda do: do("clear"),
    "begin": lambda do: do("swap", None, b"N"),
    "end and begin": lambda do: (do("clear"), do("swap", None, b"N")),
    "promote": lambda do: do("promote"),
}


def change_what_it_reads(do):
    if (found := do("loads")) is not None:
        do("swap", found, found + b"+")


# Kinds that may run side by side, and what they may find: what is stored in the old storage, in the
# new one, and what that means.
NOTHING_NEW = [(b"R", None, b"R"), (None, None, None)]
MOVING = [
    (FENCE, None, b"R"),
    (FENCE, DEAD, b"R"),
    (FENCE, b"R", b"R"),
    (None, b"R", b"R"),
    (b"R", DEAD, b"R"),
    (DEAD, None, None),
    (None, DEAD, None),
]
MOVING_BACK = [(new, old, meaning) for old, new, meaning in MOVING]
MIXES = {
    ("plain old", "phase 1"): NOTHING_NEW,
    ("phase 1", "phase 1"): NOTHING_NEW + MOVING,
    ("phase 1", "phase 2"): NOTHING_NEW + MOVING,
    ("phase 2", "phase 2"): NOTHING_NEW + MOVING,
    ("phase 2", "plain new"): [(None, b"R", b"R"), (None, None, None)],
    # Back.
    ("phase 1", "exchanged, phase 2"): NOTHING_NEW + MOVING + MOVING_BACK,
    ("phase 2", "exchanged, phase 1"): NOTHING_NEW + MOVING + MOVING_BACK,
}


def possible(kind, work):
    return work != "promote" or kind.endswith("phase 2")


def scenarios():
    for (one, two), states in MIXES.items():
        for state in states:
            for first, second in itertools.product(WORKS, WORKS):
                if possible(one, first) and possible(two, second):
                    yield (one, two), state, (first, second)


def play(kinds, state, works, choose, kills):
    """Let the processes do their works, then look at what there is, and check all of it."""
    old, new, meaning = state
    world = World(old, new)

    def process(kind, work):
        plug = world.view(kind)
        return lambda: WORKS[work](lambda *what: world.do(plug, *what))

    world.run([process(*each) for each in zip(kinds, works, strict=True)], choose, kills)
    for kind in dict.fromkeys(kinds):
        world.do(world.view(kind), "loads")
    assert explained(with_more_ends(world.history), meaning), (
        kinds,
        state,
        works,
        kills,
        world.history,
    )
    settle(world, kinds)


def settle(world, kinds):
    """Move everything to where the processes move it: then that storage alone has the session."""
    (mover,) = {kind for kind in kinds if kind.endswith("phase 2")} or {None}
    if mover is None:
        return
    plug = world.view(mover)
    found = plug.loads(KEY, None)
    plug.promote(KEY)
    assert plug.remaining() == 0 or plug.old.loads(KEY, None).startswith(places._ANNOUNCEMENT)
    assert plug.promote(KEY) is False
    alone = plug.new.loads(KEY, None)
    assert alone == found or (found is None and alone.startswith(places._ANNOUNCEMENT))
    if found is not None:
        plug.swap(KEY, None, found, b"goes on")
        plug.clear(KEY, None)
    assert plug.loads(KEY, None) is None


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(places.time, "sleep", lambda seconds: None)
    numbers = itertools.count()
    monkeypatch.setattr(places.secrets, "token_bytes", lambda size: b"%d" % next(numbers))


@pytest.mark.parametrize("kinds", MIXES, ids=" + ".join)
def test_every_order_of_two(kinds, request):
    """Some scenarios in up to 100 orders; with ``--long``, all of them in up to 5000."""
    long = request.config.getoption("--long")
    mine = [each for each in scenarios() if each[0] == kinds]
    if not long:
        mine = random.Random(str(kinds)).sample(mine, 12)
    for _, state, works in mine:
        for choose in every_choice(5000 if long else 100):
            play(kinds, state, works, choose, {})


@pytest.mark.parametrize("kinds", MIXES, ids=" + ".join)
def test_one_is_killed(kinds, request):
    """At some step of some scenario in some order; with ``--long``, at many."""
    times = 100_000 if request.config.getoption("--long") else 500
    mine = [each for each in scenarios() if each[0] == kinds]
    dice = random.Random(str(kinds))
    for choose in some_choices(str(kinds), times):
        _, state, works = dice.choice(mine)
        play(kinds, state, works, choose, {dice.randrange(2): dice.randrange(8)})


@pytest.mark.parametrize("kinds", MIXES, ids=" + ".join)
def test_four_at_once(kinds, request):
    times = 50_000 if request.config.getoption("--long") else 250
    dice = random.Random(str(kinds))
    for choose in some_choices(str(kinds), times):
        four = [dice.choice(kinds) for _ in range(4)]
        works = [dice.choice([work for work in WORKS if possible(kind, work)]) for kind in four]
        kills = {n: dice.randrange(10) for n in range(4) if dice.random() < 0.2}
        play(four, dice.choice(MIXES[kinds]), works, choose, kills)
