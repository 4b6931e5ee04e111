"""Fixtures for pytest: ``pytest_plugins = ["pyramid_pluggable_session.testing.fixtures"]``.

They need pytest and WebTest, which this package does not bring.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .app import FakeClock, log_in, open_session


@pytest.fixture
def session_clock() -> Iterator[FakeClock]:
    """Give a clock that stands still until ``session_clock.advance(seconds)``."""
    with FakeClock() as clock:
        yield clock


@pytest.fixture
def logged_in() -> Callable[..., Any]:
    """Give a function that starts a WebTest application: ``logged_in(app, "ada", cart=["tea"])``.

    ``app`` is a WSGI application of Pyramid's. Without a user id nobody is logged in, and the
    session has the data all the same.
    """
    from webtest import TestApp  # noqa: PLC0415 (not for those who want the clock alone)

    def start(app: Any, userid: Any = None, **data: Any) -> Any:
        testapp = TestApp(app)
        if userid is not None:
            log_in(testapp, userid, **data)
        elif data:
            with open_session(testapp) as session:
                session.update(data)
        return testapp

    return start
