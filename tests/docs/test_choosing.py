"""What the page on choosing a storage says of each is so: in the code, and in the other pages."""

from __future__ import annotations

import contextlib
import re
import xml.etree.ElementTree as ET

import pytest
from pyramid.exceptions import ConfigurationError

from apps import App, PlainPlug
from pyramid_pluggable_session.interfaces import (
    IClientSidePlug,
    IPlugSession,
    IScanPlug,
    ISwapPlug,
)
from pyramid_pluggable_session.loader import known_plugs
from pyramid_pluggable_session.options import CORE_OPTIONS
from pyramid_pluggable_session.testing import FakeClock
from snippets import DOCS, configurations
from storages import ON_DISK

PAGE = DOCS / "choosing.md"
TEXT = PAGE.read_text()
# Wherever its lines end.
PROSE = " ".join(TEXT.split())
SPEED = (DOCS / "speed.md").read_text()
SVG = "{http://www.w3.org/2000/svg}"


def rows(text, first_heading):
    """Return the rows of a table as dictionaries: by the names of its columns."""
    lines = iter(text.splitlines())
    heading = next(line for line in lines if line.startswith(f"| {first_heading} |"))
    names = cells(heading)
    next(lines)
    found = []
    for line in lines:
        if not line.startswith("|"):
            break
        found.append(dict(zip(names, cells(line), strict=True)))
    return found


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def by_storage(text):
    return {re.match(r"\[`(\w+)`\]", row["storage"])[1]: row for row in rows(text, "storage")}


TABLE = by_storage(TEXT)
ELSEWHERE = by_storage((DOCS / "storages.md").read_text())
PLUGS = {
    entry.module.rpartition(".")[2]: entry.load()
    for entry in known_plugs().values()
    if entry.value.startswith("pyramid_pluggable_session.")
}


def test_every_storage_has_a_row():
    assert set(TABLE) == set(PLUGS)


def figures(group, name):
    """Return what a read and a change of ours cost, in microseconds."""
    chapter = re.search(rf"(?ms)^### {group}\n(.*?)^##", SPEED)[1]
    (heading,) = set(re.findall(r"(?m)^\| (µs .*?) \|", chapter))
    (row,) = (row for row in rows(chapter, heading) if row[heading] == f"**{name}**")
    return tuple(int(row[each].split()[0]) for each in ("read", "change"))


MEASURED = {
    # By storage and the word before its figures in the table.
    ("sqlite", ""): ("sqlite", "sqlite"),
    ("file", ""): ("file", "file"),
    ("lmdb", ""): ("lmdb", "lmdb"),
    ("dbm", ""): ("dbm", "dbm"),
    ("redis", ""): ("redis", "redis"),
    ("sqlalchemy", "PostgreSQL"): ("postgresql", "postgresql (sqlalchemy)"),
    ("sqlalchemy", "MariaDB"): ("mariadb", "mariadb (sqlalchemy)"),
    ("memcached", ""): ("memcached", "memcached"),
    ("cookie", ""): ("cookie", "cookie (encrypted)"),
    ("dogpile", "Redis"): ("redis", "dogpile, redis"),
    ("memory", ""): ("memory", "memory"),
    ("chain", "memory, Redis"): ("redis", "chain: memory, redis"),
    ("migration", "SQLite, file"): ("sqlite", "migration: sqlite, file"),
}
STAND_INS = {"mongodb", "dynamodb", "datastore"}


def test_the_figures_are_those_that_were_measured():
    said = {}
    for name, row in TABLE.items():
        for what, read, change in re.findall(
            r"(\D*?) ?(\d+), (\d+)(?:; |$)", row["read, change (µs)"]
        ):
            said[name, what] = int(read), int(change)
    assert said == {where: figures(*measured) for where, measured in MEASURED.items()}
    assert {
        name for name, row in TABLE.items() if row["read, change (µs)"] == "on a stand-in only"
    } == STAND_INS
    assert {name for name, _ in said} == set(TABLE) - STAND_INS


def test_the_figures_in_the_text_are_those_that_were_measured():
    grown = rows(SPEED.partition("### Sessions in the store\n")[2], "")
    read = {row["sessions of 1 KB"]: row["read"].split()[0] for row in grown if row[""] == "sqlite"}
    assert f"reads one took {read['1,000,000']} µs, and {read['1,000']} with 1,000." in PROSE
    chain, alone = figures("file", "chain: memory, file"), figures("file", "file")
    assert f"in front of `file` costs {chain[0]} µs, one from `file` alone {alone[0]}." in PROSE
    near, chain = figures("redis", "redis, near cache"), figures("redis", "chain: memory, redis")
    assert f"makes a read {near[0]} µs, where a chain makes it {chain[0]}" in PROSE
    (rate,) = re.findall(r"(?m)^\| sqlite \| 8 processes \| many \| ([\d,]+) \|", SPEED)
    assert f"answered {rate} requests a second" in PROSE


@pytest.mark.parametrize(
    ("group", "name", "read_and_change"),
    [
        ("redis", "redis", [1, 2]),
        ("memcached", "memcached", [1, 2]),
        ("postgresql", "postgresql (sqlalchemy)", [1, 2]),
        ("mongodb", "mongodb", [1, 2]),
        ("dynamodb", "dynamodb", [1, 2]),
        ("mariadb", "mariadb (sqlalchemy)", [2, 4]),
        ("datastore", "datastore", [1, 3]),
    ],
)
def test_the_round_trips(group, name, read_and_change):
    assert "one for a read and two for a change; on MariaDB two and four, " in PROSE
    assert "on Datastore one and three." in PROSE
    heading = f"{group}: round trips: bytes sent/received"
    (row,) = (row for row in rows(SPEED, heading) if row[heading] == f"**{name}**")
    assert [int(row[each].split(":")[0]) for each in ("read", "change")] == read_and_change


@pytest.mark.parametrize("name", sorted(TABLE))
def test_the_machines_and_the_restart_are_those_of_the_storages(name):
    here, there = TABLE[name], ELSEWHERE[name]
    shared = there["shared between machines"]
    machines = {"yes": ("several",), "no": ("one", "one process")}
    as_members = {shared, f"{shared} of its members"}
    assert here["machines"] in machines.get(shared, as_members)
    survives = there["survives a restart"]
    assert here["after a restart"] == {"no": "lost"}.get(survives, survives.replace("yes", "there"))


@pytest.mark.parametrize("name", sorted(set(TABLE) - {"chain"}))
def test_what_merges_can_swap(name):
    assert (TABLE[name]["merges"] == "yes") == ISwapPlug.implementedBy(PLUGS[name])
    # Whose sessions cannot be listed by user, the page says in the same words.
    assert (TABLE[name]["merges"] == "no") == (name in ("cookie", "dogpile"))


@pytest.mark.parametrize("can_swap", [True, False])
def test_a_chain_merges_as_its_last_member_does(can_swap):
    assert TABLE["chain"]["merges"] == "as its last member"
    last = "memory" if can_swap else PlainPlug
    settings = {"pluggable_session.chain.plugs": ["memory", last]}
    app = App(plug="chain", settings=settings)
    plug = app.registry.getUtility(IPlugSession)
    assert ISwapPlug.providedBy(plug) == can_swap


def test_no_storage_that_merges_cannot_list_its_sessions():
    """So the one column is enough."""
    for plug in PLUGS.values():
        if ISwapPlug.implementedBy(plug) and plug.name != "migration":
            assert IScanPlug.implementedBy(plug)


@contextlib.contextmanager
def application(plug, settings=None, **options):
    app = App(plug=plug, settings=settings, **options)
    try:
        yield app
    finally:
        getattr(app.registry.getUtility(IPlugSession), "close", lambda: None)()


@pytest.mark.parametrize("name", [*sorted(set(ON_DISK) & set(TABLE)), "memory", "cookie"])
def test_what_is_there_after_a_restart(name, tmp_path):
    url = ON_DISK[name].format(tmp_path) if name in ON_DISK else name
    with application(url) as before:
        client = before.client()
        client.do(lambda session: session.update(cart=["hat"]))
        assert client.data() == {"cart": ["hat"]}
    with application(url) as after:
        client.app = after
        client.testapp.app = after.wsgi
        survives = TABLE[name]["after a restart"] != "lost"
        assert client.data() == ({"cart": ["hat"]} if survives else {})


def test_which_lose_sessions_is_what_the_table_says():
    chapter = TEXT.partition("## Which of them lose sessions\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"(?m)`(\w+)`", chapter.replace("`durable = true`", "")))
    lost = {name for name, row in TABLE.items() if row["after a restart"] == "lost"}
    assert lost <= named
    durable = {
        name
        for name, plug in PLUGS.items()
        if any(option.name == "durable" for option in plug.options)
    }
    (said,) = re.findall(
        r"(?s)- (.*): nothing when a process is killed", chapter.split("loses.\n")[1]
    )
    assert set(re.findall(r"`(\w+)`", said)) == durable
    assert "(`dbm` has no such setting)" in chapter


class TestTheChain:
    """The configuration of the page, on a storage that needs no server."""

    @pytest.fixture
    def settings(self, tmp_path):
        ((_, settings),) = configurations(PAGE)
        plugs = settings["pluggable_session.chain.plugs"]
        replaced = re.sub(r"postgresql://\S+", f"sqlite:///{tmp_path}/sessions.db", plugs)
        assert replaced != plugs
        return {**settings, "pluggable_session.chain.plugs": replaced}

    @pytest.fixture
    def processes(self, settings):
        """Return two applications with a storage in common, and one copy each."""
        plug = settings.pop("pluggable_session.plug")
        with application(plug, settings) as one, application(plug, settings) as two:
            yield one, two

    def browser_of_both(self, processes):
        one, two = processes
        here, there = one.client(), two.client()
        here.do(lambda session: session.update(user="ada", cart=["hat"]))
        there.testapp.cookiejar = here.testapp.cookiejar
        assert there.data() == {"user": "ada", "cart": ["hat"]}
        return here, there

    def test_an_ended_session_goes_on_for_as_long_as_is_fresh(self, processes, settings):
        fresh = float(settings["pluggable_session.chain.fresh"])
        with FakeClock() as clock:
            here, there = self.browser_of_both(processes)
            cookie = here.cookie
            here.do(lambda session: session.invalidate())
            there.send_cookie(f"session={cookie}; Path=/")
            clock.advance(fresh / 2)
            assert there.data() == {"user": "ada", "cart": ["hat"]}
            clock.advance(fresh)
            assert there.data() == {}

    def test_a_change_of_an_old_copy_loses_none(self, processes):
        with FakeClock():
            here, there = self.browser_of_both(processes)
            here.do(lambda session: session["cart"].append("coat"))
            assert there.data()["cart"] == ["hat"], "the copy is old"
            there.do(lambda session: session["cart"].append("shoes"))
            assert there.data()["cart"] == ["hat", "coat", "shoes"]

    def test_how_fresh_if_it_is_not_set(self):
        (default,) = (each.default for each in PLUGS["chain"].options if each.name == "fresh")
        assert f"for up to `fresh` seconds, {default:g} if it is not set" in PROSE

    def test_a_cookie_cannot_be_a_member(self):
        assert IClientSidePlug.implementedBy(PLUGS["cookie"])
        with pytest.raises(ConfigurationError, match="cannot be part of a chain"):
            App(plug="chain", settings={"pluggable_session.chain.plugs": "memory\ncookie"})


def test_the_largest_session():
    (most,) = (option.default for option in CORE_OPTIONS if option.name == "max_size")
    assert f"The largest session is {most // 1024**2} MB" in PROSE


class TestThePicture:
    @pytest.fixture
    def picture(self):
        return ET.parse(DOCS / "images/choosing.svg").getroot()

    def test_it_is_in_the_page(self, picture):
        (description, path) = re.search(r"!\[(.*)\]\((.*)\)", TEXT).groups()
        assert (DOCS / path).name == "choosing.svg"
        questions = picture.findall(f"{SVG}rect[@class='question']")
        assert description.startswith("Eight questions")
        assert len(questions) == 8

    def test_it_names_the_storages_that_there_are(self, picture):
        named = {each.text for each in picture.iter() if each.get("class") == "name"}
        # The others are choices within one of these.
        assert named == set(PLUGS) - {"file", "lmdb", "dbm", "chain", "migration"}
        described = picture.find(f"{SVG}desc").text
        assert all(re.search(rf"\b{name}\b", described) for name in named)

    def test_what_it_says_of_one_machine_is_in_the_table(self, picture):
        words = [each.text.strip() for each in picture.iter(f"{SVG}text") if each.text.strip()]
        (answer,) = (words[index + 2] for index, word in enumerate(words) if "one machine" in word)
        assert TABLE[answer]["machines"] == "one"
        assert TABLE[answer]["take it for"] == "sites on one machine"

    def test_nothing_stands_out(self, picture):
        _, _, width, height = map(float, picture.get("viewBox").split())
        assert width <= 520
        for box in picture.iter(f"{SVG}rect"):
            assert float(box.get("x", 0)) + float(box.get("width")) <= width
            assert float(box.get("y", 0)) + float(box.get("height")) <= height
        sizes = map(int, re.findall(r"(\d+)px", picture.find(f"{SVG}style").text))
        assert min(sizes) >= 15
