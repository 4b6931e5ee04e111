"""Every snippet of the documentation runs, whatever else its page's own tests show."""

from __future__ import annotations

import pathlib
import re
import shlex
import sys
from importlib.metadata import metadata

import pytest
import yaml
from pyramid.config import Configurator

from apps import SECRET
from pyramid_pluggable_session.interfaces import IPlugSession
from pyramid_pluggable_session.scripts.psessions import make_parser
from snippets import DOCS, ROOT, commands, configurations, run_python, snippets

PAGES = sorted(DOCS.glob("*.md"))
# "text" is what a program prints, or the like.
LANGUAGES = {
    *("python", "pycon", "ini", "console", "sh", "toml", "yaml", "systemd", "nginx", "html"),
    *("text", "json", "jinja", "http", "diff", "sql", "javascript"),
}
# These are run by the tests of their pages, with what they need around them.
NEEDS_MORE = {
    ("storages.md", "ini"): "an engine, and a driver that nobody has; see test_docs.py",
    ("peers.md", "python"): "a session; see test_compat.py",
}

named = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@named
def test_the_languages(page):
    assert {each.language for each in snippets(page)} <= LANGUAGES
    fences = re.findall(r"(?m)^ *```+([^`\n]*)$", page.read_text())
    assert all(fences[::2]), "a fence without a language"


@named
def test_the_python(page, monkeypatch):
    name = "page_" + re.sub(r"\W", "_", page.stem)
    monkeypatch.setitem(sys.modules, name, None)
    for each in snippets(page, "python"):
        compile(each.text, page, "exec")
    if reason := NEEDS_MORE.get((page.name, "python")):
        pytest.skip(reason)
    run_python(page, name)


@named
def test_the_settings(page, tmp_path):
    if reason := NEEDS_MORE.get((page.name, "ini")):
        pytest.skip(reason)
    for line, settings in configurations(page):
        start(settings, tmp_path, f"{page.name}:{line}")


def start(settings, folder, where):
    """Start an application with a page's settings."""
    settings = {
        name: value.replace("%(here)s", str(folder)).replace("/var/lib/app", str(folder))
        for name, value in settings.items()
        # What is the application's own, a page's own tests have.
        if name.startswith(("pluggable_session.", "session.", "redis.", "beaker."))
        and "myapp." not in value
    }
    given = settings.get("pluggable_session.secret", "").splitlines() or [SECRET]
    settings["pluggable_session.secret"] = "\n".join(
        re.sub(r"^replace-me", SECRET, secret) for secret in given
    )
    with Configurator(settings=settings) as config:
        try:
            config.include("pyramid_pluggable_session")
            config.commit()
        except Exception as error:
            raise AssertionError(f"{where}: {error}") from error
    plug = config.registry.queryUtility(IPlugSession)
    if hasattr(plug, "close"):
        plug.close()


@named
def test_the_commands(page):
    targets = re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text())
    extras = metadata("pyramid_pluggable_session").get_all("Provides-Extra")
    for line, command in commands(page):
        where = f"{page.name}:{line}: {command}"
        words = shlex.split(command, comments=True)
        for alone in split(words):
            if pathlib.Path(alone[0]).name == "psessions":
                understood(alone[1:], where)
            elif alone[0] == "make" and len(alone) > 1 and "=" not in alone[1]:
                assert alone[1] in targets, where
            for extra in re.findall(r"pyramid_pluggable_session\[([\w,]+)\]", " ".join(alone)):
                assert set(extra.split(",")) <= set(extras), where


def split(words):
    """Yield the commands that are strung together in one line."""
    command = []
    for word in [*words, ";"]:
        if word in (";", "&&", "||", "|", "&"):
            if command:
                yield command
            command = []
        else:
            command.append(word)


def understood(arguments, where):
    if {"--help", "-h"} & set(arguments):
        return
    stop = next((i for i, word in enumerate(arguments) if word[:1] in "<>2" and ">" in word), None)
    try:
        make_parser().parse_args(arguments[:stop])
    except SystemExit:
        pytest.fail(f"{where}: psessions does not take this")


@named
def test_the_other_formats(page):
    for each in snippets(page, "toml"):
        pytest.importorskip("tomllib").loads(each.text)  # Python 3.10 has none
    for each in snippets(page, "yaml"):
        yaml.safe_load(each.text)


@named
def test_a_page_with_snippets_has_tests_of_its_own(page):
    if snippets(page, "python", "ini", "console", "sh"):
        tests = (path for path in ROOT.glob("tests/**/test_*.py") if path.name != __name__ + ".py")
        assert any(
            page.name in path.read_text() or f'"{page.stem}"' in path.read_text() for path in tests
        )
