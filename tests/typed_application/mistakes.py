"""Mistakes that a type checker finds: each ``ignore`` that finds none is an error of its own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from pyramid_pluggable_session import (
    OwnedSession,
    PluggableSessionFactory,
    Session,
    SessionAuthenticationHelper,
    SessionTooLarge,
    TooManySessions,
    UnserializableValue,
    end_other_sessions,
    end_session,
    owned_sessions,
)
from pyramid_pluggable_session.events import SessionClosed, SessionEnded, SessionMoved
from pyramid_pluggable_session.interfaces import Plug, ScanPlug, SwapPlug
from pyramid_pluggable_session.settings import Option, one_of, text
from pyramid_pluggable_session.testing import FakeClock, open_session, session_key


def with_the_session(session: Session) -> None:
    session[1] = "keys are text"  # type: ignore[index]
    session.timeout = timedelta(days=30)  # type: ignore[assignment]
    session.persistent = "yes"  # type: ignore[assignment]
    session.expires_at = 0.0  # type: ignore[misc]
    session.new = False  # type: ignore[misc]
    session.sessionid  # type: ignore[attr-defined]  # noqa: B018
    session.save()  # type: ignore[attr-defined]
    session.flash("Added.", allow_duplicates=False)  # type: ignore[call-arg]


def with_what_is_in_it(session: Session) -> None:
    days_left: float = session.expires_at  # type: ignore[assignment]
    owner: str = session.owner  # type: ignore[assignment]
    token: bytes = session.get_csrf_token()  # type: ignore[assignment]
    print(days_left, owner, token)
    number: int = next(iter(session.keys()))  # type: ignore[assignment]
    key: str = next(iter(session.items()))  # type: ignore[assignment]
    print(number, key)
    for operation in session.operations:
        print(operation.milliseconds)  # type: ignore[attr-defined]


def with_owners(request: Any) -> OwnedSession:
    end_session(request, "ada")  # type: ignore[call-arg]
    end_other_sessions(request, "ada")  # type: ignore[call-arg]
    for device in owned_sessions(request, "ada"):
        print(device.user_agent.lower())  # type: ignore[union-attr]
        device.handle = "another"  # type: ignore[misc]
    return owned_sessions(request, "ada")  # type: ignore[return-value]


def with_events(ended: SessionEnded, moved: SessionMoved, closed: SessionClosed) -> None:
    print(ended.reason == "timeout")  # type: ignore[comparison-overlap]
    print(moved.reason)  # type: ignore[attr-defined]
    print(closed.operations[0].size + closed.plug)  # type: ignore[operator]


def with_errors(error: TooManySessions, large: SessionTooLarge, bad: UnserializableValue) -> None:
    print(error.limit)  # type: ignore[attr-defined]
    print("too large by " + (large.size - large.limit))  # type: ignore[operator]
    print(".".join(bad.path[0:1], bad.keys))  # type: ignore[attr-defined, call-arg]


def with_setting_up() -> None:
    PluggableSessionFactory()  # type: ignore[call-arg]
    PluggableSessionFactory("a secret", timeout=[1200])  # type: ignore[arg-type]
    PluggableSessionFactory("a secret", max_age=timedelta(days=30))  # type: ignore[arg-type]
    PluggableSessionFactory("a secret", same_site="Lax")  # type: ignore[call-arg]
    SessionAuthenticationHelper().remember("ada")  # type: ignore[call-arg]
    Option("size", int)  # type: ignore[call-arg]
    Option("size", "int", 1, "How many.")  # type: ignore[arg-type]
    one_of(["ours", "fail"])  # type: ignore[arg-type]
    length: int = text("3")  # type: ignore[assignment]
    print(length)


def with_tests(testapp: Any) -> None:
    with open_session(testapp) as session:
        session.user = "ada"  # type: ignore[attr-defined]
    with FakeClock() as clock:
        clock.advance("a minute")  # type: ignore[arg-type]
    session_key().session_id = "another"  # type: ignore[misc]


class TextPlug:
    def loads(self, session: Any, request: Any) -> str:
        return ""

    def dumps(self, session: Any, request: Any, session_data: bytes) -> None: ...

    def clear(self, session: Any, request: Any) -> None: ...

    def scan(self) -> Iterator[str]:
        yield ""


plug: Plug = TextPlug()  # type: ignore[assignment]
swap: SwapPlug = TextPlug()  # type: ignore[assignment]
scan: ScanPlug = TextPlug()  # type: ignore[assignment]
