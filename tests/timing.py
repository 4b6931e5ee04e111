"""How tests wait and measure, so that a machine that is slow or busy fails none of them."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from urllib.parse import urlencode

import pytest

PATIENCE = 30.0
"""Seconds to wait for what comes at once on an idle machine."""

PATIENT = {"connect_timeout": PATIENCE, "timeout": PATIENCE}
"""Options of a plug whose server may be slow to answer, where that is not what is tested."""


def patient(url):
    """Return the URL of a server for a plug with these options."""
    return f"{url}{'&' if '?' in url else '?'}{urlencode(PATIENT)}"


def wait_for(condition, patience=PATIENCE, despite=()):
    """Wait until the condition holds. Errors of the classes ``despite`` count as not yet."""
    until = time.monotonic() + patience
    while True:
        try:
            if condition():
                return
        except despite:
            pass
        assert time.monotonic() < until, "it does not come true"
        time.sleep(0.02)


@contextlib.contextmanager
def within(seconds, at_least=0.0):
    """Check how long something takes. Where ``seconds`` are few, see ``again_if_slow``."""
    began = time.monotonic()
    yield
    assert at_least <= time.monotonic() - began < seconds


def again_if_slow(seconds, times=5):
    """Let a test be done again that fails and takes so many seconds, too many to tell anything.

    For what must be quick, or be seen before something expires. What is wrong fails each time.
    """

    def decorate(test):
        @functools.wraps(test)
        def run(*args, **kwargs):
            for _ in range(times - 1):
                began = time.monotonic()
                try:
                    return test(*args, **kwargs)
                except (Exception, pytest.fail.Exception):
                    if time.monotonic() - began < seconds:
                        raise
            return test(*args, **kwargs)

        return run

    return decorate


def wait_for_purges():
    """Wait until no purge is under way in a thread."""
    for thread in threading.enumerate():
        if thread.name == "pluggable_session-purge":
            thread.join(PATIENCE)
            assert not thread.is_alive()
