"""The console script as such: arguments, errors and exit codes, terminals and pipes."""

from __future__ import annotations

import importlib
import os
import re
import signal
import subprocess
import sys

import pytest
from sites import PROGRAM, SECRET, Site, as_json, environment, on_terminal

from pyramid_pluggable_session.scripts import psessions
from pyramid_pluggable_session.scripts.output import Output
from servers.redis import Valkey


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path, f"sqlite://{tmp_path}/sessions.db")


def error(capsys):
    """Return what was printed to standard error, which must be short."""
    printed = capsys.readouterr()
    assert printed.out == ""
    assert 1 <= len(printed.err.splitlines()) <= 2, printed.err
    return printed.err


class TestHelp:
    def test_of_the_whole(self, capsys):
        with pytest.raises(SystemExit) as caught:
            psessions.main(["--help"])
        assert caught.value.code == 0
        text = capsys.readouterr().out
        for name in psessions.COMMANDS:
            assert re.search(rf"(?m)^ +{name} +\w", text), name
        assert "exit codes:\n  0    it is done\n" in text
        assert "examples:\n  psessions production.ini check\n" in text

    @pytest.mark.parametrize("name", psessions.COMMANDS)
    def test_of_each_command(self, name, capsys):
        with pytest.raises(SystemExit) as caught:
            psessions.main(["site.ini", name, "--help"])
        assert caught.value.code == 0
        assert f"examples:\n  psessions production.ini {name}" in capsys.readouterr().out

    @pytest.mark.parametrize("name", psessions.COMMANDS)
    def test_the_examples_are_taken(self, name):
        """As far as the parser is concerned."""
        module = importlib.import_module(f"pyramid_pluggable_session.scripts.commands.{name}_")
        for example in module.EXAMPLES:
            words = re.sub(r"\s*[|#].*", "", example).split()
            assert psessions.make_parser().parse_args(words).command == name

    def test_needs_no_more_than_the_core(self):
        """What takes time to import, such as a driver, is left to the command that needs it."""
        code = (
            "import sys; from pyramid_pluggable_session.scripts import psessions\n"
            "try: psessions.main(['--help'])\n"
            "except SystemExit: pass\n"
            "print('imported', *sys.modules, file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment(), capture_output=True, check=True
        )
        modules = done.stderr.decode().partition("imported ")[2].split()
        roots = {each.partition(".")[0] for each in modules}
        assert "pyramid" in roots
        unwanted = {"redis", "sqlalchemy", "pymongo", "boto3", "google", "lmdb", "dogpile"}
        unwanted |= {"tqdm", "pyramid_debugtoolbar", "opentelemetry", "webtest"}
        assert roots & unwanted == set()

    def test_on_a_narrow_terminal_it_is_wrapped(self):
        code, lines = on_terminal(40, "--help")
        assert code == 0
        assert max(map(len, lines)) <= 40


class TestWrongArguments:
    def test_no_such_file(self, capsys):
        assert psessions.main(["nowhere.ini", "list"]) == psessions.WRONG
        assert error(capsys) == "psessions: There is no file nowhere.ini.\n"

    def test_a_directory(self, tmp_path, capsys):
        assert psessions.main([str(tmp_path), "list"]) == psessions.WRONG
        assert "There is no file" in error(capsys)

    def test_no_such_section(self, site, capsys):
        assert psessions.main([f"{site.ini}#other", "list"]) == psessions.WRONG
        assert "No section 'other'" in error(capsys)

    def test_another_section(self, site, capsys):
        site.add("[app:other]\nuse = call:sites:without\n")
        assert psessions.main([f"{site.ini}#other", "list"]) == psessions.WRONG
        assert "config.include('pyramid_pluggable_session')" in error(capsys)

    def test_not_an_ini_file(self, site, capsys):
        site.ini.write_text("something else\n")
        assert site.run("list") == psessions.WRONG
        assert "the application cannot be made: MissingSectionHeaderError" in error(capsys)

    def test_bytes_that_are_no_text(self, site, capsys):
        site.ini.write_bytes(b"[app:main]\nname = \xff\n")
        assert site.run("list") == psessions.WRONG
        assert "the application cannot be made: UnicodeDecodeError" in error(capsys)

    def test_no_such_command(self, site, capsys):
        with pytest.raises(SystemExit) as caught:
            site.run("lst")
        assert caught.value.code == psessions.WRONG
        assert "invalid choice: 'lst'" in capsys.readouterr().err

    def test_no_command(self, site, capsys):
        with pytest.raises(SystemExit) as caught:
            site.run()
        assert caught.value.code == psessions.WRONG
        assert "COMMAND" in capsys.readouterr().err

    @pytest.mark.parametrize("limit", ["0", "-1"])
    def test_a_limit_of_nothing(self, site, limit, capsys):
        assert site.run("list", f"--limit={limit}") == psessions.WRONG
        assert "--limit" in error(capsys)


class TestWrongConfiguration:
    def test_an_unknown_plug(self, tmp_path, capsys):
        assert Site(tmp_path, "sqlit").run("list") == psessions.WRONG
        assert "Did you mean pluggable_session.plug = sqlite?" in error(capsys)

    def test_the_secret_of_the_documentation(self, tmp_path, capsys):
        assert Site(tmp_path, "memory", secret="replace-me").run("list") == psessions.WRONG
        assert "Make your own with" in error(capsys)

    def test_a_place_that_is_none(self, tmp_path, capsys):
        plug = f"sqlite://{tmp_path}/nowhere/sessions.db"
        assert Site(tmp_path, plug).run("list") == psessions.WRONG
        assert "in a directory that does not exist" in error(capsys)

    @pytest.mark.parametrize(
        ("factory", "told"), [("broken", "KeyError"), ("broken_in_action", "ZeroDivisionError")]
    )
    def test_an_application_that_cannot_be_made(self, site, factory, told, capsys):
        site.ini.write_text(site.ini.read_text().replace("sites:app", f"sites:{factory}"))
        assert site.run("list") == psessions.WRONG
        text = error(capsys)
        assert f"the application cannot be made: {told}" in text
        assert f"(pserve {site.ini} shows where that comes from)" in text
        assert "hunter2" not in text

    def test_what_is_weak_is_told_by_check_alone(self, tmp_path, capsys):
        site = Site(tmp_path, f"sqlite://{tmp_path}/sessions.db", timeout="none")
        assert site.run("list") == 0
        assert capsys.readouterr().err.strip() == "No sessions."


class TestStorage:
    @pytest.mark.parametrize("command", [["list"], ["show", "abcd"], ["end", "abcd"]])
    def test_without_scan(self, tmp_path, command, capsys):
        assert Site(tmp_path, "cookie").run(*command) == psessions.WRONG
        assert "The cookie storage cannot list its sessions" in error(capsys)

    @pytest.mark.parametrize("front", ["", "chain"])
    def test_down_at_the_start(self, tmp_path, front, capsys):
        url = "redis://app:hunter2@127.0.0.1:1/0"
        site = Site(tmp_path, "chain", **{"chain.plugs": f"memory {url}"})
        if not front:
            site = Site(tmp_path, url)
        for command in ("list", "show abcd", "end abcd", "owner ada"):
            assert site.run(*command.split()) == psessions.UNAVAILABLE
            text = error(capsys)
            assert "session storage redis failed" in text
            assert "pluggable_session.redis.url" in text
            assert "hunter2" not in text

    def test_down_in_the_middle(self, need, tmp_path, capsys):
        """What was printed stands there, and what went wrong behind it."""
        need(Valkey)
        (tmp_path / "server").mkdir()
        with Valkey(tmp_path / "server") as server:
            site = Site(tmp_path, server.url)
            site.fill_many(1000)
            listing = subprocess.Popen(
                [*PROGRAM, str(site.ini), "list"],
                env=environment(PYTHONUNBUFFERED="1"),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            first = listing.stdout.readline() + listing.stdout.readline()
            server.kill()
            rest, errors = listing.communicate(timeout=60)
        lines = (first + rest).decode().splitlines()
        assert lines[0].startswith("handle ")
        assert 1 < len(lines) < 1001
        assert listing.returncode == psessions.UNAVAILABLE
        assert errors.decode().startswith("psessions: session storage redis failed to do ")
        assert len(errors.splitlines()) == 1


class TestOutput:
    def test_piped_to_head(self, site):
        """More than a pipe takes, so that writing goes on when nobody reads any more."""
        site.fill_many(1000)
        listing = subprocess.Popen(
            [*PROGRAM, str(site.ini), "list"],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert listing.stdout.readline().startswith(b"handle ")
        listing.stdout.close()
        errors = listing.stderr.read()
        listing.stderr.close()
        assert (listing.wait(60), errors) == (psessions.OK, b"")

    def test_ctrl_c(self, site):
        """While it waits for a reader: more than a pipe takes is still to be written."""
        site.fill_many(1000)
        with subprocess.Popen(
            [*PROGRAM, str(site.ini), "list"],
            env=environment(PYTHONFAULTHANDLER="1"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as listing:
            listing.stdout.readline()
            listing.send_signal(signal.SIGINT)
            try:
                _, errors = listing.communicate(timeout=120)
            except subprocess.TimeoutExpired:
                listing.send_signal(signal.SIGABRT)  # to be told where it is
                _, errors = listing.communicate()
        assert errors == b"interrupted; what was done stays done, run it again to go on\n"
        assert listing.returncode == psessions.INTERRUPTED

    @pytest.mark.parametrize(
        "environ",
        [
            {"LANG": "C", "LC_ALL": "C"},
            {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            {"PYTHONIOENCODING": "ascii"},
            {"PYTHONIOENCODING": "latin-1:strict"},
        ],
    )
    def test_a_terminal_without_utf_8(self, site, environ):
        (handle,) = site.fill({"näme": "tea ☕"}, owner="Zoë ☕")
        done = site.program("show", handle, "--reveal", env=environ)
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"str, 5: 'tea " in done.stdout
        done = site.program("owner", "Zoë ☕", env=environ)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.split(b"\n")[1].startswith(handle.encode())

    def test_what_users_sent_does_nothing_to_the_terminal(self, site, capsys):
        (handle,) = site.fill({"\x1b]0;title\x07": "\x1b[2J\u202e"}, owner="a\x1b[31mda\n")
        for command in (["list"], ["show", handle, "--reveal"], ["end", handle]):
            assert site.run(*command) == 0
            text = capsys.readouterr().out
            assert all(each.isprintable() or each == "\n" for each in text)
            assert "a\\x1b[31mda" in text

    def test_no_session_id(self, site, capsys):
        site.fill({"a": 1}, {"b": 2}, owner="ada")
        handles = [each["handle"] for each in self.listed(site, capsys)]
        for command in (
            ["list"],
            ["list", "--all", "--json"],
            ["show", handles[0], "--reveal"],
            ["show", handles[0], "--json"],
            ["owner", "ada"],
            ["owner", "ada", "--json"],
            ["check", "--json"],
            ["end", *handles],
        ):
            assert site.run(*command) == 0
            printed = capsys.readouterr()
            assert re.search(r"[0-9a-f]{16}", printed.out.replace(SECRET, "")) is None, command
            assert SECRET not in printed.out

    def listed(self, site, capsys):
        assert site.run("list", "--json") == 0
        return as_json(capsys)

    def test_width(self, tmp_path, monkeypatch):
        class Terminal:
            encoding = "utf-8"

            def isatty(self):
                return True

        monkeypatch.setenv("COLUMNS", "72")
        assert Output(Terminal()).width == 72
        monkeypatch.setenv("COLUMNS", "3")
        assert Output(Terminal()).width == 20

    @pytest.mark.parametrize("columns", [40, 80])
    def test_on_a_terminal(self, site, columns):
        (handle,) = site.fill({"a long name of a key": "tea " * 30}, owner="o" * 25)
        for command in (["list"], ["show", handle, "--reveal"], ["owner", "o" * 25], ["check"]):
            code, lines = on_terminal(columns, site.ini, *command)
            assert code == 0
            for line in lines:
                # A word that is longer than a line is left whole, to be copied.
                assert len(line) <= columns or len(line.split()[-1]) > columns // 2, line

    def test_nothing_is_left_open(self, site):
        # Pyramid imports what setuptools warns of.
        warnings = "error::ResourceWarning,ignore::UserWarning"
        done = site.program("list", env={"PYTHONWARNINGS": warnings})
        assert done.stderr == b"No sessions.\n"


def test_every_command_is_there():
    folder = os.path.dirname(psessions.__file__) + "/commands"
    there = {
        name[: -len("_.py")] for name in os.listdir(folder) if re.fullmatch(r"[a-z]+_\.py", name)
    }
    assert there == set(psessions.COMMANDS)


def test_a_secret_can_be_had_for_an_application_that_has_none(tmp_path, capsys):
    ini = tmp_path / "development.ini"
    ini.write_text("[app:main]\nuse = call:nowhere:main\n")
    assert psessions.main([str(ini), "secret"]) == 0
    assert len(capsys.readouterr().out.strip()) >= 64


def test_secret(site, capsys):
    assert site.run("secret") == 0
    first = capsys.readouterr().out.strip()
    assert site.run("secret") == 0
    assert first != capsys.readouterr().out.strip()
    assert len(first) >= 64
