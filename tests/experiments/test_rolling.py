"""Rolling deployment: processes of the old and the new configuration on one storage.

Whatever a load balancer gives the requests of a client to, nobody is logged out, and no change is
lost. A change of the configuration may take several steps, of which two at a time run side by side.
"""

from __future__ import annotations

import itertools
import random

import pytest
from served import EMBEDDED, on

from apps import App
from pyramid_pluggable_session.events import SessionRejected
from pyramid_pluggable_session.testing import FakeClock

OLD, NEW = "old-secret-" * 5, "new-secret-" * 5
TIMEOUT = 1200
REISSUE = TIMEOUT / 10
FRESH = 5.0  # seconds for which the front of a chain may show what has been, its default

STEPS = {
    # In the order of the README.
    "the secret": [
        {"secret": OLD},
        {"secret": f"{OLD}\n{NEW}"},
        {"secret": f"{NEW}\n{OLD}"},
        {"secret": NEW},
    ],
    "the serializer": [{"serializer": name} for name in ("msgpack", "json", "msgpack")],
    "encryption": [{"encrypt": value} for value in ("false", "true", "false")],
    "the timeout": [{"timeout": TIMEOUT}, {"timeout": TIMEOUT / 2}, {"timeout": 2 * TIMEOUT}],
}

EVERY_STORAGE = pytest.mark.parametrize("storage", EMBEDDED)


class Visitor:
    """A browser, and what its session has been since when."""

    def __init__(self, app, number, now):
        client = app.client()
        client.do(lambda session: session.update(who=number, log=[]))
        self.cookie = client.cookie
        self.states = [(now, {"who": number, "log": []})]

    def visit(self, experiment, app, now, change, stale=0.0):
        """Make a request; what it finds may be ``stale`` seconds old."""
        client = app.client(self.cookie)

        def view(session):
            found = {key: list(v) if key == "log" else v for key, v in session.items()}
            if change is not None:
                session.setdefault("log", []).append(change)
            return found

        found = client.do(view).result
        self.cookie = client.cookie
        old = [state for since, state in self.states[:-1] if since >= now - stale]
        # The one before those is what it was when they began.
        before = [state for since, state in self.states if since < now - stale][-1:]
        current = self.states[-1][1]
        experiment.lost += found != current and (not stale or found not in [*before, *old])
        if change is not None:
            experiment.acknowledged += 1
            self.states.append((now, {**current, "log": [*current["log"], change]}))


@pytest.fixture
def clock():
    with FakeClock() as clock:
        yield clock


@pytest.fixture
def make_app(storage, tmp_path):
    """Return a function from settings to an application on the storage."""

    def make(**options):
        arguments = on(storage, tmp_path)
        return App(**{**arguments, **options, "settings": arguments["settings"]})

    return make


@EVERY_STORAGE
@pytest.mark.parametrize("what", STEPS)
@pytest.mark.experiment("rolling deployment")
def test_rolling(experiment, clock, storage, make_app, what):
    experiment.storage = f"{storage}, changing {what}"
    stale = FRESH if storage == "chain" else 0.0
    for run in experiment.repeat(short=1, long=20):
        apps = [make_app(**options) for options in STEPS[what]]
        visitors = [Visitor(apps[0], number, clock.now) for number in range(4)]
        for pair in itertools.pairwise(apps):
            roll(experiment, clock, pair, visitors, random.Random(run), stale)
            # The old one is gone, and whoever has a session comes back or loses it.
            clock.advance(REISSUE)
            for visitor in visitors:
                visitor.visit(experiment, pair[1], clock.now, None)
        experiment.forged += sum(rejected(app) for app in apps)


@pytest.mark.parametrize("storage", [name for name in EMBEDDED if name != "chain"])
@pytest.mark.experiment("rolling deployment")
def test_a_chain_is_put_in_front(experiment, clock, storage, tmp_path, make_app):
    experiment.storage = f"{storage}, put behind a chain and back"
    members = {"pluggable_session.chain.plugs": f"memory\n{on(storage, tmp_path)['plug']}"}
    for run in experiment.repeat(short=1, long=20):
        alone, chain, again = make_app(), App(plug="chain", settings=members), make_app()
        visitors = [Visitor(alone, number, clock.now) for number in range(4)]
        for pair in (alone, chain), (chain, again):
            roll(experiment, clock, pair, visitors, random.Random(run), FRESH)
            clock.advance(REISSUE)
            for visitor in visitors:
                visitor.visit(experiment, pair[1], clock.now, None)
        experiment.forged += sum(rejected(app) for app in (alone, chain, again))


def roll(experiment, clock, apps, visitors, dice, stale):
    """Let the visitors' requests go to either application at random."""
    for number in range(60):
        clock.advance(dice.uniform(0, 2 * FRESH))
        change = number if dice.random() < 0.5 else None
        dice.choice(visitors).visit(experiment, dice.choice(apps), clock.now, change, stale)


@EVERY_STORAGE
@pytest.mark.experiment("a deployment that is rolled back")
@pytest.mark.parametrize("what", ["hashalg", "storage"])
def test_a_deployment_that_logs_everybody_out_is_rolled_back(
    experiment, clock, storage, tmp_path, make_app, what
):
    """These log out whoever comes, but what they find is still there when they are taken back."""
    experiment.storage = f"{storage}, changed {what}"
    members = f"{on(storage, tmp_path)['plug']}\nsqlite:///{tmp_path}/new.db"
    if storage == "chain":
        members = f"memory\nsqlite:///{tmp_path}/new.db"
    for _ in experiment.repeat(short=1, long=20):
        old = make_app()
        visitors = [Visitor(old, number, clock.now) for number in range(4)]
        experiment.acknowledged += len(visitors)
        if what == "hashalg":
            new = make_app(hashalg="sha512")
        else:
            new = App(plug="chain", settings={"pluggable_session.chain.plugs": members})
        for visitor in visitors:
            assert new.client(visitor.cookie).data() == {}
            clock.advance(1)
            visitor.visit(experiment, old, clock.now, None)


def rejected(app):
    """Return how many cookies and records were refused."""
    return sum(isinstance(event, SessionRejected) for event in app.events)
