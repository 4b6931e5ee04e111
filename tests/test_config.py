"""Configuring an application, rightly and wrongly."""

from __future__ import annotations

import inspect
import logging

import pytest
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationConflictError, ConfigurationError
from pyramid.interfaces import ISession, ISessionFactory
from pyramid.testing import DummyRequest
from pyramid.testing import testConfig as registered
from webtest import TestApp
from zope.interface.verify import verifyObject

from apps import SECRET, App, CountingPlug, PlainPlug, set_cookies
from pyramid_pluggable_session import IPlugSession, PluggableSessionFactory
from pyramid_pluggable_session.loader import find_plug
from pyramid_pluggable_session.options import CORE_OPTIONS
from pyramid_pluggable_session.plugs.memory import MemoryPlug


def make(**settings):
    """Make an application with these settings; names without a prefix get it."""
    named = {f"pluggable_session.{name}": value for name, value in settings.items()}
    named.setdefault("pluggable_session.secret", SECRET)
    with Configurator(settings=named) as config:
        config.include("pyramid_pluggable_session")
    return config.make_wsgi_app()


def plug_of(app):
    return app.registry.getUtility(IPlugSession)


def error_of(**settings):
    with pytest.raises(ConfigurationError) as caught:
        make(**settings)
    return str(caught.value)


class TestSettings:
    def test_a_secret_and_a_plug_are_enough(self):
        assert plug_of(make(plug="memory")).name == "memory"

    def test_no_secret(self):
        with (
            Configurator(settings={"pluggable_session.plug": "memory"}) as config,
            pytest.raises(ConfigurationError, match=r"pluggable_session\.secret is not set"),
        ):
            config.include("pyramid_pluggable_session")

    def test_a_misspelt_setting_names_the_nearest_one(self):
        assert "Did you mean pluggable_session.timeout?" in error_of(plug="memory", timout="5")

    def test_a_misspelt_section_names_the_nearest_one(self):
        message = error_of(plug="memory", **{"fille.path": "/tmp"})
        assert (
            "pluggable_session.fille is not known. Did you mean pluggable_session.file?" in message
        )

    def test_a_misspelt_option_of_the_plug_names_the_nearest_one(self, tmp_path):
        settings = {"file.path": str(tmp_path / "s"), "file.durabel": "yes"}
        message = error_of(plug="file", **settings)
        assert "Did you mean pluggable_session.file.durable?" in message

    def test_an_unknown_option_in_the_url(self, tmp_path):
        message = error_of(plug=f"file://{tmp_path}/s?durabel=yes")
        assert "durabel, in the URL of the file plug, is not known" in message

    def test_a_section_for_a_scheme_that_has_none(self, monkeypatch):
        from importlib.metadata import EntryPoint

        from pyramid_pluggable_session import loader

        value = "pyramid_pluggable_session.plugs.memory:MemoryPlug"
        entries = [EntryPoint(name, value, loader.GROUP) for name in ("memory", "memorys")]
        monkeypatch.setattr(loader, "entry_points", lambda group: entries)
        message = error_of(plug="memorys:", **{"memorys.size": "5"})
        assert "memorys.size is not read. Write pluggable_session.memory.size." in message

    def test_options_of_installed_plugs_that_are_not_used_are_left_alone(self, tmp_path):
        make(plug="memory", **{"file.path": str(tmp_path)})

    @pytest.mark.parametrize(
        ("name", "value", "right"),
        [
            ("httponly", "maybe", "true or false"),
            ("httponly", "None", "true or false"),
            ("timeout", "20m", "a number of seconds above 0, or none"),
            ("timeout", "0", "a number of seconds above 0, or none"),
            ("timeout", "nan", "a number of seconds"),
            ("timeout", "-1", "a number of seconds"),
            ("max_age", "1.5", "a whole number, 0 or more, or none"),
            ("secure", "sometimes", "auto, true or false"),
            ("samesite", "loose", "one of Lax, Strict, None"),
            ("hashalg", "rot13", "one of blake2b"),
            ("hashalg", "shake_128", "one of blake2b"),
            ("on_conflict", "panic", "one of ours, fail"),
            ("reissue_time", "soon", "a number of seconds, 0 or more, or none"),
        ],
    )
    def test_a_bad_value_says_what_would_be_right(self, name, value, right):
        message = error_of(plug="memory", **{name: value})
        assert f"pluggable_session.{name} must be {right}" in message
        assert repr(value) in message

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"samesite": "None"}, "samesite = none needs secure = true"),
            ({"samesite": "None", "secure": "auto"}, "needs secure = true"),
            ({"partitioned": "true"}, "partitioned = true needs secure = true"),
            ({"cookie_name": "__Host-s"}, "begins with __Host- needs secure = true"),
            ({"cookie_name": "__Secure-s"}, "begins with __Secure- needs secure = true"),
            ({"cookie_name": "__Host-s", "secure": "1", "domain": "a.io"}, "allows no domain"),
            ({"cookie_name": "__Host-s", "secure": "1", "path": "/a"}, "no path but '/'"),
            ({"cookie_name": "a b"}, "a cookie's name consists of"),
            ({"path": "/;evil"}, "a cookie's attribute has no ';'"),
            ({"path": "/\r\nSet-Cookie: a=b"}, "a cookie's attribute has no ';'"),
            ({"domain": "a.io;b"}, "a cookie's attribute has no ';'"),
            ({"path": "shop"}, "must begin with '/'"),
        ],
    )
    def test_cookie_attributes_that_contradict_each_other(self, settings, words):
        assert words in error_of(plug="memory", **settings)

    def test_none_and_empty_where_none_is_possible(self):
        factory = make(plug="memory", timeout="none", max_age="", lifetime="None").registry
        options = factory.getUtility(ISessionFactory).options
        assert (options["timeout"], options["max_age"], options["lifetime"]) == (None, None, None)

    def test_strings_and_values_mean_the_same(self):
        strings = PluggableSessionFactory(SECRET, timeout="90", httponly="false", secure="auto")
        values = PluggableSessionFactory(SECRET.encode(), timeout=90, httponly=False, secure=None)
        assert strings.options == values.options

    def test_the_factorys_arguments_are_the_core_options(self):
        arguments = inspect.signature(PluggableSessionFactory).parameters
        assert set(arguments) == {option.name for option in CORE_OPTIONS}
        defaults = {n: p.default for n, p in arguments.items() if n not in ("secret", "max_age")}
        options = PluggableSessionFactory(SECRET).options
        for option in CORE_OPTIONS:
            if option.name in defaults:
                assert options[option.name] == option.default
                assert option.convert(defaults[option.name]) == option.default

    def test_a_bad_argument_is_named(self):
        with pytest.raises(ConfigurationError, match="argument timeout must be a number of sec"):
            PluggableSessionFactory(SECRET, timeout="x")

    def test_a_domain_is_a_domain_and_not_its_letters(self):
        app = App(domain="example.com")
        (cookie,) = set_cookies(app.client().do(lambda session: session.update(a=1)))
        assert "; Domain=example.com;" in cookie

    def test_several_domains_are_several_cookies(self):
        app = App(domain="a.example.com\n  b.example.com")
        cookies = set_cookies(app.client().do(lambda session: session.update(a=1)))
        assert ["Domain=a.example.com" in c for c in cookies] == [True, False]


class TestSecrets:
    def test_a_weak_one_is_pointed_out(self, caplog):
        make(plug="memory", secret="seekrit")
        assert "pluggable_session.secret has 7 bytes, fewer than 32" in caplog.text
        assert "seekrit" not in caplog.text

    def test_a_strong_one_is_not(self, caplog):
        make(plug="memory")
        assert "secret" not in caplog.text

    def test_the_one_of_the_documentation_is_refused(self):
        message = error_of(plug="memory", secret="replace-me-with-a-long-random-text-of-your-own")
        assert "everybody knows" in message
        assert "secrets.token_urlsafe" in message

    def test_an_empty_one_is_refused(self):
        assert "pluggable_session.secret must be a long random text" in error_of(
            plug="memory", secret=" \n "
        )

    def test_a_bad_one_is_not_shown(self):
        with pytest.raises(ConfigurationError) as caught:
            PluggableSessionFactory(12345678)
        assert "12345678" not in str(caught.value)

    def test_several_lines_are_several_secrets(self):
        factory = PluggableSessionFactory(f"{SECRET}\n  old-{SECRET}\n")
        assert factory.options["secret"] == (SECRET.encode(), f"old-{SECRET}".encode())


class TestPlugs:
    def test_a_missing_one_is_an_error_when_the_application_is_made(self):
        assert "There is no storage for sessions. Set pluggable_session.plug" in error_of()

    def test_a_misspelt_one_names_the_nearest(self):
        assert "Did you mean pluggable_session.plug = sqlite?" in error_of(plug="sqlit")

    def test_an_unknown_scheme_names_the_nearest(self):
        assert "Did you mean pluggable_session.plug = sqlite?" in error_of(plug="sqlit:///tmp/x")

    def test_an_unknown_name_lists_the_known(self):
        assert "Known are: chain, cookie" in error_of(plug="carrierpigeon")

    def test_a_dotted_name_that_cannot_be_imported(self):
        assert "'no.such.Plug' cannot be imported" in error_of(plug="no.such.Plug")

    def test_a_dotted_name_of_a_class(self):
        assert isinstance(plug_of(make(plug="apps.PlainPlug")), PlainPlug)

    def test_a_dotted_name_in_colon_style(self):
        assert isinstance(plug_of(make(plug="apps:PlainPlug")), PlainPlug)

    def test_a_dotted_name_of_something_else(self):
        assert "neither a plug nor callable" in error_of(plug="apps.SECRET")

    def test_something_that_makes_no_plug(self):
        assert "made something that is not a plug" in error_of(plug="builtins.repr")

    def test_a_url_and_a_setting_mean_the_same(self, tmp_path):
        one = plug_of(make(plug=f"file://{tmp_path}/s?durable=true"))
        two = plug_of(make(plug="file", **{"file.path": f"{tmp_path}/s", "file.durable": "true"}))
        assert vars(one).keys() == vars(two).keys()
        assert (one.name, two.name) == ("file", "file")

    def test_the_url_is_before_the_settings(self, tmp_path):
        make(plug=f"file://{tmp_path}/url", **{"file.path": f"{tmp_path}/setting"})
        assert [path.name for path in tmp_path.iterdir()] == ["url"]

    def test_two_different_ones_conflict(self):
        config = Configurator(settings={"pluggable_session.secret": SECRET})
        config.include("pyramid_pluggable_session")
        config.set_session_plug("memory")
        config.set_session_plug("apps.PlainPlug")
        with pytest.raises(ConfigurationConflictError):
            config.commit()

    def test_the_applications_call_is_before_the_setting(self):
        config = Configurator(
            settings={"pluggable_session.secret": SECRET, "pluggable_session.plug": "memory"}
        )
        config.include("pyramid_pluggable_session")
        config.set_session_plug("apps.PlainPlug")
        assert isinstance(plug_of(config.make_wsgi_app()), PlainPlug)

    def test_memory_says_what_it_is_for(self, caplog):
        make(plug="memory")
        assert "for tests and single processes" in caplog.text

    def test_memory_in_front_of_a_chain_is_nothing_to_warn_of(self, caplog, tmp_path):
        make(plug="chain", **{"chain.plugs": f"memory sqlite:///{tmp_path}/s.db"})
        assert caplog.text == ""

    def test_a_plug_itself(self):
        plug = MemoryPlug(None)
        assert App(plug=plug).registry.getUtility(IPlugSession) is plug

    def test_a_callable_that_takes_config(self):
        assert isinstance(plug_of(App(plug=lambda config: PlainPlug())), PlainPlug)

    def test_a_missing_driver_names_the_extra(self, monkeypatch):
        def load(self):
            raise ModuleNotFoundError("No module named 'driver'")

        monkeypatch.setattr("importlib.metadata.EntryPoint.load", load)
        message = error_of(plug="cookie")
        assert "pip install 'pyramid_pluggable_session[cookie]'" in message

    @pytest.mark.parametrize(
        ("spec", "extra"),
        [
            ("rediss://h", "redis"),
            ("redis+cluster://h", "redis"),
            ("postgresql+other://h", "postg"),
        ],
    )
    def test_a_scheme_shares_the_extra_of_its_plug(self, monkeypatch, spec, extra):
        def load(self):
            raise ModuleNotFoundError("No module named 'driver'")

        monkeypatch.setattr("importlib.metadata.EntryPoint.load", load)
        assert f"pip install 'pyramid_pluggable_session[{extra}" in error_of(plug=spec)

    @pytest.mark.parametrize("metadata", [None, "", "Provides-Extra: other\n"])
    def test_a_missing_driver_of_a_package_without_an_extra(self, monkeypatch, tmp_path, metadata):
        from importlib.metadata import Distribution, EntryPoint

        from pyramid_pluggable_session import loader

        entry = EntryPoint("theirs", "nonsense_module:Plug", loader.GROUP)
        if metadata is not None:
            (tmp_path / "METADATA").write_text(f"Metadata-Version: 2.1\nName: Theirs\n{metadata}")
            vars(entry).update(dist=Distribution.at(tmp_path))
        monkeypatch.setattr(loader, "entry_points", lambda group: [entry])
        message = error_of(plug="theirs")
        assert "not installed (No module named 'nonsense_module')" in message
        assert "pip install" not in message

    def test_what_is_not_a_url(self):
        message = error_of(plug="file://user:hunter2@[::1")
        assert "'file://(hidden)[::1' is not a URL: Invalid IPv6 URL" in message

    def test_what_is_not_a_url_is_not_shown_with_its_password(self):
        message = error_of(plug="file://user:hunter2@h℀st/0")
        assert "is not a URL" in message
        assert "hunter2" not in message

    def test_the_password_of_a_url_is_not_in_a_repr(self):
        assert "hunter2" not in repr(find_plug(None, "file://user:hunter2@h/p"))

    def test_two_packages_with_one_short_name(self, monkeypatch):
        from importlib.metadata import EntryPoint

        from pyramid_pluggable_session import loader

        group = loader.GROUP
        twins = [EntryPoint("twin", "a:A", group), EntryPoint("twin", "b:B", group)]
        monkeypatch.setattr(loader, "entry_points", lambda group: twins)
        assert "Two installed packages register a session plug 'twin'" in error_of(plug="twin")

    def test_introspection_shows_plug_and_options(self, tmp_path):
        app = make(plug=f"sqlite:///{tmp_path}/s.db")
        (category,) = [
            values
            for name, values in app.registry.introspector.categorized()
            if name == "session plug"
        ]
        introspectable = category[0]["introspectable"]
        assert introspectable["plug"] == "sqlite"
        assert introspectable["options"]["path"] == f"{tmp_path}/s.db"
        assert "ISwapPlug" in introspectable["abilities"]

    def test_encryption_without_the_package_refuses_to_start(self, monkeypatch):
        monkeypatch.setitem(
            __import__("sys").modules, "cryptography.hazmat.primitives.ciphers.aead", None
        )
        for extra, settings in (
            ("encrypt", {"plug": "memory", "encrypt": "true"}),
            ("cookie", {"plug": "cookie"}),
        ):
            assert f"pip install 'pyramid_pluggable_session[{extra}]'" in error_of(**settings)


class TestSerializerSetting:
    def test_an_unknown_one(self):
        assert "'yaml' is none of msgpack, json, pickle" in error_of(
            plug="memory", serializer="yaml"
        )

    @pytest.mark.parametrize("name", ["msgpack", "json", "pickle"])
    def test_changing_it_logs_nobody_out(self, name):
        old = App(serializer=name)
        client = old.client()
        client.do(lambda session: session.update(a=[1, "x"]))
        new = App(plug=old.plug, serializer=f"msgpack {name}")
        moved = new.client(client.cookie)
        assert moved.do(lambda session: session.update(b=2) or dict(session)).result == {
            "a": [1, "x"],
            "b": 2,
        }
        assert App(plug=old.plug).client(client.cookie).data() == {"a": [1, "x"], "b": 2}

    def test_pickle_is_not_read_unless_configured(self):
        old = App(serializer="pickle")
        client = old.client()
        client.do(lambda session: session.update(a=1))
        new = App(plug=old.plug)
        assert new.client(client.cookie).data() == {}
        assert new.event_names() == [
            "SessionRejected:record: serializer 'pickle' is not configured"
        ]

    def test_reading_with_pickle_writes_nothing(self):
        app = App(serializer="pickle")
        client = app.client()
        client.do(lambda session: session.update(a={"x", "y"}, b=["same", "same"]))
        app.plug.taken()
        client.do(dict)
        assert app.plug.taken() == ["loads"]


class TestWithoutInclude:
    """Only ``set_session_factory`` is called, as with any session factory."""

    def app(self, configure):
        def view(request):
            request.session["n"] = request.session.get("n", 0) + 1
            return dict(request.session)

        with Configurator(settings={}) as config:
            config.set_session_factory(PluggableSessionFactory(SECRET))
            config.add_route("home", "/")
            config.add_view(view, route_name="home", renderer="json")
            configure(config)
        return TestApp(config.make_wsgi_app())

    def test_with_a_plug_set_by_including_its_module(self):
        app = self.app(lambda config: config.include("pyramid_pluggable_session.memory"))
        assert [app.get("/").json["n"] for _ in range(3)] == [1, 2, 3]

    def test_with_a_plug_registered_by_hand(self):
        app = self.app(lambda config: config.registry.registerUtility(CountingPlug(), IPlugSession))
        assert [app.get("/").json["n"] for _ in range(3)] == [1, 2, 3]

    def test_without_a_plug_the_error_says_so(self):
        with pytest.raises(ConfigurationError, match="There is no storage for sessions"):
            self.app(lambda config: None).get("/")

    def test_with_a_dummy_request(self):
        with registered() as config:
            config.registry.registerUtility(CountingPlug(), IPlugSession)
            request = DummyRequest(registry=config.registry)
            session = PluggableSessionFactory(SECRET)(request)
            assert verifyObject(ISession, session)
            session["a"] = 1
            request._process_response_callbacks(request.response)
            (cookie,) = set_cookies(request.response)
            value = cookie.partition("=")[2].partition(";")[0]
            again = DummyRequest(registry=config.registry, cookies={"session": value})
            assert dict(PluggableSessionFactory(SECRET)(again)) == {"a": 1}

    def test_with_a_dummy_request_errors_are_raised(self):
        with registered() as config:
            config.registry.registerUtility(CountingPlug(), IPlugSession)
            request = DummyRequest(registry=config.registry)
            PluggableSessionFactory(SECRET)(request)["a"] = object()
            with pytest.raises(ValueError, match=r"session\['a'\]"):
                request._process_response_callbacks(request.response)

    def test_autocommit(self):
        config = Configurator(
            settings={"pluggable_session.secret": SECRET, "pluggable_session.plug": "memory"},
            autocommit=True,
        )
        config.include("pyramid_pluggable_session")
        assert config.registry.getUtility(IPlugSession).name == "memory"
        config.set_session_plug("apps.PlainPlug")
        assert isinstance(plug_of(config.make_wsgi_app()), PlainPlug)


def test_the_logger_is_one(caplog):
    caplog.set_level(logging.DEBUG)
    app = App()
    app.client("garbage").do(dict)
    assert {r.name for r in caplog.records if "pluggable" in r.name} == {
        "pyramid_pluggable_session"
    }
