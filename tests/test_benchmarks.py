"""The benchmark runs, and does not take a wrong answer for a fast one."""

import gc
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def benchmarks_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    yield
    gc.unfreeze()


def test_the_memory_group_is_measured():
    # The floor and the peers take part where what they need is installed.
    from benchmarks import report, requests_part
    from benchmarks.workload import SCENARIOS

    core = min(os.sched_getaffinity(0))
    found = requests_part.child("requests", "memory", core, seconds_per_slot=0, rounds=1)
    assert "absent" not in found, found["absent"]
    assert found["kinds"]["memory"] == "ours"
    wrong = [each for each in found["wrong"] if each[0] == "memory"]
    assert not wrong
    measured = {scenario for who, scenario, *_ in found["costs"] if who == "memory"}
    assert measured == set(SCENARIOS)
    text = report.requests({"groups": {"memory": found}})
    assert "| **memory** |" in text
    for who, why in found["missing"].items():
        assert f"Left out: {who}: {why}." in text


def test_a_group_without_its_server_is_named():
    from benchmarks import report

    text = report.requests({"groups": {"redis": {"absent": "valkey is not installed"}}})
    assert "### redis\n\nLeft out: valkey is not installed." in text


def contestant(session_class=dict, **options):
    """Return one whose sessions are kept in this process, each by the class given."""
    from benchmarks.applications import WsgiApplication
    from benchmarks.scenarios import Contestant
    from benchmarks.workload import views_ending_by

    sessions = {}
    views = views_ending_by(lambda session: session.clear())

    def application(environ, start_response):
        key = environ.get("HTTP_COOKIE", "").removeprefix("id=")
        session = sessions.get(key)
        headers = []
        if session is None:
            session = session_class()
        body = views[environ["PATH_INFO"][1:]](session)
        if session and key not in sessions:
            sessions[str(len(sessions))] = session
            headers.append(("Set-Cookie", f"id={len(sessions) - 1}; Path=/"))
        start_response("200 OK", headers)
        return [body.encode()]

    def without(environ, start_response):
        start_response("200 OK", [])
        return [b"untouched"]

    made = Contestant(WsgiApplication(application), WsgiApplication(without), **options)
    made.name = "one"
    return made


def test_right_answers_are_right():
    from benchmarks import scenarios, timing
    from benchmarks.workload import SCENARIOS

    one = contestant()
    assert [scenarios.verify(one, each) for each in SCENARIOS] == [None] * len(SCENARIOS)
    slots = [scenarios.slot(one, each) for each in SCENARIOS]
    assert set(timing.interleave(slots, 2, 3)) == set(slots)


class Forgetful(dict):
    """Forgets what is changed later."""

    def __setitem__(self, key, value):
        pass


class Immortal(dict):
    def clear(self):
        pass


class Lossy(dict):
    def update(self, other):
        super().update({**other, "roles": []})


@pytest.mark.parametrize(
    ("session_class", "scenario", "reason"),
    [
        (Forgetful, "change", "change: '0' with status 200, not '1'"),
        (Forgetful, "change 20 KB", "change: '0' with status 200, not '1'"),
        (Immortal, "logout", "after logout: '0' with status 200, not 'None'"),
        (Lossy, "read", "all that was stored: "),
    ],
)
def test_a_wrong_answer_disqualifies(session_class, scenario, reason):
    from benchmarks import scenarios

    assert scenarios.verify(contestant(session_class), scenario).startswith(reason)


def test_an_answer_that_turns_wrong_while_it_is_timed_disqualifies():
    from benchmarks import scenarios, timing

    slot = scenarios.slot(contestant(Forgetful), "change")
    assert timing.interleave([slot], 2, 3) == {}
    assert slot.failure.startswith("WrongAnswerError: change: '0'")


def test_what_a_cookie_cannot_hold_is_too_large():
    from benchmarks import scenarios

    assert scenarios.verify(contestant(Lossy, client_side=True), "read 20 KB") == "too large"
