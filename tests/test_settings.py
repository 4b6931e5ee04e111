"""The option tables' parser, and its converters."""

from __future__ import annotations

import os
import pathlib
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.testing import DummyRequest
from pyramid.testing import testConfig as registered

from apps import SECRET, CountingPlug
from pyramid_pluggable_session import PluggableSessionFactory, settings
from pyramid_pluggable_session.interfaces import IPlugSession
from pyramid_pluggable_session.options import domains, secret_lines, serializers
from pyramid_pluggable_session.settings import REQUIRED, Option, from_url, parse

TABLE = (
    Option("url", settings.text, REQUIRED, "Where it is.", secret=True, from_url="url"),
    Option("prefix", settings.text, "app:", "Before every key."),
    Option("password", settings.text, None, "To get in.", secret=True),
)


@pytest.mark.parametrize(
    ("convert", "given", "expected"),
    [
        (settings.text, " a ", "a"),
        (settings.boolean, True, True),
        (settings.boolean, "YES", True),
        (settings.boolean, " off ", False),
        (settings.integer, "12", 12),
        (settings.integer, " 12 ", 12),
        (settings.integer, 12.0, 12),
        (settings.seconds, "0.5", 0.5),
        (settings.seconds, timedelta(minutes=1), 60.0),
        (settings.or_none(settings.integer), "None", None),
        (settings.or_none(settings.integer), " ", None),
        (settings.or_none(settings.integer), 5, 5),
        (settings.one_of("Lax", "Strict"), "strict", "Strict"),
        (settings.positive_seconds, "0.1", 0.1),
        (settings.dotted, " os.path.join ", os.path.join),
        (settings.dotted, TABLE, TABLE),
        (settings.words, "a  b\n c", ("a", "b", "c")),
        (settings.words, ["a", "b"], ("a", "b")),
        (settings.path, "/a/../b", "/b"),
        (settings.path, "//b", "/b"),
        (settings.path, pathlib.Path("/b"), "/b"),
        (domains, None, ()),
        (serializers, "", ("msgpack",)),
        (serializers, " ", ("msgpack",)),
        (serializers, "json pickle", ("json", "pickle")),
        (serializers, int, (int,)),
        (serializers, [int, "json"], (int, "json")),
        (secret_lines, [b"a", "b\nc\nb"], (b"a", b"b", b"c")),
    ],
)
def test_what_is_taken(convert, given, expected):
    converted = convert(given)
    assert converted == expected
    assert type(converted) is type(expected)


@pytest.mark.parametrize(
    ("convert", "given"),
    [
        (settings.text, ""),
        (settings.text, 5),
        (settings.boolean, "perhaps"),
        (settings.boolean, 1),
        (settings.boolean, None),
        (settings.integer, True),
        (settings.integer, "-1"),
        (settings.integer, 1.5),
        (settings.integer, "x"),
        (settings.integer, None),
        (settings.integer, float("inf")),
        (settings.seconds, True),
        (settings.seconds, "inf"),
        (settings.seconds, "-1"),
        (settings.seconds, "1s"),
        (settings.seconds, [1]),
        (settings.or_none(settings.integer), "nothing"),
        (settings.one_of("Lax", "Strict"), "x"),
        (settings.one_of("Lax", "Strict"), None),
        (settings.positive_seconds, "0"),
        (settings.positive_seconds, "soon"),
        (settings.dotted, "os.path.nonsense"),
        (settings.dotted, "no such name"),
        (settings.dotted, ""),
        (settings.words, 5),
        (settings.words, [5]),
        (settings.path, ""),
        (settings.path, "a\0b"),
        (settings.path, 5),
        (secret_lines, [5]),
    ],
)
def test_what_is_not(convert, given):
    with pytest.raises(ValueError, match=r"^(a|one|true|words)"):
        convert(given)


class TestUrls:
    def read(self, url):
        return from_url(TABLE, urlsplit(url))

    def test_the_plugs_options_are_taken_out_of_the_query(self):
        assert self.read("redis://h/0?prefix=a%3A+b&socket_timeout=5") == {
            "url": "redis://h/0?socket_timeout=5",
            "prefix": "a: b",
        }

    @pytest.mark.parametrize(
        "url", ["redis:///path/a?b=c#d", "redis:", "redis://h", "redis:////a/b", "redis:a"]
    )
    def test_a_whole_url_stays_as_it_is(self, url):
        assert self.read(url) == {"url": url}

    def test_what_the_url_itself_says_is_not_said_again_in_its_query(self):
        with pytest.raises(ConfigurationError, match="url is given twice"):
            self.read("redis://h/0?url=redis://other")
        table = [Option("path", settings.path, None, "", from_url="path")]
        with pytest.raises(ConfigurationError, match="path is given twice"):
            from_url(table, urlsplit("sqlite:///a?path=/b"))
        assert from_url(table, urlsplit("sqlite:?path=/b")) == {"path": "/b"}

    def test_without_an_option_for_the_path_it_is_left_alone(self):
        assert from_url([Option("a", str, None, "")], urlsplit("x:/path?a=1")) == {"a": "1"}

    def test_a_secret_value_is_not_in_the_error(self):
        with pytest.raises(ConfigurationError) as caught:
            parse(TABLE, {"url": ["redis://:hunter2@h"]})
        assert "hunter2" not in str(caught.value)

    def test_the_credentials_of_a_url_are_not_in_the_error(self):
        table = [Option("url", settings.integer, None, "", from_url="url")]
        with pytest.raises(ConfigurationError, match=r"not 'redis://\(hidden\)h/1'") as caught:
            parse(table, {"url": "redis://app:hunter2@h/1"})
        assert "app" not in str(caught.value)

    def test_the_credentials_of_a_url_are_not_shown(self):
        option = Option("url", settings.text, None, "", from_url="url")
        assert option.shown("redis://:hunter2@h/1") == "redis://(hidden)h/1"
        assert option.shown(("redis://:hunter2@h/1", "file")) == ("redis://(hidden)h/1", "file")
        assert option.shown(None) is None
        assert option.shown(5) == 5

    def test_a_missing_option_is_explained(self):
        with pytest.raises(ConfigurationError, match=r"url is not set\. Where it is\."):
            parse(TABLE, {})

    def test_secret_values_are_not_shown(self):
        assert [option.shown("x") for option in TABLE] == ["(hidden)", "x", "(hidden)"]
        assert TABLE[2].shown(None) is None


class TestOtherFactories:
    def test_an_application_may_have_another_session_factory_after_all(self):
        config = Configurator(settings={"pluggable_session.secret": SECRET})
        config.include("pyramid_pluggable_session")
        config.set_session_factory(lambda request: {})
        config.make_wsgi_app()

    def test_a_factory_works_where_nobody_listens(self):
        with registered() as config:
            plug = CountingPlug()
            config.registry.registerUtility(plug, IPlugSession)
            config.registry.has_listeners = False
            request = DummyRequest(registry=config.registry)
            PluggableSessionFactory(SECRET)(request)["a"] = 1
            request._process_response_callbacks(request.response)
        assert len(plug.ids()) == 1
