"""Sites, processes and browsers, all of them ended after the test."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from attacked import Browser, Process, Site

from apps import CountingPlug


@pytest.fixture
def closing():
    """Return a stack of what is closed when the test ends."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def serve(closing):
    """Return a function that serves an application in a thread, with settings as keywords."""
    return lambda plug="memory", **settings: closing.enter_context(Site(plug, **settings))


@pytest.fixture
def start(closing):
    """Return a function that starts an application as a process of its own."""
    return lambda *settings, **options: closing.enter_context(Process(*settings, **options))


@pytest.fixture
def plug():
    """Return the storage of ``site``, which counts what is done to it."""
    return CountingPlug()


@pytest.fixture
def site(serve, plug):
    """Return a site that is being served."""
    return serve(plug)


@pytest.fixture
def alice(site, plug):
    """Return a browser that is logged in."""
    browser = Browser(site.port)
    browser.post("/login?user=alice")
    plug.taken()
    return browser


@pytest.fixture
def mallory(site, plug):
    """Return the browser of an attacker, who is logged in, too."""
    browser = Browser(site.port)
    browser.post("/login?user=mallory")
    plug.taken()
    return browser
