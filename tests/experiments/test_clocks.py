"""Clocks that are wrong: nobody is logged out for it, and no session lives for ever.

What is promised, with clocks that differ by ``SKEW`` seconds between the servers that a client
comes to, all times being true ones:

* A session lives for at least ``TIMEOUT - SKEW`` seconds after it was renewed: by a change, or by
  reading once that was ``REISSUE`` seconds ago, give or take ``SKEW``.
* It ends at most ``TIMEOUT + SKEW`` seconds after the last request.
* It ends at most ``LIFETIME + SKEW`` seconds after it began, however much it is used.
* Another server, which the client does not come to, may be ahead by up to ``GRACE`` seconds, and
  does not shorten that when it purges.
* While the clock of a server is ahead, sessions look ended to it. When it is right again, they are
  there again, unless the storage was purged meanwhile.
* What was ended by the application stays so.
"""

from __future__ import annotations

import random
import time

import pytest
from served import EMBEDDED, on

from apps import App
from pyramid_pluggable_session.events import SessionRejected
from pyramid_pluggable_session.interfaces import IPlugSession
from pyramid_pluggable_session.store import GRACE
from pyramid_pluggable_session.testing import FakeClock
from timing import wait_for_purges

TIMEOUT, LIFETIME = 1200, 7200
REISSUE = TIMEOUT / 10
MINUTE, DAY = 60, 24 * 3600
MARGIN = 1

EVERY_STORAGE = pytest.mark.parametrize("storage", EMBEDDED)


class Server:
    """An application on a machine whose clock is wrong: ``with server:`` one is there."""

    def __init__(self, true_time, offset, options):
        self._true_time = true_time
        self.offset = offset
        with self:
            self.app = App(**options, timeout=TIMEOUT, lifetime=LIFETIME)
            self.plug = self.app.registry.getUtility(IPlugSession)

    def __enter__(self):
        self._true_time.advance(self.offset)

    def __exit__(self, *exception):
        self._true_time.advance(-self.offset)

    def read(self, cookie):
        with self:
            return self.app.client(cookie).data()

    def write(self, cookie, **values):
        """Change the session; return what was in it, and the cookie for the next request."""
        with self:
            client = self.app.client(cookie)
            before = client.do(lambda session: (dict(session), session.update(values))[0]).result
            return before, client.cookie

    def end(self, cookie):
        with self:
            self.app.client(cookie).do(lambda session: session.invalidate())

    def purge(self):
        with self:
            self.plug.purge()

    def rejected(self):
        return sum(isinstance(event, SessionRejected) for event in self.app.events)


@pytest.fixture
def true_time():
    with FakeClock() as clock:
        yield clock


@pytest.fixture
def server(true_time, storage, tmp_path):
    """Return a function that makes a server on the storage, its clock wrong by so many seconds."""

    def make(offset=0, **options):
        return Server(true_time, offset, on(storage, tmp_path, **options))

    return make


class Visitor:
    """A browser, and what is known of its session.

    With a ``home``, it comes to the same server each time, and the other one's clock is no excuse.
    """

    def __init__(self, home):
        self.home = home
        self.skew = 0 if home else MINUTE
        self.cookie, self.data = None, {}
        self.begun = 0.0
        self.since = 0.0  # when it was renewed; without a home, the last request, which is later

    def lives_for(self):
        """Return for how long the session lives after ``since``: at least and at most."""
        least = TIMEOUT if self.home else TIMEOUT - REISSUE - 2 * self.skew
        return least, TIMEOUT + self.skew

    def requested(self, now, writes):
        if writes or self.home is None or now - self.since >= REISSUE:
            self.since = now


@EVERY_STORAGE
@pytest.mark.experiment("two servers, a minute apart")
def test_two_servers(experiment, true_time, server):
    right, ahead, behind = server(), server(MINUTE), server(-MINUTE)
    for run in experiment.repeat(short=5, long=100):
        dice = random.Random(run)
        servers = dice.choice([(right, ahead), (right, behind)])
        # Whoever they come to, it is the server that is ahead which purges.
        visitors = [Visitor(home) for home in (*servers, None)]
        ended = []
        visitor = visitors[0]
        for _ in range(60):
            # Longer than the front of a chain keeps its copies; often until just before the end.
            true_time.advance(dice.uniform(*dice.choice(((6, 600), (1120, 1220)))))
            visitor = dice.choice((visitor, *visitors))
            at = visitor.home or dice.choice(servers)
            if dice.random() < 0.5:
                max(servers, key=lambda each: each.offset).purge()
            if ended and dice.random() < 0.2:
                experiment.resurrected += at.read(dice.choice(ended)) != {}
            visit(experiment, at, visitor, dice.random() < 0.5, true_time.now, ended)
    experiment.forged += right.rejected() + ahead.rejected() + behind.rejected()


def visit(experiment, at, visitor, writes, now, ended):
    """Make a request, and hold what it finds against what is known."""
    before, number = visitor.cookie, visitor.data.get("number", 0) + 1
    if writes:
        found, visitor.cookie = at.write(before, number=number)
        experiment.acknowledged += 1
    else:
        found = at.read(before)
    idle, age = now - visitor.since, now - visitor.begun
    least, most = visitor.lives_for()
    if found:
        experiment.forged += found != visitor.data
        experiment.resurrected += idle > most + MARGIN or age > LIFETIME + visitor.skew + MARGIN
    elif visitor.data:
        experiment.lost += idle < least - MARGIN and age < LIFETIME - visitor.skew - MARGIN
        ended.append(before)
        visitor.data = {}
    if not writes and not found:
        visitor.cookie = None
    if writes:
        if not visitor.data:
            visitor.begun = now
        visitor.data = {**visitor.data, "number": number}
    visitor.requested(now, writes)


@EVERY_STORAGE
@pytest.mark.experiment("the clock jumps by a day for a minute")
@pytest.mark.parametrize("jump", [DAY, -DAY], ids=["ahead", "back"])
def test_a_jump(experiment, true_time, server, jump):
    experiment.storage += ", ahead" if jump > 0 else ", back"
    at = server()
    for run in experiment.repeat(short=3, long=100):
        dice = random.Random(run)
        begin = [at.write(None, number=i)[1] for i in range(4)]
        untouched, read, changed, left = begin
        experiment.acknowledged += len(begin)
        at.end(left)
        true_time.advance(dice.uniform(0, TIMEOUT / 2))

        at.offset = jump
        true_time.advance(dice.uniform(0, MINUTE))
        began = true_time.now
        _, begun = at.write(None, number=4)
        seen = at.read(read), at.write(changed, also=True)[0]
        # By a clock that is ahead, nobody has used them for a day.
        assert seen == (({}, {}) if jump > 0 else ({"number": 1}, {"number": 2}))
        if jump < 0:
            at.purge()
        experiment.acknowledged += 2
        at.offset = 0

        true_time.advance(dice.uniform(6, MINUTE))
        experiment.lost += at.read(untouched) != {"number": 0}
        experiment.lost += at.read(read) != {"number": 1}
        experiment.resurrected += at.read(left) != {}
        if jump > 0:
            experiment.lost += at.read(changed) != {"number": 2} or at.read(begun) != {"number": 4}

        # A session of the future lives longer by the jump, and no longer than that.
        future = max(jump, 0)
        use = ("not at all", "only read", "changed again and again")[run % 3]
        if use == "changed again and again":
            while true_time.now < began + future + LIFETIME:
                at.write(begun, used=True)
                true_time.advance(0.8 * TIMEOUT)
        else:
            for _ in range(5 if use == "only read" else 0):
                at.read(begun)
                true_time.advance(0.8 * TIMEOUT)
            true_time.advance(future + TIMEOUT)
        for cookie in (*begin, begun):
            experiment.resurrected += at.read(cookie) != {}
        true_time.advance(TIMEOUT + GRACE)
        at.purge()
        with at:
            assert list(at.plug.scan()) == [], "something is kept for ever"
    experiment.forged += at.rejected()


class TestAMistakeThatIsSetRight:
    """A clock is wrong by a day, and then right again."""

    pytestmark = pytest.mark.parametrize("storage", ["sqlite"])

    def test_a_purge_while_the_clock_is_ahead_spares_the_sessions(self, true_time, server):
        at = server(purge_interval=0.001)
        _, cookie = at.write(None, number=1)
        at.offset = DAY
        time.sleep(0.005)
        with at:
            at.app.client().do(lambda session: session.update(number=2))
            wait_for_purges()
        at.offset = 0
        assert at.read(cookie) == {"number": 1}

    def test_a_logout_while_the_clock_is_ahead_ends_the_session(self, true_time, server):
        at = server()
        _, cookie = at.write(None, number=1)
        at.offset = DAY
        at.end(cookie)
        at.offset = 0
        assert at.read(cookie) == {}

    def test_a_change_while_the_clock_is_back_logs_nobody_out(self, true_time, server):
        at = server()
        _, cookie = at.write(None, number=1)
        at.offset = -DAY
        at.write(cookie, also=True)
        at.offset = 0
        assert at.read(cookie) == {"number": 1, "also": True}
