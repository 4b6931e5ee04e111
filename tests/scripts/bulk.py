"""A site with an ini file and many records, for the tests of the commands that go over all."""

from __future__ import annotations

import contextlib
import os
import pathlib
import secrets
import subprocess
import sys
import time

from pyramid.config import Configurator
from zope.interface import implementer

from pyramid_pluggable_session.interfaces import IPlugSession
from pyramid_pluggable_session.keyring import Keyring
from pyramid_pluggable_session.keys import SessionKey
from pyramid_pluggable_session.loader import make_plug
from pyramid_pluggable_session.options import CORE_OPTIONS
from pyramid_pluggable_session.plugs.sqlite import SqlitePlug
from pyramid_pluggable_session.record import Kind, Meta, Record, Sealer
from pyramid_pluggable_session.scripts.psessions import main as psessions
from pyramid_pluggable_session.serializers import MsgpackSerializer
from pyramid_pluggable_session.settings import REQUIRED, Option, path

OLD, NEW = "old-secret-" * 5, "new-secret-" * 5
DEFAULTS = {option.name: option.default for option in CORE_OPTIONS}
TIMEOUT = 1200

hooks = {}
"""Functions to be called by a :class:`HookedPlug`, by the name of its operation."""


def main(global_config, **settings):
    """The application."""
    with Configurator(settings=settings) as config:
        config.include("pyramid_pluggable_session")
        return config.make_wsgi_app()


class HookedPlug(SqlitePlug):
    """Calls ``hooks[operation](plug, key)`` before each operation, if there is such a hook."""

    name = "hooked"
    options = (Option("path", path, REQUIRED, ""),)

    def loads(self, session, request):
        self._call("loads", session)
        return super().loads(session, request)

    def swap(self, session, request, expected, session_data):
        self._call("swap", session)
        return super().swap(session, request, expected, session_data)

    def _call(self, name, session):
        hook = hooks.pop(name, None)  # what a hook does calls none
        if hook is not None:
            again = hook(self, session)
            if again is not False:
                hooks[name] = hook


class LyingPlug(SqlitePlug):
    """Keeps something else than it is given."""

    name = "lying"
    options = None

    def __init__(self, config):
        super().__init__(path=config.registry.settings["lying.path"])

    def swap(self, session, request, expected, session_data):
        return super().swap(session, request, expected, session_data[:-1])


@implementer(IPlugSession)
class ThreeMethods:
    """A plug that can do what every plug can, and no more."""

    name = "three"

    def __init__(self, config):
        self._plug = SqlitePlug(path=config.registry.settings["three.path"])
        self.loads, self.dumps = self._plug.loads, self._plug.dumps
        self.clear, self.close = self._plug.clear, self._plug.close


def after(number, action):
    """Return a hook that does something in place of an operation, after so many."""
    done = 0

    def hook(plug, key):
        nonlocal done
        done += 1
        if done > number:
            action()

    return hook


def fail():
    raise OSError("the disk is on fire")


class Site:
    """An application with an ini file."""

    def __init__(self, folder, plug, *secrets, **options):
        self.folder = pathlib.Path(folder)
        self.settings = {
            "pluggable_session.secret": "\n".join(secrets or (NEW,)),
            "pluggable_session.plug": plug,
            "pluggable_session.timeout": str(TIMEOUT),
        }
        self.ini = self.folder / "site.ini"
        self.configure(**options)

    def configure(self, **options):
        """Write the ini file, with further settings; those of plugs of ours have other names."""
        for name, value in options.items():
            ours = name.startswith(("lying.", "three."))
            self.settings[name if ours else f"pluggable_session.{name}"] = value
        lines = ["[app:main]", "use = call:bulk:main"]
        for name, value in self.settings.items():
            lines.append(f"{name} = " + value.replace("%", "%%").replace("\n", "\n    "))
        self.ini.write_text("\n".join(lines) + "\n")

    def run(self, *arguments):
        """Run psessions and return its exit code."""
        return psessions([str(self.ini), *arguments])

    def start(self, *arguments):
        """Start psessions as a process of its own."""
        code = "import sys; from pyramid_pluggable_session.scripts.psessions import main; "
        return subprocess.Popen(
            [sys.executable, "-c", code + "sys.exit(main())", str(self.ini), *arguments],
            env={**os.environ, "PYTHONPATH": os.path.dirname(__file__)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @contextlib.contextmanager
    def storage(self, spec=None):
        """Open the plug that the site uses, or another one."""
        config = Configurator(settings=self.settings)
        plug = make_plug(config, spec or self.settings["pluggable_session.plug"])
        yield plug
        getattr(plug, "close", lambda: None)()


def sealer(*secrets, encrypt=False):
    secrets = [each.encode() for each in secrets or (NEW,)]
    return Sealer(Keyring(secrets, DEFAULTS["salt"], DEFAULTS["hashalg"]), encrypt)


def record(key, number=0, *, renewed=None, kind=Kind.SESSION, by=None, age=0.0):
    """Return the bytes of a record; a session has a user with that number."""
    renewed = time.time() if renewed is None else renewed
    body = MsgpackSerializer().dumps({"user": number}) if kind is Kind.SESSION else b""
    return (by or sealer()).seal(
        key.session_id, Record(kind, Meta(renewed - age, renewed), "msgpack", body)
    )


def new_key(renewed=None, session_id=None):
    """Return the key of a session that was renewed then."""
    renewed = time.time() if renewed is None else renewed
    return SessionKey(session_id or secrets.token_hex(32), renewed + TIMEOUT + 60)


def fill(plug, count, **options):
    """Put sessions into a plug and return what is stored, by key."""
    stored = {}
    renewed = time.time() - 600
    for number in range(count):
        key = new_key(renewed)
        stored[key] = record(key, number, renewed=renewed, **options)
        plug.dumps(key, None, stored[key])
    return stored


def contents(plug, keys):
    """Return what a plug has of these keys."""
    found = ((key, plug.loads(key, None)) for key in keys)
    return {key: data for key, data in found if data is not None}
