import logging
import threading
import time

import pytest

from pyramid_pluggable_session.plugs import housekeeping
from pyramid_pluggable_session.plugs.housekeeping import Housekeeping
from timing import PATIENCE, wait_for, wait_for_purges


@pytest.fixture
def due(monkeypatch):
    """Return a function that makes a housekeeping whose run is due."""

    def make(interval=1000.0):
        keeper = Housekeeping(interval)
        keeper._due = time.monotonic() - 1
        return keeper

    yield make
    wait_for_purges()


def test_runs_in_a_thread_that_the_end_of_the_process_waits_for(due):
    threads = []
    due().after_write(lambda until: threads.append(threading.current_thread()))
    wait_for_purges()
    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()
    assert not threads[0].daemon


def test_a_run_is_told_when_to_stop(due):
    ends, now = [], time.monotonic()
    due().after_write(ends.append)
    wait_for_purges()
    assert now < ends[0] <= time.monotonic() + housekeeping.RUN_SECONDS
    assert housekeeping.RUN_SECONDS <= 1


def test_once_in_an_interval(due):
    runs, keeper = [], due(1000.0)
    for _ in range(20):
        keeper.after_write(runs.append)
        wait_for_purges()
    assert len(runs) == 1
    assert 700 < keeper._due - time.monotonic() < 1300


def test_not_before_it_is_due():
    runs, keeper = [], Housekeeping(1000.0)
    keeper._due = time.monotonic() + 100
    keeper.after_write(runs.append)
    wait_for_purges()
    assert runs == []


def test_processes_started_together_are_due_at_different_moments():
    moments = [Housekeeping(1000.0)._due - time.monotonic() for _ in range(100)]
    assert min(moments) < 200
    assert max(moments) > 800


@pytest.mark.parametrize("interval", [0, 0.0, None])
def test_never(due, interval):
    runs = []
    due(interval).after_write(runs.append)
    wait_for_purges()
    assert runs == []


def test_one_at_a_time(due):
    keeper, release, runs = due(0.0001), threading.Event(), []

    def purge(until):
        runs.append(until)
        release.wait(2 * PATIENCE)

    for _ in range(5):
        keeper.after_write(purge)
        time.sleep(0.002)
    wait_for(lambda: runs)
    assert len(runs) == 1
    release.set()
    wait_for_purges()
    time.sleep(0.002)
    keeper.after_write(purge)
    wait_for_purges()
    assert len(runs) == 2


def test_errors_are_logged_without_what_they_say(due, caplog):
    def purge(until):
        raise OSError("/sessions/" + "ab" * 32)

    keeper = due(0.0001)
    with caplog.at_level(logging.WARNING, "pyramid_pluggable_session"):
        keeper.after_write(purge)
        wait_for_purges()
    assert "OSError" in caplog.text
    assert "ab" * 32 not in caplog.text
    runs = []
    time.sleep(0.002)
    keeper.after_write(runs.append)
    wait_for_purges()
    assert runs, "a failed run must not be the last"


def test_no_thread_to_be_had(due, monkeypatch, caplog):
    def start(self):
        raise RuntimeError("can't start new thread")

    keeper, runs = due(0.0001), []
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        keeper.after_write(runs.append)
    assert "no thread" in caplog.text
    time.sleep(0.002)
    keeper.after_write(runs.append)
    wait_for_purges()
    assert len(runs) == 1


def test_fork_during_a_run(due, in_child):
    keeper, release = due(), threading.Event()
    keeper.after_write(lambda until: release.wait(2 * PATIENCE))

    def run_in_child():
        runs = []
        keeper._due = time.monotonic() - 1
        keeper.after_write(runs.append)
        wait_for_purges()
        return len(runs)

    try:
        assert in_child(run_in_child) == 1
    finally:
        release.set()


def test_forked_children_are_due_at_different_moments(in_child):
    keeper = Housekeeping(1000.0)
    assert len({in_child(lambda: keeper._due) for _ in range(4)}) == 4
