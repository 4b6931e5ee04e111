"""The quick start, done by somebody who takes it literally."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shlex
import signal
import socket
import subprocess
import sys
import types

import plaster
import pytest
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.session import SignedCookieSessionFactory
from webtest import TestApp

from apps import SECRET
from servers import free_port
from snippets import DOCS, ROOT, snippets
from timing import wait_for

PAGE = DOCS / "quickstart.md"
TEXT = PAGE.read_text()
LINES = TEXT.splitlines()
EXISTING = LINES.index("## Add it to an application that exists")
# What a newcomer goes through, and what is for an application that exists.
NEW = [each for each in snippets(PAGE) if each.line < EXISTING]
OLD = [each for each in snippets(PAGE) if each.line > EXISTING]
PLACEHOLDER = "replace-me-with-a-long-random-text"


class Reader:
    """Somebody with two terminals and an editor.

    In the first terminal each command goes on where the one before has left off, in its directory
    and with its variables; it also has the server. The second one is for ``curl``.
    """

    def __init__(self, home, environment):
        self.home = home
        self.environment = environment
        self.state = home / "state"
        self.state.write_text(f"cd {shlex.quote(str(home))}\n")
        self.log = home / "server.log"
        self.server = None

    @property
    def directory(self):
        """Where the first terminal is now."""
        return pathlib.Path(self.run("pwd").stdout.strip())

    def run(self, command):
        """Let a command of the first terminal come to its end."""
        assert self.server is None, f"the server is still running when it comes to: {command}"
        state = shlex.quote(str(self.state))
        # What a shell remembers from one command to the next; -a: all of its variables.
        return self._shell(
            f". {state}\nset -a\n{command}\ncode=$?\n"
            f'{{ export -p; echo "cd \\"$PWD\\""; }} > {state}\nexit $code'
        )

    def curl(self, command):
        """Run a command in the second terminal."""
        assert self.server is not None, f"no server runs when it comes to: {command}"
        return self._shell(f"cd {shlex.quote(str(self.home))}\n{command}")

    def _shell(self, script):
        return subprocess.run(
            ["bash", "-c", script],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def serve(self, command):
        assert self.server is None, "one server runs already"
        with self.log.open("w") as log:
            self.server = subprocess.Popen(
                ["bash", "-c", f". {shlex.quote(str(self.state))}\n{command}"],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def listens(self, port):
        """Tell whether the server takes connections."""
        assert self.server.poll() is None, self.log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("localhost", port), 10):
            return True
        return False

    def interrupt(self):
        """Type Ctrl+C: all that runs in the terminal gets the signal, and the shell as well."""
        server, self.server = self.server, None
        if server is None:
            return
        try:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGINT)
            server.wait(60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait(60)

    def edit(self, name, setting):
        """Replace the line of a setting in a file."""
        path = self.directory / name
        key = setting.partition(" = ")[0]
        pattern = rf"(?m)^{re.escape(key)} = .*\n"
        text, count = re.subn(pattern, lambda _: setting, path.read_text())
        assert count == 1
        path.write_text(text)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    code = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, folder], cwd=ROOT, check=True)
    (path,) = folder.iterdir()
    return path


@pytest.fixture
def reader(tmp_path, require_program):
    """Return a reader on a machine that has nothing but what the page asks for."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("bash", "curl", "sed", "mkdir", "uname"):
        (programs / name).symlink_to(require_program(name))
    # The Python of these tests, and not their virtual environment. Not by a symbolic link: what is
    # made by one that was called by another name may not find its own library.
    python = programs / "python3"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys._base_executable)} "$@"\n')
    python.chmod(0o755)
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "COV")) and name != "VIRTUAL_ENV"
    }
    home = tmp_path / "home"
    home.mkdir()
    reader = Reader(home, {**environment, "PATH": str(programs)})
    yield reader
    reader.interrupt()


def of_this_checkout(snippet, wheel):
    """Return a ``pip install`` that takes the wheel of this checkout in place of the index's."""
    changed, count = re.subn(r"pyramid_pluggable_session", str(wheel), snippet)
    assert count == 1
    return changed


def commands(snippet):
    """Return each command with the output that the page shows of it, if it does."""
    if snippet.language == "sh":
        return [(line, "") for line in snippet.text.splitlines()]
    assert snippet.language == "console", f"what is one to do with {snippet.language}?"
    return [part.partition("\n")[::2] for part in re.split(r"(?m)^\$ ", snippet.text)[1:]]


@pytest.mark.slow
def test_a_newcomer_has_a_session(reader, wheel, running, missing):
    port, redis = free_port(), running("valkey").url
    answers = []

    def here(text):
        """Return a text with the port and the server that there are on this machine."""
        return text.replace("6543", str(port)).replace("redis://localhost:6379/0", redis)

    def follow(command):
        if command.startswith("pserve ") or " pserve " in command:
            reader.serve(command)
            wait_for(lambda: reader.listens(port), 120)
            return ""
        if command.startswith("curl "):
            done = reader.curl(command)
            answers.append(done.stdout)
        elif command.startswith("pip install "):
            done = reader.run(of_this_checkout(command, wheel))
            if done.returncode != 0 and "Retrying (Retry(" in done.stderr:
                missing("pip reaches no index")
        else:
            done = reader.run(command)
        log = reader.log.read_text() if reader.log.exists() else ""
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}\n{log}"
        return done.stdout

    read = 0
    for snippet in NEW:
        if "Ctrl+C" in "\n".join(LINES[read : snippet.line]):
            assert reader.server is not None, f"line {snippet.line}: nothing is to be stopped"
            reader.interrupt()
        read = snippet.line
        if snippet.caption is not None:
            (reader.directory / snippet.caption).write_text(here(snippet.text))
        elif snippet.language == "ini":
            reader.edit("development.ini", here(snippet.text))
        else:
            for command, shown in commands(snippet):
                output = follow(here(command))
                if shown:
                    assert output == shown, command
                if " list" in command:
                    heading, *sessions = output.splitlines()
                    assert heading.startswith("handle ")
                    assert len(sessions) == 1
    assert answers == [f"Visit number {number}\n" for number in (1, 2, 3, 1, 1, 2)]
    # The third is after the restart, and the sessions are where the page says.
    assert (reader.home / "hello/sessions.db").exists()
    assert any(path.is_file() for path in (reader.home / "hello/sessions").rglob("*"))
    with running("valkey").client() as client:
        assert list(client.scan_iter("session:*"))


@pytest.fixture
def make_module(monkeypatch):
    """Return a function that makes a module of a page's Python, for as long as the test lasts."""

    def make(name, text):
        module = types.ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        exec(text, vars(module))
        return module

    return make


def test_the_placeholder_is_refused_with_these_words(tmp_path, make_module):
    files = {each.caption: each.text for each in NEW}
    (tmp_path / "development.ini").write_text(files["development.ini"])
    module = make_module("app", files["app.py"])
    settings = plaster.get_settings(str(tmp_path / "development.ini"), "app:main")
    (said,) = re.findall(r"the last line of the error says:\s+`(.*)`", TEXT)
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        module.main({}, **settings)


def test_it_is_the_smallest_example():
    """The files of the page are those of ``examples/minimal``, but for what explains them there."""
    files = {each.caption: each.text for each in NEW if each.caption}
    example = ROOT / "examples/minimal"
    assert set(files) == {path.name for path in example.iterdir() if path.is_file()}
    app, ini = ((example / name).read_text() for name in ("app.py", "development.ini"))
    assert app.partition('"""\n\n')[2] == files["app.py"]
    assert ini.partition("\n\n")[2] == files["development.ini"]


class TestAnApplicationThatExists:
    @pytest.fixture
    def module(self, make_module):
        (text,) = (each.text for each in OLD if each.language == "python")
        return make_module("existing", text)

    @pytest.fixture
    def settings(self, tmp_path):
        (ini,) = (each.text for each in OLD if each.language == "ini")
        text = ini.replace(PLACEHOLDER, SECRET).replace("/var/lib/app", str(tmp_path))
        return dict(re.findall(r"(?m)^(\S+) = (.*)$", text))

    def test_it_has_sessions(self, module, settings, monkeypatch):
        def visits(request):
            request.session.flash("seen")
            request.session["token"] = request.session.get_csrf_token()
            return dict(request.session)

        class Configured(Configurator):
            """The application's own configuration, where the page leaves it out."""

            def make_wsgi_app(self):
                self.add_route("visits", "/")
                self.add_view(visits, route_name="visits", renderer="json")
                return super().make_wsgi_app()

        monkeypatch.setattr(module, "Configurator", Configured)
        app = module.main({}, **settings)
        client = TestApp(app)
        first, second = client.get("/").json, client.get("/").json
        assert first["token"] == second["token"]
        assert [len(each["_f_"]) for each in (first, second)] == [1, 2]
        assert pathlib.Path(settings["pluggable_session.plug"].partition("//")[2]).exists()

    @pytest.mark.parametrize("way", ["argument", "before", "after"])
    def test_another_factory_wins_and_the_check_fails(
        self, way, settings, tmp_path, make_module, monkeypatch, caplog
    ):
        other = SignedCookieSessionFactory(SECRET)

        def main(global_config, **settings):
            argument = {"session_factory": other} if way == "argument" else {}
            with Configurator(settings=settings, **argument) as config:
                if way == "before":
                    config.set_session_factory(other)
                config.include("pyramid_pluggable_session")
                if way == "after":
                    config.set_session_factory(other)
                config.add_route("kind", "/")
                config.add_view(
                    lambda request: {"ours": request.session.__module__.split(".")[0]},
                    route_name="kind",
                    renderer="json",
                )
                return config.make_wsgi_app()

        client = TestApp(main({}, **settings))
        assert client.get("/").json == {"ours": "pyramid"}
        assert "sets another session factory" in caplog.text
        make_module("leftover", "").main = main
        ini = tmp_path / "development.ini"
        lines = [f"{name} = {value}\n" for name, value in settings.items()]
        ini.write_text("".join(["[app:main]\n", "use = call:leftover:main\n", *lines]))
        (command,) = re.findall(r"`psessions (development\.ini) (check)`", TEXT)
        monkeypatch.chdir(tmp_path)
        from pyramid_pluggable_session.scripts.psessions import main as psessions

        assert psessions(list(command)) != 0
