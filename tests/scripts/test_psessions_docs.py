"""The documentation of psessions shows what psessions prints."""

from __future__ import annotations

import collections
import doctest
import pathlib
import re
import shlex

import plaster
import pytest
from pyramid.paster import bootstrap
from pyramid.path import DottedNameResolver
from sites import Site, close

from pyramid_pluggable_session.scripts.psessions import COMMANDS

ROOT = pathlib.Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "psessions.md").read_text()
HANDLES = ("23bf628b7d41", "a0ed34e5d468", "8b4f0938b88a")
ADAS = ({"auth.userid": "ada", "cart": {"tea": 2}, "visits": 12}, {"auth.userid": "ada"})


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path, f"sqlite://{tmp_path}/sessions.db", secure="false")
    # Those of another package, which are for nobody but translate.
    (old,) = re.findall(r"(?ms)^```ini\n(session\..*?)^```$", TEXT)
    site.add(old)
    return site


@pytest.fixture
def handles(site):
    """Return the handles of the sessions, by those that stand for them in the documentation."""
    return dict(zip(HANDLES, site.fill(*ADAS, owner="ada") + site.fill({"visits": 1}), strict=True))


def masked(text, folder=pathlib.Path("/var/lib/app")):
    """Return how often each line is there, without what is different each time."""
    text = text.replace(str(folder), "FOLDER")
    for pattern, instead in (
        (r"\b[0-9a-f]{12}\b", "HANDLE"),
        (r"\b\d+ (s|min)\b", "SPAN"),
        (r"(?m)^[\w-]{64}$", "SECRET"),
        (r"\d[\d.]*", "N"),
        (r" +", " "),
    ):
        text = re.sub(pattern, instead, text)
    return collections.Counter(line.strip() for line in text.splitlines())


def test_the_commands(site, handles, tmp_path, capsys):
    """One after the other, from top to bottom."""
    blocks = re.findall(r"(?ms)^```console\n\$ psessions development\.ini (.*?)\n(.*?)^```$", TEXT)
    assert {shlex.split(command)[0] for command, _ in blocks} == set(COMMANDS)
    for command, shown in blocks:
        words = [handles.get(word, word) for word in shlex.split(command)]
        words = [word.replace("/var/lib/app", str(tmp_path)) for word in words]
        assert site.run(*words) == 0, command
        printed, wanted = masked(capsys.readouterr().out, tmp_path), masked(shown)
        some = wanted.pop("...", 0)
        assert wanted <= printed, f"{command}: {wanted - printed}"
        assert some or wanted == printed, f"{command}: {printed - wanted}"


def test_every_command_has_its_chapter():
    chapters = re.findall(r"(?m)^## (\w+)$", TEXT)
    assert chapters == list(COMMANDS)
    assert re.findall(r"(?m)^\| \[`(\w+)`\]\(#\1\) \|", TEXT) == list(COMMANDS)


def test_pshell(site, handles):
    (section,) = re.findall(r"(?ms)^```ini\n(\[pshell\].*?)^```$", TEXT)
    site.add("\n" + section)
    setup = plaster.get_settings(str(site.ini), "pshell")["setup"]
    (example,) = re.findall(r"(?ms)^```pycon\n(.*?)^```$", TEXT)
    with bootstrap(str(site.ini)) as env:
        DottedNameResolver().resolve(setup)(env)
        for doc, real in handles.items():
            example = example.replace(f'"{doc[:4]}"', f'"{real}"')
        test = doctest.DocTestParser().get_doctest(example, env, "pshell", None, None)
        assert doctest.DocTestRunner().run(test).failed == 0
        close(env)
