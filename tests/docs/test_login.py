"""What docs/login.md says of logins and logouts, in an application made of its snippets."""

from __future__ import annotations

import re
import sys
from urllib.parse import urljoin, urlsplit

import pytest
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import remember
from webtest import TestApp

from apps import SECRET, App, UnreliablePlug, set_cookies
from pyramid_pluggable_session import SessionAuthenticationHelper, events, owned_sessions
from pyramid_pluggable_session.interfaces import IPlugSession
from pyramid_pluggable_session.scripts.psessions import main as psessions
from pyramid_pluggable_session.testing import (
    FakeClock,
    assert_logged_in,
    assert_no_session,
    open_session,
    session_of,
)
from pyramid_pluggable_session.testing.app import keep_cookies
from snippets import DOCS, run_python, snippets

PAGE = DOCS / "login.md"
TEXT = PAGE.read_text()
TEMPLATES = {each.caption: each.text for each in snippets(PAGE, "html")}


def table(heading):
    """Return the rows of the table below a heading, by their first cells."""
    chapter = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"(?m)^\| *(.+?) *\|$", chapter)[2:]
    cells = [re.split(r" *\| *", row) for row in rows]
    return {first: rest for first, *rest in cells}


@pytest.fixture
def page(monkeypatch):
    monkeypatch.setitem(sys.modules, "page_login_app", None)
    return run_python(PAGE, "page_login_app")


class Site:
    """The page's application, with a page that is not for everybody and one that does anything."""

    def __init__(self, page, folder, monkeypatch, **options):
        for name, template in TEMPLATES.items():
            (folder / name).write_text(template)
        self.plug, self.events = UnreliablePlug(), []
        site = self

        class ExtendedConfigurator(Configurator):
            def make_wsgi_app(self):
                self.set_session_plug(site.plug)
                self.add_subscriber(site.events.append, events.SessionEvent)
                self.add_route("secret", "/secret")
                self.add_view(site.secret, route_name="secret", permission="see", renderer="json")
                self.add_route("do", "/do")
                self.add_view(site.do, route_name="do", renderer="json", require_csrf=False)
                return super().make_wsgi_app()

        monkeypatch.setattr(page, "Configurator", ExtendedConfigurator)
        settings = {f"pluggable_session.{name}": value for name, value in options.items()}
        settings |= {"pluggable_session.secret": SECRET, "jinja2.directories": str(folder)}
        self.wsgi = page.main({}, **settings)
        self.action = None

    def secret(self, request):
        return {"user": request.authenticated_userid}

    def do(self, request):
        return self.action(request) or {}

    def browser(self, cookie=None):
        browser = TestApp(self.wsgi)
        if cookie is not None:
            answer = Response(headerlist=[("Set-Cookie", f"session={cookie}; Path=/")])
            keep_cookies(browser, Request.blank("/"), answer)
        return browser

    def run(self, browser, action, **kwargs):
        self.action = action
        return browser.get("/do", **kwargs)


@pytest.fixture
def site(page, tmp_path, monkeypatch):
    return Site(page, tmp_path, monkeypatch)


def log_in(browser, user="ada", password="engine", came_from="/"):
    form = browser.get("/login", {"came_from": came_from}).form
    form["user"], form["password"] = user, password
    return form.submit()


def log_out(browser):
    token = session_of(browser)["_csrft_"]
    return browser.post("/logout", {"csrf_token": token}, status=303)


def handles(browser, user):
    """Return the sessions that are listed for a user."""
    with open_session(browser) as session:
        return {each.handle for each in owned_sessions(session.request, user)}


def cookie(browser):
    return browser.cookies["session"]


class TestTheApplication:
    def test_login_and_logout(self, site):
        browser = site.browser()
        answer = browser.get("/secret?a=1", status=303).follow()
        form = answer.form
        form["user"], form["password"] = "ada", "engine"
        answer = form.submit()
        assert answer.location == "http://localhost/secret?a=1"
        assert browser.get("/secret").json == {"user": "ada"}
        assert_logged_in(browser, "ada")
        home = browser.get("/")
        assert "Welcome." in home
        assert "You are ada." in home
        assert "Welcome." not in browser.get("/")
        home = home.form.submit(status=303).follow()
        assert "You are logged out." in home
        assert_logged_in_nobody(browser)
        assert home.click("Log in").form
        browser.get("/secret", status=303)

    @pytest.mark.parametrize(("user", "password"), [("ada", "x"), ("ada", ""), ("eve", "")])
    def test_a_wrong_password(self, site, user, password):
        browser = site.browser()
        answer = log_in(browser, user, password)
        assert answer.status_int == 200
        assert "That is not right." in answer.text
        assert answer.form["user"].value == user
        assert_logged_in_nobody(browser)

    def test_forms_need_their_token(self, site):
        browser = site.browser()
        browser.post("/login", {"user": "ada", "password": "engine"}, status=400)
        log_in(browser)
        browser.post("/logout", status=400)
        browser.get("/logout", {}, status=404)
        assert_logged_in(browser, "ada")

    def test_home_begins_no_session(self, site):
        assert set_cookies(site.browser().get("/")) == []

    def test_a_user_who_may_not_is_not_asked_to_log_in(self, site, page):
        browser = site.browser()
        log_in(browser)
        page.SecurityPolicy.permits = lambda *args: False
        browser.get("/secret", status=403)

    @pytest.mark.parametrize(
        "wanted",
        [
            "//example.org/", "/\\example.org", "\\\\example.org", "https://example.org/",
            "/\t/example.org", "\t//example.org", "/\n/example.org", "example.org",
            "javascript:alert(1)", "", "/a\r\nSet-Cookie: a=b", "/ä",
        ],
    )  # fmt: skip
    def test_other_sites_are_not_followed(self, site, wanted):
        assert log_in(site.browser(), came_from=wanted).location == "http://localhost/"

    @pytest.mark.parametrize(
        "wanted", ["/", "/a/b?c=d&e=%20#f", "/.//example.org", "/@example.org"]
    )
    def test_pages_of_the_site_are(self, site, wanted):
        location = log_in(site.browser(), came_from=wanted).location
        assert location == urljoin("http://localhost/", wanted)
        assert urlsplit(location).netloc == "localhost"


def assert_logged_in_nobody(browser):
    with open_session(browser) as session:
        assert session.owner is None
        assert "auth.userid" not in session


class TestWhatHappensToTheSession:
    def test_is_what_the_table_says(self, site):
        rows = table("What happens to the session")
        for what, (data, new_id, record) in rows.items():
            browser = site.browser()
            if what != "`remember`, a visitor logs in":
                log_in(browser, *(("bob", "builder") if "another" in what else ()))
            with open_session(browser) as session:
                session["cart"] = ["tea"]
            before, token = cookie(browser), session_of(browser).get("_csrft_")
            ids = set(site.plug.ids())
            if what == "`forget`":
                log_out(browser)
            else:
                log_in(browser)
            after = session_of(browser)
            assert ("cart" in after) is data.startswith("stay"), what
            assert cookie(browser)[:64] != before[:64]
            assert new_id.startswith("new")
            assert after.get("_csrft_") != token
            assert {"moves": True, "is": False}[record.split()[0]] is ("cart" in after)
            assert browser.cookies.get("session")[:64] not in ids
            other = site.browser(before)
            assert session_of(other) == {}
        assert len(rows) == 4

    def test_flash_messages_before_remember_may_go(self, site):
        browser = site.browser()
        log_in(browser, "bob", "builder")

        def too_early(request):
            request.session.flash("too early")
            SessionAuthenticationHelper().remember(request, "ada")

        site.run(browser, too_early)
        assert "_f_" not in session_of(browser)

    @pytest.mark.parametrize("on_outage", ["fail", "anonymous"])
    def test_a_logout_in_an_outage_is_an_error(self, page, tmp_path, monkeypatch, on_outage):
        site = Site(page, tmp_path, monkeypatch, on_outage=on_outage)
        browser = site.browser()
        log_in(browser)
        site.plug.error = OSError("down")
        site.run(browser, lambda request: page.logout(request), status=503)
        site.plug.error = None
        assert_logged_in(browser, "ada")


class TestRequestsAtTheSameMoment:
    def test_store_nothing_and_send_no_cookie(self, site, caplog):
        caplog.set_level("INFO", "pyramid_pluggable_session")
        browser = site.browser()
        browser.get("/login")
        late = site.browser(cookie(browser))
        log_in(browser)
        site.events.clear()
        stored = set(site.plug.ids())
        answer = site.run(late, lambda request: request.session.update(a=1))
        assert set_cookies(answer) == []
        assert [(type(e), e.reason) for e in site.events] == [(events.SessionDropped, "moved")]
        assert caplog.messages[-1].endswith("changes dropped (moved)")
        assert set(site.plug.ids()) == stored
        assert_logged_in(browser, "ada")

    @pytest.fixture
    def clock(self):
        with FakeClock() as clock:
            yield clock

    @pytest.fixture
    def form(self, site, clock):
        """A login form that is filled in, in a browser whose session has something in it."""
        browser = site.browser()
        with open_session(browser) as session:
            session["cart"] = ["tea"]
        form = browser.get("/login").form
        form["user"], form["password"] = "ada", "engine"
        return form

    def second_click(self, site, form):
        """Send the form, and from a browser that never gets the answer; return the latter."""
        unlucky = site.browser(cookie(form.response.test_app))
        form.submit(status=303)
        return unlucky

    def test_a_second_click_while_the_first_is_under_way(self, site, form, page, monkeypatch):
        browser = form.response.test_app
        other = site.browser(cookie(browser))
        is_right, answers = page.password_is_right, []

        def slowly(*args):
            if not answers:
                answers.append(None)
                answers.append(other.post("/login", form.submit_fields(), status=303))
            return is_right(*args)

        monkeypatch.setattr(page, "password_is_right", slowly)
        answers.append(form.submit(status=303))
        for each in (browser, other):
            assert_logged_in(each, "ada")
            assert session_of(each)["cart"] == ["tea"]
        assert cookie(browser) != cookie(other)
        assert len(handles(browser, "ada")) == 2

    def test_a_second_click_after_that_is_refused_for_its_token(self, site, form):
        unlucky = self.second_click(site, form)
        unlucky.post("/login", form.submit_fields(), status=400)
        assert_no_session(unlucky)

    @pytest.mark.parametrize("later", [0, 14])
    def test_a_form_of_the_next_15_seconds_is_refused(self, site, form, clock, later):
        unlucky = self.second_click(site, form)
        clock.advance(later)
        again = unlucky.get("/login").form
        again["user"], again["password"] = "ada", "engine"
        clock.advance(30)
        again.submit(status=400)

    def test_a_form_after_that_is_as_good_as_any(self, site, form, clock):
        unlucky = self.second_click(site, form)
        clock.advance(15)
        log_in(unlucky)
        assert_logged_in(unlucky, "ada")
        assert "cart" not in session_of(unlucky)

    def test_without_a_check_of_tokens_it_works_at_once(self, site, form):
        unlucky = self.second_click(site, form)
        site.run(unlucky, lambda request: remember(request, "ada") and None)
        assert_logged_in(unlucky, "ada")
        assert "cart" not in session_of(unlucky)
        assert len(handles(unlucky, "ada")) == 2


class TestATicket:
    @pytest.fixture
    def app(self, page):
        policy = page.TicketPolicy("another secret")
        return App(configure=lambda config: config.set_security_policy(policy))

    def user(self, client):
        box = []
        client.request(lambda request: box.append(request.authenticated_userid))
        return box[0]

    def log_in(self, client, user):
        def view(request):
            request.response.headerlist.extend(remember(request, user))
            return {}

        client.request(view)

    def test_comes_with_a_session_of_its_own(self, app):
        client = app.client()
        client.do(lambda session: session.update(cart=["tea"]))
        before = client.session_id
        self.log_in(client, "ada")
        assert self.user(client) == "ada"
        assert client.session_id != before
        assert client.data()["cart"] == ["tea"]
        self.log_in(client, "bob")
        assert self.user(client) == "bob"
        assert "cart" not in client.data()

    def test_is_nothing_without_the_session(self, app):
        client = app.client()
        self.log_in(client, "ada")
        client.do(lambda session: session.invalidate())
        assert client.testapp.cookies.get("auth_tkt")
        assert self.user(client) is None

    def test_is_nothing_with_the_session_of_another(self, app):
        client = app.client()
        self.log_in(client, "ada")
        client.do(lambda session: setattr(session, "owner", "bob"))
        assert self.user(client) is None

    def test_is_deleted_at_logout(self, app, page):
        client = app.client()
        self.log_in(client, "ada")

        def view(request):
            request.response.headerlist.extend(page.forget(request))
            return {}

        client.request(view)
        assert client.testapp.cookies == {}


class TestByHand:
    @pytest.mark.parametrize("call", list(table("By hand")))
    def test_is_what_the_table_says(self, call):
        data, new_id, others = table("By hand")[call]
        app = App()
        client = app.client()
        client.do(lambda session: session.update(a=1, token=session.get_csrf_token()))
        old, before = client.cookie, client.data()
        name = re.fullmatch(r"`session\.(\w+)\(\)`", call)[1]
        client.do(lambda session: getattr(session, name)())
        assert (client.data().get("a") == 1) is (data == "stay")
        assert (client.cookie is None) is (new_id == "new, once something is put in")
        token = client.do(lambda session: session.get_csrf_token()).result
        assert token != before["_csrft_"]
        assert client.session_id != old[:64]
        late = app.client(old)
        assert late.data() == {}
        app.event_names()
        answer = late.do(lambda session: session.update(b=2))
        dropped = others.startswith("for 15 seconds nothing")
        assert app.event_names() == (["SessionDropped:moved"] if dropped else ["SessionCreated"])
        assert bool(set_cookies(answer)) is not dropped

    def test_another_right_is_another_id(self, page):
        client = App().client()
        client.do(lambda session: session.update(a=1))
        before = client.session_id
        client.request(page.second_factor, status=303)
        assert client.session_id != before
        assert client.data() == {"a": 1, "second_factor": True}


def test_a_move_is_told(site):
    browser = site.browser()
    browser.get("/login")
    with open_session(browser) as session:
        former = session.handle
    site.events.clear()
    log_in(browser)
    with open_session(browser) as session:
        now = session.handle
    (moved,) = [event for event in site.events if type(event) is events.SessionMoved]
    assert (moved.former, moved.handle) == (former, now)


def application(global_config, **settings):
    with Configurator(settings=settings) as config:
        config.include("pyramid_pluggable_session")
        return config.make_wsgi_app()


def test_the_command(tmp_path, capsys):
    url, ini = f"sqlite://{tmp_path}/s.db", tmp_path / "development.ini"
    ini.write_text(
        f"[app:main]\nuse = call:{__name__}:application\n"
        f"pluggable_session.secret = {SECRET}\npluggable_session.plug = {url}\n"
    )
    app = App(plug=url)
    app.client().request(lambda request: SessionAuthenticationHelper().remember(request, "ada"))
    app.registry.getUtility(IPlugSession).close()
    (shown,) = (each.text for each in snippets(PAGE, "console"))
    command, head, row = shown.splitlines()
    assert psessions([str(ini), *command.split()[3:]]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == head.split()
    assert len(printed) == 2
    assert printed[1].split()[-1] == row.split()[-1] == "-"
