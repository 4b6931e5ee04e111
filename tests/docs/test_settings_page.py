"""What docs/settings.md says works as it says. Its tables are looked at by tests/test_docs.py."""

from __future__ import annotations

import contextlib
import pathlib
import re
import sys
import types
from datetime import timedelta

import plaster
import pytest
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError, ConfigurationExecutionError
from pyramid.interfaces import ISessionFactory
from pyramid.registry import Registry

from apps import SECRET, App
from pyramid_pluggable_session import PluggableSessionFactory
from pyramid_pluggable_session.config import INI_OPTIONS
from pyramid_pluggable_session.interfaces import IPlugSession
from pyramid_pluggable_session.options import weaknesses
from pyramid_pluggable_session.plugs.memory import MemoryPlug
from pyramid_pluggable_session.testing import FakeClock

TEXT = (pathlib.Path(__file__).resolve().parents[2] / "docs" / "settings.md").read_text()


def blocks(language):
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", TEXT)


def made(settings):
    with Configurator(settings=settings) as config:
        config.include("pyramid_pluggable_session")
        return config.make_wsgi_app().registry


def test_30_minutes_without_use_and_8_hours_in_all(tmp_path):
    given = next(text for text in blocks("ini") if "lifetime" in text)
    settings = from_ini(given, tmp_path)
    app = App(
        MemoryPlug(),
        **{name: settings[f"pluggable_session.{name}"] for name in ("timeout", "lifetime")},
    )
    with FakeClock() as clock:
        client = app.client()
        client.do(lambda session: session.update(a=1))
        clock.advance(1801)
        assert client.data() == {}
        client.do(dict)
        clock.advance(1000)
        client.do(lambda session: session.update(a=1))
        for _ in range(16):
            clock.advance(1799)
            # A login gives it another id, and no more time.
            client.do(lambda session: session.regenerate_id())
        assert client.data() == {"a": 1}
        clock.advance(8 * 3600 - 16 * 1799)
        assert client.data() == {}


@contextlib.contextmanager
def closing(registry):
    plug = registry.getUtility(IPlugSession)
    yield plug
    plug.close()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Return the code of the page, as one module."""
    found = types.ModuleType("settings_page")
    monkeypatch.setitem(sys.modules, "settings_page", found)
    exec("\n".join(blocks("python")).replace("/var/lib/app", str(tmp_path)), found.__dict__)
    return found


def from_ini(text, tmp_path):
    ini = tmp_path / "site.ini"
    text = text.replace("replace-me", SECRET).replace("/var/lib/app", str(tmp_path))
    ini.write_text(text.replace("[app:main]", "[app:main]\nuse = egg:none"))
    return {
        name: value
        for name, value in plaster.get_settings(str(ini), "app:main").items()
        if name.startswith("pluggable_session.")
    }


def test_the_needed_settings_are_enough(tmp_path):
    settings = from_ini(blocks("ini")[0], tmp_path)
    assert len(settings) == 2
    with closing(made(settings)) as plug:
        assert plug.name == "sqlite"
    factory = PluggableSessionFactory(SECRET * 2, max_age=864000)
    assert weaknesses(factory.options) == [], "the defaults are safe"


def test_a_section_and_a_query_are_the_same(tmp_path):
    shown = []
    for text in blocks("ini")[1:3]:
        registry = made(from_ini(text, tmp_path))
        (category,) = registry.introspector.get_category("session plug")
        shown.append(category["introspectable"]["options"])
        with closing(registry):
            pass
    assert shown[0] == shown[1]
    assert shown[0]["timeout"] == 2
    assert shown[0]["durable"] is True


def test_the_query_counts(tmp_path):
    url = f"sqlite://{tmp_path}/sessions.db?timeout=2"
    registry = made(
        {
            "pluggable_session.secret": SECRET,
            "pluggable_session.plug": url,
            "pluggable_session.sqlite.timeout": "7",
        }
    )
    (category,) = registry.introspector.get_category("session plug")
    with closing(registry):
        assert category["introspectable"]["options"]["timeout"] == 2


def test_percent_signs(tmp_path):
    text = "[app:main]\npluggable_session.plug = redis://u:a%%2Fb@redis.example.org/0\n"
    assert from_ini(text, tmp_path)["pluggable_session.plug"].count("a%2Fb") == 1


@pytest.mark.parametrize("number", range(4))
def test_errors(number):
    sentence = re.search(r"(?s)So (`pluggable_session\..*?) give:", TEXT)[1]
    setting = re.findall(r"`(pluggable_session[^`]*)`", sentence)[number]
    name, value = setting.split(" = ")
    settings = {"pluggable_session.secret": SECRET, "pluggable_session.plug": "memory", name: value}
    with pytest.raises((ConfigurationError, ConfigurationExecutionError)) as caught:
        made(settings)
    assert blocks("text")[0].splitlines()[number] in str(caught.value)


def test_a_section_that_is_not_in_use_may_stay():
    app = App(MemoryPlug(), {"plugable_session.timeout": "x"}, **{"redis.timeout": "x"})
    assert app.client().data() == {}


def test_settings_of_the_import_must_not_stay_behind():
    with pytest.raises(ConfigurationError, match="allow_pickle is set"):
        App(**{"import.allow_pickle": "true"})


def test_from_the_environment(module, monkeypatch):
    monkeypatch.setenv("SESSION_SECRET", SECRET)
    registry = module.main({}).registry
    assert isinstance(registry, Registry)
    factory = registry.getUtility(ISessionFactory)
    assert factory.options["secret"] == (SECRET.encode(),)
    assert factory.options["timeout"] == timedelta(minutes=20).total_seconds()
    with closing(registry) as plug:
        assert plug.name == "sqlite"
    # The directive goes before the setting.
    registry = module.main({}, **{"pluggable_session.plug": "dbm:///nowhere"}).registry
    with closing(registry) as plug:
        assert plug.name == "sqlite"


def test_with_a_factory(module):
    registry = module.with_a_factory({}, **{"pluggable_session.secret": SECRET}).registry
    options = registry.getUtility(ISessionFactory).options
    assert (options["timeout"], options["secure"], options["max_age"]) == (1800, True, None)
    assert registry.getUtility(IPlugSession).name == "memory"


def test_arguments_are_settings_and_one_default_is_another():
    options = PluggableSessionFactory(SECRET).options
    others = {
        option.name: options.get(option.name)
        for option in INI_OPTIONS
        if option.name not in ("secret", "plug", "import")
        and options[option.name] != option.default
    }
    assert others == {"max_age": None}


def test_two_calls_of_the_directive_conflict():
    config = Configurator(settings={"pluggable_session.secret": SECRET})
    config.include("pyramid_pluggable_session")
    config.set_session_plug("memory")
    config.set_session_plug("dbm:///nowhere")
    with pytest.raises(ConfigurationError):
        config.commit()


@pytest.mark.parametrize(
    "options",
    [
        {"cookie_name": "__Host-sid", "path": "/shop"},
        {"samesite": "None", "secure": "false"},
        {"partitioned": "true", "secure": "false"},
    ],
    ids=["host", "samesite", "partitioned"],
)
def test_what_does_not_go_together(options):
    with pytest.raises(ConfigurationError):
        App(**options)


@pytest.mark.parametrize("options", [{"salt": "another."}, {"hashalg": "sha512"}], ids=str)
def test_what_logs_everybody_out(options):
    first = App(MemoryPlug())
    client = first.client()
    client.do(lambda session: session.update(a=1))
    assert App(first.plug, **options).client(client.cookie).data() == {}


@pytest.mark.parametrize(
    ("before", "after"),
    [({}, {"encrypt": "true"}), ({"serializer": "pickle"}, {"serializer": "msgpack pickle"})],
    ids=["encrypt", "serializer"],
)
def test_what_logs_nobody_out(before, after):
    first = App(MemoryPlug(), **before)
    client = first.client()
    client.do(lambda session: session.update(a=1))
    assert App(first.plug, **after).client(client.cookie).data() == {"a": 1}
