"""Small sites with an ini file, and psessions run on them: in this process, or as a program."""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import pty
import struct
import subprocess
import sys
import termios

from pyramid.config import Configurator
from pyramid.interfaces import ISessionFactory
from pyramid.paster import bootstrap
from webtest import TestApp

from pyramid_pluggable_session import clock
from pyramid_pluggable_session.interfaces import IPlugSession
from pyramid_pluggable_session.keys import new_session_id
from pyramid_pluggable_session.record import Meta
from pyramid_pluggable_session.scripts.psessions import main as psessions
from pyramid_pluggable_session.storage import Storage
from pyramid_pluggable_session.store import Draft
from pyramid_pluggable_session.testing import open_session

HERE = pathlib.Path(__file__).parent
SECRET = "0123456789abcdef" * 3
PROGRAM = (
    sys.executable,
    "-c",
    "import sys; from pyramid_pluggable_session.scripts.psessions import main; sys.exit(main())",
)


def app(global_config, **settings):
    """Make the application of the ini files."""
    with Configurator(settings=settings) as config:
        config.include("pyramid_pluggable_session")
        return config.make_wsgi_app()


def without(global_config, **settings):
    """Make an application without sessions of ours."""
    with Configurator(settings=settings) as config:
        return config.make_wsgi_app()


def broken(global_config, **settings):
    """Fail to make an application."""
    raise KeyError("postgresql://app:hunter2@db/app")


def broken_in_action(global_config, **settings):
    """Fail to make an application when its configuration is put together."""
    with Configurator(settings=settings) as config:
        config.include("pyramid_pluggable_session")
        config.action(None, lambda: 1 / 0)
        return config.make_wsgi_app()


class Site:
    """An application with an ini file in a folder, and its sessions in a storage."""

    def __init__(self, folder, plug, **settings):
        self.ini = folder / "site.ini"
        settings = {"secret": SECRET, "plug": plug, **settings}
        lines = [
            f"pluggable_session.{name} = {value.replace('%', '%%')}"
            for name, value in settings.items()
        ]
        self.ini.write_text("\n".join(["[app:main]", "use = call:sites:app", *lines, ""]))

    def add(self, text):
        """Add a text to the ini file."""
        self.ini.write_text(self.ini.read_text() + text)

    def fill(self, *contents, owner=None):
        """Store a session with each of these contents; return their handles."""
        handles = []
        with bootstrap(str(self.ini)) as env:
            for content in contents:
                with open_session(TestApp(env["app"])) as session:
                    session.update(content)
                    session.owner = owner
                handles.append(session.handle)
            close(env)
        return handles

    def fill_many(self, count):
        """Store so many sessions, faster than requests would."""
        with bootstrap(str(self.ini)) as env:
            plug = env["registry"].getUtility(IPlugSession)
            storage = Storage(plug, None)
            store = env["registry"].getUtility(ISessionFactory).store_for(storage)
            now = clock.now()
            for number in range(count):
                draft = Draft(new_session_id(), {"number": number}, Meta(now, now))
                store.create(storage, draft)
            close(env)

    def run(self, *arguments):
        """Run psessions in this process; return the exit code."""
        return psessions([str(self.ini), *arguments])

    def program(self, *arguments, **kwargs):
        """Run psessions as a program of its own, in pipes."""
        done = subprocess.run(
            [*PROGRAM, str(self.ini), *arguments],
            env=environment(**kwargs.pop("env", {})),
            capture_output=True,
            timeout=120,
            check=False,
            **kwargs,
        )
        assert b"Traceback" not in done.stderr, done.stderr
        return done


def close(env):
    """Close the plug of an application that was made here."""
    plug = env["registry"].getUtility(IPlugSession)
    if hasattr(plug, "close"):
        plug.close()


def environment(**more):
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore", **more}


def on_terminal(columns, *arguments, answer=b""):
    """Run psessions on a terminal of a width; return its exit code and the lines it printed."""
    pid, terminal = pty.fork()
    if pid == 0:
        environ = environment()
        environ.pop("COLUMNS", None)
        os.execve(PROGRAM[0], [*PROGRAM, *map(str, arguments)], environ)
    try:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        os.write(terminal, answer)
        printed = b""
        while True:
            try:
                printed += (piece := os.read(terminal, 65536))
            except OSError:  # so Linux says that the other end is closed
                break
            if not piece:
                break
    finally:
        os.close(terminal)
        _, status = os.waitpid(pid, 0)
    text = printed.decode().replace("\r\n", "\n")
    assert "Traceback" not in text, text
    return os.waitstatus_to_exitcode(status), text.splitlines()


def as_json(capsys):
    """Return what was printed as JSON, one object on each line."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]
