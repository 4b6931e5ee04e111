"""Settings that make sessions weak are pointed out by name when the application starts.

Those that are wrong whatever the site are errors; those that may be right are one line in the log.
"""

from __future__ import annotations

import logging

import pytest
from attacked import make_app
from pyramid.exceptions import ConfigurationError

from pyramid_pluggable_session.interfaces import IPlugSession

ERRORS = {
    "the documentation's secret": ({"secret": "replace-me-with-a-long-random-text"}, "secret"),
    "no secret": ({"secret": ""}, "secret"),
    "samesite = none without https": ({"samesite": "none"}, "samesite"),
    "a prefix without https": ({"cookie_name": "__Host-session"}, "cookie_name"),
    "a prefix with a domain": (
        {"cookie_name": "__Host-session", "secure": "true", "domain": "site.example"},
        "cookie_name",
    ),
    "partitioned without https": ({"partitioned": "true"}, "partitioned"),
    "a word that is no truth": ({"httponly": "flase"}, "httponly"),
    "a name that nobody reads": ({"http_only": "true"}, "http_only"),
    "a hash that is none": ({"hashalg": "crc32"}, "hashalg"),
}


@pytest.mark.parametrize(("settings", "name"), ERRORS.values(), ids=ERRORS)
def test_an_error(settings, name):
    with pytest.raises(ConfigurationError) as caught:
        make_app(settings, "memory")
    assert name in str(caught.value)


WARNINGS = {
    "a short secret": ({"secret": "short"}, "secret"),
    "a storage for tests": ({}, "memory"),
    "a cookie for scripts": ({"httponly": "false"}, "httponly"),
    "a cookie for http": ({"secure": "false"}, "secure"),
    "a cookie for other sites' forms": ({"samesite": ""}, "samesite"),
    "records that run code": ({"serializer": "pickle"}, "serializer"),
    "sessions that never end": ({"timeout": "none"}, "timeout"),
    "an old hash": ({"hashalg": "md5"}, "hashalg"),
    "a short old secret": ({"secret": "0123456789abcdef" * 2 + "\nshort"}, "secret"),
}


@pytest.mark.parametrize(("settings", "name"), WARNINGS.values(), ids=WARNINGS)
def test_a_warning(caplog, settings, name):
    make_app(settings, "memory")
    said = [
        record.getMessage()
        for record in caplog.records
        if record.name == "pyramid_pluggable_session" and record.levelno == logging.WARNING
    ]
    wanted = name if name == "memory" else f"pluggable_session.{name}"
    assert [line for line in said if wanted in line] != []
    assert "short" not in "".join(said).split()


@pytest.mark.parametrize("plug", ["file", "sqlite"])
def test_a_place_that_everybody_can_read_is_a_warning(caplog, tmp_path, plug):
    path = tmp_path / "sessions"
    if plug == "file":
        path.mkdir()
        path.chmod(0o755)
    else:
        path.write_bytes(b"")
        path.chmod(0o644)
    app = make_app({}, f"{plug}://{path}")
    assert f"pluggable_session.{plug}.path" in caplog.text
    assert str(path) in caplog.text
    close_plug(app)


def close_plug(app):
    close = getattr(app.registry.getUtility(IPlugSession), "close", None)
    if close is not None:
        close()


@pytest.mark.parametrize("plug", ["file", "sqlite", "dbm"])
def test_good_settings_say_nothing(caplog, tmp_path, plug):
    """So that nobody gets used to warnings."""
    settings = {"secure": "true", "timeout": "1800", "lifetime": "86400", "max_age": "none"}
    close_plug(make_app(settings, f"{plug}://{tmp_path / 'sessions'}"))
    assert caplog.text == ""


def test_the_defaults_say_nothing(caplog, tmp_path):
    close_plug(make_app({}, f"sqlite://{tmp_path / 'sessions'}"))
    assert caplog.text == ""
