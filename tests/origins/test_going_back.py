"""Old and new application on one storage: side by side, back to the old one, forward again.

Every sentence of docs/importing.md about several servers and going back, with the real packages and
the settings of their pages.
"""

from __future__ import annotations

import re
import sys
import time
from http.cookiejar import CookieJar

import pytest
from peers import DATA, Theirs, beaker, copy_of, imported, names, ours, visit
from pyramid.session import SignedCookieSessionFactory

from apps import SECRET
from pyramid_pluggable_session import clock
from snippets import DOCS, configurations

# pyramid_session_redis's, on redis-py 8.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

DAY = 86400
TIMEOUT = str(3 * DAY)
OLD_COOKIES = {"beaker": "app", "session_redis": "session", "signed_cookie": "session"}
SALT = dict(list(configurations(DOCS / "importing.md"))[-1][1])["pluggable_session.salt"]


class Deployment:
    """Two applications with one storage, of which the users get to see one or the other."""

    def __init__(self, origin, folder, url):
        ((_, settings),) = [
            each
            for each in configurations(DOCS / f"from-{origin.replace('_', '-')}.md")
            if "pluggable_session.import" in each[1]
        ]
        settings = {
            name: value.replace("/var/lib/app", str(folder))
            .replace("redis://redis.example.org:6379/0", url)
            .replace("replace-me", SECRET)
            for name, value in settings.items()
            # The tests' clients speak http.
            if not name.endswith("secure")
        }
        settings.update((name, TIMEOUT) for name in settings if name.endswith("timeout"))
        del settings["pluggable_session.plug"]
        self.options = {
            name.removeprefix("pluggable_session."): settings.pop(name)
            for name in list(settings)
            if name.startswith("pluggable_session.")
        }
        self.settings = settings
        self.old = OLD[origin](settings)
        self.new = ours(settings, **self.options)
        self.old_cookie = OLD_COOKIES[origin]
        self.new_cookie = self.options.get("cookie_name", "sid")

    def with_another_salt(self):
        """Return the new application as the documentation says to deploy it once more."""
        return ours(self.settings, self.new.plug, **{**self.options, "salt": SALT})

    def in_new(self, browser, app=None):
        return visit(app or self.new, browser).data()

    def in_old(self, browser):
        """Return the session in the old application, without what Beaker has in each."""
        return {
            key: value
            for key, value in self.old.do(browser, dict).items()
            if not re.fullmatch("_(creation_time|accessed_time|path|domain)", key)
        }


def old_beaker(settings):
    return beaker(**{k.removeprefix("session."): v for k, v in settings.items()})


def old_session_redis(settings):
    imported("pyramid_session_redis")
    return Theirs(lambda config: config.include("pyramid_session_redis"), settings)


def old_signed_cookie(settings):
    factory = SignedCookieSessionFactory("the-old-secret", timeout=int(TIMEOUT))
    return Theirs(lambda config: config.set_session_factory(factory))


OLD = {
    "beaker": old_beaker,
    "session_redis": old_session_redis,
    "signed_cookie": old_signed_cookie,
}


@pytest.fixture(params=list(OLD))
def site(request, tmp_path, running):
    url = ""
    if request.param == "session_redis":
        server = running("valkey")
        server.flush()
        url = server.url
    return Deployment(request.param, tmp_path, url)


@pytest.fixture
def later(monkeypatch):
    """Return a function that lets time pass, for both applications and the browsers."""
    real, passed = time.time, [0.0]

    def now():
        return real() + passed[0]

    def later(seconds):
        passed[0] += seconds

    monkeypatch.setattr(time, "time", now)
    monkeypatch.setattr(clock, "_time", now)
    if util := sys.modules.get("pyramid_session_redis.util"):
        monkeypatch.setattr(util, "time_time", now)
    return later


def logged_in(site, user="ada"):
    """Return a browser of a user of the old application."""
    browser = CookieJar()
    site.old.log_in(browser, {**DATA, "auth.userid": user})
    return browser


def user_in(data):
    return data.get("auth.userid")


class TestSideBySide:
    def test_until_he_gets_to_a_new_process_nothing_has_changed(self, site):
        browser, other = logged_in(site), logged_in(site, "bob")
        site.in_new(other)
        assert [site.in_old(browser) for _ in range(3)] == [DATA] * 3
        assert names(browser) == [site.old_cookie]

    def test_a_browser_that_alternates(self, site):
        browser, handles = logged_in(site), set()
        client = visit(site.new, browser)
        for turn in range(5):
            assert user_in(site.in_new(browser)) == "ada", turn
            assert user_in(site.in_old(browser)) is None, turn
            handles.add(client.do(lambda session: session.handle).result)
        assert site.in_new(browser) == DATA, "nothing is lost by it"
        assert len(handles) == 1
        assert site.new.event_names().count("SessionImported") == 1

    def test_the_old_session_is_gone(self, site):
        browser = logged_in(site)
        copied = copy_of(browser)
        site.in_new(browser)
        # There is no record of what is in a cookie; from-signed-cookie.md says so.
        of_cookie = "import.secret" in site.options
        assert user_in(site.in_old(copied)) == ("ada" if of_cookie else None)

    def test_what_he_puts_into_an_anonymous_session_is_not_taken_over(self, site):
        browser = logged_in(site)
        site.in_new(browser)
        site.old.log_in(browser, {"cart": "tea"})
        assert site.in_old(browser) == {"cart": "tea"}
        assert site.in_new(browser) == DATA
        assert site.in_old(browser) == {"cart": "tea"}

    def test_a_logout_in_an_old_process_ends_the_old_one_alone(self, site):
        browser = logged_in(site)
        site.in_new(browser)
        site.old.log_in(browser)
        assert names(browser) == sorted([site.old_cookie, site.new_cookie])
        site.old.do(browser, lambda session: session.invalidate())
        assert user_in(site.in_old(browser)) is None
        assert user_in(site.in_new(browser)) == "ada"

    def test_a_logout_in_a_new_process_ends_both(self, site):
        browser = logged_in(site)
        site.in_new(browser)
        site.old.log_in(browser)
        copied = copy_of(browser)
        visit(site.new, browser).do(lambda session: session.invalidate())
        assert user_in(site.in_old(browser)) is None
        assert user_in(site.in_new(browser)) is None
        assert user_in(site.in_new(copied)) is None
        # There is no record of what is in a cookie.
        of_cookie = "import.secret" in site.options
        assert user_in(site.in_old(copied)) == ("ada" if of_cookie else None)

    def test_what_an_old_process_is_about_to_store(self, site):
        """A request is there while another one is the first to get to a new process."""
        browser = logged_in(site)

        def action(session):
            assert session["auth.userid"] == "ada"
            assert site.in_new(browser) == DATA
            session["late"] = True

        site.old.do(browser, action)
        assert site.in_new(browser) == DATA, "it is lost"
        visit(site.new, browser).do(lambda session: session.invalidate())
        assert user_in(site.in_new(browser)) is None
        assert user_in(site.in_old(browser)) is None

    def test_one_who_is_anonymous_in_both_and_logs_in_somewhere(self, site):
        browser = CookieJar()
        site.in_new(browser)
        site.in_old(browser)
        site.old.log_in(browser)
        assert user_in(site.in_new(browser)) == "ada", "imported, as there was none of ours"


class TestGoingBack:
    def test_who_was_imported_logs_in_once_more(self, site, later):
        browser = logged_in(site)
        visit(site.new, browser).do(lambda session: session.update(cart="tea"))
        later(DAY)
        assert user_in(site.in_old(browser)) is None
        site.old.log_in(browser)
        assert site.in_old(browser) == DATA
        assert site.in_new(browser)["cart"] == "tea", "it is not lost"

    def test_who_was_not_is_still_logged_in(self, site, later):
        browser, other = logged_in(site), logged_in(site, "bob")
        site.in_new(browser)
        later(DAY)
        assert site.in_old(other) == {**DATA, "auth.userid": "bob"}

    def test_who_has_logged_out_is_logged_out(self, site, later):
        browser, copied = logged_in(site), None
        site.in_new(browser)
        copied = copy_of(browser)
        visit(site.new, browser).do(lambda session: session.invalidate())
        later(DAY)
        assert user_in(site.in_old(browser)) is None
        assert user_in(site.in_old(copied)) is None

    def test_who_came_since_is_anonymous(self, site, later):
        browser = CookieJar()
        visit(site.new, browser).do(lambda session: session.update(DATA))
        later(DAY)
        assert user_in(site.in_old(browser)) is None
        assert site.in_new(browser) == DATA


class TestForwardAgain:
    def test_one_of_ours_comes_first(self, site, later):
        browser = logged_in(site)
        site.in_new(browser)
        later(DAY)
        site.old.log_in(browser, {**DATA, "since": "back"})
        later(DAY)
        assert site.in_new(browser) == DATA
        visit(site.new, browser).do(lambda session: session.invalidate())
        assert user_in(site.in_old(browser)) is None

    def test_else_the_old_one_is_imported(self, site, later):
        browser = logged_in(site)
        site.in_new(browser)
        later(2 * DAY)
        site.old.log_in(browser, {**DATA, "since": "back"})
        later(2 * DAY)
        assert site.in_new(browser) == {**DATA, "since": "back"}
        assert site.new.event_names().count("SessionImported") == 2

    def test_who_was_never_there_is_imported(self, site, later):
        other = logged_in(site, "bob")
        later(2 * DAY)
        assert user_in(site.in_new(other)) == "bob"

    def test_another_user_of_the_browser_is_in_the_session_of_the_one_before(self, site, later):
        """What the documentation warns of."""
        browser = logged_in(site)
        site.in_new(browser)
        site.old.log_in(browser, {**DATA, "auth.userid": "bob"})
        later(DAY)
        assert user_in(site.in_new(browser)) == "ada"

    def test_with_another_salt_it_is_as_the_first_time(self, site, later):
        browser, other = logged_in(site), logged_in(site, "eve")
        site.in_new(browser)
        site.in_new(other)
        site.old.log_in(browser, {**DATA, "auth.userid": "bob"})
        later(DAY)
        again = site.with_another_salt()
        assert user_in(site.in_new(browser, again)) == "bob"
        assert site.in_new(other, again) == {}
        assert [user_in(site.in_new(browser, again)) for _ in range(3)] == ["bob"] * 3
        assert user_in(site.in_old(browser)) is None

    def test_the_marks_of_what_was_imported_are_void(self, site, later):
        """Which matters for what is in a cookie, of which a copy may be left."""
        browser = logged_in(site)
        copied = copy_of(browser)
        site.in_new(browser)
        later(DAY)
        site.in_new(browser)  # From now on it is in use, and the old cookie leads nowhere.
        later(DAY)
        assert user_in(site.in_new(copy_of(copied))) is None
        of_cookie = "import.secret" in site.options
        again = site.in_new(copied, site.with_another_salt())
        assert user_in(again) == ("ada" if of_cookie else None)


def test_the_documentation_says_so():
    """The tests above are those of its sentences; this finds a chapter that was renamed."""
    text = (DOCS / "importing.md").read_text()
    for title in ("Several servers", "Going back", "And forward again"):
        assert f"\n## {title}\n" in text
    for page in DOCS.glob("from-*.md"):
        for anchor in re.findall(r"importing\.md#([\w-]+)", page.read_text()):
            assert re.search(rf"(?im)^## {anchor.replace('-', ' ')}$", text), anchor
