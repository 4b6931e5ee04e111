"""The application does what its types say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from typed_shop import main
from typed_shop.shelf import ShelfPlug
from webtest import TestApp

from pyramid_pluggable_session.interfaces import IPlugSession, PurgePlug, ScanPlug, SwapPlug
from pyramid_pluggable_session.testing import (
    FakeClock,
    PlugContract,
    assert_logged_in,
    assert_no_session,
    log_in,
    open_session,
    session_key,
    session_of,
)

Start = Callable[..., Any]


class TestShelfPlug(PlugContract):
    shared_between_processes = False
    survives_restart = False

    @pytest.fixture
    def make_plug(self) -> Callable[[], ShelfPlug]:
        plug = ShelfPlug(None, room=None)
        return lambda: plug


@pytest.fixture
def start() -> Start:
    settings = {
        "pluggable_session.secret": "a secret for tests, of more than 32 bytes",
        "pluggable_session.plug": "typed_shop.shelf.ShelfPlug",
        "pluggable_session.device_details": "user_agent",
        "pluggable_session.max_sessions": "2",
        "pluggable_session.on_max_sessions": "refuse",
    }
    app = main({}, **settings)

    def client(browser: str = "Lynx") -> Any:
        return TestApp(app, extra_environ={"HTTP_USER_AGENT": browser})

    return client


def test_the_cart(start: Start) -> None:
    client = start()
    assert client.get("/cart?add=tea").json == {"items": ["tea"], "messages": ["Added."]}
    with open_session(client) as session:
        session["items"].append("cup")
    assert client.get("/cart").json == {"items": ["tea", "cup"], "messages": []}
    assert session_of(client) == {"items": ["tea", "cup"]}


def test_the_devices(start: Start) -> None:
    laptop, phone, third = start("Lynx"), start("w3m"), start("Dillo")
    for each in (laptop, phone):
        each.get("/login?user=ada")
    assert "error" in third.get("/login?user=ada", status=403).json
    found = {each["browser"]: each for each in laptop.get("/devices").json}
    assert found["Lynx"]["current"]
    assert not found["w3m"]["current"]
    assert laptop.get("/end", {"device": found["w3m"]["handle"]}).json == {"ended": 1}
    assert_no_session(phone)
    log_in(phone, "ada", items=["cup"])
    assert laptop.get("/end").json == {"ended": 1}
    assert_logged_in(laptop, "ada")
    assert laptop.app.registry.ended == {"owner": 2}


def test_to_stay(start: Start) -> None:
    with FakeClock() as clock:
        client = start()
        client.get("/login?user=ada&stay=1")
        clock.advance(29 * 24 * 3600)
        assert_logged_in(client, "ada")
        assert client.get("/logout").json == {"new": True}
        assert_no_session(client)


def test_the_notes(start: Start) -> None:
    client = start()
    client.get("/cart?add=tea")
    handle = client.get("/login?user=ada").json["handle"]
    created, moved = client.app.registry.notes
    assert created.endswith(" created")
    assert moved == f"{created.split()[0]} is now {handle}"


def test_an_outage(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    client = start()
    client.get("/cart?add=tea")

    def fail(*args: object) -> None:
        raise MemoryError

    monkeypatch.setattr(client.app.registry.getUtility(IPlugSession), "loads", fail)
    assert client.get("/cart", status=503).json == {"error": "Come back soon: MemoryError"}


def test_the_plug_is_what_its_type_says() -> None:
    plug = ShelfPlug(None, room=1)
    swap: SwapPlug = plug
    scan: ScanPlug = plug
    purge: PurgePlug = plug
    first, second = session_key(), session_key(expires_in=-1)
    assert swap.swap(first, None, None, b"record")
    assert [key.session_id for key in scan.scan()] == [first.session_id]
    plug.dumps(second, None, b"record")
    assert purge.purge() == 1
