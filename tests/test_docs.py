"""What the documentation says works as it says."""

import importlib.util
import pathlib
import re
import sys
import types
from importlib.metadata import entry_points

import pytest
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError

from pyramid_pluggable_session.config import INI_OPTIONS as CORE
from pyramid_pluggable_session.interfaces import IPlugSession
from pyramid_pluggable_session.loader import known_plugs, make_plug
from pyramid_pluggable_session.origins import COMMON_OPTIONS
from pyramid_pluggable_session.origins import GROUP as ORIGINS

DOCS = pathlib.Path(__file__).parents[1] / "docs"
STORAGES = (DOCS / "storages.md").read_text()
OURS = "pyramid_pluggable_session."
IMPORTS = [*COMMON_OPTIONS] + [
    option for entry in entry_points(group=ORIGINS) for option in entry.load().options
]


def configurations(text):
    """Yield the settings of each configuration in the ini snippets: a plug and what follows it."""
    for block in re.findall(r"(?ms)^```ini\n(.*?)^```$", text):
        for part in re.split(r"(?m)^(?=pluggable_session\.plug = )", block)[1:]:
            yield dict(re.findall(r"(?m)^(\S+) =\s+(.*(?:\n .*)*)$", part))


@pytest.fixture(scope="module")
def tables():
    """Return the module that writes the tables."""
    spec = importlib.util.spec_from_file_location("docs_options", DOCS / "options.py")
    options = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(options)
    return options


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_tables_of_options_are_up_to_date(path, tables):
    assert path.read_text() == tables.up_to_date(path.read_text()), "run: python docs/options.py"


def test_every_option_has_its_row_once():
    """Those of the core and of the import in settings.md, those of a storage in storages.md."""
    text = (DOCS / "settings.md").read_text()
    for prefix, (of_it, expected) in {
        "core": (r"options: [\w ]+", CORE),
        "import": (r"options of import(?:: \w+)?", IMPORTS),
    }.items():
        found = re.findall(rf"(?s)<!-- {of_it} -->\n(.*?)<!-- end -->", text)
        rows = [row for table in found for row in re.findall(r"(?m)^\| `(\w+)` \|", table)]
        assert sorted(rows) == sorted(option.name for option in expected), prefix
    plugs = {entry.load() for entry in known_plugs().values() if entry.value.startswith(OURS)}
    for plug in plugs:
        names = [option.name for option in plug.options]
        (row,) = re.findall(rf"(?m)^\| \[`{plug.name}`\]\(.*$", text)
        assert re.findall(r"`(\w+)`", row.split("|")[3]) == names
        if names:
            (table,) = re.findall(
                rf"(?s)<!-- options of {plug.name} -->(.*?)<!-- end -->", STORAGES
            )
            assert re.findall(r"(?m)^\| `(\w+)` \|", table) == names


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
