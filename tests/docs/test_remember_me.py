"""What docs/remember-me.md says of cookies and of when sessions end."""

from __future__ import annotations

import re
import shlex
import sys
import types

import pytest
from pyramid.config import Configurator

from apps import SECRET, App, set_cookies
from pyramid_pluggable_session import SessionAuthenticationHelper
from pyramid_pluggable_session.interfaces import IPlugSession
from pyramid_pluggable_session.scripts.psessions import main as psessions
from pyramid_pluggable_session.testing import FakeClock, open_session
from pyramid_pluggable_session.testing import log_in as helpers_log_in
from snippets import DOCS, run_python, snippets

PAGE = DOCS / "remember-me.md"
TEXT = PAGE.read_text()
SETTINGS = dict(re.findall(r"(?m)^pluggable_session\.(timeout|max_age) = (.*)$", TEXT))
ROWS = [
    [cell.strip(" `") for cell in row.strip("|").split("|")]
    for row in re.findall(r"(?m)^\|.*\|$", TEXT)[2:]
]
DAY = 24 * 3600


@pytest.fixture
def clock():
    with FakeClock() as clock:
        yield clock


@pytest.fixture
def page(clock, monkeypatch):
    monkeypatch.setitem(sys.modules, "page_remember_me_app", None)
    page = run_python(PAGE, "page_remember_me_app")
    # What the page's own code does with time goes by the same clock.
    page.time = types.SimpleNamespace(time=lambda: clock.now)
    return page


@pytest.fixture
def app(page):
    class Policy(page.SecurityPolicy):
        def remember(self, request, userid, **kw):
            return self.helper.remember(request, userid)

    return App(configure=lambda config: config.set_security_policy(Policy()), **SETTINGS)


def log_in(client, page, stay=True, user="ada"):
    body = f"user={user}&stay=yes" if stay else f"user={user}"
    return client.request(page.login, "POST", body=body.encode(), status=303)


def user_of(client):
    box = []
    client.request(lambda request: box.append(request.authenticated_userid))
    return box[0]


def max_age(response):
    (header,) = set_cookies(response)
    found = re.search(r"; Max-Age=(\d+)", header)
    assert (found is None) is ("expires" not in header.lower() and "max-age" not in header.lower())
    return "none" if found is None else found[1]


def python(value):
    return int(value) if value.isdigit() else {"True": True, "False": False, "None": None}[value]


class TestTheTable:
    @pytest.mark.parametrize("row", ROWS, ids=" ".join)
    def test_is_right(self, row, clock):
        configured_age, timeout, persistent, own_timeout, age, ends_after = row
        app = App(max_age=configured_age, timeout=timeout)
        client = app.client()

        def begin(session):
            session["a"] = 1
            if persistent:
                session.persistent = python(persistent)
            if own_timeout:
                session.timeout = python(own_timeout)

        assert max_age(client.do(begin)) == age
        others = app.client(client.cookie)
        if ends_after == "never":
            clock.advance(100 * 365 * DAY)
            assert others.data() == {"a": 1}
        else:
            # Not the browser's cookie jar: that goes by the machine's clock, and is not asked.
            clock.advance(int(ends_after) - 1)
            assert others.data() == {"a": 1}
            clock.advance(int(ends_after))
            assert others.data() == {}

    def test_has_the_defaults_first(self):
        row = ROWS[0]
        client = App().client()
        assert max_age(client.do(lambda session: session.update(a=1))) == row[4]
        assert client.do(lambda session: session.timeout).result == int(row[5])

    def test_has_enough_rows(self):
        assert len(ROWS) == 12
        assert {row[2] for row in ROWS} == {"", "True", "False"}


class TestTheLogin:
    def test_with_the_box_ticked(self, app, page, clock):
        client = app.client()
        assert max_age(log_in(client, page)) == str(page.REMEMBERED) == str(30 * DAY)
        clock.advance(29 * DAY)
        assert user_of(client) == "ada"
        clock.advance(29 * DAY)
        assert user_of(client) == "ada"
        clock.advance(30 * DAY)
        assert user_of(client) is None
        assert "30 days without a visit" in TEXT.replace("\n", " ")

    def test_without(self, app, page, clock):
        client = app.client()
        assert max_age(log_in(client, page, stay=False)) == "none"
        clock.advance(1799)
        assert user_of(client) == "ada"
        clock.advance(1800)
        assert user_of(client) is None

    def test_is_kept_when_the_id_changes_and_ends_with_the_session(self, app, page):
        client = app.client()
        log_in(client, page)
        answer = client.do(lambda session: session.regenerate_id())
        assert max_age(answer) == str(30 * DAY)
        client.do(lambda session: session.invalidate())
        answer = client.do(lambda session: session.update(a=1))
        assert max_age(answer) == "none"
        assert client.do(lambda session: session.timeout).result == 1800

    def test_of_another_user_begins_anew(self, app, page):
        client = app.client()
        log_in(client, page)
        assert max_age(log_in(client, page, stay=False, user="bob")) == "none"

    def test_the_cookie_is_sent_again_when_the_session_is_renewed(self, app, page, clock):
        client = app.client()
        log_in(client, page)
        clock.advance(3 * DAY - 1)
        assert set_cookies(client.do(dict)) == []
        clock.advance(1)
        assert max_age(client.do(dict)) == str(30 * DAY)
        assert set_cookies(client.do(dict)) == []
        assert max_age(client.do(lambda session: session.update(a=1))) == str(30 * DAY)

    def test_the_box(self):
        (html,) = (each.text for each in snippets(PAGE, "html"))
        assert 'name="stay"' in html
        assert "checked" not in html


class TestTheEnd:
    def test_lifetime_ends_a_remembered_session_too(self, page, clock):
        app = App(**SETTINGS, lifetime=10 * DAY)
        client = app.client()
        client.do(lambda session: session.update(a=1))  # before the login
        for _ in range(9):
            clock.advance(DAY)
            assert client.do(lambda session: setattr(session, "timeout", 30 * DAY))
            client.request(lambda r: SessionAuthenticationHelper().remember(r, "ada") and {})
        assert client.data()["auth.userid"] == "ada"
        clock.advance(DAY)
        assert client.data() == {}

    def test_the_password_is_asked_for_after_ninety_days(self, app, page, clock):
        client = app.client()
        log_in(client, page)
        for _ in range(9):
            assert user_of(client) == "ada"
            clock.advance(10 * DAY)
        assert user_of(client) == "ada"
        clock.advance(1)
        assert user_of(client) is None
        log_in(client, page)
        assert user_of(client) == "ada"

    def test_and_after_eight_hours_if_not_remembered(self, app, page, clock):
        client = app.client()
        log_in(client, page, stay=False)
        for _ in range(16):
            clock.advance(1799)
            assert user_of(client) == "ada"
        clock.advance(17)
        assert user_of(client) is None

    def test_without_the_time_of_the_login_nobody_is_in(self, app, page):
        (call,) = re.findall(r"`(log_in\(testapp, .*\))`", TEXT)
        client = app.client()
        helpers_log_in(client.testapp, "ada")
        assert user_of(client) is None
        eval(call, {"log_in": helpers_log_in, "testapp": client.testapp, "time": page.time})
        assert user_of(client) == "ada"

    def test_a_subclass_says_both(self, page):
        class Nobody(page.SecurityPolicy):
            def identity(self, request):
                return None

            def remember(self, request, userid, **kw):
                return self.helper.remember(request, userid)

        app = App(configure=lambda config: config.set_security_policy(Nobody()))
        client = app.client()
        log_in(client, page)
        assert user_of(client) == "ada"


def test_dangerous_things(app, page, clock):
    client = app.client()
    log_in(client, page)
    client.do(lambda session: session.update(cart=["tea"]))

    def where(view):
        return client.request(getattr(page, view), status=303).headers["Location"]

    assert where("change_address").endswith("/account")
    clock.advance(page.CONFIRMED_FOR)
    assert where("change_address").endswith("/confirm")
    before, answer = client.session_id, client.request(page.confirm, status=303)
    assert client.session_id != before
    assert max_age(answer) == str(30 * DAY)
    assert where("change_address").endswith("/account")
    assert client.data()["cart"] == ["tea"]


def test_how_to_see_it(tmp_path, capsys):
    (text,) = (each.text for each in snippets(PAGE, "console"))
    command, _, shown = text.removeprefix("$ ").partition("\n")
    ini = tmp_path / "development.ini"
    url = f"sqlite://{tmp_path}/s.db"
    ini.write_text(
        f"[app:main]\nuse = call:{__name__}:application\n"
        f"pluggable_session.secret = {SECRET}\npluggable_session.plug = {url}\n"
    )
    app = App(plug=url)
    with open_session(app.client().testapp) as session:
        session.persistent = True
        session.timeout = 30 * DAY
        session["a"] = 1
    app.registry.getUtility(IPlugSession).close()
    program, *words = shlex.split(command.replace("development.ini", str(ini)))
    assert program == "psessions"
    words = [session.handle[:4] if word == "a0ed" else word for word in words]
    assert psessions(words) == 0
    printed = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for line in shown.splitlines():
        assert line == "..." or " ".join(line.split()) in printed


def application(global_config, **settings):
    with Configurator(settings=settings) as config:
        config.include("pyramid_pluggable_session")
        return config.make_wsgi_app()
