"""The pages about moving in from each package: their commands, their settings, and their steps.

That nobody is logged out is shown by tests/origins, with the same settings.
"""

from __future__ import annotations

import logging
import re
import sys
from http.cookiejar import CookieJar

import pytest
from pyramid.config import Configurator
from pyramid.interfaces import ISessionFactory
from webtest import TestApp

from apps import SECRET
from pyramid_pluggable_session.interfaces import IPlugSession
from pyramid_pluggable_session.origins.beaker.storages import STORAGES
from pyramid_pluggable_session.scripts.psessions import main as psessions
from snippets import DOCS, configurations, run_python, snippets

PAGES = {path.stem: path for path in sorted(DOCS.glob("from-*.md"))}
IMPORTING = {name: path for name, path in PAGES.items() if "0.0.0a2" not in name}
# The address that the pages use for a server.
REDIS = "redis://redis.example.org:6379/0"


def settings_of(page):
    """Return the settings that a page ends up with."""
    return list(configurations(page))[-1][1]


def console(page, command):
    """Return a command's arguments, and what the page says it prints, as a pattern."""
    (text,) = [
        each.text for each in snippets(page, "console") if each.text.split()[3].startswith(command)
    ]
    first, _, shown = text.partition("\n")
    parts = [re.escape(part) for part in re.split(r"(?m)^\.\.\.\n", shown)]
    return first.split()[2:], re.compile(r"(?s)\A" + ".*".join(parts) + r"\Z")


@pytest.fixture
def site(tmp_path, monkeypatch, request):
    """Return a function that writes an ini file where the commands of a page find it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "modules", dict(sys.modules))

    def write(page, settings):
        name = f"page_{page.stem}".replace("-", "_").replace(".", "_")
        module = run_python(page, name)
        if not hasattr(module, "main"):
            module.main = main
        url = request.getfixturevalue("running")("valkey").url if "redis" in page.stem else ""
        lines = [f"{name} = {value}" for name, value in settings.items()]
        text = "\n".join(["[app:main]", f"use = call:{name}:main", *lines, ""])
        for old, new in (
            ("/var/lib/app", str(tmp_path)),
            (REDIS, url),
            ("replace-me", SECRET),
            ("\npyramid_pl", "\n    pyramid_pl"),
        ):
            text = text.replace(old, new)
        (tmp_path / "development.ini").write_text(text)

    return write


def main(global_config, **settings):
    with Configurator(settings=settings) as config:
        config.include("pyramid_pluggable_session")
        return config.make_wsgi_app()


@pytest.mark.parametrize("name", PAGES)
def test_the_steps_are_numbered(name):
    text = PAGES[name].read_text()
    steps = [int(number) for number in re.findall(r"(?m)^\*\*(\d)\. ", text)]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) > 5
    rows = re.findall(r"(?m)^\| (\d)(?: to (\d)|, (\d))? \|", text)
    named = {int(number) for row in rows for number in row if number}
    assert max(named) == steps[-1]
    assert min(named) == 1


@pytest.mark.parametrize("name", IMPORTING)
def test_translate(name, tmp_path, monkeypatch, capsys):
    page = IMPORTING[name]
    monkeypatch.chdir(tmp_path)
    old = [each.text for each in snippets(page, "ini") if each.caption == "development.ini"]
    (tmp_path / "development.ini").write_text(*old or ["[app:main]\n"])
    arguments, shown = console(page, "translate")
    assert psessions(arguments) == 0
    printed = capsys.readouterr().out
    assert shown.match(printed), printed
    if not old:
        return
    # What is to be pasted is what the page goes on with.
    ours = dict(re.findall(r"(?m)^(pluggable_session\.\S+) = (.*)$", printed))
    wanted = {k: v for k, v in settings_of(page).items() if k.startswith("pluggable_session.")}
    assert ours.pop("pluggable_session.secret") == "replace-me"
    assert wanted.pop("pluggable_session.secret").startswith("replace-me")
    assert ours == wanted
    pasted = settings_of(page)
    kept = dict(re.findall(r"(?m)^(\S+) = (.*)$", old[0]))
    assert {k: pasted[k] for k in kept if k != "pyramid.includes"} == {
        k: v for k, v in kept.items() if k != "pyramid.includes"
    }


@pytest.mark.parametrize("name", PAGES)
def test_check(name, site, capsys):
    page = PAGES[name]
    site(page, settings_of(page))
    arguments, shown = console(page, "check")
    assert psessions(arguments) == 0, capsys.readouterr().out
    printed = capsys.readouterr().out
    assert shown.match(printed), printed


@pytest.mark.parametrize("name", IMPORTING)
def test_to_end_it(name, site, capsys):
    """What the last step says to remove is all there is."""
    page = IMPORTING[name]
    (step,) = re.findall(r"(?s)\*\*8\. End it\.\*\*(.*?)\n\n", page.read_text())
    prefixes = re.findall(r"`([\w.]+\.(?:import)?)`", step)
    assert prefixes[0] == "pluggable_session.import"
    settings = {
        key: value
        for key, value in settings_of(page).items()
        if not any(key.startswith(prefix) for prefix in prefixes)
    }
    assert all(key.startswith(("pluggable_session.", "pyramid.")) for key in settings), settings
    site(page, settings)
    assert psessions(["development.ini", "check"]) == 0
    assert "import" not in capsys.readouterr().out


def test_which_types_of_beakers_are_read():
    text = PAGES["from-beaker"].read_text()
    rows = re.findall(r"(?m)^\| ((?:`[\w:]+`(?:, )?)+) \|", text)
    (named, sqla, cookie, not_read) = [re.findall(r"`([\w:]+)`", row) for row in rows]
    assert sorted(named + sqla) == sorted(STORAGES)
    assert (cookie, not_read) == (["cookie"], ["memory", "ext:google"])
    for kind in not_read:
        settings = {"session.type": kind, "session.secret": "x", "pluggable_session.secret": SECRET}
        settings |= {"pluggable_session.plug": "memory", "pluggable_session.import": "beaker"}
        settings["pluggable_session.import.allow_pickle"] = "true"
        with pytest.raises(Exception, match=r"session\.type"):
            main({}, **settings)
        # Leave the settings of the import out.
        main({}, **{k: v for k, v in settings.items() if "import" not in k})


def test_what_the_log_says(tmp_path, caplog):
    """A line for each session that was imported, and the reason why one was not."""
    pyramid_beaker = pytest.importorskip("pyramid_beaker", exc_type=ImportError)
    settings = {
        name: value.replace("/var/lib/app", str(tmp_path)).replace("replace-me", SECRET)
        for name, value in settings_of(PAGES["from-beaker"]).items()
    }

    def put(data):
        def view(request):
            request.session.update(data)
            return {}

        return view

    browsers = [CookieJar(), CookieJar()]
    with Configurator(settings=settings) as config:
        config.include(pyramid_beaker.includeme)
        for name, data in (("good", {"a": 1}), ("bad", {"a": Cart()})):
            config.add_route(name, f"/{name}")
            config.add_view(put(data), route_name=name, renderer="json")
        old = config.make_wsgi_app()
    TestApp(old, cookiejar=browsers[0]).get("/good")
    TestApp(old, cookiejar=browsers[1]).get("/bad")
    assert [path.name for path in tmp_path.iterdir()] == ["beaker"], "all that is to be deleted"
    with Configurator(settings=settings) as config:
        config.include("pyramid_pluggable_session")
        config.add_route("look", "/")
        config.add_view(lambda r: {"keys": list(r.session)}, route_name="look", renderer="json")
        wsgi = config.make_wsgi_app()
    with caplog.at_level(logging.INFO, "pyramid_pluggable_session"):
        assert TestApp(wsgi, cookiejar=browsers[0]).get("/").json == {"keys": ["a"]}
        assert TestApp(wsgi, cookiejar=browsers[1]).get("/").json == {"keys": []}
    close(wsgi)
    said = [r.levelname for r in caplog.records if re.search(": imported from beaker", r.message)]
    assert said == ["INFO"]
    assert any(f"{__name__}.Cart" in r.message for r in caplog.records), caplog.text


class Cart:
    """A class of the application's, which is not listed."""


def close(wsgi):
    plug = wsgi.registry.getUtility(IPlugSession)
    if hasattr(plug, "close"):
        plug.close()


def test_of_0_0_0a2_nothing_is_read_or_deleted(tmp_path):
    settings = {
        name: value.replace("/var/lib/app", str(tmp_path)).replace("replace-me", SECRET)
        for name, value in settings_of(PAGES["from-0.0.0a2"]).items()
    }
    left = tmp_path / "sessions" / ("0" * 64)
    left.parent.mkdir()
    left.write_text("what was there")
    wsgi = main({}, **settings)
    assert wsgi.registry.getUtility(ISessionFactory).importer is None
    plug = wsgi.registry.getUtility(IPlugSession)
    assert plug.name == "chain"
    assert list(plug.scan()) == []
    assert plug.purge() == 0
    assert left.read_text() == "what was there"
    close(wsgi)
