"""``list``, ``show``, ``end`` and ``owner``: what they tell, and what they do."""

from __future__ import annotations

import datetime
import io
import itertools
import re
import time
from typing import ClassVar

import pytest
from pyramid.paster import bootstrap
from sites import SECRET, Site, as_json, close, on_terminal
from webtest import TestApp

from pyramid_pluggable_session import clock
from pyramid_pluggable_session.keys import SessionKey, handle
from pyramid_pluggable_session.plugs.sqlite import SqlitePlug
from pyramid_pluggable_session.scripts import psessions, pshell, wording
from pyramid_pluggable_session.scripts.commands import owner_
from pyramid_pluggable_session.testing import FakeClock, open_session


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path, f"sqlite://{tmp_path}/sessions.db")


def listed(site, capsys, *arguments):
    assert site.run("list", "--json", *arguments) == 0
    return as_json(capsys)


def lines(capsys):
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("storage", ["file", "sqlite", "lmdb", "valkey", "postgresql", "mongodb"])
def test_on_every_kind_of_storage(storage, url_of, tmp_path, capsys):
    # Servers are shared by all tests: what others have left there is sealed with another secret.
    owner = f"{storage} {time.time()}"
    site = Site(tmp_path, url_of(storage), secret=SECRET[::-1], salt=owner)
    handles = site.fill({"cart": ["tea"]}, {"cart": []}, {}, owner=owner)
    found = listed(site, capsys, "--owner", owner)
    assert {each["handle"] for each in found} == set(handles)
    assert site.run("show", handles[0], "--reveal") == 0
    assert "cart  list, 1: ['tea']" in lines(capsys)
    assert site.run("end", handles[0]) == 0
    assert lines(capsys) == [f"ended {handles[0]} of {owner}"]
    assert {each["handle"] for each in listed(site, capsys, "--owner", owner)} == set(handles[1:])
    assert site.run("owner", owner, "--end", "--yes") == 0
    assert lines(capsys) == [f"ended 2 sessions of {owner}"]
    assert listed(site, capsys, "--owner", owner) == []
    assert site.run("check", "--strict") == 0, capsys.readouterr().out


class TestList:
    def test_for_people(self, site, capsys):
        (mine,) = site.fill({"a": 1}, owner="ada")
        (nobodys,) = site.fill({"a": "x" * 5000})
        assert site.run("list") == 0
        title, *rows = lines(capsys)
        assert title.split() == ["handle", "owner", "last", "seen", "expires", "size", "created"]
        rows = {row.split()[0]: row for row in rows}
        assert re.fullmatch(
            rf"{mine}  ada +\d+ s ago +in 20 min  \d+ B +\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
            rows[mine],
        )
        assert re.match(rf"{nobodys}  - .*  5\.\d KiB  ", rows[nobodys])

    def test_for_programs(self, site, capsys):
        (name,) = site.fill({"a": 1}, owner="ada")
        (found,) = listed(site, capsys)
        assert found["handle"] == name
        assert (found["kind"], found["owner"], found["problem"]) == ("session", "ada", None)
        assert 50 < found["size"] < 500
        created = datetime.datetime.fromisoformat(found["created"].replace("Z", "+00:00"))
        assert abs(created.timestamp() - time.time()) < 60
        expires = datetime.datetime.fromisoformat(found["expires_at"].replace("Z", "+00:00"))
        assert abs((expires - created).total_seconds() - 1200) <= 1

    def test_of_one_owner(self, site, capsys):
        site.fill({}, owner="bob")
        (mine,) = site.fill({"a": 1}, owner="ada")
        site.fill({"a": 1})
        assert [each["handle"] for each in listed(site, capsys, "--owner", "ada")] == [mine]

    def test_a_limit(self, site, capsys):
        site.fill(*({"n": n} for n in range(5)))
        assert len(listed(site, capsys, "--limit", "3")) == 3

    def test_it_is_lazy(self, site, capsys, monkeypatch):
        """The memory that it takes does not depend on how many there are, nor does the first."""
        taken = 0

        def endless(self):
            nonlocal taken
            for taken in itertools.count(1):
                yield SessionKey(f"{taken:064x}", None)

        monkeypatch.setattr(SqlitePlug, "scan", endless)
        monkeypatch.setattr(SqlitePlug, "loads", lambda self, session, request: b"no record")
        assert site.run("list", "--limit", "5") == 0
        assert taken == 5

    def test_none(self, site, capsys):
        assert site.run("list") == 0
        printed = capsys.readouterr()
        assert (printed.out, printed.err) == ("", "No sessions.\n")

    def test_memory_says_why_there_are_none(self, tmp_path, capsys):
        assert Site(tmp_path, "memory").run("list") == 0
        assert "no other process sees them" in capsys.readouterr().err

    def test_marks_and_indexes_are_left_out(self, site, capsys):
        (first, second) = site.fill({}, {}, owner="ada")
        assert site.run("end", first) == 0
        capsys.readouterr()
        assert [each["handle"] for each in listed(site, capsys)] == [second]
        kinds = sorted(each["kind"] for each in listed(site, capsys, "--all"))
        assert kinds == ["ended", "owner", "session"]
        assert site.run("list", "--all") == 0
        assert "(index of an owner)" in capsys.readouterr().out

    def test_what_is_over_is_left_out(self, site, capsys):
        """The storage keeps it for a moment more than it lives."""
        site.fill({"a": 1})
        with FakeClock(time.time() + 1210):
            assert listed(site, capsys) == []
            assert len(listed(site, capsys, "--all")) == 1

    def test_what_cannot_be_read(self, site, capsys):
        (name,) = site.fill({"a": 1})
        site.ini.write_text(site.ini.read_text().replace(SECRET, SECRET[::-1]))
        (found,) = listed(site, capsys)
        assert (found["handle"], found["kind"]) == (name, "unreadable")
        assert (found["problem"], found["created"]) == ("unknown key", None)
        assert site.run("list") == 0
        assert re.search(rf"{name}  \(unknown key\) +\?", capsys.readouterr().out)

    def test_a_chain_is_not_filled_by_it(self, site, tmp_path, capsys):
        site.fill({"a": 1})
        front = f"sqlite://{tmp_path}/front.db"
        plugs = f"{front} sqlite://{tmp_path}/sessions.db"
        chain = Site(tmp_path, "chain", **{"chain.plugs": plugs})
        assert len(listed(chain, capsys)) == 1
        plug = SqlitePlug(path=tmp_path / "front.db")
        assert list(plug.scan()) == []
        plug.close()


class TestShow:
    CONTENT: ClassVar = {
        "text": "ab",
        "number": 12,
        "none": None,
        "map": {"a": 1},
        "when": datetime.date(2026, 1, 2),
    }

    def test_redacted(self, site, capsys):
        (name,) = site.fill(self.CONTENT, owner="ada")
        assert site.run("show", name) == 0
        text = capsys.readouterr().out
        assert re.search(r"(?m)^handle +" + name, text)
        assert re.search(r"(?m)^owner +ada$", text)
        assert re.search(r"(?m)^created +\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \(\d+ s ago\)$", text)
        assert re.search(r"(?m)^expires +\S+Z \(in 20 min\)$", text)
        assert re.search(r"(?m)^timeout +20 min$", text)
        assert re.search(r"(?m)^sealed +as new ones are$", text)
        content = text.partition("\n\n")[2].splitlines()
        assert content == [
            "text    str, 2",
            "number  int",
            "none    NoneType",
            "map     dict, 1",
            "when    datetime.date",
            "(--reveal shows the values)",
        ]

    def test_revealed(self, site, capsys):
        (name,) = site.fill(self.CONTENT)
        assert site.run("show", name, "--reveal") == 0
        content = capsys.readouterr().out.partition("\n\n")[2].splitlines()
        assert content == [
            "text    str, 2: 'ab'",
            "number  int: 12",
            "none    NoneType: None",
            "map     dict, 1: {'a': 1}",
            "when    datetime.date: datetime.date(2026, 1, 2)",
        ]

    def test_for_programs(self, site, capsys):
        (name,) = site.fill(self.CONTENT)
        assert site.run("show", name, "--json") == 0
        (found,) = as_json(capsys)
        assert found["content"]["map"] == {"type": "dict", "length": 1}
        assert (found["handle"], found["timeout"], found["serializer"]) == (name, 1200, "msgpack")
        assert site.run("show", name, "--json", "--reveal") == 0
        (found,) = as_json(capsys)
        assert found["content"]["map"] == {"type": "dict", "length": 1, "value": {"a": 1}}
        assert found["content"]["when"]["value"] == "datetime.date(2026, 1, 2)"

    def test_nothing_in_it(self, site, capsys):
        (name,) = site.fill({}, owner="ada")
        assert site.run("show", name) == 0
        assert capsys.readouterr().out.endswith("\n(nothing in it)\n")

    def test_a_timeout_of_its_own(self, site, capsys):
        with bootstrap(str(site.ini)) as env:
            with open_session(TestApp(env["app"])) as session:
                session["a"] = 1
                session.timeout = None
                session.persistent = True
            name = session.handle
            close(env)
        assert site.run("show", name) == 0
        text = capsys.readouterr().out
        assert re.search(r"(?m)^expires +never$", text)
        assert re.search(r"(?m)^timeout +none \(its own\)$", text)
        assert re.search(r"(?m)^persistent +yes$", text)

    def test_an_old_secret(self, site, capsys):
        (name,) = site.fill({"a": 1})
        site.ini.write_text(site.ini.read_text().replace(SECRET, f"{SECRET[::-1]}\n  {SECRET}"))
        assert site.run("show", name) == 0
        assert "psessions INI rekey" in capsys.readouterr().out

    def test_what_cannot_be_read(self, site, capsys):
        (name,) = site.fill({"a": 1})
        site.ini.write_text(site.ini.read_text().replace(SECRET, SECRET[::-1]))
        assert site.run("show", name) == psessions.FOUND
        assert "cannot be read: unknown key" in capsys.readouterr().err

    def test_a_serializer_that_is_not_there(self, tmp_path, capsys):
        plug = f"sqlite://{tmp_path}/sessions.db"
        (name,) = Site(tmp_path, plug, serializer="pickle").fill({"a": 1})
        assert Site(tmp_path, plug).run("show", name) == psessions.FOUND
        assert "serializer 'pickle' is not configured" in capsys.readouterr().err

    def test_gone_meanwhile(self, site, capsys, monkeypatch):
        (name,) = site.fill({"a": 1})
        monkeypatch.setattr(
            "pyramid_pluggable_session.scripts.context.Context.load_session",
            lambda self, session_id: None,
        )
        assert site.run("show", name) == psessions.FOUND
        assert f"the session {name} has just ended" in capsys.readouterr().err


def two_alike():
    """Return two session ids whose handles begin with the same four digits."""
    seen = {}
    for number in itertools.count():
        session_id = f"{number:064x}"
        other = seen.setdefault(handle(session_id)[:4], session_id)
        if other != session_id:
            return other, session_id
    raise AssertionError


class TestHandles:
    def test_a_beginning(self, site, capsys):
        (name,) = site.fill({"a": 1})
        assert site.run("show", name[:4]) == 0
        assert site.run("show", name[:7].upper()) == 0

    def test_a_beginning_of_several(self, site, tmp_path, capsys):
        plug = SqlitePlug(path=tmp_path / "sessions.db")
        for session_id in two_alike():
            plug.dumps(SessionKey(session_id, clock.now() + 60), None, b"something")
        plug.close()
        one, other = sorted(map(handle, two_alike()))
        for command in ("show", "end"):
            assert site.run(command, one[:4]) == psessions.WRONG
            assert capsys.readouterr().err == (
                f"psessions: Several sessions begin with {one[:4]}: {one}, {other}.\n"
            )
        assert len(listed(site, capsys)) == 2
        assert site.run("end", one) == 0
        assert lines(capsys) == [f"ended {one}"]
        assert [each["handle"] for each in listed(site, capsys)] == [other]

    def test_a_mark_does_not_make_it_ambiguous(self, site, capsys):
        (_, other) = site.fill({"a": 1}, {"b": 1})
        assert site.run("end", other) == 0
        assert site.run("end", other) == psessions.FOUND
        assert "there is no session" in capsys.readouterr().err

    @pytest.mark.parametrize("wrong", ["abc", "ghij", "", "0" * 13, "*", "abcd\n"])
    def test_no_handle(self, site, wrong, capsys):
        for command in ("show", "end"):
            assert site.run(command, wrong) == psessions.WRONG
            assert "is not a handle" in capsys.readouterr().err

    def test_not_found(self, site, capsys):
        for command in ("show", "end"):
            assert site.run(command, "abcd") == psessions.FOUND
            printed = capsys.readouterr()
            assert (printed.out, printed.err) == ("", "psessions: there is no session abcd\n")


class TestEnd:
    def test_the_next_click_is_anonymous(self, site):
        with bootstrap(str(site.ini)) as env:
            client = TestApp(env["app"])
            with open_session(client) as session:
                session["user"] = "ada"
            assert site.run("end", session.handle) == 0
            with open_session(client) as session:
                assert dict(session) == {}
            close(env)

    def test_several(self, site, capsys):
        (first, second, third) = site.fill({"a": 1}, {"b": 1}, {"c": 1}, owner="ada")
        assert site.run("end", first, "0" * 12, third) == psessions.FOUND
        printed = capsys.readouterr()
        assert printed.out == f"ended {first} of ada\nended {third} of ada\n"
        assert printed.err == f"psessions: there is no session {'0' * 12}\n"
        assert [each["handle"] for each in listed(site, capsys)] == [second]

    def test_for_programs(self, site, capsys):
        (name,) = site.fill({"a": 1}, owner="ada")
        assert site.run("end", "--json", name, "0000") == psessions.FOUND
        assert as_json(capsys) == [
            {"handle": name, "ended": True, "owner": "ada"},
            {"handle": "0000", "ended": False, "owner": None},
        ]

    def test_what_cannot_be_read(self, site, capsys):
        (name,) = site.fill({"a": 1})
        site.ini.write_text(site.ini.read_text().replace(SECRET, SECRET[::-1]))
        assert site.run("end", name) == 0
        assert lines(capsys) == [f"ended {name}"]
        assert listed(site, capsys) == []


class TestOwner:
    def test_for_people(self, tmp_path, capsys):
        site = Site(
            tmp_path, f"sqlite://{tmp_path}/sessions.db", device_details="address user_agent"
        )
        handles = site.fill({"a": 1}, {"b": 1}, owner="ada")
        site.fill({"a": 1}, owner="bob")
        assert site.run("owner", "ada") == 0
        title, *rows = lines(capsys)
        assert title.split() == ["handle", "last", "seen", "expires", "created", "from"]
        assert {row.split()[0] for row in rows} == set(handles)
        assert all(re.search(r" s ago +in 20 min +\S+Z  -$", row) for row in rows)

    def test_for_programs(self, site, capsys):
        (name,) = site.fill({"a": 1}, owner="ada")
        assert site.run("owner", "ada", "--json") == 0
        (found,) = as_json(capsys)
        assert (found["handle"], found["address"], found["user_agent"]) == (name, None, None)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["last_seen"])

    def test_nobody(self, site, capsys):
        assert site.run("owner", "ada") == psessions.FOUND
        assert capsys.readouterr().err == "psessions: 'ada' has no sessions\n"

    @pytest.mark.parametrize("user", ["", "a" * 1001])
    def test_no_user_id(self, site, user, capsys):
        assert site.run("owner", user) == psessions.WRONG
        assert "the owner of a session must be" in capsys.readouterr().err

    def test_a_user_id_in_another_encoding(self, site):
        done = site.program("owner", b"Zo\xeb", env={"PYTHONUTF8": "1"})
        assert done.returncode == psessions.WRONG
        assert b"argument USER: not in UTF-8" in done.stderr

    def test_without_swap(self, tmp_path, capsys):
        assert Site(tmp_path, "cookie").run("owner", "ada") == psessions.FOUND
        assert "cannot compare and swap" in capsys.readouterr().err

    def test_ending_in_a_pipe(self, site, capsys):
        site.fill({"a": 1}, owner="ada")
        done = site.program("owner", "ada", "--end", input=b"y\n")
        assert done.returncode == psessions.WRONG
        assert done.stderr == (
            b"psessions: --end asks before it ends anything. Without a terminal, add --yes.\n"
        )
        assert len(listed(site, capsys)) == 1

    def test_ending_without_a_question(self, site, capsys):
        site.fill({"a": 1}, {"b": 1}, owner="ada")
        site.fill({"a": 1}, owner="bob")
        assert site.run("owner", "ada", "--end", "--yes", "--json") == 0
        assert as_json(capsys) == [{"owner": "ada", "ended": 2}]
        assert [each["owner"] for each in listed(site, capsys)] == ["bob"]

    @pytest.mark.parametrize(
        ("answer", "code", "left"),
        [(b"y\n", 0, 0), (b"n\n", 1, 1)],
    )
    def test_ending_on_a_terminal(self, site, answer, code, left, capsys):
        site.fill({"a": 1}, owner="ada")
        ended, printed = on_terminal(80, site.ini, "owner", "ada", "--end", answer=answer)
        assert ended == code
        question = "End 1 session of 'ada'? [y/N] "
        assert printed[-1].removeprefix(question) == (
            "Nothing was ended." if left else "ended 1 session of ada"
        )
        assert any(question in line for line in printed)
        assert len(listed(site, capsys)) == left

    @pytest.mark.parametrize(
        ("answer", "agreed"),
        [("Yes\n", True), (" Y \n", True), ("\n", False), ("", False), ("yo\n", False)],
    )
    def test_an_answer(self, answer, agreed, monkeypatch, capsys):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        assert owner_._agreed("Well? ") is agreed
        printed = capsys.readouterr()
        assert (printed.out, printed.err) == ("", "Well? ")


class TestPshell:
    @pytest.fixture
    def sessions(self, site):
        self.handles = site.fill({"a": 1}, {"b": 2})
        with bootstrap(str(site.ini)) as env:
            pshell.setup(env)
            yield env["sessions"]
            close(env)

    def test_as_a_mapping(self, sessions):
        assert set(sessions) == set(self.handles)
        assert len(sessions) == 2
        assert sessions[self.handles[0]] == {"a": 1}
        assert sessions[self.handles[1][:4]] == {"b": 2}
        assert sessions.get("0000") is None
        assert repr(sessions) == "<Sessions, by handle>"

    def test_what_cannot_be_read(self, site):
        (name,) = site.fill({"a": 1})
        site.ini.write_text(site.ini.read_text().replace(SECRET, SECRET[::-1]))
        with bootstrap(str(site.ini)) as env:
            pshell.setup(env)
            with pytest.raises(KeyError, match="unknown key"):
                env["sessions"][name]
            close(env)


class TestWording:
    @pytest.mark.parametrize(
        ("count", "text"),
        [
            (0, "0 B"), (999, "999 B"), (1000, "1.0 KiB"), (10200, "10 KiB"), (1 << 20, "1.0 MiB"),
            (999 << 10, "999 KiB"), (1 << 30, "1.0 GiB"), (5 << 40, "5.0 TiB"),
        ],
    )  # fmt: skip
    def test_sizes(self, count, text):
        assert wording.size(count) == text
        assert len(text) <= 7

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"),
         (86400, "24 h"), (172800, "2 d"), (34560000, "400 d")],
    )  # fmt: skip
    def test_durations(self, seconds, text):
        assert wording.duration(seconds) == text
        assert len(wording.distance(1e9 - seconds, 1e9)) <= 11

    def test_moments(self):
        assert wording.moment(0.9, 60.9) == "1970-01-01T00:00:00Z (60 s ago)"
        assert wording.moment(1e9, 1e9 - 180) == "2001-09-09T01:46:40Z (in 3 min)"
        assert wording.moment(None, 0) == "never"
        assert wording.moment(float("inf"), 0) == "never"
        assert wording.iso(1e300) is None
        assert wording.distance(float("inf"), 0) == "never"
