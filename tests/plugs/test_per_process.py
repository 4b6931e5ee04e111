import os
import threading

import pytest

from pyramid_pluggable_session.plugs.per_process import PerProcess


class Thing:
    def __init__(self):
        self.made_by = os.getpid()


def test_is_made_once_when_it_is_asked_for():
    made = []
    thing = PerProcess(lambda: made.append(Thing()) or made[-1])
    assert made == []
    together, found = threading.Barrier(8), []

    def ask():
        together.wait(30)
        found.append(thing())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert found == made * 8


def test_is_made_anew_after_a_fork(in_child):
    thing = PerProcess(Thing)
    parents = thing()

    def look():
        assert thing() is not parents
        assert thing().made_by == os.getpid()

    in_child(look)
    assert thing() is parents


def test_what_was_inherited_is_kept_aside_or_forgotten(in_child):
    ended, forgotten = [], []

    class Ending(Thing):
        def __del__(self):
            ended.append(os.getpid())

    kept, let_go = PerProcess(Ending), PerProcess(Thing, forgotten.append)
    kept()
    things = let_go()

    def look():
        kept()
        assert ended == [], "its end would be heard on the parent's connection"
        assert forgotten == [things]

    in_child(look)
    assert forgotten == []


def test_a_fork_while_it_is_being_made(in_child):
    making, go_on = threading.Event(), threading.Event()
    first = [True]

    def make():
        if first:
            first.clear()
            making.set()
            go_on.wait(60)
        return Thing()

    thing = PerProcess(make)
    thread = threading.Thread(target=thing)
    thread.start()
    assert making.wait(30)
    try:
        in_child(lambda: thing().made_by)  # hangs if the lock stays as it was
    finally:
        go_on.set()
        thread.join()


def test_is_made_again_after_a_failure_and_after_it_was_taken():
    errors = [OSError("not yet")]

    def make():
        if errors:
            raise errors.pop()
        return Thing()

    thing = PerProcess(make)
    assert thing.take() is None
    with pytest.raises(OSError, match="not yet"):
        thing()
    made = thing()
    assert thing.take() is made
    assert thing.take() is None
    assert thing() is not made
