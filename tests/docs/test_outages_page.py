"""What the page on outages says is so, with a server that is killed or hangs."""

from __future__ import annotations

import logging
import pathlib
import re
import sys
import time

import pytest
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPSeeOther
from pyramid.interfaces import IDebugLogger
from pyramid.response import Response
from webtest import TestApp

from apps import SECRET
from pyramid_pluggable_session import breaker, events, logs
from pyramid_pluggable_session.interfaces import IPlugSession
from pyramid_pluggable_session.plugs.chain import ChainPlug
from pyramid_pluggable_session.testing import FakeClock
from servers.redis import Valkey
from snippets import DOCS, configurations, run_python, snippets
from timing import PATIENCE, patient, wait_for

PAGE = DOCS / "outages.md"
TEXT = PAGE.read_text()
SCRIPTS = pathlib.Path(__file__).parents[1] / "scripts"


@pytest.fixture
def server(tmp_path_factory, need):
    need(Valkey)
    with Valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="module")
def page():
    yield run_python(PAGE, "page_of_outages")
    sys.modules.pop("page_of_outages", None)


class Shop:
    """An application with public pages, an account, and what the page of the documentation has."""

    def __init__(self, plug, *configure, **settings):
        self.orders: list[str] = []
        self.events: list[object] = []
        settings = {"secret": SECRET, **settings}
        with Configurator(
            settings={f"pluggable_session.{name}": value for name, value in settings.items()}
        ) as config:
            config.include("pyramid_pluggable_session")
            config.set_session_plug(plug)
            for name in ("home", "account", "order", "untouched", "login", "logout"):
                config.add_route(name, f"/{name}")
                config.add_view(getattr(self, name), route_name=name)
            config.add_subscriber(self.events.append, events.SessionDropped)
            for each in configure:
                each(config)
            self.wsgi = config.make_wsgi_app()
        self.plug = self.wsgi.registry.getUtility(IPlugSession)

    def close(self):
        self.plug.close()

    def client(self, user=None):
        client = TestApp(self.wsgi)
        if user is not None:
            client.get("/login", {"user": user}, status=200)
        return client

    def home(self, request):
        return Response("hello " + request.session.get("user", "stranger"))

    account = home

    def order(self, request):
        self.orders.append("tea")
        request.session["ordered"] = len(self.orders)
        return HTTPSeeOther("/home")

    def untouched(self, request):
        return Response("here")

    def login(self, request):
        request.session["user"] = request.params["user"]
        return Response("welcome")

    def logout(self, request):
        request.session.invalidate()
        return Response("goodbye")


@pytest.fixture
def shop(server):
    shops = []

    def shop(*configure, plug=None, **settings):
        shops.append(Shop(plug or patient(server.url), *configure, **settings))
        return shops[-1]

    yield shop
    for each in shops:
        each.close()


def test_by_default(server, shop):
    shop = shop()
    ada, stranger = shop.client("ada"), shop.client()
    cookie = ada.cookies["session"]
    server.kill()
    response = ada.get("/account", status=503)
    assert response.headers["Retry-After"] == re.search(r"`Retry-After: (\d+)`", TEXT)[1]
    (words,) = re.findall(r'the text "(.*?)"', " ".join(TEXT.split()))
    assert words in response.text
    assert "Set-Cookie" not in response.headers
    assert "127.0.0.1" not in response.text
    assert ada.get("/untouched").text == "here"
    assert stranger.get("/home").text == "hello stranger"
    stranger.get("/login?user=eve", status=503)
    assert not stranger.cookies
    assert ada.cookies["session"] == cookie


def test_what_the_view_did_elsewhere_is_done(server, shop):
    shop = shop()
    client = shop.client()
    server.kill()
    client.get("/order", status=503)
    assert shop.orders == ["tea"]


def test_nobody_is_logged_out_by_a_server_that_hangs(server, shop):
    shop = shop(plug=f"{server.url}?timeout=1&connect_timeout=1")
    ada = shop.client("ada")
    server.pause()
    try:
        ada.get("/account", status=503)
        ada.get("/logout", status=503)
    finally:
        server.resume()
    wait_for(lambda: ada.get("/account", expect_errors=True).status_int == 200)
    assert ada.get("/account").text == "hello ada"


def test_requests_do_not_wait_for_a_server_that_hangs(server, shop, caplog):
    shop = shop(plug=f"{server.url}?timeout=0.5&connect_timeout=0.5")
    ada = shop.client("ada")
    assert "three failures in a row that took a quarter of a second" in " ".join(TEXT.split())
    assert (breaker.FAILURES, breaker.SLOW, breaker.PAUSE) == (3, 0.25, 1.0)
    server.pause()
    try:
        for _ in range(breaker.FAILURES):
            ada.get("/account", status=503)
        assert "is left alone" not in caplog.text
        # One more is let through if this machine takes a second from one request to the next.
        wait_for(lambda: ada.get("/account", status=503) and "is left alone" in caplog.text)
    finally:
        server.resume()
    wait_for(lambda: ada.get("/account", expect_errors=True).status_int == 200)


def test_a_page_of_ones_own(page, server, shop):
    shop = shop(page.includeme)
    ada, stranger = shop.client("ada"), shop.client()
    server.kill()
    for response in (ada.get("/account", status=503), stranger.get("/order", status=503)):
        assert response.text == page.SORRY
        assert response.content_type == "text/html"
        assert response.headers["Retry-After"] == "30"
        assert response.headers["Cache-Control"] == "no-store"
        assert "Set-Cookie" not in response.headers


def test_a_page_that_looks_at_the_session(page, server, shop):
    def configure(config):
        config.add_exception_view(
            lambda error, request: Response(request.session["user"]),
            context=page.PlugUnavailable,
        )

    ada = shop(configure).client("ada")
    server.kill()
    assert "The session storage is not available" in ada.get("/account", status=503).text


def test_anonymous(server, shop):
    (line,) = [s for _, s in configurations(PAGE) if "anonymous" in s.values()]
    shop = shop(on_outage=line["pluggable_session.on_outage"])
    ada = shop.client("ada")
    cookie = ada.cookies["session"]
    server.kill()
    assert ada.get("/account").text == "hello stranger"
    ada.get("/order", status=303)
    assert [event.reason for event in shop.events] == ["outage"]
    ada.get("/logout", status=503)
    assert ada.get("/login?user=eve").text == "welcome"
    assert ada.get("/account").text == "hello stranger", "forgotten by the next request"
    assert ada.cookies["session"] == cookie


def test_forms_are_refused_in_an_outage(server, shop):
    shop = shop(
        lambda config: config.set_default_csrf_options(require_csrf=True),
        lambda config: config.registry.registerUtility(logging.getLogger("t"), IDebugLogger),
        on_outage="anonymous",
    )
    ada = shop.client("ada")
    server.kill()
    ada.post("/account", {"csrf_token": "x" * 40}, status=400)


def test_a_function_of_the_request(page, server, shop, monkeypatch):
    (spec,) = [
        settings["pluggable_session.on_outage"]
        for _, settings in configurations(PAGE)
        if "myapp." in settings["pluggable_session.on_outage"]
    ]
    monkeypatch.setitem(sys.modules, "myapp", page)
    monkeypatch.setitem(sys.modules, "myapp.outages", page)
    page.outages = page
    ada = shop(on_outage=spec).client("ada")
    server.kill()
    assert "home" in page.PUBLIC
    assert ada.get("/home").text == "hello stranger"
    ada.head("/home", status=200)
    ada.post("/home", status=503)
    ada.get("/account", status=503)
    ada.get("/nowhere", status=404)


def test_health_checks(page, server, shop):
    client = shop(page.add_health_checks).client("ada")
    client.get("/health/storage", status=200)
    server.kill()
    client.get("/health/alive", status=200)
    assert "Error" in client.get("/health/storage", status=503).text
    server.start()
    client.get("/health/storage", status=200)


def test_a_server_that_has_lost_its_data(server, shop):
    shop = shop()
    ada = shop.client("ada")
    cookie = ada.cookies["session"]
    server.kill()
    server.start()
    assert ada.get("/account").text == "hello stranger"
    ada.get("/login?user=ada", status=200)
    assert ada.cookies["session"][:64] != cookie[:64]
    assert ada.get("/account").text == "hello ada"


def test_a_chain_goes_on_without_its_front(server, shop, tmp_path, caplog):
    shop = shop(
        plug="chain", **{"chain.plugs": f"{patient(server.url)} sqlite://{tmp_path}/sessions.db"}
    )
    shop.close = lambda: [each.close() for each in (*shop.plug.front, shop.plug.authority)]
    ada = shop.client("ada")
    server.kill()
    assert ada.get("/account").text == "hello ada"
    ada.get("/order", status=303)
    assert isinstance(shop.plug, ChainPlug)
    assert "an outage of the session storage redis begins" in caplog.text


def test_a_chain_without_its_authority(server, shop):
    shop = shop(
        plug="chain", **{"chain.plugs": f"memory {patient(server.url)}", "chain.fresh": "600"}
    )
    shop.close = shop.plug.authority.close
    ada = shop.client("ada")
    server.kill()
    assert ada.get("/account").text == "hello ada", "a copy"
    ada.get("/order", status=503)


def lines(kind):
    """Return the lines of the page's texts that begin with a word, unbroken."""
    return [
        line
        for each in snippets(PAGE, "text")
        for line in re.sub(r"\n +", " ", each.text).splitlines()
        if line.startswith(kind)
    ]


def test_the_lines_of_the_log(server, shop, caplog, monkeypatch):
    monkeypatch.setattr(logs, "SETTLED", 0.0)
    ada = shop().client("ada")
    server.kill()
    ada.get("/account", status=503)
    server.start()
    ada.get("/account", status=200)
    wanted = [*lines("WARNING")[:1], *lines("ERROR"), *lines("WARNING")[1:]]
    said = [
        f"{record.levelname} {record.getMessage()}"
        for record in caplog.records
        if record.name == "pyramid_pluggable_session"
    ]
    assert [masked(line, server) for line in said] == [masked(line, server) for line in wanted]


def masked(text, server):
    text = text.replace(f"{server.host}:{server.port}", "redis.example.org:6379")
    return re.sub(r"\d+\.\d seconds, and \d+ op", "N seconds, and N op", text)


@pytest.fixture
def site(server, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    from sites import Site

    return Site(tmp_path, f"{server.url}?timeout={PATIENCE}&connect_timeout={PATIENCE}")


def test_check_with_a_server_that_is_not_running(server, site, capsys):
    server.kill()
    assert site.run("check") == 1
    (shown,) = [each.text for each in snippets(PAGE, "text") if "FAIL  round trip" in each.text]
    printed = masked(capsys.readouterr().out, server).partition("\n\n")[2]
    # A terminal has the lines broken, and a pipe has not.
    assert printed.split() == shown.split()


def test_check_with_a_server_that_hangs(server, site, capsys):
    site.ini.write_text(site.ini.read_text().replace(f"={PATIENCE}", "=1"))
    server.pause()
    try:
        assert site.run("check") == 1
    finally:
        server.resume()
    (words,) = re.findall(r"\| `(Timeout reading)`", TEXT)
    assert re.search(rf"FAIL .*{words}", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("CONFIG SET", "maxmemory", "1"), "maxmemory"),
        (("REPLICAOF", "127.0.0.1", "1"), "replica"),
        (("CONFIG SET", "requirepass", "secret"), "see the user and password"),
    ],
    ids=["full", "replica", "password"],
)
def test_what_check_says_of(server, site, command, words, capsys):
    assert f"| `{words}`" in TEXT
    with server.client() as client:
        client.execute_command(*command)
    assert site.run("check") == 1
    server.kill()  # it would ask for the password, to stop in order
    printed = capsys.readouterr().out
    assert re.search(rf"FAIL .*{words.removeprefix('see ')}", printed), printed


def test_an_application_starts_without_its_storage(server, shop):
    server.kill()
    shop().client().get("/untouched", status=200)


def test_a_backup_is_copied_back(server, site, tmp_path, capsys):
    """What was ended since then comes back, and what is there stays."""
    (command,) = [each.text for each in snippets(PAGE, "sh") if "restored.ini" in each.text]
    words = command.split()
    assert words[:3] == ["psessions", "restored.ini", "copy"]
    target = words[-1].replace("redis.example.org:6379", f"{server.host}:{server.port}")
    ended, kept = site.fill({"cart": "tea"}, {"cart": "cup"})
    backup = f"sqlite://{tmp_path}/backup.db"
    assert site.run("copy", "--to", backup) == 0
    assert site.run("end", ended) == 0
    server.flush()
    (new,) = site.fill({"cart": "pot"})
    assert site.run("show", kept) == 1
    (tmp_path / "restored").mkdir()
    restored = type(site)(tmp_path / "restored", backup)
    assert restored.run(*words[2:-1], patient(target)) == 0
    for handle in (ended, kept, new):
        assert site.run("show", handle) == 0
    capsys.readouterr()
    with FakeClock(time.time() + 1200 + 61):
        assert restored.run(*words[2:-1], patient(target)) == 0
    assert re.search(r"copied +0\n.*\nalready there +0\n", capsys.readouterr().out)
