"""psessions translate: from the settings of other session packages to ours."""

from __future__ import annotations

import inspect
import re

import plaster
import pytest
from pyramid.config import Configurator
from pyramid.interfaces import ISessionFactory
from pyramid.paster import bootstrap
from sites import SECRET, as_json, close, on_terminal
from webtest import TestApp

from pyramid_pluggable_session.config import INI_OPTIONS
from pyramid_pluggable_session.loader import known_plugs
from pyramid_pluggable_session.scripts import psessions
from pyramid_pluggable_session.testing import open_session, session_of
from pyramid_pluggable_session.translation import ORIGINS, translate
from pyramid_pluggable_session.translation.ini import read_settings
from pyramid_pluggable_session.translation.rows import Line, Old

PASSWORD = "hunter2"
SECRETS = (PASSWORD, "the-old-secret", "the-old-key")
SESSION_REDIS = "redis.sessions."


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Return a function from old settings to an ini file that has them."""
    monkeypatch.chdir(tmp_path)

    def make(settings="", name="old.ini"):
        ini = tmp_path / name
        lines = [line.strip() for line in settings.strip().splitlines()]
        ini.write_text("\n".join(["[app:main]", "use = call:sites:app", *lines, ""]))
        return ini

    return make


@pytest.fixture
def run(site, capsys):
    """Return a function from old settings to what is printed, in which there is no secret."""

    def run(settings, *arguments):
        assert psessions.main([str(site(settings)), "translate", *arguments]) == 0
        printed = capsys.readouterr()
        assert printed.err == ""
        assert not any(secret in printed.out for secret in SECRETS)
        return printed.out

    return run


@pytest.fixture
def new(run, site):
    """Return a function from old settings to new ones, which an application has taken."""

    def new(settings, **filled):
        text = run(settings)
        ini = site(settings + "\n" + settings_of(text, filled), "new.ini")
        with bootstrap(str(ini)) as env:
            found = env["registry"].settings
            close(env)
        prefix = "pluggable_session."
        return {
            name.removeprefix(prefix): value
            for name, value in found.items()
            if name.startswith(prefix)
        }

    return new


def settings_of(text, filled):
    """Return the settings that were printed, with what was left to be filled in."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    filled = {"secret": SECRET, **filled}
    for number, line in enumerate(lines):
        name = line.partition(" = ")[0].removeprefix("pluggable_session.")
        if " = replace-me" in line:
            lines[number] = f"pluggable_session.{name} = {filled.pop(name)}"
    assert not filled
    return "\n".join(lines)


def squeezed(text):
    """Return a text without the marks of comments, on one line."""
    return " ".join(re.sub(r"(?m)^# ?", "", text).split())


def known_to_us():
    """Return the names of all our settings, behind the prefix."""
    yield from (option.name for option in INI_OPTIONS)
    for name, entry in known_plugs().items():
        yield from (f"{name}.{option.name}" for option in getattr(entry.load(), "options", ()))
    yield from ("import", "import.allow_pickle", "import.allow_unsigned", "import.secret")


class TestTables:
    def test_every_setting_of_beaker_has_a_row(self):
        """Those that its sessions, its storages, its middleware and pyramid_beaker take."""
        pytest.importorskip("beaker")
        pytest.importorskip("pyramid_beaker")
        import pyramid_beaker
        from beaker import container, middleware, session, util
        from beaker.ext import database, google, memcached, mongodb, redisclusternm, redisnm, sqla

        classes = [session.Session, session.CookieSession, container.FileNamespaceManager]
        classes += [container.MemoryNamespaceManager, container.DBMNamespaceManager]
        for module in (database, google, memcached, mongodb, redisclusternm, redisnm, sqla):
            classes += [
                each
                for each in vars(module).values()
                if inspect.isclass(each)
                and issubclass(each, container.NamespaceManager)
                and each.__module__ == module.__name__
            ]
        assert len(classes) == 12
        names = {name for each in classes for name in inspect.signature(each).parameters}
        # What a rule is about, what is taken out of the options, and what the middleware adds.
        names |= set(re.findall(r"\('(\w+)', \(", inspect.getsource(util.coerce_session_params)))
        source = inspect.getsource(pyramid_beaker.BeakerSessionFactoryConfig)
        names |= set(re.findall(r"_options\.pop\('(\w+)'", source))
        source = inspect.getsource(session.SessionObject)
        names |= set(re.findall(r"(?:params|_params'\])\.get\('(\w+)'", source))
        source = inspect.getsource(middleware.SessionMiddleware.__init__)
        names |= set(re.findall(r"(\w+)=", re.search(r"dict\((.*?)\)", source, re.S)[1]))
        names |= {"webtest_varname", "environ_key"}
        assert {"cookie_on_exception", "session_class", "auto", "log_file"} <= names
        arguments = {"request", "namespace", "namespace_args", "params", "kw", "kwargs"}
        assert names - arguments <= ORIGINS["beaker"].known()

    def test_every_storage_of_beaker_has_one_of_ours(self):
        pytest.importorskip("beaker")
        from beaker.cache import clsmap

        from pyramid_pluggable_session.translation.beaker_storages import _STORAGES

        assert set(_STORAGES) == {*clsmap._clsmap, "cookie"}

    def test_every_setting_of_pyramid_session_redis_has_a_row(self):
        package = pytest.importorskip("pyramid_session_redis")
        from pyramid_session_redis import util

        names = set(inspect.signature(package.RedisSessionFactory).parameters)
        for kind in ("str", "dotable", "bool", "int", "int_none", "unsupported"):
            names |= set(getattr(util, f"configs_{kind}"))
        names.add("prefix")
        assert names == ORIGINS["session_redis"].known()

    def test_every_setting_of_pyramid_redis_sessions_has_a_row(self):
        """Those of its last version, 1.0.1, which Python 3 with Pyramid 2 cannot import."""
        names = """
            secret timeout cookie_name cookie_max_age cookie_path cookie_domain cookie_secure
            cookie_httponly cookie_on_exception url host port db password socket_timeout
            connection_pool charset errors unix_socket_path client_callable serialize deserialize
            id_generator prefix
        """
        assert set(names.split()) == ORIGINS["redis_sessions"].known()

    def test_every_argument_of_signed_cookie_session_factory_has_a_row(self):
        from pyramid.session import SignedCookieSessionFactory

        arguments = set(inspect.signature(SignedCookieSessionFactory).parameters)
        assert arguments == ORIGINS["signed_cookie"].known()

    @pytest.mark.parametrize("origin", ORIGINS.values(), ids=ORIGINS)
    def test_what_a_setting_becomes_is_known_to_us(self, origin):
        ours = set(known_to_us())
        for row in origin.rows:
            assert set(row.ours) <= ours, row.name

    @pytest.mark.parametrize("origin", ORIGINS.values(), ids=ORIGINS)
    @pytest.mark.parametrize("value", ["", "true", "false", "0", "600", "None", "x"])
    def test_each_setting_is_told_of(self, origin, value, site):
        """Whatever its value, and no more than its row says."""
        for row in origin.rows:
            prefix = origin.prefixes[0] if origin.prefixes else ""
            settings = read_settings(str(site(f"{prefix}{row.name} = {value}")))
            old = Old(settings, origin.prefixes)
            said = list(row.answer(old, row.name))
            assert {each.name for each in said if isinstance(each, Line)} <= set(row.ours)
            translate(origin, settings)
            if not row.ours:
                assert said, row.name


BEAKER = {
    "memory": ("session.type = memory", {"plug": "memory"}),
    "memory by default": ("session.secret = the-old-secret", {"plug": "memory"}),
    "file": (
        "session.data_dir = %(here)s/data",
        {"plug": "file", "file.path": "HERE/data_sessions"},
    ),
    "file in file_dir": (
        "session.type = file\nsession.file_dir = data/",
        {"plug": "file", "file.path": "data_sessions"},
    ),
    "dbm": (
        "session.type = dbm\nsession.data_dir = data",
        {"plug": "dbm", "dbm.path": "data_sessions.dbm"},
    ),
    "cookie": ("session.type = cookie\nsession.validate_key = the-old-key", {"plug": "cookie"}),
    "memcached": (
        "session.type = ext:memcached\nsession.url = 127.0.0.1:11211;cache2",
        {"plug": "memcached://127.0.0.1:11211,cache2"},
    ),
    "memcached on a socket": (
        "session.type = ext:memcached\nsession.url = unix:/run/memcached.sock",
        {"plug": "memcached:///run/memcached.sock"},
    ),
    "redis": (
        "session.type = ext:redis\nsession.url = redis://localhost:6379/3",
        {"plug": "redis://localhost:6379/3"},
    ),
    "redis with a password": (
        "session.type = ext:redis\nbeaker.session.url = redis://:hunter2@localhost:6379/3",
        {"plug": "redis://:hunter2@localhost:6379/3"},
    ),
    "redis on a socket": (
        "session.type = ext:redis\nsession.url = unix:///run/redis.sock?db=2",
        {"plug": "redis+unix:///run/redis.sock?db=2"},
    ),
    "redis with options": (
        "session.type = ext:redis\nsession.url = rediss://[::1]:6380?db=2&socket_timeout=3",
        {"plug": "rediss://[::1]:6380/2"},
    ),
    "redis cluster": (
        "session.type = ext:rediscluster\n"
        "session.urls = redis://node1:7000,redis://u:hunter2@node2:7001\n"
        "session.password = hunter2",
        {"plug": "redis+cluster://node1:7000,node2:7001", "redis.password": "hunter2"},
    ),
    "database": (
        "session.type = ext:database\nsession.url = sqlite:///%(here)s/app.db",
        {"plug": "sqlalchemy", "sqlalchemy.url": "sqlite:///HERE/app.db"},
    ),
    "database with a password": (
        "session.type = ext:database\n"
        "session.url = postgresql+psycopg://app:hunter2%%40x@db/app\n"
        "session.table_name = sessions\nsession.schema_name = web",
        {
            "plug": "sqlalchemy",
            "sqlalchemy.url": "postgresql+psycopg://app:hunter2%40x@db/app",
            "sqlalchemy.table": "pluggable_sessions",
            "sqlalchemy.schema": "web",
        },
    ),
    "mongodb": (
        "session.type = ext:mongodb\nsession.url = mongodb://app:hunter2@db/app",
        {"plug": "mongodb", "mongodb.url": "mongodb://app:hunter2@db/app"},
    ),
}
DEFAULTS = {"secret": SECRET, "timeout": "none", "max_age": "none"}


def importing(settings):
    """Return settings without those of the import."""
    return {name: value for name, value in settings.items() if not name.startswith("import")}


class TestBeakersStorages:
    @pytest.mark.parametrize(("old", "wanted"), BEAKER.values(), ids=BEAKER)
    def test_what_is_printed_is_taken(self, old, wanted, new, tmp_path):
        (tmp_path / "data").mkdir()
        wanted = {name: value.replace("HERE", str(tmp_path)) for name, value in wanted.items()}
        assert importing(new(old)) == {**DEFAULTS, **wanted}

    @pytest.mark.parametrize(
        ("old", "filled"),
        [
            ("session.type = file", {"plug": "memory"}),
            ("session.type = dbm", {"plug": "memory"}),
            ("session.type = ext:redis", {"plug": "memory"}),
            ("session.type = ext:redis\nsession.url = redis://host:port/0", {"plug": "memory"}),
            ("session.type = ext:rediscluster", {"plug": "memory"}),
            (
                "session.type = ext:rediscluster\nsession.urls = rediss://n1:7000,redis://u:hunter2@",
                {"plug": "memory"},
            ),
            ("session.type = ext:memcached\nsession.url = a;/b", {"plug": "memory"}),
            ("session.type = ext:database", {"sqlalchemy.url": "sqlite://"}),
            (
                "session.type = ext:database\nsession.url = postgres://app:hunter2@db/app",
                {"sqlalchemy.url": "postgresql+psycopg://app:x@db/app"},
            ),
            (
                "session.type = ext:redis\nsession.url = unix://u:hunter2@/run/redis.sock",
                {"redis.username": "u", "redis.password": PASSWORD},
            ),
        ],
    )
    def test_what_is_left_to_be_filled_in(self, old, filled, run):
        text = run(old)
        lines = settings_of(text, filled)
        assert all(f"{name} = {value}" in lines for name, value in filled.items())

    def test_an_engine_in_python(self, run):
        text = run("session.type = ext:sqla")
        assert "pluggable_session.sqlalchemy.engine = replace-me.dotted.name" in text

    def test_app_engine(self, run):
        text = run("session.type = ext:google")
        assert "pluggable_session.plug = datastore\n" in text
        assert "pluggable_session.import =" not in text

    def test_a_storage_of_somebodys(self, run):
        text = run("session.type = ext:own")
        assert "pluggable_session.plug = replace-me" in text
        assert "= ext:own is none of Beaker's own" in squeezed(text)


class TestBeakersSettings:
    @pytest.mark.parametrize(
        ("old", "wanted"),
        [
            ("timeout = 3600", {"timeout": "3600"}),
            ("save_accessed_time = false", {"reissue_time": "none"}),
            ("save_accessed_time = true", {}),
            ("key = session", {"cookie_name": "session_id"}),
            ("key = sid", {}),
            ("cookie_expires = true", {}),
            ("cookie_expires = 300", {"max_age": "300"}),
            ("cookie_expires = false", {"max_age": str(400 * 86400)}),
            ("cookie_expires = 0", {"max_age": str(400 * 86400)}),
            ("cookie_path = /shop", {"path": "/shop"}),
            ("cookie_domain = .example.com", {"domain": ".example.com"}),
            ("secure = true", {"secure": "true"}),
            ("secure = false", {}),
            ("httponly = true", {}),
            ("httponly = false", {"httponly": "false"}),
            ("samesite = Strict", {"samesite": "Strict"}),
            ("samesite = lax", {}),
            ("samesite = None", {}),
            ("samesite = None\nsession.secure = true", {"samesite": "None", "secure": "true"}),
            ("samesite =", {"samesite": ""}),
            ("samesite = false", {}),
            ("cookie_on_exception = false", {"set_on_exception": "false"}),
            ("encrypt_key = the-old-key\nsession.validate_key = k", {"encrypt": "true"}),
        ],
    )
    def test_becomes(self, old, wanted, new):
        settings = new(f"session.type = memory\nsession.{old}")
        assert importing(settings) == {**DEFAULTS, "plug": "memory", **wanted}

    @pytest.mark.parametrize(
        ("old", "words"),
        [
            ("invalidate_corrupt = false", "= false is a text, which Beaker takes for true"),
            ("use_cookies = no", "= no is a text, which Beaker takes for true: cookies were used"),
            ("samesite = None", "a text, not Python's None"),
            ("samesite = None", "without Secure, browsers drop such a cookie"),
            ("samesite = no", "has a value that browsers do not know"),
            (
                "samesite = None\nsession.secure = maybe",
                "without Secure, browsers drop such a cookie",
            ),
            ("type = ext:rediscluster\nsession.urls = redis://u:hunter2@n", "took no notice"),
            ("type = ext:rediscluster\nsession.urls = rediss://n", "rediss+cluster://"),
            ("type = memory", "session.secret is not set, so the cookie's session id was not sig"),
            ("data_dir = data", "allow_unsigned believes session ids that nobody has signed"),
            ("encrypt_key = the-old-key", "stored plain text without a word"),
            ("encrypt_key = the-old-key", "does not work without session.validate_key"),
            ("type = cookie", "session.encrypt_key is not set, so that whoever had the cookie"),
            ("type = ext:memcached", "to which Beaker gave no expiry"),
            ("type = ext:mongodb", "Beaker makes no TTL index"),
            ("type = ext:database", "from which Beaker deletes nothing"),
            ("type = memory", "session.timeout is not set, so sessions never end"),
            ("timeout = 0", "= 0 ended each session at once"),
            ("timeout = 1h", "session.timeout: Its value is not a whole number"),
            ("type = memory", "session.httponly was false by default"),
            ("httponly = maybe", "session.httponly: Its value is not true or false"),
            ("secure = maybe", "session.secure: Its value is not true or false"),
            ("cookie_expires = 1", "= 1 is a truth value to Beaker, not seconds"),
            ("cookie_expires = 1h", "session.cookie_expires: Its value is not a whole number"),
            ("id = 1", "gives every client one and the same session"),
            ("constant_csrf_token = the-old-key", "the CSRF token of every session"),
            ("data_dir = x\ncache.regions = a", "cache.regions is a setting of Beaker's caches"),
            ("secret = the-old-secret", "session.secret is all that there is of Beaker's"),
        ],
    )
    def test_traps(self, old, words, run):
        text = squeezed(run(f"session.{old}"))
        assert words in text.partition("To know:")[0]

    @pytest.mark.parametrize(
        ("old", "words"),
        [
            ("lock_dir = locks", "session.lock_dir is not needed"),
            ("use_cookies = true", "session.use_cookies has no counterpart"),
            ("invalidate_corrupt = true", "session.invalidate_corrupt has no counterpart"),
            ("tpye = file", "is not known to pyramid_beaker. Was session.type meant?"),
            ("foo = 1", "session.foo is not known to pyramid_beaker. -"),
            ("cookie_expires = false", "Browsers end a cookie after 400 days"),
            ("secure = false", "ours is auto"),
            ("httponly = false", "a script in the page can steal the cookie"),
            ("key = sid", "The two cookies have different names"),
            ("type = memory", "session.data_serializer was pickle"),
            ("type = memory", "import is left out, as the old sessions cannot be taken along"),
        ],
    )
    def test_to_know(self, old, words, run):
        text = squeezed(run(f"session.{old}"))
        assert words in text.partition("To know:")[2] + " -"

    def test_of_two_for_one_the_later_one(self, new):
        assert new("session.timeout = 60\nbeaker.session.timeout = 90")["timeout"] == "90"
        assert new("beaker.session.timeout = 90\nsession.timeout = 60")["timeout"] == "60"

    @pytest.mark.parametrize(
        ("old", "wanted"),
        [
            ("data_dir = x", {"", ".allow_pickle", ".allow_unsigned"}),
            ("data_dir = x\nsession.secret = the-old-secret", {"", ".allow_pickle"}),
            ("data_dir = x\nsession.data_serializer = json\nsession.secret = x",
             {"", ".allow_pickle"}),
            ("type = cookie\nsession.data_serializer = json", {""}),
            ("type = cookie", {"", ".allow_pickle"}),
            ("type = cookie\nsession.encrypt_key = the-old-key", {"", ".allow_pickle"}),
            ("type = memory", set()),
            ("data_dir = x\nsession.session_class = x.y", set()),
        ],
    )  # fmt: skip
    def test_the_import(self, old, wanted, run, capsys):
        printed = re.findall(r"(?m)^pluggable_session\.import(\S*) = ", run(f"session.{old}"))
        assert set(printed) == wanted


REDIS = {
    "the server by default": ("", {"plug": "redis://localhost:6379/0"}),
    "a server": (
        "redis_host = r1\nredis_port = 6380\nredis_db = 2\nredis_password = hunter2",
        {"plug": "redis://r1:6380/2", "redis.password": "hunter2"},
    ),
    "a socket": (
        "redis_unix_socket_path = /run/redis.sock\nredis_db = 2",
        {"plug": "redis+unix:///run/redis.sock?db=2"},
    ),
    "a URL": (
        "redis_url = redis://u:hunter2@r1/1\nredis_host = ignored",
        {"plug": "redis://u:hunter2@r1/1"},
    ),
    "a prefix": ("prefix = app:", {"redis.prefix": "app:pluggable:"}),
    "waiting": ("redis_socket_timeout = 1.5", {"redis.timeout": "1.5"}),
    "waiting for ever": ("redis_socket_timeout = None", {}),
    "a timeout": ("timeout = 600", {"timeout": "600"}),
    "never": ("timeout = None", {"timeout": "none"}),
    "0 is never": ("timeout = 0", {"timeout": "none"}),
    "a trigger": ("timeout = 900\ntimeout_trigger = 600", {"timeout": "900",
                                                           "reissue_time": "300"}),
    "an age": ("cookie_max_age = 60", {"max_age": "60"}),
    "no age": ("cookie_max_age = None", {}),
    "a name": ("cookie_name = sid", {"cookie_name": None}),
    "cookie": (
        "cookie_path = /a\ncookie_domain = a.example\ncookie_secure = true\n"
        "cookie_samesite = strict\ncookie_httponly = false",
        {"path": "/a", "domain": "a.example", "secure": "true", "samesite": "Strict",
         "httponly": "false"},
    ),
    "not on exceptions": ("cookie_on_exception = no", {"set_on_exception": "false"}),
}  # fmt: skip


class TestSessionRedis:
    @pytest.mark.parametrize(("old", "wanted"), REDIS.values(), ids=REDIS)
    def test_what_is_printed_is_taken(self, old, wanted, new):
        lines = ["python_expires = true", "secret = the-old-secret", *old.splitlines()]
        defaults = {
            "secret": SECRET,
            "plug": "redis://localhost:6379/0",
            "max_age": "none",
            "cookie_name": "session_id",
        }
        wanted = {name: value for name, value in {**defaults, **wanted}.items() if value}
        assert importing(new("\n".join(SESSION_REDIS + line for line in lines))) == wanted

    @pytest.mark.parametrize(
        ("old", "words"),
        [
            ("timeout = 0", "= 0 is never: a stolen cookie is good for ever"),
            ("timeout = 1h", "redis.sessions.timeout: Its value is not a whole number, or None"),
            ("cookie_max_age = 1h", "redis.sessions.cookie_max_age: Its value is not a whole"),
            ("redis_client_callable = a.b", "is called with a request, and ours with config"),
            ("redis_client_callable = a.b", "redis.client = replace-me.dotted.name"),
            ("redis_url = hunter2", "redis.sessions.redis_url is not a URL that redis-py takes"),
            ("cookie_signer = a.b", "cookies are signed with pluggable_session.secret"),
            ("serialize = a.b", "redis.sessions.serialize is not taken over"),
            ("cookie_comment = x", "is an attribute that no browser knows any more"),
            ("cookie_secure = x", "redis.sessions.cookie_secure is not taken over"),
            ("python_expires = x", "redis.sessions.cookie_samesite was not set, and ours is Lax"),
        ],
    )
    def test_to_know(self, old, words, run):
        text = run(f"{SESSION_REDIS}{old}\n{SESSION_REDIS}detect_changes = true")
        assert words in squeezed(text)

    def test_the_import(self, run):
        text = run(f"{SESSION_REDIS}redis_host = a")
        assert "import = session_redis\npluggable_session.import.allow_pickle = true\n" in text
        text = run(f"{SESSION_REDIS}redis_host = a\n{SESSION_REDIS}deserialize = json.loads")
        assert "import.allow_pickle" not in text


class TestWhichPackage:
    @pytest.mark.parametrize(
        ("old", "wanted", "why"),
        [
            ("redis.sessions.host = a", "redis_sessions", "knows redis.sessions.host"),
            ("redis.sessions.redis_host = a", "session_redis", "knows redis.sessions.redis_host"),
            ("redis.sessions.secret = x", "session_redis", "say --from redis_sessions"),
            ("redis.sessions.secret = x\npyramid.includes = pyramid_redis_sessions",
             "redis_sessions", "it is in pyramid.includes"),
            ("session.type = memory", "beaker", "so its settings are named"),
            ("pyramid.includes = pyramid_tm pyramid_beaker", "beaker", "it is in pyramid.includes"),
        ],
    )  # fmt: skip
    def test_is_found_out(self, old, wanted, why, run, capsys):
        assert why in squeezed(run(old))
        run_json = run(old, "--json")
        assert f'"from": "{wanted}"' in run_json

    def test_of_several_one_is_asked_for(self, site, run, capsys):
        old = "session.type = memory\nredis.sessions.host = a"
        assert psessions.main([str(site(old)), "translate"]) == psessions.WRONG
        assert "--from one of beaker, redis_sessions." in capsys.readouterr().err
        assert "plug = redis://a:6379/0" in run(old, "--from", "redis_sessions")

    @pytest.mark.parametrize("arguments", [(), ("--from", "beaker")])
    def test_of_none_nothing_is_printed(self, arguments, site, capsys):
        ini = site("cache.regions = x")
        assert psessions.main([str(ini), "translate", *arguments]) == psessions.FOUND
        printed = capsys.readouterr()
        assert printed.out == ""
        assert "Say --from signed_cookie" in printed.err

    def test_pyramids_own(self, run):
        text = run("", "--from", "signed_cookie")
        assert "In place of config.set_session_factory(...)" in squeezed(text)
        assert "samesite becomes pluggable_session.samesite" in squeezed(text)
        assert "pluggable_session.import = signed_cookie" in text
        assert "The old settings stay" not in text

    def test_pyramids_own_is_taken(self, run, site):
        text = settings_of(run("", "--from", "signed_cookie"), {"import.secret": SECRET})
        with bootstrap(str(site(text, "new.ini"))) as env:
            close(env)

    def test_where_to_include_ours(self, run):
        text = squeezed(run("pyramid.includes = pyramid_beaker\nsession.type = memory"))
        assert "In pyramid.includes, put pyramid_pluggable_session in place of" in text
        text = squeezed(run("session.type = memory"))
        assert "In place of config.include('pyramid_beaker'): config.include(" in text


class TestIniFiles:
    def settings(self, ini):
        return {name: value.text for name, value in read_settings(str(ini)).items()}

    def test_the_application_is_not_made(self, tmp_path, capsys):
        ini = tmp_path / "old.ini"
        ini.write_text("[app:main]\nuse = egg:gone\nsession.type = memory\n")
        assert psessions.main([str(ini), "translate"]) == 0

    def test_the_command_may_come_first(self, site, capsys):
        assert psessions.main(["translate", str(site("session.type = memory")), "--json"]) == 0
        assert as_json(capsys)[0]["from"] == "beaker"

    def test_another_section(self, tmp_path):
        ini = tmp_path / "old.ini"
        ini.write_text("[app:shop]\nsession.key = a\n[app:main]\nsession.key = b\n")
        assert self.settings(f"{ini}#shop")["session.key"] == "a"
        assert self.settings(ini)["session.key"] == "b"

    def test_what_a_section_uses(self, tmp_path):
        (tmp_path / "base.ini").write_text("[app:main]\nsession.key = a\nsession.timeout = 1\n")
        ini = tmp_path / "old.ini"
        ini.write_text(
            "[DEFAULT]\nshared = 5\n"
            "[app:base]\nuse = config:base.ini\nsession.type = file\nset debug = true\n"
            "[app:main]\nuse = base\nsession.key = b\nget session.timeout = shared\n"
        )
        settings = self.settings(ini)
        assert settings["session.key"] == "b"
        assert settings["session.timeout"] == "5"
        assert settings["session.type"] == "file"
        assert "set debug" not in settings

    def test_a_pipeline(self, tmp_path):
        ini = tmp_path / "old.ini"
        ini.write_text(
            "[pipeline:main]\npipeline = sessions app\n[filter:sessions]\nuse = egg:Beaker\n"
            "session.key = a\nsession.url = x\n[app:app]\nuse = egg:gone\nsession.key = b\n"
        )
        settings = read_settings(str(ini))
        assert (settings["session.key"].text, settings["session.url"].text) == ("b", "x")
        assert (settings["session.key"].written_as, settings["session.url"].written_as) == (
            "b",
            None,
        )

    def test_a_password_of_another_file_is_left_to_be_filled_in(self, site, tmp_path, capsys):
        base = "session.type = ext:mongodb\nsession.url = mongodb://app:hunter2@db/app"
        site(base, "base%.ini")
        ini = tmp_path / "old.ini"
        ini.write_text("[app:main]\nuse = config:base%%25.ini\n")
        assert psessions.main([str(ini), "translate"]) == 0
        wanted = "mongodb.url = replace-me: the value of session.url (base%%.ini, line 4)"
        assert wanted in capsys.readouterr().out

    def test_a_repr_tells_no_value(self, site):
        assert "hunter2" not in repr(read_settings(str(site("session.secret = hunter2"))))

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("[app:main]\nsession.secret = hunter2%x\n", "line 2: the value of session.secret"),
            ("[app:main]\nsession.url = %(hunter2)s\n", "line 2: the value of session.url"),
            ("[app:main]\nget session.url = none\n", "the value of session.url cannot be read"),
            ("hunter2\n", "line 1: this is not an ini file (MissingSectionHeaderError)"),
            ("[app:main]\nhunter2\n", "line 2: this is not an ini file (ParsingError)"),
            ("[app:main]\na=1\na=2\n", "line 3: this is not an ini file (DuplicateOption"),
            ("[app:other]\na=1\n", "there is no section [app:main]"),
            ("[app:main]\nuse = main\n", "use each other without end"),
            ("[app:main]\nuse = config:gone.ini\n", "There is no file"),
            ("[composite:main]\nuse = egg:Paste#urlmap\n/ = shop\n[app:shop]\n", ".ini#shop."),
            ("[composite:main]\nuse = egg:Paste#urlmap\n", ".ini#name."),
        ],
    )
    def test_what_is_wrong(self, text, words, tmp_path, capsys):
        ini = tmp_path / "old.ini"
        ini.write_text(text)
        assert psessions.main([str(ini), "translate"]) == psessions.WRONG
        printed = capsys.readouterr()
        assert words in printed.err
        assert "hunter2" not in printed.err.replace(str(tmp_path), "")
        assert printed.out == ""

    def test_bytes_that_are_no_text(self, tmp_path, capsys):
        ini = tmp_path / "old.ini"
        ini.write_bytes(b"[app:main]\nname = \xff\n")
        assert psessions.main([str(ini), "translate"]) == psessions.WRONG
        assert "is not in the encoding" in capsys.readouterr().err


class TestOutput:
    OLD = "session.type = ext:redis\nsession.url = redis://:hunter2@r/0\nsession.lock_dir = x"

    def test_is_a_part_of_an_ini_file(self, run):
        for line in run(self.OLD).splitlines():
            assert line == "" or line.startswith(("# ", "pluggable_session."))
            assert len(line) <= 79 or "old.ini" in line  # a path is not broken

    def test_on_a_narrow_terminal(self, site):
        ini = site(self.OLD)
        code, lines = on_terminal(60, ini, "translate")
        assert code == 0
        comments = [line for line in lines if line.startswith("#") and str(ini) not in line]
        assert 50 < max(map(len, comments)) <= 60

    def test_a_password_stays_where_it_is(self, run):
        text = run(self.OLD)
        assert "pluggable_session.plug = %(session.url)s\n" in text
        assert "stands for the value of an old setting" in squeezed(text)

    def test_a_value_of_several_lines(self, site, capsys):
        ini = site("session.type = memory")
        ini.write_text(ini.read_text() + "session.cookie_domain = a.example\n  b.example\n")
        assert psessions.main([str(ini), "translate"]) == 0
        assert "domain = a.example\n    b.example\n" in capsys.readouterr().out

    def test_as_json(self, run, capsys):
        import json

        data = json.loads(run(self.OLD, "--json"))
        assert data["settings"]["pluggable_session.plug"] == "%(session.url)s"
        assert data["import"]["pluggable_session.import"] == "beaker"
        remarks = {each["setting"]: each["caution"] for each in data["remarks"]}
        assert remarks["session.lock_dir"] is False
        assert remarks["session.secret"] is True
        cautions = [each["caution"] for each in data["remarks"]]
        assert cautions == sorted(cautions, reverse=True)


THEIRS = {
    "file": "session.type = file\nsession.data_dir = %(here)s/data\n"
    "session.secret = the-old-secret",
    "unsigned": "session.data_dir = %(here)s/data\nsession.timeout = 600",
    "encrypted": "session.type = cookie\nsession.encrypt_key = the-old-key\n"
    "session.validate_key = the-old-secret\nsession.key = session",
    "database": "session.type = ext:database\nsession.url = sqlite:///%(here)s/app.db\n"
    "session.secret = the-old-secret",
    "session_redis": "redis.sessions.redis_url = VALKEY\nredis.sessions.secret = the-old-secret",
}


# What redis-py says to pyramid_session_redis.
@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
@pytest.mark.parametrize("name", THEIRS)
def test_nobody_is_logged_out(name, site, run, tmp_path, request):
    """From sessions that the other package has made, with nothing but what was printed."""
    package = "pyramid_session_redis" if name == "session_redis" else "pyramid_beaker"
    pytest.importorskip(package)
    (tmp_path / "data").mkdir()
    old = THEIRS[name]
    if "VALKEY" in old:
        old = old.replace("VALKEY", request.getfixturevalue("running")("valkey").url)
    with Configurator(settings=plaster.get_settings(str(site(old)), "app:main")) as config:
        config.include(package)
        config.add_view(lambda request: request.session.update({"user": "ada"}), renderer="json")
        theirs = TestApp(config.make_wsgi_app())
    theirs.get("/")
    ini = site(old + "\n" + settings_of(run(old), {}), "new.ini")
    with bootstrap(str(ini)) as env:
        ours = TestApp(env["app"], cookiejar=theirs.cookiejar)
        with open_session(ours) as session:
            assert dict(session) == {"user": "ada"}
        assert session_of(ours) == {"user": "ada"}
        origin = env["registry"].getUtility(ISessionFactory).importer.origin
        if hasattr(origin, "close"):
            origin.close()
        close(env)
    if name == "database":
        # Beaker keeps its connections for ever.
        from beaker.ext.database import DatabaseNamespaceManager

        for engine in DatabaseNamespaceManager.binds.dict.values():
            engine.dispose()
