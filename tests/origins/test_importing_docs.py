"""What docs/importing.md and the settings of the pages about each package say works."""

from __future__ import annotations

import re
import sys
import types
from http.cookiejar import CookieJar

import pytest
from peers import DATA, RICH, Theirs, beaker, check_moved, copy_of, names, ours, visit
from pyramid.interfaces import ISessionFactory
from pyramid.session import SignedCookieSessionFactory

from apps import SECRET, App
from snippets import DOCS, configurations

TEXT = (DOCS / "importing.md").read_text()


def snippets(title, language):
    chapter = re.search(rf"(?ms)^## {title}$(.*?)(?=^## |\Z)", TEXT)[1]
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", chapter)


def made(settings, folder):
    return {
        name: value.replace("/var/lib/app", str(folder)).replace("replace-me", SECRET)
        for name, value in settings.items()
    }


def settings_of(title, folder):
    (ini,) = snippets(title, "ini")
    return made(dict(re.findall(r"(?m)^(\S+) = (.*)$", ini)), folder)


def settings_of_page(name, folder):
    """Return the settings that a page ends up with."""
    (settings,) = [
        settings
        for _, settings in configurations(DOCS / f"{name}.md")
        if "pluggable_session.import" in settings
    ]
    # The tests' clients speak http.
    return {k: v for k, v in made(settings, folder).items() if not k.endswith("secure")}


def application(settings):
    """Return the application that the settings make, on a storage of a test's own."""
    settings = dict(settings)
    settings.pop("pluggable_session.plug")
    options = {
        name.removeprefix("pluggable_session."): settings.pop(name)
        for name in list(settings)
        if name.startswith("pluggable_session.")
    }
    return ours(settings, **options)


def test_from_pyramid_beaker(tmp_path):
    settings = settings_of_page("from-beaker", tmp_path)
    theirs = beaker(**{k[8:]: v for k, v in settings.items() if k.startswith("session.")})
    browser = CookieJar()
    theirs.log_in(browser, RICH)
    check_moved(application(settings), browser, "app", RICH)


def test_from_pyramids_signed_cookie(tmp_path):
    factory = SignedCookieSessionFactory("the-old-secret", timeout=3600)
    theirs, browser = Theirs(lambda config: config.set_session_factory(factory)), CookieJar()
    theirs.log_in(browser)
    settings = settings_of_page("from-signed-cookie", tmp_path)
    check_moved(application(settings), browser, "session")


@pytest.mark.parametrize("name", ["from-session-redis", "from-redis-sessions"])
def test_from_redis(name, tmp_path):
    """The sessions are in test_redis_peers.py."""
    app = application(settings_of_page(name, tmp_path))
    assert app.client().data() == {}


def test_pickles(tmp_path, monkeypatch):
    models = types.ModuleType("myapp.models")
    (code,) = snippets("Pickles", "python")
    exec(code, models.__dict__)
    monkeypatch.setitem(sys.modules, "myapp", types.ModuleType("myapp"))
    sys.modules["myapp"].models = models
    monkeypatch.setitem(sys.modules, "myapp.models", models)
    settings = settings_of("Pickles", tmp_path)
    theirs = beaker(**{k[8:]: v for k, v in settings.items() if k.startswith("session.")})
    browser = CookieJar()
    theirs.log_in(browser, {"auth.userid": "ada", "cart": models.Cart(["tea"])})
    client = visit(application(settings), browser)
    assert client.data() == {"auth.userid": "ada", "cart": {"items": ["tea"]}}


def test_going_back_and_forward_again(tmp_path):
    settings = settings_of_page("from-beaker", tmp_path)
    given = {k[8:]: v for k, v in settings.items() if k.startswith("session.")}
    theirs, browser, other = beaker(**given), CookieJar(), CookieJar()
    theirs.log_in(browser)
    theirs.log_in(other)
    app = application(settings)
    assert visit(app, browser).data() == DATA
    # Back: who was imported is anonymous, and logs in once more.
    assert "auth.userid" not in theirs.do(browser, dict)
    theirs.log_in(browser, {**DATA, "since": "back"})
    assert theirs.do(browser, dict)["since"] == "back"
    assert theirs.do(other, dict)["auth.userid"] == "ada"
    # Forward: what there is of ours comes first.
    assert names(browser) == ["app", "sid"]
    client = visit(app, browser)
    assert client.data() == DATA
    # Logging out ends both.
    again = copy_of(browser)
    client.do(lambda session: session.invalidate())
    assert names(browser) == []
    assert visit(app, again).data() == {}
    # Without one of ours, it is the old one.
    browser.clear()
    theirs.log_in(browser, {**DATA, "since": "back"})
    assert visit(app, browser).data() == {**DATA, "since": "back"}
    assert visit(app, other).data() == DATA


def test_from_somewhere_else(monkeypatch):
    module = types.ModuleType("tickets")
    (code,) = snippets("From somewhere else", "python")
    exec(code, module.__dict__)
    monkeypatch.setitem(sys.modules, "tickets", module)
    module.TICKETS["7"] = {"auth.userid": "ada"}
    client = ours({}, **{"import": "tickets.Tickets"}).client()
    client.send_cookie("ticket=7; Path=/")
    assert client.data() == {"auth.userid": "ada"}
    assert module.TICKETS == {}


def test_off_by_default():
    assert App().registry.getUtility(ISessionFactory).importer is None
