"""Every button of the demo, over every storage that needs no server."""

from __future__ import annotations

import re
import socket
import stat
import threading
from types import SimpleNamespace

import pytest

pytest.importorskip("pyramid_jinja2", reason="the demo's templates need pyramid_jinja2")
pytest.importorskip("waitress", reason="the demo is served by waitress")

from examples.demo import app as demo
from examples.demo import places, views
from examples.demo.journal import Journal, Visit
from examples.demo.panels import duration, size
from webtest import TestApp

from pyramid_pluggable_session import IPlugSession, clock
from pyramid_pluggable_session.storage import Operation

STORAGES = ["memory", "file", "sqlite", "dbm", "cookie", "chain"]
ON_THE_SERVER = [name for name in STORAGES if name != "cookie"]


def make(tmp_path, plug, **given):
    return demo.make_app(places.settings(tmp_path, plug, given))


@pytest.fixture(params=STORAGES)
def shop(request, tmp_path):
    return TestApp(make(tmp_path, request.param))


@pytest.fixture
def memory_shop(tmp_path):
    return TestApp(make(tmp_path, "memory"))


def same_browser(browser):
    """Return another tab: the same application with the same cookies, as they are now."""
    tab = TestApp(browser.app)
    for cookie in browser.cookiejar:
        tab.cookiejar.set_cookie(cookie)
    return tab


def form(page, path):
    return next(each for each in page.forms.values() if each.action == path)


def add(page, tea="sencha"):
    return form(page, "/cart").submit("tea", value=tea).follow()


def press(page, path, **fields):
    filled = form(page, path)
    for name, value in fields.items():
        filled[name] = value
    response = filled.submit()
    assert response.status_int == 303
    return response.follow()


def handle(page):
    return page.html.find(id="handle").get_text()


def cart(page):
    return {
        line["data-tea"]: int(line["data-count"]) for line in page.html.select("#cart [data-tea]")
    }


def contents(page):
    return {
        row.code.get_text(): tuple(cell.get_text(" ", strip=True) for cell in row.find_all("td"))
        for row in page.html.select("#contents tbody tr")
    }


def flashes(page):
    return [each.get_text(" ", strip=True) for each in page.html.select(".flash")]


def log(page):
    return [
        (row["data-path"], row["data-outcome"])
        for row in page.html.select("#log tbody tr[data-path]")
    ]


def report(page):
    return page.html.find(id="report").get_text()


def token(page):
    return form(page, "/cart")["csrf_token"].value


# The buttons


def test_first_page(shop):
    page = shop.get("/")
    assert "Tea for one session" in page
    assert contents(page).keys() == {"_csrft_"}
    assert "new with this request" in page
    assert page.html.find(id="user").get_text() == "Nobody"
    assert "until the browser is closed" in page.html.find(id="details").get_text()
    again = shop.get("/")
    assert handle(again) == handle(page)
    assert "no, an earlier request stored it" in again


def test_cart_is_a_nested_dict_with_types(shop):
    page = add(add(add(shop.get("/")), "rooibos"))
    assert cart(page) == {"sencha": 2, "rooibos": 1}
    rows = contents(page)
    assert rows["cart"][1] == "dict of 2"
    assert rows["price"] == ("3.20", "Decimal")
    assert rows["added"][1] == "list of 1"
    page = press(page, "/empty")
    assert cart(page) == {}
    assert "The cart is empty." in page


def test_flash_is_shown_once(shop):
    page = press(shop.get("/"), "/flash", message="<b>Hello</b>")
    assert flashes(page) == ["<b>Hello</b>"]
    assert flashes(shop.get("/")) == []
    assert "nothing to say" in flashes(press(page, "/flash", message=" "))[0]


def test_login_changes_the_id_and_keeps_the_cart(shop):
    page = add(shop.get("/"))
    before, old_token = handle(page), token(page)
    page = press(page, "/login", user="tomas")
    after = handle(page)
    assert before != after
    assert f"{before} → {after}" in flashes(page)[0]
    assert cart(page) == {"sencha": 1}
    assert page.html.find(id="user").get_text() == "Tomas"
    assert token(page) != old_token
    assert ("/login", "renamed") in log(page)


def test_remember_me(shop):
    response = shop.get("/")
    filled = form(response, "/login")
    filled["remember"] = True
    response = filled.submit()
    (cookie,) = [c for c in response.headers.getall("Set-Cookie") if c.startswith("session=")]
    assert "Max-Age=2592000" in cookie
    page = response.follow()
    assert "remembered" in page.html.find(id="facts").get_text()
    assert "30 days from the last change" in page.html.find(id="details").get_text()


def test_without_remember_me_the_cookie_ends_with_the_browser(shop):
    response = form(shop.get("/"), "/login").submit()
    (cookie,) = [c for c in response.headers.getall("Set-Cookie") if c.startswith("session=")]
    assert "Max-Age" not in cookie
    assert cookie.endswith("; Path=/; HttpOnly; SameSite=Lax")


def test_logout_ends_the_session(shop):
    page = press(add(shop.get("/")), "/login", user="mira")
    inside = handle(page)
    page = press(page, "/logout")
    assert handle(page) != inside
    assert cart(page) == {}
    assert page.html.find(id="user").get_text() == "Nobody"
    assert ("/logout", "replaced") in log(page)


def test_regenerate(shop):
    page = add(shop.get("/"))
    before = handle(page)
    page = press(page, "/regenerate")
    assert handle(page) != before
    assert cart(page) == {"sencha": 1}
    assert log(page)[1:3] == [("/regenerate", "renamed"), ("/", "nothing")]


def test_end(shop):
    page = add(shop.get("/"))
    before = handle(page)
    page = press(page, "/end")
    assert handle(page) != before
    assert cart(page) == {}
    assert contents(page).keys() == {"_csrft_"}


@pytest.mark.parametrize("plug", ON_THE_SERVER)
def test_an_old_cookie_is_of_no_use(tmp_path, plug):
    shop = TestApp(make(tmp_path, plug))
    page = add(shop.get("/"))
    for path in ("/login", "/regenerate", "/end"):
        old = same_browser(shop)
        page = press(page, path)
        assert cart(old.get("/")) == {}


# What the page tells


def test_log_tells_what_requests_did(memory_shop):
    page = add(memory_shop.get("/"))
    page = memory_shop.get("/")
    assert log(page) == [
        ("/", "under-way"),
        ("/", "nothing"),
        ("/cart", "stored"),
        ("/", "stored"),
    ]
    operations = [
        [each.b.get_text() for each in row.select(".operation")]
        for row in page.html.select("#log tbody tr[data-path]")
    ]
    assert operations == [["loads"], ["loads"], ["loads", "swap"], ["swap"]]
    assert re.search(r"loads\s+\d+ B, \d+\.\d\d ms", page.html.find(id="log").get_text(" "))


def test_panels_are_the_same_without_the_request_under_way(shop):
    page = add(shop.get("/"))
    panels = shop.get("/panels")
    assert panels.html.find(id="token")["data-token"] == token(page)
    assert cart(panels) == {"sencha": 1}
    assert ("/panels", "nothing") not in log(panels)
    assert log(panels)[0] == ("/", "nothing")
    assert {each["id"] for each in panels.html.select("[data-live]")} == {
        each["id"] for each in page.html.select("[data-live]")
    }


def test_no_session_id_on_the_page(shop):
    page = shop.get("/")
    for path in ("/login", "/regenerate", "/logout", "/end"):
        page = press(page, path)
        session_id = shop.cookies["session"][:64]
        assert re.fullmatch("[0-9a-f]{64}", session_id)
        assert session_id not in page.text
        assert session_id not in shop.get("/panels").text


@pytest.mark.parametrize(
    ("plug", "name", "abilities"),
    [
        ("memory", "memory", ["swap", "scan", "purge"]),
        ("cookie", "cookie", ["client side"]),
        ("chain", "chain: memory in front of sqlite", ["swap", "scan", "purge"]),
    ],
)
def test_storage_is_named(tmp_path, plug, name, abilities):
    page = TestApp(make(tmp_path, plug)).get("/")
    assert page.html.find(id="storage").get_text() == name
    assert [each.get_text() for each in page.html.select(".abilities b")] == abilities


def test_headers_are_those_of_the_package(memory_shop):
    first = memory_shop.get("/")
    assert first.headers["Cache-Control"] == "private"
    again = memory_shop.get("/")
    assert "Cache-Control" not in again.headers
    assert "Set-Cookie" not in again.headers
    assert again.headers["Vary"] == "Cookie"


def test_idle_sessions_end_and_remembered_ones_do_not(memory_shop, monkeypatch):
    remembered = TestApp(memory_shop.app)
    filled = form(add(remembered.get("/")), "/login")
    filled["remember"] = True
    filled.submit()
    before = handle(add(memory_shop.get("/")))
    later = clock.now() + 3600
    monkeypatch.setattr(clock, "now", lambda: later)
    page = memory_shop.get("/")
    assert handle(page) != before
    assert cart(page) == {}
    assert cart(remembered.get("/")) == {"sencha": 1}


def test_words():
    assert [duration(each) for each in (0, 1, 60, 1199.6, 3600, 86400 * 30)] == [
        "0 seconds",
        "1 second",
        "1 minute",
        "20 minutes",
        "1 hour",
        "30 days",
    ]
    assert [size(each) for each in (9999, 12345)] == ["9999 B", "12.3 kB"]


# Two requests at once


@pytest.fixture
def during_slow(monkeypatch):
    """Return a function that starts the slow request, does something meanwhile, and finishes it."""

    def run(browser, meanwhile):
        holds, go_on = threading.Event(), threading.Event()

        def sleep(seconds):
            holds.set()
            assert go_on.wait(60)

        monkeypatch.setattr(views, "time", SimpleNamespace(sleep=sleep))
        slow_tab = same_browser(browser)
        slow_form = form(slow_tab.get("/"), "/slow")
        responses = []
        thread = threading.Thread(target=lambda: responses.append(slow_form.submit()))
        thread.start()
        try:
            assert holds.wait(60)
            meanwhile()
        finally:
            go_on.set()
            thread.join(60)
        (response,) = responses
        assert response.status_int == 303
        return response

    return run


@pytest.mark.parametrize("plug", ON_THE_SERVER)
def test_slow_request_and_another_are_both_kept(tmp_path, plug, during_slow):
    shop = TestApp(make(tmp_path, plug))
    page = add(shop.get("/"))
    during_slow(shop, lambda: add(page, "assam"))
    page = shop.get("/")
    assert cart(page) == {"sencha": 1, "assam": 1, "oolong": 1}
    assert log(page)[1] == ("/slow", "merged")
    assert "Both are kept." in report(page)


def test_client_side_the_last_one_wins(tmp_path, during_slow):
    shop = TestApp(make(tmp_path, "cookie"))
    page = add(shop.get("/"))
    response = during_slow(shop, lambda: add(page, "assam"))
    assert cart(shop.get("/")) == {"sencha": 1, "assam": 1}
    assert cart(response.follow()) == {"sencha": 1, "oolong": 1}
    assert "this storage keeps what comes last" in report(response.follow())


@pytest.mark.parametrize("plug", ON_THE_SERVER)
@pytest.mark.parametrize(
    ("path", "outcome", "words"),
    [
        ("/end", "dropped-ended", "Ended stays ended."),
        ("/logout", "dropped-ended", "Ended stays ended."),
        ("/regenerate", "dropped-moved", "The change was dropped."),
    ],
)
def test_slow_request_cannot_undo(tmp_path, plug, path, outcome, words, during_slow):
    shop = TestApp(make(tmp_path, plug))
    page = press(shop.get("/"), "/login", user="mira")
    response = during_slow(shop, lambda: press(page, path))
    assert "Set-Cookie" not in response.headers
    page = shop.get("/")
    assert "oolong" not in cart(page)
    assert page.html.find(id="user").get_text() == ("Mira" if path == "/regenerate" else "Nobody")
    assert log(page)[1] == ("/slow", outcome)
    assert words in report(page)


def test_slow_request_alone(memory_shop):
    memory_shop.app.registry.settings["demo.slow_seconds"] = "0"
    page = press(memory_shop.get("/"), "/slow")
    assert cart(page) == {"oolong": 1}
    assert "nobody came in between" in report(page)


def test_the_same_tea_in_two_tabs(memory_shop, during_slow, monkeypatch):
    monkeypatch.setattr(views, "SLOW_TEA", "sencha")
    page = add(memory_shop.get("/"))
    during_slow(memory_shop, lambda: add(page))
    assert cart(memory_shop.get("/")) == {"sencha": 3}


def test_conflict_is_told(memory_shop, during_slow, monkeypatch):
    monkeypatch.setattr(views, "SLOW_TEA", "sencha")
    page = memory_shop.get("/")
    during_slow(memory_shop, lambda: add(page))
    page = memory_shop.get("/")
    assert cart(page) == {"sencha": 2}
    assert log(page)[1] == ("/slow", "conflict")
    assert "cart.sencha.price" in page.html.find(id="log").get_text()


# What goes wrong


def test_csrf_is_refused_in_words_for_people(shop):
    page = add(shop.get("/"))
    for path in ("cart", "empty", "slow", "flash", "login", "logout", "regenerate", "end"):
        refused = shop.post(f"/{path}", {"csrf_token": "x" * 64, "tea": "assam"}, status=400)
        assert "That form was from an earlier session" in refused
        assert "Set-Cookie" not in refused.headers
    assert handle(shop.get("/")) == handle(page)
    assert cart(shop.get("/")) == {"sencha": 1}


def test_refused_stranger_leaves_nothing(memory_shop):
    refused = memory_shop.post("/cart", {"tea": "assam"}, status=400)
    assert "Set-Cookie" not in refused.headers
    plug = memory_shop.app.registry.getUtility(IPlugSession)
    assert list(plug.scan()) == []


@pytest.mark.parametrize(("path", "field"), [("/cart", "tea"), ("/login", "user")])
def test_what_is_not_on_offer(memory_shop, path, field):
    page = memory_shop.get("/")
    response = memory_shop.post(path, {"csrf_token": token(page), field: "gold"}, status=400)
    assert "That is not on the menu" in response


@pytest.mark.parametrize("path", ["/nowhere", "/cart", "/end"])
def test_not_found(memory_shop, path):
    assert "There is nothing here" in memory_shop.get(path, status=404)


def test_outage_when_reading(tmp_path):
    shop = TestApp(make(tmp_path, "file"))
    page = add(shop.get("/"))
    (tmp_path / "sessions").rename(tmp_path / "gone")
    for response in (shop.get("/", status=503), form(page, "/end").submit(status=503)):
        assert "The session storage is not answering" in response
        assert response.headers["Retry-After"] == "5"
        assert "Set-Cookie" not in response.headers
        assert str(tmp_path) not in response.text
    (tmp_path / "gone").rename(tmp_path / "sessions")
    assert cart(shop.get("/")) == {"sencha": 1}


def test_outage_when_saving(memory_shop, monkeypatch):
    page = add(memory_shop.get("/"))
    plug = memory_shop.app.registry.getUtility(IPlugSession)

    def swap(session, request, expected, session_data):
        raise ConnectionError("no route to the tea")

    with monkeypatch.context() as outage:
        outage.setattr(plug, "swap", swap)
        response = form(page, "/cart").submit("tea", value="assam", status=503)
    assert "The session storage is not answering" in response
    assert "Set-Cookie" not in response.headers
    page = memory_shop.get("/")
    assert cart(page) == {"sencha": 1}
    assert ("/cart", "failed") in log(page)


# Starting it


@pytest.mark.parametrize("plug", ["file", "sqlite", "dbm", "cookie", "chain"])
def test_sessions_survive_a_restart(tmp_path, plug):
    shop = TestApp(make(tmp_path, plug))
    add(shop.get("/"))
    again = same_browser(shop)
    again.app = make(tmp_path, plug)
    assert cart(again.get("/")) == {"sencha": 1}


def test_secret_is_made_once_and_for_the_owner(tmp_path):
    data = tmp_path / "var" / "demo"
    first = places.settings(data, "memory", {})["pluggable_session.secret"]
    assert len(first) == 64
    assert stat.S_IMODE((data / "secret").stat().st_mode) == 0o600
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert places.settings(data, "memory", {})["pluggable_session.secret"] == first
    other = places.settings(tmp_path / "other", "memory", {})["pluggable_session.secret"]
    assert other != first


def test_urls_and_settings(tmp_path):
    app = make(tmp_path, f"sqlite://{tmp_path}/mine.db")
    TestApp(app).get("/")
    assert (tmp_path / "mine.db").stat().st_size
    chained = {"pluggable_session.chain.plugs": "memory file", "pluggable_session.max_age": "60"}
    page = TestApp(make(tmp_path, "chain", **chained)).get("/")
    assert page.html.find(id="storage").get_text() == "chain: memory in front of file"
    assert "1 minute from the last change" in page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--plug", "sqlit"], "Did you mean"),
        (["--plug", "memory", "--set", "pluggable_session.timeout=soon"], "seconds"),
    ],
)
def test_mistakes_are_told_at_the_start(tmp_path, arguments, words):
    with pytest.raises(SystemExit, match=words):
        demo.main(["--data", str(tmp_path), "--port", "0", *arguments])


def test_setting_without_a_value(tmp_path, capsys):
    with pytest.raises(SystemExit):
        demo.main(["--data", str(tmp_path), "--set", "nonsense"])
    assert "NAME=VALUE" in capsys.readouterr().err


def test_next_port_if_the_first_is_taken(tmp_path):
    with socket.create_server((demo.HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with demo.listen([port, 0]) as listener:
            assert listener.getsockname()[1] != port
        with pytest.raises(SystemExit, match="cannot start"):
            demo.main(["--data", str(tmp_path), "--plug", "memory", "--port", str(port)])


# The journal


def visit(before, after, *names):
    return Visit("POST", "/", before, after, operations=[Operation(name, 1, 0.5) for name in names])


def test_journal_follows_a_session_to_its_new_name():
    journal = Journal()
    journal.add(visit("a", "a", "swap"))
    journal.add(visit("a", "b", "loads", "swap", "swap"))
    journal.add(visit("a", "a", "loads", "swap", "loads"))
    assert [each.outcome for each in journal.visits("b")] == ["merged", "renamed", "stored"]
    assert journal.visits("a") == journal.visits("b")
    assert journal.visits("b")[1].size == 3
    assert journal.visits("b")[1].seconds == 1.5


def test_journal_is_bounded():
    journal = Journal(sessions=3, visits=2)
    for number in range(10):
        for _ in range(5):
            journal.add(visit(f"{number}", f"{number}", "loads"))
        journal.add(visit(f"{number}", f"{number}.", "swap"))
    assert journal.visits("1.") == []
    assert len(journal.visits("9.")) == 2
    assert journal.visits("9.") == journal.visits("9")


@pytest.mark.parametrize(
    ("names", "outcome"),
    [
        ((), "nothing"),
        (("loads",), "nothing"),
        (("loads", "clear"), "ended"),
        (("dumps",), "stored"),
    ],
)
def test_outcomes(names, outcome):
    assert visit("a", "a", *names).outcome == outcome
