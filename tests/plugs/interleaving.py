"""Every order in which the steps of a few processes may come, each of which may be killed."""

from __future__ import annotations

import itertools
import random
import threading

from pyramid_pluggable_session.plugs.memory import MemoryPlug

MOST_STEPS = 60
"""Steps after which processes that get in each other's way all the time go one after the other."""


class Killed(BaseException):
    """A process ends here."""


class Schedule:
    """Lets one process at a time do one step: which one, ``choose`` says.

    ``kills`` has the number of a process, and before which of its steps it is killed.
    """

    def __init__(self, works, choose, kills=None):
        self._works = works
        self._choose = choose
        self._kills = kills or {}
        # Locks that are taken, and given to whose turn it is.
        self._turn = [threading.Lock() for _ in works]
        for each in self._turn:
            each.acquire()
        self._number = threading.local()
        self._alive = list(range(len(works)))
        self._taken = [0] * len(works)
        self._steps = 0
        self._errors = []

    def run(self):
        """Return when every process has done its work or was killed."""
        threads = [threading.Thread(target=self._work, args=(n,)) for n in self._alive]
        for thread in threads:
            thread.start()
        self._turn[self._next()].release()
        for thread in threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def step(self):
        """Wait for this process's next turn."""
        mine = self._number.value
        if (number := self._next()) != mine:
            self._turn[number].release()
            self._turn[mine].acquire()
        if self._taken[mine] == self._kills.get(mine):
            raise Killed
        self._taken[mine] += 1
        self._steps += 1

    def _next(self):
        if len(self._alive) == 1 or self._steps >= MOST_STEPS:
            return self._alive[0]
        return self._alive[self._choose(len(self._alive))]

    def _work(self, number):
        self._number.value = number
        self._turn[number].acquire()
        try:
            self._works[number]()
        except Killed:
            pass
        except BaseException as error:
            self._errors.append(error)
        finally:
            self._alive.remove(number)
            if self._alive:
                self._turn[self._next()].release()


class SteppedPlug(MemoryPlug):
    """A memory plug each of whose operations is a step."""

    schedule = None

    def _step(self):
        if self.schedule is not None:
            self.schedule.step()

    def loads(self, session, request):
        self._step()
        return super().loads(session, request)

    def dumps(self, session, request, session_data):
        self._step()
        super().dumps(session, request, session_data)

    def clear(self, session, request):
        self._step()
        super().clear(session, request)

    def swap(self, session, request, expected, session_data):
        self._step()
        return super().swap(session, request, expected, session_data)


def every_choice(at_most=None):
    """Yield functions that choose, one for each order; a run must use it up before the next."""
    path = []  # [chosen, of how many]
    for _ in itertools.count() if at_most is None else range(at_most):
        position = 0

        def choose(count):
            nonlocal position
            if position == len(path):
                path.append([0, count])
            chosen, known = path[position]
            assert known == count, "the run is not determined by the choices"
            position += 1
            return chosen

        yield choose
        del path[position:]
        while path and path[-1][0] + 1 == path[-1][1]:
            path.pop()
        if not path:
            return
        path[-1][0] += 1


def some_choices(seed, times):
    """Yield functions that choose at random."""
    dice = random.Random(seed)
    for _ in range(times):
        yield dice.randrange
