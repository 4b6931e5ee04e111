"""The reference's examples run, and what its prose says is so."""

import json

import pytest
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError

from apps import SECRET, App, UnreliablePlug
from pyramid_pluggable_session import PlugUnavailable
from pyramid_pluggable_session.events import SessionEnded
from pyramid_pluggable_session.plugs.sqlite import SqlitePlug
from snippets import DOCS, run_python


def test_the_session_with_its_type():
    visit = run_python(DOCS / "api.md", "api_page").visit
    client = App().client()
    assert [client.do(lambda s: visit(s.request)).result["visits"] for _ in range(2)] == [1, 2]


def test_the_subscriber(capsys):
    page = run_python(DOCS / "api-events.md", "api_events_page")
    client = App(configure=page.includeme).client()
    handle = client.do(lambda session: session.update(a=1) or session.handle).result
    client.do(lambda session: session.invalidate())
    assert capsys.readouterr().out == f"the session {handle} ended: invalidated\n"


def test_what_a_subscriber_raises_is_raised_in_the_request():
    def fail(event):
        raise RuntimeError("not noted")

    client = App(configure=lambda config: config.add_subscriber(fail, SessionEnded)).client()
    client.do(lambda session: session.update(a=1))
    with pytest.raises(RuntimeError, match="not noted"):
        client.do(lambda session: session.invalidate())


def test_an_outage_is_raised_at_the_first_look():
    app = App(plug=UnreliablePlug())
    client = app.client()
    client.do(lambda session: session.update(a=1))
    app.plug.error = ConnectionError("down")

    def look(session):
        with pytest.raises(PlugUnavailable):
            session.get("a")
        return "looked"

    assert client.do(look).result == "looked"


@pytest.mark.parametrize("second", [True, False])
def test_tweens_by_hand(second):
    tweens = [
        "pyramid_pluggable_session.tweens.outage_tween_factory",
        "pyramid.tweens.excview_tween_factory",
        "pyramid_pluggable_session.tweens.refusal_tween_factory",
    ]
    settings = {
        "pluggable_session.secret": SECRET,
        "pluggable_session.plug": "sqlite:///sessions.db",
        "pluggable_session.sqlit.durable": "true",
        "pyramid.tweens": "\n".join(tweens if second else tweens[1:]),
    }
    with Configurator(settings=settings) as config:
        config.include("pyramid_pluggable_session")
    if second:
        with pytest.raises(ConfigurationError, match=r"Did you mean pluggable_session\.sqlite"):
            config.make_wsgi_app()
    else:
        config.make_wsgi_app()


def test_a_plug_that_is_called_with_its_options(tmp_path):
    plug = SqlitePlug(None, path=str(tmp_path / "sessions.db"))
    client = App(plug=plug).client()
    client.do(lambda session: session.update(a=1))
    assert client.data() == {"a": 1}
    plug.close()


class JsonInCapitals:
    """All that a serializer needs."""

    def dumps(self, state):
        return json.dumps(state).upper().encode()

    def loads(self, data):
        return json.loads(data)


@pytest.mark.parametrize("serializer", [JsonInCapitals, f"{__name__}.JsonInCapitals"], ids=str)
def test_a_serializer_of_ones_own(serializer):
    app = App(serializer=serializer)
    client = app.client()
    client.do(lambda session: session.update(a="tea"))
    assert client.data() == {"A": "TEA"}
    (session_id,) = app.plug.ids()
    assert f"{__name__}.JsonInCapitals".encode() in app.plug._records[session_id][0]
