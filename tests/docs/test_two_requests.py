"""Two requests at once: what ``docs/two-requests.md`` says of them, done by two threads."""

from __future__ import annotations

import ast
import logging
import threading

import pytest

from apps import App, PlainPlug, set_cookies
from pyramid_pluggable_session import SessionAuthenticationHelper, SessionConflict, store
from pyramid_pluggable_session.interfaces import IPlugSession
from pyramid_pluggable_session.testing import FakeClock
from snippets import DOCS, configurations, rows, snippets
from timing import PATIENCE

PAGE = DOCS / "two-requests.md"


def block(word):
    """Return the names of the page's one python block that has this word."""
    (code,) = (each.text for each in snippets(PAGE, "python") if word in each.text)
    names: dict = {"__name__": "page"}
    exec(code, names)
    return names


def doing(statement):
    """Return a function of the session that executes a statement, given in backticks."""
    return lambda session: exec(statement.strip("`"), {"session": session})


def value(cell):
    return ast.literal_eval(cell.strip("`"))


def put(**values):
    return lambda session: session.update(values)


@pytest.fixture(params=["memory", "file", "sqlite"])
def make_app(request, tmp_path):
    """Return a function that makes an application on a storage that can compare and swap."""
    apps = []
    urls = {
        "memory": None,
        "file": f"file://{tmp_path}/sessions",
        "sqlite": f"sqlite:///{tmp_path}/sessions.db",
    }

    def make(**options):
        apps.append(App(plug=urls[request.param], **options))
        return apps[-1]

    yield make
    for app in apps:
        getattr(app.registry.getUtility(IPlugSession), "close", lambda: None)()


def both_at_once(app, cookie, other, this):
    """Run two requests in two threads; both load, ``other`` saves, then ``this``.

    Return their responses, or the error in place of one.
    """
    both_loaded = threading.Barrier(2, timeout=PATIENCE)
    other_saved = threading.Event()
    answers = {}

    def request(name, action):
        def view(session):
            dict(session)
            both_loaded.wait()
            if name == "this":
                assert other_saved.wait(PATIENCE)
            action(session)

        try:
            answers[name] = app.client(cookie).do(view, status="*")
        except Exception as error:
            answers[name] = error
        finally:
            if name == "other":
                other_saved.set()

    threads = [
        threading.Thread(target=request, args=each) for each in (("other", other), ("this", this))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers["other"], answers["this"]


RULES = rows(PAGE, "## What becomes of each key")


class TestTheTable:
    @pytest.mark.parametrize("row", RULES, ids=lambda row: row[0].replace("*", ""))
    def test_what_is_stored(self, make_app, row):
        what, before, other, this, stored = row
        app = make_app()
        client = app.client()
        client.do(put(**value(before)))
        app.event_names()
        both_at_once(app, client.cookie, doing(other), doing(this))
        assert client.data() == value(stored)
        is_conflict = what.startswith("**conflict:**")
        conflicts = [event.keys for event in app.events if hasattr(event, "keys")]
        if is_conflict:
            (keys,) = conflicts
            assert len(keys) == 1
            assert keys[0] in value(before)
        else:
            assert conflicts == []

    @pytest.mark.parametrize("row", RULES, ids=lambda row: row[0].replace("*", ""))
    def test_conflicts_are_errors_if_so_configured(self, row):
        ((_, settings),) = configurations(PAGE)
        what, before, other, this, stored = row
        app = App(settings=settings, configure=block("status=409")["add_exception_views"])
        client = app.client()
        client.do(put(**value(before)))
        _, response = both_at_once(app, client.cookie, doing(other), doing(this))
        if what.startswith("**conflict:**"):
            assert response.status_code == 409
            assert "another tab" in response.text
            alone = App().client()
            alone.do(put(**value(before)))
            alone.do(doing(other))
            assert client.data() == alone.data(), "nothing of this request is saved"
        else:
            assert response.status_code == 200
            assert client.data() == value(stored)

    def test_it_has_both_kinds(self):
        conflicts = sum(row[0].startswith("**conflict:**") for row in RULES)
        assert conflicts >= 4
        assert len(RULES) - conflicts >= 12

    def test_the_subscriber_is_told(self, caplog):
        app = App(configure=block("def note")["includeme"])
        client = app.client()
        client.do(put(lang="en", a=1))
        with caplog.at_level(logging.WARNING):
            both_at_once(app, client.cookie, put(lang="de", a=2), put(lang="fr"))
        lines = [each.getMessage() for each in caplog.records if each.name == "page"]
        assert len(lines) == 1
        assert lines[0].endswith("two values for ('lang',)")
        assert caplog.text.count("two requests changed 'lang'") == 1
        assert client.data() == {"lang": "fr", "a": 2}, "the rest is merged"


class TestWhatMergingCannotKnow:
    def test_counters(self, make_app):
        app = make_app()
        client = app.client()
        client.do(put(n=1))
        count = doing('session["n"] += 1')
        both_at_once(app, client.cookie, count, count)
        assert client.data() == {"n": 2}
        assert not [event for event in app.events if hasattr(event, "keys")]

    def test_values_that_belong_together(self):
        app = App()
        client = app.client()
        client.do(put(cart={"tea": 3}, total=3, whole=({"tea": 3}, 3)))

        def buy(name, price):
            def action(session):
                session["cart"][name] = price
                session["total"] = sum(session["cart"].values())
                session["whole"] = dict(session["cart"]), session["total"]

            return action

        both_at_once(app, client.cookie, buy("cup", 5), buy("pot", 20))
        data = client.data()
        assert data["cart"] == {"tea": 3, "cup": 5, "pot": 20}
        assert data["total"] != sum(data["cart"].values())
        cart, total = data["whole"]
        assert total == sum(cart.values())

    def test_a_list_with_the_newest_first(self):
        app = App()
        client = app.client()
        client.do(put(last=[1, 2]))

        def see(number):
            def action(session):
                session["last"] = [number, *session["last"]][:5]

            return action

        both_at_once(app, client.cookie, see(3), see(4))
        assert client.data() == {"last": [4, 1, 2]}
        assert [event.keys for event in app.events if hasattr(event, "keys")] == [("last",)]


class TestLogoutAndLogin:
    def test_a_session_that_has_ended_stays_so(self, make_app):
        app = make_app()
        client = app.client()
        client.do(put(a=1))
        app.event_names()
        logout, late = both_at_once(
            app, client.cookie, lambda session: session.invalidate(), put(a=2)
        )
        assert app.event_names() == ["SessionEnded:invalidated", "SessionDropped:ended"]
        assert "Max-Age=0" in set_cookies(logout)[0]
        assert set_cookies(late) == []
        assert app.client(client.cookie).data() == {}

    def login(self, session):
        SessionAuthenticationHelper().remember(session.request, "ada")

    def log_in(self, make_app, other_first):
        """Race a login with another request; return the app, the old cookie and the responses."""
        app = make_app()
        client = app.client()
        client.do(put(a=1))
        app.event_names()
        pair = (put(a=2), self.login) if other_first else (self.login, put(a=2))
        answers = both_at_once(app, client.cookie, *pair)
        login, other = reversed(answers) if other_first else answers
        (cookie,) = set_cookies(login)
        return app, client.cookie, cookie.partition("=")[2][:128], other

    def test_saved_before_the_login_did(self, make_app):
        app, _, new, _ = self.log_in(make_app, other_first=True)
        assert app.client(new).data().items() >= {"a": 2, "auth.userid": "ada"}.items()

    def test_saves_after_the_login(self, make_app):
        app, _, new, other = self.log_in(make_app, other_first=False)
        assert app.client(new).data().items() >= {"a": 1, "auth.userid": "ada"}.items()
        assert set_cookies(other) == []
        assert "SessionDropped:moved" in app.event_names()

    def test_begins_with_the_old_id(self, make_app):
        with FakeClock() as clock:
            app, old, new, _ = self.log_in(make_app, other_first=False)
            clock.advance(14)
            assert app.client(old).data() == {}
            assert set_cookies(app.client(old).do(put(a=3))) == []
            clock.advance(1)
            assert app.client(old).data() == {}
            assert len(set_cookies(app.client(old).do(put(a=3)))) == 1
            assert app.client(new).data().items() >= {"a": 1, "auth.userid": "ada"}.items()

    @pytest.mark.parametrize("later", [0, 14])
    def test_logs_in_as_well_and_begins_with_the_old_id(self, make_app, later):
        with FakeClock() as clock:
            app, old, new, _ = self.log_in(make_app, other_first=False)
            clock.advance(later)
            client = app.client(old)
            assert len(set_cookies(client.do(self.login))) == 1
            assert client.data()["auth.userid"] == "ada"
            assert "a" not in client.data()
            assert app.client(new).data().items() >= {"a": 1, "auth.userid": "ada"}.items()

    def test_logs_in_as_well_and_saves_after_the_login(self, make_app):
        app = make_app()
        client = app.client()
        client.do(put(a=1))
        answers = both_at_once(app, client.cookie, self.login, self.login)
        (first,), (second,) = map(set_cookies, answers)
        assert first != second
        for cookie in (first, second):
            data = app.client(cookie.partition("=")[2][:128]).data()
            assert data.items() >= {"a": 1, "auth.userid": "ada"}.items()

    def test_the_table_has_these_rows(self):
        assert [row[0] for row in rows(PAGE, "## Login and requests")] == [
            "saved before the login did",
            "saves after the login",
            "logs in as well, saves after the login",
            "begins with the old id, within 15 seconds",
            "logs in as well, begins with the old id",
            "begins with the old id, later",
        ]


class TestWithoutSwap:
    def plugs(self, tmp_path):
        return {
            "cookie": {"plug": "cookie"},
            "dogpile": {
                "plug": "dogpile",
                "settings": {
                    "pluggable_session.dogpile.settings_prefix": "cache.",
                    "cache.backend": "dogpile.cache.memory",
                },
            },
            "own": {"plug": PlainPlug()},
        }

    @pytest.mark.parametrize("name", ["cookie", "dogpile", "own"])
    def test_the_later_one_wins(self, name, tmp_path):
        app = App(**self.plugs(tmp_path)[name])
        client = app.client()
        client.do(put(a=1, b=1))
        if name == "cookie":
            # It is the browser that keeps it, so the two must be one browser's.
            other = app.client()
            for header in client.testapp.cookies.items():
                other.send_cookie("{}={}; Path=/".format(*header))

            def slow(session):
                dict(session)
                other.do(put(a=2))
                session["b"] = 2

            client.do(slow)
        else:
            both_at_once(app, client.cookie, put(a=2), put(b=2))
        assert client.data() == {"a": 1, "b": 2}

    @pytest.mark.parametrize("name", ["dogpile", "own"])
    def test_a_logout_may_be_lost(self, name, tmp_path):
        app = App(**self.plugs(tmp_path)[name])
        client = app.client()
        client.do(put(a=1))
        both_at_once(app, client.cookie, lambda session: session.invalidate(), put(b=2))
        assert app.client(client.cookie).data() == {"a": 1, "b": 2}


class TestWhatItCosts:
    def test_one_load_and_one_more_swap(self):
        app = App()
        client = app.client()
        client.do(put(a=1))
        app.plug.taken()
        both_at_once(app, client.cookie, put(b=1), put(c=1))
        assert sorted(app.plug.taken()) == ["loads"] * 3 + ["swap"] * 3

    def test_a_hundred_losses_are_an_error(self, monkeypatch):
        monkeypatch.setattr(store, "pause", lambda attempt: None)
        app = App()
        client = app.client()
        client.do(put(a=1))
        tries = []

        def lose(session, request, expected, session_data):
            tries.append(session)
            return False

        monkeypatch.setattr(app.plug, "swap", lose)
        with pytest.raises(SessionConflict):
            client.do(put(a=2))
        assert len(tries) == 100

    def test_readers_do_not_write_back(self):
        app = App()
        client = app.client()
        client.do(put(a=1))
        both_at_once(app, client.cookie, put(a=2), lambda session: session["a"])
        assert client.data() == {"a": 2}
