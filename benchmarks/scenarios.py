"""The scenarios: how each is prepared, and what answer is right."""

from __future__ import annotations

import itertools

from .applications import Visitor, ask
from .timing import Slot


class WrongAnswerError(Exception):
    """A contestant did not do what the scenario asks for."""


class Contestant:
    """An application with sessions, and the same one without.

    A ``client_side`` one keeps all in the cookie: it cannot hold much, and cannot end a session
    that somebody has a copy of.
    """

    sessions = 50  # of each size; a batch has at most as many requests, each on one of its own

    def __init__(self, with_session, without, *, client_side=False):
        self.with_session, self.without = with_session, without
        self.client_side = client_side
        self.name = None
        self._pools = {}

    def visitor(self, large=False):
        """Return a visitor with a new session."""
        visitor = Visitor()
        answer = ask(self.with_session, "new_large" if large else "new", visitor)
        _check("a new session", answer, "new")
        if not visitor.cookies:
            raise WrongAnswerError("a new session has no cookie that a browser takes")
        return visitor

    def visitors(self, purpose, large, count):
        """Return the next visitors of those who have a session for a purpose.

        Those whose sessions are read are no others' whose are changed, and all were here before.
        """
        if (purpose, large) not in self._pools:
            everybody = [self.visitor(large) for _ in range(self.sessions)]
            for visitor in everybody:
                ask(self.with_session, "read", visitor)
            self._pools[purpose, large] = itertools.cycle(everybody)
        return list(itertools.islice(self._pools[purpose, large], min(count, self.sessions)))

    def garbage_cookies(self):
        """Return the cookies of somebody who has made one up."""
        return dict.fromkeys(self.visitors("garbage", False, 1)[0].cookies, "garbage")


def verify(contestant, scenario):
    """Return None, or what is wrong with a contestant's answers in a scenario."""
    try:
        _CHECKS[scenario.removesuffix(" 20 KB")](contestant, scenario.endswith("20 KB"))
    except Exception as error:
        if contestant.client_side and scenario.endswith("20 KB"):
            return "too large"
        said = str(error) if isinstance(error, WrongAnswerError) else repr(error)
        return said.splitlines()[0][:200]
    return None


def _check(what, answer, body):
    if answer.status != 200 or answer.body != body:
        shown = answer.body if len(answer.body) < 60 else answer.body[:57] + "..."
        raise WrongAnswerError(f"{what}: {shown!r} with status {answer.status}, not {body!r}")


def _check_untouched(contestant, large):
    visitor = contestant.visitor(large)
    _check("untouched", ask(contestant.with_session, "untouched", visitor), "untouched")
    _check("then", ask(contestant.with_session, "read", visitor), "0")


def _check_read(contestant, large):
    visitors = [contestant.visitor(large) for _ in range(2)]
    for visitor in visitors * 2:
        _check("read", ask(contestant.with_session, "read", visitor), "0")
        _check("all that was stored", ask(contestant.with_session, "whole", visitor), "whole")


def _check_change(contestant, large):
    one, other = contestant.visitor(large), contestant.visitor(large)
    for count in ("1", "2"):
        _check("change", ask(contestant.with_session, "change", one), count)
    _check("read after changes", ask(contestant.with_session, "read", one), "2")
    _check("all that was stored", ask(contestant.with_session, "whole", one), "whole")
    _check("read of somebody else", ask(contestant.with_session, "read", other), "0")


def _check_new(contestant, large):
    visitors = [contestant.visitor(large) for _ in range(2)]
    if not contestant.client_side and visitors[0].cookies == visitors[1].cookies:
        raise WrongAnswerError("two visitors have the same session")
    for visitor in visitors:
        _check("read of a new session", ask(contestant.with_session, "read", visitor), "0")


def _check_garbage(contestant, large):
    answer = ask(contestant.with_session, "garbage", cookies=contestant.garbage_cookies())
    _check("garbage", answer, "None")


def _check_logout(contestant, large):
    visitor = contestant.visitor(large)
    stolen = dict(visitor.cookies)
    _check("logout", ask(contestant.with_session, "logout", visitor), "logout")
    _check("after logout", ask(contestant.with_session, "garbage", visitor), "None")
    if not contestant.client_side:
        answer = ask(contestant.with_session, "garbage", cookies=stolen)
        _check("the old cookie after logout", answer, "None")


_CHECKS = {
    "untouched": _check_untouched,
    "read": _check_read,
    "change": _check_change,
    "new": _check_new,
    "garbage": _check_garbage,
    "logout": _check_logout,
}


def slot(contestant, scenario):
    """Return what ``timing.interleave`` needs to time a contestant in a scenario."""
    path, large = scenario.removesuffix(" 20 KB"), scenario.endswith("20 KB")
    visitors, cookies = [], []  # of the batch

    def batch(count):
        if path in ("new", "garbage"):
            visitors[:] = [Visitor() for _ in range(count)]
        elif path == "logout":
            visitors[:] = [contestant.visitor(large) for _ in range(count)]
        else:
            visitors[:] = contestant.visitors(path, large, count)
        made_up = path == "garbage" and contestant.garbage_cookies()
        cookies[:] = [made_up or visitor.cookies for visitor in visitors]
        return prepared(contestant.with_session)

    def prepared(application):
        requests = [application.request(path, each) for each in cookies]
        application.before()
        return lambda: application.run(requests)

    def finish(came):
        answers = contestant.with_session.answers(came)
        for visitor, answer in zip(visitors, answers, strict=True):
            visitor.counter += path == "change"
            counter = path in ("read", "change")
            right = str(visitor.counter) if counter else "None" if path == "garbage" else path
            _check(scenario, answer, right)
            visitor.take(answer.set_cookies)
            if path == "new" and not visitor.cookies:
                raise WrongAnswerError("a new session has no cookie")

    # The same requests, with cookies that a framework may look at or not.
    return Slot(contestant, scenario, batch, lambda _: prepared(contestant.without), finish)
