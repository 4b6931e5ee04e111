"""What docs/moving.md says works as it says."""

from __future__ import annotations

import pathlib
import re
import shlex

import pytest
from bulk import NEW, OLD, Site, contents, fill, new_key, record

TEXT = (pathlib.Path(__file__).parents[2] / "docs" / "moving.md").read_text()
SOURCE = "sqlite:///var/lib/app/sessions.db"
TARGET = "postgresql://app:secret@db/app"


def chapter(title):
    return re.search(rf"(?ms)^## {title}$(.*?)(?=^## |\Z)", TEXT)[1]


def snippets(text, language):
    return re.findall(rf"(?ms)^ *```{language}\n(.*?)^ *```$", text)


def commands(text):
    """Return the arguments of each command in the snippets."""
    for block in snippets(text, "sh"):
        for line in block.splitlines():
            program, *arguments = shlex.split(line, comments=True) or ["#"]
            if program == "psessions":
                assert arguments[0] == "production.ini"
                yield arguments[1:]


@pytest.fixture
def documented(tmp_path):
    """Return a function from a chapter to its commands and the site that its ini snippet makes."""

    def put_here(text):
        return (
            text.replace(SOURCE, f"sqlite://{tmp_path}/source.db")
            .replace(TARGET, f"sqlite://{tmp_path}/target.db")
            .replace("replace-me-with-a-new-long-random-text", NEW)
            .replace("replace-me-with-the-old-one", OLD)
            .replace("replace-me-with-a-long-random-text", NEW)
        )

    def documented(title):
        (ini,) = snippets(chapter(title), "ini")
        pairs = dict(
            re.findall(r"(?m)^pluggable_session\.(\S+) =\s+(.*(?:\n .*)*)$", put_here(ini))
        )
        secrets = pairs.pop("secret").split()
        site = Site(tmp_path, pairs.pop("plug"), *secrets, **pairs)
        return site, [[put_here(each) for each in line] for line in commands(chapter(title))]

    documented.source, documented.target = put_here(SOURCE), put_here(TARGET)
    return documented


def test_copying_with_a_short_stop(documented, capsys):
    site, (first, last) = documented("Copying, with a short stop")
    with site.storage() as source, site.storage(documented.target) as target:
        stored = fill(source, 8)
        assert site.run(*first) == 0
        ended, changed, *_ = stored
        source.clear(ended, None)
        source.dumps(changed, None, record(changed, 100))
        added = fill(source, 2)
        capsys.readouterr()
        assert site.run(*last) == 0
        keys = [*stored, *added]
        assert contents(target, keys) == contents(source, keys)
    (said,) = snippets(chapter("Copying, with a short stop"), "text")
    assert capsys.readouterr().out.split() == said.split()


def test_the_words_of_copy_are_explained():
    from pyramid_pluggable_session.scripts.commands.copy_ import COUNTED

    explained = re.findall(r"(?m)^- \*\*(.*?)\*\*", TEXT)
    assert set(explained) == set(COUNTED.values()) - {COUNTED["foreign"]}


def test_while_the_site_runs(documented, capsys):
    site, (rest,) = documented("While the site runs")
    with site.storage(documented.source) as old, site.storage(documented.target) as new:
        stored = fill(old, 5)
        assert site.run(*rest) == 2, "not in the first step"
        site.configure(**{"migration.write": "new"})
        assert site.run(*rest) == 0
        assert contents(new, stored) == stored
        capsys.readouterr()
        assert site.run(*rest) == 0
        assert capsys.readouterr().out.split()[:2] == ["moved", "0"]
        site.configure(plug=documented.target)
        assert site.run("stats") == 0


def test_a_new_secret(documented, capsys):
    from bulk import sealer

    site, (stats, rekey) = documented("A new secret")
    with site.storage() as plug:
        fill(plug, 3, by=sealer(OLD))
        key = new_key()
        plug.dumps(key, None, record(key))
    assert site.run(*stats) == 0
    assert re.search(r"(?m)^secret 2 +3$", capsys.readouterr().out)
    assert site.run(*rekey) == 0
    assert "keep it until" in capsys.readouterr().out
    assert site.run(*stats) == 0
    assert re.search(r"(?m)^secret 2 +0$", capsys.readouterr().out)
