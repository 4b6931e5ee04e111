"""What the documentation says works as it says."""

import importlib.util
import pathlib
import re
import sys
import types

import pytest
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError

from pyramid_pluggable_session.interfaces import IPlugSession
from pyramid_pluggable_session.loader import known_plugs, make_plug

DOCS = pathlib.Path(__file__).parents[1] / "docs"
STORAGES = (DOCS / "storages.md").read_text()


def configurations(text):
    """Yield the settings of each configuration in the ini snippets: a plug and what follows it."""
    for block in re.findall(r"(?ms)^```ini\n(.*?)^```$", text):
        for part in re.split(r"(?m)^(?=pluggable_session\.plug = )", block)[1:]:
            yield dict(re.findall(r"(?m)^(\S+) =\s+(.*(?:\n .*)*)$", part))


@pytest.mark.parametrize("path", list(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_tables_of_options_are_up_to_date(path):
    spec = importlib.util.spec_from_file_location("docs_options", DOCS / "options.py")
    options = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(options)
    assert path.read_text() == options.up_to_date(path.read_text()), "run: python docs/options.py"


@pytest.fixture
def application(monkeypatch):
    """Put the application of the documentation in place."""
    from sqlalchemy import create_engine

    models = types.ModuleType("myapp.models")
    models.get_engine = lambda config: create_engine("sqlite:////nowhere")
    monkeypatch.setitem(sys.modules, "myapp", types.ModuleType("myapp"))
    monkeypatch.setitem(sys.modules, "myapp.models", models)
    sys.modules["myapp"].models = models


@pytest.mark.parametrize(
    "settings",
    list(configurations(STORAGES)),
    ids=lambda settings: settings["pluggable_session.plug"],
)
def test_the_configurations_are_taken(settings, application, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "none")
    settings = {
        name: value.replace("/var/lib/app", str(tmp_path)) for name, value in settings.items()
    }
    with Configurator(settings=settings) as config:
        if "oracledb" in str(settings):
            # SQLAlchemy has the dialect, and nobody has the driver.
            with pytest.raises(ConfigurationError, match="oracledb"):
                make_plug(config, settings["pluggable_session.plug"])
            return
        plug = make_plug(config, settings["pluggable_session.plug"])
    assert IPlugSession.providedBy(plug)
    if hasattr(plug, "close"):
        plug.close()


def test_every_storage_has_its_chapter_and_its_row():
    modules = {
        entry.module.rpartition(".")[2]
        for entry in known_plugs().values()
        if entry.value.startswith("pyramid_pluggable_session.")
    }
    assert set(re.findall(r"(?m)^## (\w+)$", STORAGES)) == modules
    assert set(re.findall(r"(?m)^\| \[`(\w+)`\]", STORAGES)) == modules
    assert set(re.findall(r"<!-- options of (\w+) -->", STORAGES)) == modules - {"memory"}
