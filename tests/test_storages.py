"""The same application on every storage: what it gets, and what it costs."""

from __future__ import annotations

import pytest

from apps import App
from pyramid_pluggable_session.interfaces import IPlugSession
from storages import ON_DISK, ON_SERVERS
from timing import patient


@pytest.fixture(params=[*ON_DISK, *ON_SERVERS])
def app(request, url_of):
    spec = url_of(request.param)
    app = App(plug=patient(spec) if request.param in ON_SERVERS else spec)
    yield app
    getattr(app.registry.getUtility(IPlugSession), "close", lambda: None)()


def counted(client, action=lambda session: None):
    """Run the action in a request and return the names of the operations that it took."""
    sessions = []

    def view(request):
        sessions.append(request.session)
        action(request.session)
        return {}

    client.request(view)
    return [operation.name for operation in sessions[0].operations]


def test_each_request_does_the_least_that_it_can(app):
    client = app.client()
    assert counted(client) == []
    assert counted(client, dict) == []
    assert counted(client, lambda session: session.update(cart=["tea"])) == ["swap"]
    assert counted(client) == []
    assert counted(client, lambda session: session["cart"]) == ["loads"]
    assert counted(client, lambda session: session["cart"].append("cup")) == ["loads", "swap"]
    garbage = app.client(cookie=client.cookie[:-1] + ("0" if client.cookie[-1] != "0" else "1"))
    assert counted(garbage, dict) == []
    assert counted(client, lambda session: session.invalidate()) == ["loads", "clear"]


def test_a_login_and_a_logout(app):
    client = app.client()
    client.do(lambda session: session.update(cart={"tea": 1}))
    anonymous = client.cookie

    def login(session):
        session.regenerate_id()
        session["user"] = "ada"

    client.do(login)
    assert client.data() == {"cart": {"tea": 1}, "user": "ada"}
    assert app.client(anonymous).data() == {}, "the old id is of no use"
    captured = client.cookie
    client.do(lambda session: session.invalidate())
    assert client.data() == {}
    assert app.client(captured).data() == {}


def test_what_comes_back_is_what_was_put_in(app):
    data = {"text": "Größe \0", "bytes": bytes(range(256)), "nested": [{"a": (1, 2.5, None)}]}
    client = app.client()
    client.do(lambda session: session.update(data))
    assert client.data() == data
    client.do(lambda session: session.update(large="x" * 300_000))
    assert client.data() == {**data, "large": "x" * 300_000}
