"""A site moves to another storage while it is used: nobody is logged out, and nothing is lost."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import os
import pathlib
import random
import secrets
import subprocess
import sys
import threading
import time
from typing import Any, NamedTuple

import pytest
from load import Demo, Report, Shopper
from pyramid.config import Configurator
from pyramid.interfaces import ISessionFactory
from served import SECRET

from pyramid_pluggable_session import clock
from pyramid_pluggable_session.interfaces import IPlugSession
from pyramid_pluggable_session.keys import SessionKey, new_session_id
from pyramid_pluggable_session.record import Meta
from pyramid_pluggable_session.storage import Storage
from pyramid_pluggable_session.store import GRACE, Draft, Stored

pytestmark = pytest.mark.slow

HERE = pathlib.Path(__file__).resolve().parent
SHOPPERS = 4
TIMEOUT = 7200  # seconds; no session may expire on the way
EXPIRY = 1.0  # seconds by which a storage may be late with one
SHORT, LONG = 300, 100_000  # sessions that nobody uses while they are moved
AT_EACH_STEP = 0.5, 3.0  # seconds
ENOUGH = 20  # changes that were acknowledged at each step


class Site:
    """The processes that serve the demo, one of which after the other is given other settings."""

    def __init__(self, folder, stack):
        self.settings = {
            "pluggable_session.secret": SECRET,
            "pluggable_session.timeout": str(TIMEOUT),
            "demo.slow_seconds": "0.05",
            "data": str(folder / "data"),
        }
        self.demos = [Demo(folder / name, self.settings) for name in ("one", "two")]
        for demo in self.demos:
            stack.callback(demo.stop)

    def deploy(self, plug, **migration):
        """Let each process use another storage, while the others still use the one before."""
        further = {f"pluggable_session.migration.{name}": each for name, each in migration.items()}
        for demo in self.demos:
            demo.stop()
            demo.settings = {**self.settings, **further, "plug": plug}
            demo.start()


class Shopping:
    """Shoppers who go on all the time."""

    def __init__(self, site, report):
        self.report = report
        self.shoppers = [Shopper(f"number {i}", site.demos, report) for i in range(SHOPPERS)]
        self._over = threading.Event()
        self._broken = []
        self._threads = [
            threading.Thread(target=self._shop, args=(shopper,)) for shopper in self.shoppers
        ]

    def _shop(self, shopper):
        try:
            shopper.shop(lambda: not self._over.is_set())
        except BaseException as error:
            self._broken.append(error)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception):
        self._over.set()
        for thread in self._threads:
            thread.join()
        try:
            if not self._broken and exception[0] is None:
                for shopper in self.shoppers:
                    shopper.leave()
        finally:
            for shopper in self.shoppers:
                shopper.close()
        if self._broken:
            raise self._broken[0]

    def go_on(self, seconds):
        """Return when they have shopped for so long, and enough."""
        enough = self.report.acknowledged + ENOUGH
        until, limit = time.monotonic() + seconds, time.monotonic() + 120
        while time.monotonic() < until or self.report.acknowledged < enough:
            assert not self._broken
            assert time.monotonic() < limit, "hardly anything is done"
            time.sleep(0.05)


class Sleeper(NamedTuple):
    """A session that nobody uses."""

    number: int
    expires_at: float


class View:
    """The sessions as an application with these settings has them."""

    def __init__(self, plug, **migration):
        further = {f"pluggable_session.migration.{name}": each for name, each in migration.items()}
        settings = {
            "pluggable_session.secret": SECRET,
            "pluggable_session.timeout": str(TIMEOUT),
            "pluggable_session.plug": plug,
            **further,
        }
        with Configurator(settings=settings) as config:
            config.include("pyramid_pluggable_session")
        self.plug: Any = config.registry.getUtility(IPlugSession)
        self.store = config.registry.getUtility(ISessionFactory).store_for(self.storage)

    @property
    def storage(self):
        return Storage(self.plug, None)

    def fill(self, count):
        """Make sessions; return them by id."""
        sleepers = {}
        for number in range(count):
            now = clock.now() - random.uniform(0, TIMEOUT / 4)
            draft = Draft(new_session_id(), {"number": number}, Meta(now, now))
            self.store.create(self.storage, draft)
            sleepers[draft.session_id] = Sleeper(number, now + TIMEOUT + GRACE)
        return sleepers

    def check(self, sleepers):
        """Return how many of these sessions are not here as they were."""
        expiries = {key.session_id: key.expires_at for key in self.storage.scan()}
        wrong = 0
        for session_id, sleeper in sleepers.items():
            stored = self.store.load(self.storage, session_id)
            late = expiries.get(session_id, 0.0) - sleeper.expires_at
            wrong += not (
                isinstance(stored, Stored)
                and stored.state() == {"number": sleeper.number}
                and abs(late) < EXPIRY
            )
        return wrong

    def clear(self, session_ids):
        for session_id in session_ids:
            self.storage.clear(SessionKey(session_id, None))


def psessions_copy(folder, old, new):
    """Let psessions move what nobody uses; return how many sessions that were."""
    ini = folder / "migration.ini"
    ini.write_text("[app:main]\nuse = call:served:make_app\n")
    settings = {
        "pluggable_session.timeout": str(TIMEOUT),
        "pluggable_session.plug": "migration",
        "pluggable_session.migration.old": old,
        "pluggable_session.migration.new": new,
    }
    path = os.pathsep.join([str(HERE), *filter(None, sys.path)])
    given = {"SERVED_SETTINGS": json.dumps(settings), "PYTHONPATH": path}
    program = "import sys; from pyramid_pluggable_session.scripts.psessions import main; "
    done = subprocess.run(
        [sys.executable, "-c", program + "sys.exit(main())", str(ini), "copy", "--json"],
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["finished"]
    return result["moved"]


@pytest.mark.experiment("a site moves to another storage under load")
def test_migration(experiment, tmp_path, running, missing, capsys):
    for module in ("waitress", "pyramid_jinja2"):
        if importlib.util.find_spec(module) is None:
            missing(f"{module} is not installed")
    # The servers are those of other tests as well, and what these left is not to be found.
    own = secrets.token_hex(4)
    path = [f"sqlite:///{tmp_path}/sessions.db", f"{running('valkey').url}?prefix={own}:"]
    if experiment.long:
        path.append(f"{running('postgresql').url}?table=moved_{own}")
    experiment.storage = "sqlite, valkey" + (", postgresql" if experiment.long else "")
    seconds = AT_EACH_STEP[experiment.long]
    report = Report()
    with contextlib.ExitStack() as stack:
        site = Site(tmp_path, stack)
        site.deploy(path[0])
        sleepers = View(path[0]).fill(LONG if experiment.long else SHORT)
        shopping = stack.enter_context(Shopping(site, report))
        shopping.go_on(seconds)
        for old, new in itertools.pairwise(path):
            site.deploy("migration", old=old, new=new, write="old")
            shopping.go_on(seconds)
            site.deploy("migration", old=old, new=new, write="new")
            began = time.monotonic()
            moved = psessions_copy(tmp_path, old, new)
            took = time.monotonic() - began
            assert View("migration", old=old, new=new).plug.remaining() == 0
            shopping.go_on(seconds)
            site.deploy(new)
            shopping.go_on(seconds)
            with capsys.disabled():
                if experiment.long:
                    print(f"\n{moved:,} sessions moved in {took:.0f} s")
            assert moved >= len(sleepers)
    experiment.runs = report.actions.total() + len(sleepers)
    experiment.acknowledged = report.acknowledged
    experiment.errors = report.errors
    experiment.slowest = report.slowest
    last = View(path[-1])
    experiment.lost = report.count("lost", "stale") + last.check(sleepers)
    experiment.resurrected = report.count("resurrected")
    experiment.forged = report.count("crossed")
    last.clear(sleepers)  # the servers are shared with other tests
    assert not report.findings, "\n".join(map(": ".join, report.findings[:20]))
