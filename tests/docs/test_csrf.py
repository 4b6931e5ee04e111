"""What docs/csrf.md says of forms, tokens and origins, in applications made of its snippets."""

from __future__ import annotations

import re
import sys

import pytest
from pyramid.config import Configurator
from pyramid.csrf import (
    LegacySessionCSRFStoragePolicy,
    SessionCSRFStoragePolicy,
    get_csrf_token,
)
from pyramid.interfaces import ICSRFStoragePolicy
from webtest import TestApp

from apps import SECRET, App, UnreliablePlug, set_cookies
from pyramid_pluggable_session import SessionAuthenticationHelper
from pyramid_pluggable_session.testing import FakeClock, log_in, open_session, session_of
from snippets import DOCS, run_python, snippets

PAGE = DOCS / "csrf.md"
TEXT = PAGE.read_text()
TEMPLATES = {each.caption: each.text for each in snippets(PAGE, "html")}
TRUSTED = re.search(r"(?m)^pyramid.csrf_trusted_origins = (.*)$", TEXT)[1]
HTTPS = {"wsgi.url_scheme": "https"}


def first_column(heading):
    chapter = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"(?m)^\| *(.*?) *\|", chapter)[2:]


@pytest.fixture
def page(monkeypatch):
    monkeypatch.setitem(sys.modules, "page_csrf_app", None)
    return run_python(PAGE, "page_csrf_app")


class Policy:
    helper = SessionAuthenticationHelper()

    def remember(self, request, userid, **kw):
        return self.helper.remember(request, userid)


class Site:
    def __init__(self, page, folder, monkeypatch, extend=lambda config: None, **settings):
        for name, template in TEMPLATES.items():
            (folder / name).write_text(template)
        self.plug, self.refused = UnreliablePlug(), []
        site = self

        class ExtendedConfigurator(Configurator):
            def make_wsgi_app(self):
                self.set_session_plug(site.plug)
                self.set_security_policy(Policy())
                self.add_route("plain", "/plain")
                self.add_view(lambda request: {}, route_name="plain", renderer="json")
                self.add_route("layout", "/layout")
                self.add_view(lambda request: {}, route_name="layout", renderer="layout.jinja2")
                self.add_route("token", "/token")
                self.add_view(page.token, route_name="token", renderer="json")
                extend(self)
                return super().make_wsgi_app()

        def refused(error, request, view=page.refused):
            site.refused.append(error.detail)
            return view(error, request)

        monkeypatch.setattr(page, "Configurator", ExtendedConfigurator)
        monkeypatch.setattr(page, "refused", refused)
        self.wsgi = page.main(
            {},
            **settings,
            **{"pluggable_session.secret": SECRET, "jinja2.directories": str(folder)},
        )

    def browser(self, **environ):
        return TestApp(self.wsgi, extra_environ=environ)


@pytest.fixture
def site(page, tmp_path, monkeypatch):
    return Site(page, tmp_path, monkeypatch)


def token_of(browser):
    return browser.get("/address").form["csrf_token"].value


class TestForms:
    def test_with_the_token_they_are_taken(self, site):
        browser = site.browser()
        form = browser.get("/address").form
        form["address"] = "here"
        form.submit(status=303)
        assert browser.get("/address").form["address"].value == "here"

    def test_refused_ones_are_shown_again_with_a_good_token(self, site):
        browser = site.browser()
        form = browser.get("/address").form
        log_in(browser, "ada")  # in another tab
        form["address"] = "<here>"
        answer = form.submit(status=400)
        assert "This form is too old." in answer.text
        assert answer.form["address"].value == "<here>"
        assert "address" not in session_of(browser)
        answer.form.submit(status=303)
        assert session_of(browser)["address"] == "<here>"

    def test_so_is_one_that_stayed_open_for_too_long(self, site):
        with FakeClock() as clock:
            browser = site.browser()
            form = browser.get("/address").form
            clock.advance(1201)
            form.submit(status=400).form.submit(status=303)

    def test_elsewhere_there_is_a_page_that_says_so(self, site):
        answer = site.browser().post("/plain", status=400)
        assert "did not come from this site" in answer.text
        assert site.refused == ["check_csrf_token(): Invalid token"]

    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE"])
    def test_methods_that_are_not_checked(self, site, method):
        site.browser().request("/plain", method=method, status=200)

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
    def test_methods_that_are(self, site, method):
        site.browser().request("/plain", method=method, status=400)


class TestScripts:
    def test_send_the_token_in_a_header(self, site):
        browser = site.browser()
        text = browser.get("/layout").text
        token = re.search(r'name="csrf-token" content="(\w+)"', text)[1]
        (header,) = re.findall(r'"(X-[\w-]+)":', TEMPLATES["layout.jinja2"])
        browser.post("/address", {"address": "a"}, headers={header: token}, status=303)
        browser.post("/address", {"address": "a"}, headers={header: "x"}, status=400)

    def test_do_not_see_the_cookie(self, site):
        (header,) = set_cookies(site.browser().get("/layout"))
        assert "; HttpOnly" in header

    def test_may_ask_for_the_token(self, site):
        browser = site.browser()
        answer = browser.get("/token")
        assert "no-store" in answer.headers["Cache-Control"]
        browser.post("/plain", {"csrf_token": answer.json["token"]}, status=200)


class TestWhenThereIsASession:
    """A test for each row of the table; the first one counts them."""

    def test_every_row_has_a_test(self):
        heading = "When there is a session, and when there is a new token"
        assert len(first_column(heading)) == 7

    def test_a_page_that_does_not_ask(self, site):
        answer = site.browser().get("/plain")
        assert (set_cookies(answer), site.plug.calls) == ([], [])

    def test_a_page_with_a_form(self, site):
        browser = site.browser()
        (header,) = set_cookies(browser.get("/address"))
        assert header.startswith("session=")
        assert list(session_of(browser)) == ["_csrft_"]
        assert len(site.plug.ids()) == 1

    def test_the_same_page_again(self, site):
        browser = site.browser()
        token = token_of(browser)
        site.plug.taken()
        answer = browser.get("/address")
        assert answer.form["csrf_token"].value == token
        assert set_cookies(answer) == []
        assert site.plug.taken() == ["loads"]

    @pytest.mark.parametrize("data", [{}, {"csrf_token": "x"}], ids=["none", "a bad one"])
    def test_a_refused_form_of_a_stranger(self, site, data):
        answer = site.browser().post("/plain", data, status=400)
        assert set_cookies(answer) == []
        assert site.plug.ids() == []

    def test_a_refused_form_that_is_shown_again(self, site):
        answer = site.browser().post("/address", {"address": "a"}, status=400)
        assert len(set_cookies(answer)) == len(site.plug.ids()) == 1

    def test_login(self, site):
        browser = site.browser()
        before = token_of(browser)
        log_in(browser, "ada")
        assert token_of(browser) != before

    @pytest.mark.parametrize(
        "call", re.findall(r"`(?:session\.)?(\w+)\(\)`", re.search(r"(?m)^\| `session.*$", TEXT)[0])
    )
    def test_calls(self, site, call):
        browser = site.browser()
        before = token_of(browser)
        with open_session(browser) as session:
            getattr(session, call)()
        assert token_of(browser) != before

    def test_the_end(self, site):
        with FakeClock() as clock:
            browser = site.browser()
            before = token_of(browser)
            clock.advance(1201)
            assert token_of(browser) != before


def test_samesite_is_lax_by_default():
    client = App().client()
    (header,) = set_cookies(client.do(lambda session: session.update(a=1)))
    assert "; SameSite=Lax" in header


class TestCaches:
    def test_what_they_are_told(self, site):
        browser = site.browser()
        answer = browser.get("/address")
        assert answer.headers["Cache-Control"] == "private"
        assert answer.headers["Vary"] == "Cookie"
        answer = browser.get("/address")
        assert "Cache-Control" not in answer.headers
        assert answer.headers["Vary"] == "Cookie"

    def test_http_cache(self, page, tmp_path, monkeypatch):
        def extend(config):
            config.add_route("form", "/form")
            config.add_view(
                lambda request: {"token": get_csrf_token(request)},
                route_name="form",
                renderer="json",
                http_cache=0,
            )

        browser = Site(page, tmp_path, monkeypatch, extend).browser()
        for _ in range(2):
            assert "no-store" in browser.get("/form").headers["Cache-Control"]


class TestWithoutASession:
    @pytest.fixture
    def site(self, page, tmp_path, monkeypatch):
        return Site(page, tmp_path, monkeypatch, page.tokens_in_cookies)

    def test_nothing_is_stored(self, site):
        browser = site.browser(**HTTPS)
        answer = browser.get("/address")
        (header,) = [each for each in set_cookies(answer) if each.startswith("csrf_token=")]
        assert "; secure" in header.lower()
        assert "; httponly" in header.lower()
        # The page reads its session for the address, which costs nothing without a cookie.
        assert site.plug.calls == []
        assert len(set_cookies(answer)) == 1
        assert "Cache-Control" not in answer.headers

    def test_login_changes_it_and_a_new_id_alone_does_not(self, site):
        browser = site.browser(**HTTPS)
        before = token_of(browser)
        with open_session(browser) as session:
            session["a"] = 1
        with open_session(browser) as session:
            session.regenerate_id()
        assert token_of(browser) == before
        log_in(browser, "ada")
        assert token_of(browser) != before


def test_the_policies_of_the_session_are_the_same():
    assert SessionCSRFStoragePolicy().key == "_csrft_"
    app = App()
    assert isinstance(app.registry.getUtility(ICSRFStoragePolicy), LegacySessionCSRFStoragePolicy)
    client = app.client()
    client.request(lambda request: {"token": get_csrf_token(request)})
    assert list(client.data()) == ["_csrft_"]


class TestOrigins:
    def send(self, site, host, **headers):
        browser = site.browser(**HTTPS, HTTP_HOST=host)
        with open_session(browser) as session:
            token = session.get_csrf_token()
        return browser.post(
            "/plain", {"csrf_token": token}, headers=headers, expect_errors=True
        ).status_int

    def test_the_host_is_the_public_one(self, site):
        assert self.send(site, "example.org", Origin="https://example.org") == 200

    @pytest.mark.parametrize("reason", first_column("https, and a proxy in front"))
    def test_what_is_wrong(self, site, reason):
        headers = {
            "https://example.org does not match": {"Origin": "https://example.org"},
            "null does not match": {"Origin": "null"},
            "missing": {},
            "Origin is insecure": {"Origin": "http://app:6543"},
        }
        reason = reason.strip("`")
        (sent,) = (each for begin, each in headers.items() if reason.startswith(begin))
        assert self.send(site, "app:6543", **sent) == 400
        assert site.refused[-1].endswith(reason)

    def test_of_other_hosts_may_be_named(self, page, tmp_path, monkeypatch):
        site = Site(page, tmp_path, monkeypatch, **{"pyramid.csrf_trusted_origins": TRUSTED})
        for origin in ("example.org", "example.com", "www.example.com"):
            assert self.send(site, "app:6543", Origin=f"https://{origin}") == 200
        for origin in ("www.example.org", "notexample.com"):
            assert self.send(site, "app:6543", Origin=f"https://{origin}") == 400

    def test_on_plain_http_nothing_is_compared(self, site):
        browser = site.browser(HTTP_HOST="app:6543")
        token = token_of(browser)
        headers = {"Origin": "https://elsewhere.example"}
        browser.post("/plain", {"csrf_token": token}, headers=headers, status=200)
        answer = site.browser(HTTP_HOST="app:6543").get("/address")
        assert "Secure" not in set_cookies(answer)[0]


def test_clients_that_are_no_browsers(page):
    client = App(configure=page.api).client()
    client.request(lambda request: {}, "POST", status=400)
    client.request(lambda request: {}, "POST", headers={"Authorization": "Bearer x"}, status=200)


def test_in_an_outage_forms_are_refused(page, tmp_path, monkeypatch):
    site = Site(page, tmp_path, monkeypatch, **{"pluggable_session.on_outage": "anonymous"})
    browser = site.browser()
    token = token_of(browser)
    browser.post("/plain", {"csrf_token": token}, status=200)
    site.plug.error = OSError("down")
    browser.post("/plain", {"csrf_token": token}, status=400)
