"""What docs/secrets.md says of secrets: kept, changed step by step over several servers, leaked."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import pickle
import re
import shlex
import subprocess
import sys

import plaster
import pytest
from pyramid.config import Configurator
from pyramid.paster import bootstrap
from webtest import TestApp

from apps import App, CountingPlug, set_cookies
from pyramid_pluggable_session.cookie import CookieAttributes, SessionCookie
from pyramid_pluggable_session.interfaces import IPlugSession
from pyramid_pluggable_session.keyring import Keyring, Keys
from pyramid_pluggable_session.keys import SessionKey, new_session_id
from pyramid_pluggable_session.options import CORE_OPTIONS
from pyramid_pluggable_session.record import Kind, Meta, Record, Sealer
from pyramid_pluggable_session.scripts.psessions import main as psessions
from pyramid_pluggable_session.serializers import MsgpackSerializer
from pyramid_pluggable_session.testing import FakeClock, open_session
from snippets import DOCS, configurations, run_python, snippets

PAGE = DOCS / "secrets.md"
OLD, NEW = "old-secret-" * 5, "new-secret-" * 5
PLACEHOLDERS = {"replace-me-with-the-old-secret": OLD, "replace-me-with-the-new-secret": NEW}
DEFAULTS = {option.name: option.default for option in CORE_OPTIONS}
TIMEOUT = 1200


def steps():
    """Return the values of ``secret`` in the page's steps: 1, 2 and 4."""
    given = [settings["pluggable_session.secret"] for _, settings in configurations(PAGE)]
    known = [text for text in given if "old-secret" in text or "new-secret" in text]
    for placeholder, secret in PLACEHOLDERS.items():
        known = [text.strip().replace(placeholder, secret) for text in known]
    return known


@pytest.fixture
def clock():
    with FakeClock() as clock:
        yield clock


class Servers:
    """Three servers with one storage."""

    def __init__(self, secret=OLD, **options):
        self.plug, self.options = CountingPlug(), options
        self.servers = [self._server(secret)] * 3

    def _server(self, secret):
        return App(self.plug, secret=secret, timeout=TIMEOUT, **self.options)

    def deploy(self, number, secret):
        self.servers[number] = self._server(secret)


class Browser:
    """A browser that asks one server after the other."""

    def __init__(self, servers):
        self.servers, self.cookie = servers, None
        self.do(0, lambda session: session.update(user="ada", visits=0))

    def do(self, number, action):
        client = self.servers.servers[number].client(self.cookie)
        answer = client.do(action)
        self.cookie = client.cookie
        return answer

    def user(self, number):
        return self.do(number, lambda session: session.get("user")).result

    def visit(self, number):
        def count(session):
            session["visits"] = session.get("visits", 0) + 1
            return session.get("user")

        return self.do(number, count).result


class TestTheSteps:
    def test_log_nobody_out(self, clock):
        servers = Servers()
        writer, reader = Browser(servers), Browser(servers)
        first, second, last = steps()
        for secret in (first, second):
            for deployed in range(3):
                servers.deploy(deployed, secret)
                for number in (0, 1, 2, 0, 2, 1):
                    clock.advance(60)
                    assert writer.visit(number) == "ada"
                    assert reader.user(number) == "ada"
        # What is alive after one timeout has been stored since.
        for _ in range(4):
            clock.advance(TIMEOUT / 3)
            assert [writer.user(0), reader.user(0)] == ["ada", "ada"]
        for deployed in range(3):
            servers.deploy(deployed, last)
            for number in range(3):
                assert [writer.visit(number), reader.user(number)] == ["ada", "ada"]

    def test_are_three(self):
        assert steps() == [f"{OLD}\n{NEW}", f"{NEW}\n{OLD}", NEW]

    def test_the_first_changes_nothing_that_is_stored(self):
        servers = Servers(steps()[0])
        browser = Browser(servers)
        servers.deploy(1, OLD)
        assert browser.user(1) == "ada"

    def test_without_the_first_users_are_logged_out(self):
        servers = Servers()
        browser = Browser(servers)
        servers.deploy(0, steps()[1])
        assert browser.visit(0) == "ada"
        assert browser.user(1) is None
        assert browser.visit(1) is None, "and what it writes takes the place of the session"
        assert browser.user(0) is None

    def test_without_waiting_those_who_have_not_come_are_logged_out(self, caplog):
        caplog.set_level("INFO", "pyramid_pluggable_session")
        servers = Servers()
        browser = Browser(servers)
        for number in range(3):
            servers.deploy(number, steps()[2])
        assert browser.user(0) is None
        assert caplog.messages[-1] == quoted("refused a cookie")

    @pytest.mark.parametrize("max_age", ["864000", "none"])
    def test_a_visit_is_not_enough_but_a_renewal_is(self, clock, max_age):
        servers = Servers(max_age=max_age)
        browser = Browser(servers)
        servers.deploy(0, steps()[1])
        before = browser.cookie
        assert set_cookies(browser.do(0, dict)) == []
        clock.advance(TIMEOUT / 10)
        browser.do(0, dict)
        assert browser.cookie != before
        assert browser.cookie[:64] == before[:64]

    def test_without_a_timeout_only_a_change_is(self, clock):
        plug = CountingPlug()
        old = App(plug, secret=OLD, timeout="none", lifetime="none")
        new = App(plug, secret=steps()[1], timeout="none", lifetime="none")
        client = old.client()
        client.do(lambda session: session.update(a=1))
        client = new.client(client.cookie)
        clock.advance(10**8)
        assert set_cookies(client.do(dict)) == []
        assert len(set_cookies(client.do(lambda session: session.update(a=2)))) == 1

    def test_a_good_cookie_with_a_record_of_an_unknown_secret(self, caplog):
        servers = Servers()
        browser = Browser(servers)
        servers.deploy(0, steps()[1])
        before = browser.cookie
        browser.visit(0)
        browser.cookie = before  # a second tab, whose request was on its way
        assert browser.user(1) is None
        line = re.escape(quoted("refused the record")).replace(r"\.\.\.", "[0-9a-f]{12}")
        assert re.fullmatch(line, caplog.messages[-1])
        assert servers.plug.ids() == []


def quoted(beginning):
    """Return the line of the log that the page quotes."""
    text = " ".join(PAGE.read_text().split())
    return re.search(rf"`({beginning}[^`]*)`", text)[1]


def tools(secret=OLD, encrypt=False):
    keyring = Keyring([secret.encode()], DEFAULTS["salt"], DEFAULTS["hashalg"])
    return SessionCookie(CookieAttributes(), keyring), Sealer(keyring, encrypt)


def forged(session_id, secret=OLD):
    cookie, _ = tools(secret)
    ((_, header),) = cookie.set_headers(None, session_id, None)
    return re.match(r"session=([^;]*)", header)[1]


class TestALeak:
    def test_dropped_at_once_it_is_worth_nothing(self):
        servers = Servers()
        browser = Browser(servers)
        servers.deploy(0, NEW)
        assert browser.user(0) is None
        assert servers.servers[0].client(forged(servers.plug.ids()[0])).data() == {}

    def test_kept_below_it_is_as_good_as_before(self):
        servers = Servers()
        Browser(servers)
        servers.deploy(0, f"{NEW}\n{OLD}")
        (session_id,) = servers.plug.ids()
        assert servers.servers[0].client(forged(session_id)).data()["user"] == "ada"

    def test_the_secret_alone_opens_nothing(self):
        servers = Servers()
        Browser(servers)
        assert servers.servers[0].client(forged(new_session_id())).data() == {}

    @pytest.mark.parametrize("encrypt", [False, True])
    def test_with_the_contents_it_opens_all(self, encrypt):
        servers = Servers(encrypt=encrypt)
        Browser(servers)
        (session_id,) = servers.plug.ids()
        assert servers.servers[0].client(forged(session_id)).data()["user"] == "ada"
        sealed = servers.plug.loads(SessionKey(session_id, None), None)
        assert b"ada" in tools(encrypt=encrypt)[1].unseal(session_id, sealed).body

    def test_with_a_way_to_write_it_makes_sessions(self, clock):
        app = Servers().servers[0]
        session_id = new_session_id()
        body = MsgpackSerializer().dumps({"user": "eve"})
        record = Record(Kind.SESSION, Meta(clock.now, clock.now), "msgpack", body)
        sealed = tools()[1].seal(session_id, record)
        app.plug.dumps(SessionKey(session_id, None), None, sealed)
        assert app.client(forged(session_id)).data() == {"user": "eve"}

    def test_with_pickle_it_runs_code(self, clock):
        app = App(secret=OLD, serializer="pickle")
        session_id = new_session_id()
        body = pickle.dumps(Exploit())
        record = Record(Kind.SESSION, Meta(clock.now, clock.now), "pickle", body)
        app.plug.dumps(SessionKey(session_id, None), None, tools()[1].seal(session_id, record))
        ran.clear()
        app.client(forged(session_id)).data()
        assert ran == ["code"]

    def test_with_a_browser_and_the_cookie_plug_it_makes_sessions(self):
        # Whoever has the secret can do what the application does.
        theirs = App(plug="cookie", secret=OLD).client()
        theirs.do(lambda session: session.update(user="ada"))
        site = App(plug="cookie", secret=OLD).client()
        for cookie in theirs.testapp.cookiejar:
            site.send_cookie(f"{cookie.name}={cookie.value}; Path=/")
        assert site.data() == {"user": "ada"}


ran = []


def run_code():
    ran.append("code")


class Exploit:
    def __reduce__(self):
        return run_code, ()


class TestTheOtherSettings:
    @pytest.mark.parametrize(("setting", "value"), [("salt", "another."), ("hashalg", "sha512")])
    def test_that_log_everybody_out(self, setting, value):
        servers = Servers()
        browser = Browser(servers)
        servers.options = {setting: value}
        servers.deploy(0, OLD)
        assert browser.user(0) is None

    @pytest.mark.parametrize("encrypt", [False, True])
    def test_encrypt_is_for_what_is_stored_next(self, encrypt):
        servers = Servers(encrypt=not encrypt)
        browser = Browser(servers)
        servers.options = {"encrypt": encrypt}
        servers.deploy(0, OLD)
        for number, stored in ((0, True), (1, False)):
            assert browser.user(0) == "ada"
            assert browser.visit(number) == "ada"
            (session_id,) = servers.plug.ids()
            sealed = servers.plug.loads(SessionKey(session_id, None), None)
            assert (b"ada" not in sealed) is (encrypt is stored)

    def test_four_keys_that_differ(self):
        keys = Keys.derive(OLD.encode(), DEFAULTS["salt"])
        made = [keys.cookie, keys.record, keys.encryption, keys.key_id]
        assert len(set(made)) == len(made) == 4
        assert len(keys.key_id) == 4
        for one, other in itertools.permutations(made, 2):
            assert not one.startswith(other)
        # RFC 5869, with what the standard library has.
        pseudorandom = hmac.digest(DEFAULTS["salt"].encode(), OLD.encode(), hashlib.sha512)
        assert keys.cookie == hmac.digest(pseudorandom, b"cookie\x01", hashlib.sha512)[:32]


def application(global_config, **settings):
    with Configurator(settings=settings) as config:
        config.include("pyramid_pluggable_session")
        return config.make_wsgi_app()


def server(global_config):
    return lambda app: ("served", app)


class TestKept:
    def test_in_an_ini_file_on_the_server(self, tmp_path):
        (ini,) = (each for each in snippets(PAGE, "ini") if each.caption)
        (tmp_path / "application.ini").write_text(
            f"[app:main]\nuse = call:{__name__}:application\npluggable_session.plug = file\n"
            f"pluggable_session.file.path = {tmp_path}/sessions\n"
            f"[server:main]\nuse = call:{__name__}:server\n"
        )
        mine = tmp_path / "production.ini"
        text = re.sub("replace-me[a-z-]*", NEW, ini.text).replace("/srv/app", str(tmp_path))
        mine.write_text(text)
        assert psessions([str(mine), "check"]) == 0
        # As pserve does it.
        loader = plaster.get_loader(str(mine), protocols=["wsgi"])
        app = loader.get_wsgi_app("main")
        assert loader.get_wsgi_server("main")(app) == ("served", app)

    @pytest.mark.parametrize("way", ["file", "environment"])
    def test_by_the_application(self, way, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "page_secrets_kept", None)
        page = run_python(PAGE, "page_secrets_kept")
        (unit,) = (each.text for each in snippets(PAGE, "systemd"))
        name, credential = re.search(r"(?m)^Environment=(\w+)=%d/(.*)$", unit).groups()
        assert f"LoadCredential={credential}:" in unit
        path = tmp_path / credential
        path.write_text(f"{NEW}\n{OLD}\n")
        if way == "file":
            monkeypatch.setenv(name, str(path))
        else:
            monkeypatch.delenv(name, raising=False)
            monkeypatch.setenv("SESSION_SECRET", f"{NEW}\n{OLD}")
        app = page.main({}, **{"pluggable_session.plug": "memory"})
        with open_session(TestApp(app)) as session:
            session["a"] = 1
        sealed = app.registry.getUtility(IPlugSession).loads(session, None)
        assert tools(NEW)[1].unseal(session.session_id, sealed)


class TestTheCommands:
    @pytest.fixture
    def ini(self, tmp_path):
        def write(secret):
            path = tmp_path / "production.ini"
            lines = secret.replace("\n", "\n    ")
            path.write_text(
                f"[app:main]\nuse = call:{__name__}:application\n"
                f"pluggable_session.secret =\n    {lines}\n"
                f"pluggable_session.plug = sqlite://{tmp_path}/s.db\n"
            )
            return str(path)

        return write

    def log_in(self, ini, *users):
        with bootstrap(ini) as env:
            for user in users:
                with open_session(TestApp(env["app"])) as session:
                    session.owner = user
            env["registry"].getUtility(IPlugSession).close()

    def test_print_what_the_page_shows(self, ini, capsys):
        self.log_in(ini(OLD), "ada", "bob")
        path = ini(steps()[1])
        self.log_in(path, "cid")
        shown = snippets(PAGE, "console")
        assert len(shown) == 3
        for each in shown:
            command, _, wanted = each.text.partition("\n")
            program, _, *words = shlex.split(command.removeprefix("$ "))
            assert program == "psessions"
            assert psessions([path, *words]) == 0
            printed = capsys.readouterr().out
            if words == ["secret"]:
                assert re.fullmatch(r"[\w-]{64}\n", printed)
                assert re.fullmatch(r"[\w-]{64}\n", wanted)
            elif "...\n" in wanted:
                for line in wanted.replace("...\n", "").splitlines():
                    assert line in printed.splitlines()
            else:
                assert masked(printed) == masked(wanted)
        assert psessions([path, "rekey"]) == 0
        assert "sealed anew          0\n" in capsys.readouterr().out

    def test_check_tells_of_several_secrets(self, ini, capsys):
        assert psessions([ini(steps()[0]), "check"]) == 0
        out = " ".join(capsys.readouterr().out.split())
        assert "there are 2 secrets" in out
        assert "rekey, wait until the time that it prints, and remove the others" in out
        assert psessions([ini(steps()[2]), "check"]) == 0
        assert "secrets" not in capsys.readouterr().out

    def test_what_nobody_can_open_is_listed(self, ini, capsys):
        self.log_in(ini(OLD), "ada")
        psessions([ini(NEW), "list"])
        assert "(unknown key)" in capsys.readouterr().out

    def test_without_the_package_as_good_a_one(self):
        (command,) = (each.text for each in snippets(PAGE, "sh"))
        words = shlex.split(command)
        done = subprocess.run([sys.executable, *words[1:]], capture_output=True, check=True)
        assert re.fullmatch(rb"[\w-]{64}\s+", done.stdout)


def masked(text):
    text = re.sub(r"\d{4}-\S+Z \(in \d+ \w+\)", "MOMENT", text)
    return " ".join(text.split())


def test_the_picture():
    (name,) = re.findall(r"\(images/([\w-]+\.svg)\)", PAGE.read_text())
    svg = (DOCS / "images" / name).read_text()
    shown = re.findall(r">(old|new)</text>", svg)
    assert shown == [
        *("old", "old", "old"),
        *("old", "new", "old", "new", "old", "new"),
        *("new", "old", "new", "old", "new", "old"),
        *("new", "new", "new"),
    ]
