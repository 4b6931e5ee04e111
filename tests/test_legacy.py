"""An application, its ini file and a plug as they were written for 0.0.0a2."""

from __future__ import annotations

import pytest
from pyramid.config import Configurator
from webtest import TestApp

from apps import PlainPlug
from pyramid_pluggable_session import PluggableSessionFactory
from pyramid_pluggable_session.interfaces import IPlugSession

INI = {
    "pluggable_session.secret": "some secret",
    "pluggable_session.cookie_name": "sid",
    "pluggable_session.max_age": "3600",
    "pluggable_session.path": "/",
    "pluggable_session.domain": "",
    "pluggable_session.secure": "false",
    "pluggable_session.httponly": "true",
    "pluggable_session.set_on_exception": "true",
    "pluggable_session.timeout": "1200",
    "pluggable_session.reissue_time": "0",
    "pluggable_session.hashalg": "sha512",
    "pluggable_session.salt": "pyramid_pluggable_session.",
}


def hello(request):
    session = request.session
    session["count"] = session.get("count", 0) + 1
    if "old" not in session:
        session["old"] = []
    session["old"].append("x")
    session.changed()
    return {"count": session["count"], "old": len(session["old"]), "new": session.new}


def main(global_config, **settings):
    config = Configurator(settings=settings)
    config.include("pyramid_pluggable_session")
    config.add_route("hello", "/")
    config.add_view(hello, route_name="hello", renderer="json")
    return config.make_wsgi_app()


def storage(name, tmp_path):
    path = tmp_path / "sessions"
    path.mkdir(exist_ok=True)
    return {
        "memory": {"plug": "pyramid_pluggable_session.memory.MemorySessionPlug"},
        "file": {
            "plug": "pyramid_pluggable_session.file.FileSessionPlug",
            "file.path": str(path),
        },
        "chain": {
            "plug": "pyramid_pluggable_session.chain.ChainSessionPlug",
            "chain.plugs": "\n    pyramid_pluggable_session.memory.MemorySessionPlug"
            "\n    pyramid_pluggable_session.file.FileSessionPlug",
            "file.path": str(path),
        },
    }[name]


def settings(name, tmp_path):
    return INI | {f"pluggable_session.{k}": v for k, v in storage(name, tmp_path).items()}


@pytest.mark.parametrize("name", ["memory", "file", "chain"])
def test_it_runs_unchanged(name, tmp_path):
    app = TestApp(main({}, **settings(name, tmp_path)))
    assert app.get("/").json == {"count": 1, "old": 1, "new": True}
    assert app.get("/").json == {"count": 2, "old": 2, "new": False}
    assert list(app.cookies) == ["sid"]


@pytest.mark.parametrize("name", ["file", "chain"])
def test_sessions_survive_a_restart(name, tmp_path):
    app = TestApp(main({}, **settings(name, tmp_path)))
    app.get("/")
    again = TestApp(main({}, **settings(name, tmp_path)), cookiejar=app.cookiejar)
    assert again.get("/").json["count"] == 2


def test_a_plug_set_by_the_directive(tmp_path):
    config = Configurator(settings=settings("file", tmp_path) | {})
    del config.registry.settings["pluggable_session.plug"]
    config.include("pyramid_pluggable_session")
    config.set_session_plug("pyramid_pluggable_session.file.FileSessionPlug")
    config.add_route("hello", "/")
    config.add_view(hello, route_name="hello", renderer="json")
    app = TestApp(config.make_wsgi_app())
    assert [app.get("/").json["count"] for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize("name", ["memory", "file", "chain"])
def test_a_plug_set_by_including_its_module(name, tmp_path):
    config = Configurator(settings=settings(name, tmp_path))
    config.set_session_factory(
        PluggableSessionFactory(
            "some secret", cookie_name="sid", timeout=1200, reissue_time=0, domain=None
        )
    )
    config.include(f"pyramid_pluggable_session.{name}")
    config.add_route("hello", "/")
    config.add_view(hello, route_name="hello", renderer="json")
    app = TestApp(config.make_wsgi_app())
    assert [app.get("/").json["count"] for _ in range(3)] == [1, 2, 3]


class TextPlug(PlainPlug):
    """A plug that keeps text, as those of 0.0.0a2 were given."""

    def dumps(self, session, request, session_data):
        self.data[session._session_id] = session_data.decode("latin-1")


class GarblingPlug(PlainPlug):
    """A plug that keeps something that the record was not."""

    def loads(self, session, request):
        return "\N{SNOWMAN}" if session._session_id in self.data else None


@pytest.mark.parametrize("plug", [PlainPlug, TextPlug])
def test_a_plug_of_three_methods(plug):
    settings = INI | {"pluggable_session.plug": f"test_legacy.{plug.__name__}"}
    if plug is PlainPlug:
        settings["pluggable_session.plug"] = "apps.PlainPlug"
    # A plug of that kind reads its settings itself, whatever they are called.
    settings["pluggable_session.mine.colour"] = "red"
    wsgi = main({}, **settings)
    app = TestApp(wsgi)
    assert [app.get("/").json["count"] for _ in range(3)] == [1, 2, 3]
    assert len(wsgi.registry.getUtility(IPlugSession).data) == 1


def test_text_that_was_no_record_begins_a_new_session():
    app = TestApp(main({}, **INI, **{"pluggable_session.plug": "test_legacy.GarblingPlug"}))
    assert [app.get("/").json["count"] for _ in range(2)] == [1, 1]
