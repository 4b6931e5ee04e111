"""What docs/production.md says of settings and of ``psessions check`` is so."""

from __future__ import annotations

import re
import shutil

import pytest
from pyramid.exceptions import ConfigurationError
from pyramid.path import DottedNameResolver

from apps import SECRET, App, set_cookies
from pyramid_pluggable_session import SessionTooLarge
from pyramid_pluggable_session.interfaces import IPlugSession, IPurgePlug
from pyramid_pluggable_session.loader import known_plugs
from pyramid_pluggable_session.options import CORE_OPTIONS
from pyramid_pluggable_session.scripts import probe
from pyramid_pluggable_session.scripts.checks import MOST_SKEW
from pyramid_pluggable_session.scripts.psessions import main as psessions
from pyramid_pluggable_session.testing import FakeClock
from snippets import DOCS, ROOT, commands, configurations
from timing import PATIENT

PAGE = DOCS / "production.md"
TEXT = PAGE.read_text()
((_, SETTINGS),) = configurations(PAGE)
SITE = """
from pyramid.config import Configurator

def main(global_config, **settings):
    with Configurator(settings=settings) as config:
        config.include("pyramid_pluggable_session")
        return config.make_wsgi_app()
"""


def put(**values):
    return lambda session: session.update(values)


def item(title):
    """Return the text of an item of the list."""
    (text,) = re.findall(rf"(?ms)^- \*\*{re.escape(title)}\*\*(.*?)(?=^- \*\*|^## |\Z)", TEXT)
    return " ".join(text.split())


def core(name):
    (option,) = [each for each in CORE_OPTIONS if each.name == name]
    return option


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    """Return a function that runs the page's check, on the page's settings and some others."""
    (tmp_path / "production_site.py").write_text(SITE)
    monkeypatch.syspath_prepend(tmp_path)
    (command,) = [words for _, words in commands(PAGE) if " check" in words]

    def check(plug=f"sqlite://{tmp_path}/s.db", **others):
        given = {**SETTINGS, "pluggable_session.secret": SECRET, "pluggable_session.plug": plug}
        given |= {f"pluggable_session.{name}": value for name, value in others.items()}
        lines = "".join(f"{name} = {value}\n" for name, value in given.items())
        ini = tmp_path / "production.ini"
        ini.write_text(f"[app:main]\nuse = call:production_site:main\n{lines}")
        words = [str(ini) if each == "production.ini" else each for each in command.split()]
        code = psessions(words[1:])
        return code, capsys.readouterr().out

    return check


class TestSettings:
    def test_the_application_does_not_start_with_the_secret_of_the_page(self):
        with pytest.raises(ConfigurationError, match="still the one of the documentation"):
            App(settings=SETTINGS)

    def test_the_cookie(self):
        settings = {n: v for n, v in SETTINGS.items() if not n.endswith((".secret", ".plug"))}
        (cookie,) = set_cookies(App(settings=settings).client().do(put(a=1)))
        assert re.fullmatch(
            "__Host-session=[0-9a-f]{128}; Path=/; Secure; HttpOnly; SameSite=Lax", cookie
        )

    def test_the_defaults_that_the_page_names(self):
        told = item("Sessions end.")
        assert core("timeout").default == 20 * 60
        defaults = {option.name: option.default for option in plug_options("redis")}
        assert defaults["connect_timeout"] + defaults["timeout"] == 7
        assert "7 seconds" in item("The web server waits for longer than a session does.")
        assert "20 minutes" in told
        assert core("lifetime").default is None
        assert core("max_age").default == 10 * 24 * 3600
        assert "ten days" in told
        assert core("max_size").default == 2**20
        assert core("serializer").default == ("msgpack",)
        pool_size = plug_option("postgresql", "pool_size")
        assert f"databases, {pool_size.default} if not set" in item("There are connections enough.")

    def test_sessions_end(self):
        names = "pluggable_session.timeout", "pluggable_session.lifetime"
        timeout, lifetime = (int(SETTINGS[name]) for name in names)
        with FakeClock() as clock:
            client = App(settings={name: SETTINGS[name] for name in names}).client()
            client.do(put(a=1))
            clock.advance(timeout + 1)
            assert client.data() == {}
            client.do(put(a=1))
            for _ in range(lifetime // (timeout // 2)):
                assert client.data() == {"a": 1}
                clock.advance(timeout // 2)
            assert client.data() == {}

    def test_a_session_that_is_too_large(self):
        client = App(max_size=SETTINGS["pluggable_session.max_size"]).client()
        with pytest.raises(SessionTooLarge):
            client.do(put(a="x" * 70_000))


def plug_options(scheme):
    plug = DottedNameResolver().resolve(known_plugs()[scheme].value.replace(":", "."))
    return plug.options


def plug_option(scheme, name):
    return next((each for each in plug_options(scheme) if each.name == name), None)


class TestCheck:
    def test_of_the_settings_of_the_page(self, check):
        code, out = check()
        assert code == 0
        assert out.splitlines()[-1].startswith("OK")

    @pytest.mark.parametrize(
        ("title", "others"),
        [
            ("The secret is your own, and in no repository.", {"secret": "short"}),
            ("Sessions end.", {"timeout": "none", "lifetime": "none"}),
            ("No pickle.", {"serializer": "pickle"}),
            ("It is one for as many machines as you have.", {"plug": "memory"}),
        ],
        ids=["secret", "end", "pickle", "memory"],
    )
    def test_warns(self, check, title, others):
        assert "`check` warns" in item(title)
        code, out = check(**others)
        assert code == 1
        assert "\nWARN" in out

    def test_that_it_warns_of_the_clock(self, check, monkeypatch):
        assert "warns of 2 seconds" in item("Their clocks are right.")
        assert MOST_SKEW == 2
        monkeypatch.setattr(probe, "skew", lambda plug: 2.1)
        code, out = check()
        assert (code, "WARN  clock" in out) == (1, True)

    def test_what_it_does_not_look_at(self, check, running):
        server = running("valkey")
        with server.client() as client:
            before = client.config_get("maxmemory*")
            try:
                client.config_set("maxmemory-policy", "allkeys-lru")
                client.config_set("maxmemory", "100mb")
                code, out = check(plug=server.url)
            finally:
                client.config_set("maxmemory-policy", before["maxmemory-policy"])
                client.config_set("maxmemory", before["maxmemory"])
        assert code == 0, out


class TestStorage:
    def test_which_expire_by_themselves(self):
        """As the page says: all on servers, but for the SQL databases."""
        by_themselves = ("redis", "memcached", "mongodb", "dynamodb")
        assert not any(plug_option(name, "purge_interval") for name in by_themselves)
        of_processes = ("file", "sqlite", "lmdb", "dbm", "postgresql", "mysql")
        assert all(plug_option(name, "purge_interval") for name in of_processes)

    def test_a_timer_may_delete_what_has_expired(self, check, tmp_path, capsys):
        plug = f"sqlite://{tmp_path}/s.db?purge_interval=0"
        with FakeClock() as clock:
            app = App(plug=plug)
            app.client().do(put(a=1))
            clock.advance(10_000)
            made = app.registry.getUtility(IPlugSession)
            assert IPurgePlug.providedBy(made)
            check(plug=plug)
            (command,) = [words for _, words in commands(PAGE) if words.endswith(" purge")]
            ini = str(tmp_path / "production.ini")
            assert psessions([ini, *command.split()[2:]]) == 0
            assert re.search(r"\b1\b", capsys.readouterr().out)
            made.close()

    def test_a_backup_brings_back_what_has_ended(self, tmp_path):
        path = tmp_path / "sessions"
        app = App(plug=f"file://{path}")
        client = app.client()
        client.do(put(user="ada"))
        shutil.copytree(path, tmp_path / "backup")
        cookie = client.cookie
        client.do(lambda session: session.invalidate())
        assert app.client(cookie).data() == {}
        shutil.rmtree(path)
        shutil.copytree(tmp_path / "backup", path)
        assert app.client(cookie).data() == {"user": "ada"}
        changed = App(plug=f"file://{path}", secret="another-" * 8)
        assert changed.client(cookie).data() == {}

    def test_a_full_server_refuses_and_forgets_nothing(self, running):
        server = running("valkey")
        app = App(
            plug=server.url,
            settings={
                f"pluggable_session.redis.{name}": str(value) for name, value in PATIENT.items()
            },
        )
        client = app.client()
        client.do(put(user="ada"))
        with server.client() as direct:
            policy = re.search(r"`maxmemory-policy (\w+)`", item("It evicts nothing."))[1]
            before = direct.config_get("maxmemory*")
            try:
                direct.config_set("maxmemory-policy", policy)
                direct.config_set("maxmemory", 1)
                assert app.client().do(put(a=1), status=503).status_int == 503
                assert client.data() == {"user": "ada"}
            finally:
                direct.config_set("maxmemory", before["maxmemory"])
                direct.config_set("maxmemory-policy", before["maxmemory-policy"])
        app.registry.getUtility(IPlugSession).close()

    def test_what_users_see_when_it_is_down(self):
        app = App(plug="redis://127.0.0.1:1/0")
        client = app.client("0" * 128)
        assert client.do(put(a=1), status=503).status_int == 503
        assert client.request(lambda request: {}).status_int == 200


def test_the_example_is_as_the_page_says():
    settings = (ROOT / "examples" / "production" / "production.ini").read_text()
    for name, value in SETTINGS.items():
        if not name.endswith((".secret", ".plug")):
            assert f"{name} = {value}\n" in settings
    assert "debugtoolbar" not in settings
    assert (
        "maxmemory-policy noeviction"
        in (ROOT / "examples" / "production" / "redis.conf").read_text()
    )
