"""What docs/importing.md says works as it says.

``python tests/origins/test_importing_docs.py`` brings its tables of options up to date.
"""

from __future__ import annotations

import importlib.util
import pathlib
import re
import sys
import types
from http.cookiejar import CookieJar

import pytest
from peers import DATA, RICH, Theirs, beaker, check_moved, copy_of, names, ours, visit
from pyramid.interfaces import ISessionFactory
from pyramid.session import SignedCookieSessionFactory

from apps import SECRET, App
from pyramid_pluggable_session.origins import COMMON_OPTIONS
from pyramid_pluggable_session.origins.beaker import BeakerOrigin
from pyramid_pluggable_session.origins.signed_cookie import SignedCookieOrigin

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "importing.md"
TEXT = PAGE.read_text()
TABLES = {
    "common": COMMON_OPTIONS,
    "beaker": BeakerOrigin.options,
    "signed_cookie": SignedCookieOrigin.options,
}


def up_to_date(text):
    spec = importlib.util.spec_from_file_location("docs_options", DOCS / "options.py")
    options = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(options)
    return re.sub(
        r"(?s)(<!-- import: (\w+) -->\n).*?(<!-- end -->)",
        lambda match: match[1] + options.table(TABLES[match[2]]) + match[3],
        text,
    )


def snippets(title, language):
    chapter = re.search(rf"(?ms)^## {title}$(.*?)(?=^## |\Z)", TEXT)[1]
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", chapter)


def settings_of(title, folder):
    (ini,) = snippets(title, "ini")
    ini = ini.replace("/var/lib/app", str(folder)).replace("replace-me", SECRET)
    return dict(re.findall(r"(?m)^(\S+) = (.*)$", ini))


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


def test_the_tables_are_up_to_date():
    assert up_to_date(TEXT) == TEXT, f"run: python {pathlib.Path(__file__).name}"


def test_from_pyramid_beaker(tmp_path):
    settings = settings_of("From pyramid_beaker", tmp_path)
    theirs = beaker(**{k[8:]: v for k, v in settings.items() if k.startswith("session.")})
    browser = CookieJar()
    theirs.log_in(browser, RICH)
    check_moved(application(settings), browser, "app", RICH)


def test_from_pyramids_signed_cookie(tmp_path):
    factory = SignedCookieSessionFactory("the-old-secret")
    theirs, browser = Theirs(lambda config: config.set_session_factory(factory)), CookieJar()
    theirs.log_in(browser)
    settings = settings_of("From Pyramid's signed cookie", tmp_path)
    check_moved(application(settings), browser, "session")


@pytest.mark.parametrize("name", ["pyramid_session_redis", "pyramid_redis_sessions"])
def test_from_redis(name, tmp_path):
    """The sessions are in test_redis_peers.py."""
    app = application(settings_of(f"From {name}", tmp_path))
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
    settings = settings_of("From pyramid_beaker", tmp_path)
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


if __name__ == "__main__":
    PAGE.write_text(up_to_date(TEXT))
