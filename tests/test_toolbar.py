"""The debug toolbar's panel: what it shows of a request, and what it never shows."""

from __future__ import annotations

import html
import re

import pytest
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationError
from pyramid.response import Response
from pyramid.session import SignedCookieSessionFactory

from apps import App, CountingPlug, PlainPlug
from pyramid_pluggable_session import PluggableSessionFactory
from pyramid_pluggable_session.errors import PlugUnavailable
from pyramid_pluggable_session.plugs.chain import ChainPlug
from pyramid_pluggable_session.plugs.memory import MemoryPlug
from pyramid_pluggable_session.settings import Option, text
from pyramid_pluggable_session.testing import FakeClock

VALUE = "plaintext-of-the-session"
PASSWORD = "hunter2-of-the-storage"
OWN_SECRET = "a secret that is in no setting, for tests"
REFUSED = ConnectionRefusedError(111, "refused")
PANELS = "debugtoolbar.includes"
PANEL = "pyramid_pluggable_session.toolbar"


class UnreliablePlug(CountingPlug):
    error = None

    def loads(self, session, request):
        if self.error is not None:
            raise self.error
        return super().loads(session, request)

    def swap(self, session, request, expected, session_data):
        if self.error is not None:
            raise self.error
        return super().swap(session, request, expected, session_data)


class Toolbar:
    """An application with the toolbar."""

    def __init__(self, plug=None, configure=None, **options):
        def include(config):
            config.registry.settings[PANELS] = PANEL
            config.include("pyramid_debugtoolbar")
            if configure is not None:
                configure(config)

        self.app = App(plug=plug or UnreliablePlug(), configure=include, **options)
        self.plug = self.app.plug

    def client(self, cookie=None):
        # The toolbar shows itself to nobody else.
        return self.app.client(cookie, REMOTE_ADDR="127.0.0.1")

    def page(self, back=0):
        """Return the toolbar's page of a request, the last one or one before, with all panels."""
        history = self.app.registry.pdtb_history.last(back + 1)
        pages = self.client().testapp
        return pages.get(f"/_debug_toolbar/{history[back][0]}").text

    def shown(self, back=0):
        """Return the HTML of the panel for a request."""
        found = re.search(
            r'(?s)id="pDebugPanel-session_storage-content".*?(?=<div id="pDebugPanel-|</body>)',
            self.page(back),
        )
        return found[0]

    def table(self, name, back=0):
        """Return the texts of the panel's table, by those of its first column."""
        table = re.search(rf'(?s)id="session-storage-{name}">(.*?)</table>', self.shown(back))[1]
        rows = {}
        for row in re.findall(r"(?s)<tr.*?</tr>", table.partition("<tbody>")[2]):
            first, *others = (
                html.unescape(re.sub(r"<.*?>", "", cell)).strip()
                for cell in re.findall(r"(?s)<t[hd].*?</t[hd]>", row)
            )
            rows[first] = others[0] if len(others) == 1 else others
        return rows

    def summary(self, back=0):
        return self.table("summary", back)

    def changes(self, back=0):
        return {key: row[2] for key, row in self.table("keys", back).items()}


@pytest.fixture
def toolbar():
    return Toolbar()


@pytest.fixture
def without_the_other_panel(monkeypatch):
    """Keep the toolbar's own Session panel from reading every session that a view has in hand.

    In an outage it fails, and the toolbar with it.
    """
    monkeypatch.setattr("pyramid_debugtoolbar.panels.session.dictrepr", lambda session: [])


@pytest.fixture
def client(toolbar):
    client = toolbar.client()
    client.do(put(user=VALUE))
    return client


def put(**values):
    return lambda session: session.update(values)


class TestShown:
    def test_of_a_new_session(self, toolbar, client):
        client = toolbar.client()
        client.do(put(user=VALUE, cart={"tea": 1}))
        summary = toolbar.summary()
        assert summary["Session"] == "new: the client came without one"
        assert summary["Stored"] == "yes, for the first time"
        assert re.fullmatch("[0-9a-f]{12}", summary["Handle"])
        assert re.fullmatch(r"\d+ bytes", summary["Record"])
        keys = toolbar.table("keys")
        # MessagePack: a byte for the length of each text, and the texts.
        assert keys["user"] == ["str of 24", str(1 + 4 + 1 + 24), "changed"]
        assert keys["cart"][0] == "dict of 1"
        assert toolbar.table("operations").keys() == {"swap"}

    def test_of_a_loaded_one(self, toolbar, client):
        client.do(dict)
        summary = toolbar.summary()
        assert summary["Session"] == "loaded"
        assert summary["Stored"] == "no, as nothing changed"
        assert toolbar.changes() == {"user": ""}
        size, milliseconds, error = toolbar.table("operations")["loads"]
        assert summary["Record"] == f"{size} bytes"
        assert 0 <= float(milliseconds) < 1000
        assert error == ""

    def test_how_many_operations(self, toolbar, client):
        client.do(put(user="eve"))
        assert list(toolbar.table("operations")) == ["loads", "swap"]
        tab = re.search(r'(?s)id="pDebugPanel-session_storage">.*?</li>', toolbar.page())[0]
        assert re.search(r'(?s)<span class="badge.*?>2</span>', tab)

    def test_of_changes(self, toolbar, client):
        client.do(put(cart=[1, 2], empty=None))

        def change(session):
            session["cart"].append(3)
            del session["user"]

        client.do(change)
        assert toolbar.summary()["Stored"] == "yes"
        assert toolbar.changes() == {"cart": "changed", "empty": "", "user": "removed"}
        assert toolbar.table("keys")["empty"][0] == "NoneType"

    def test_of_a_renewal(self, toolbar):
        with FakeClock() as clock:
            client = toolbar.client()
            client.do(put(a=1))
            clock.advance(300)
            client.do(dict)
            summary = toolbar.summary()
        assert summary["Stored"] == "yes: nothing changed, but the session was renewed"
        assert summary["Ends"].endswith(", in 1200 seconds, unless it is renewed")

    def test_of_a_session_without_an_end_and_the_browsers_cookie(self, toolbar):
        def remember(session):
            session["a"] = 1
            session.timeout = None
            session.persistent = True

        client = toolbar.client()
        client.do(remember)
        summary = toolbar.summary()
        assert (summary["Ends"], summary["Cookie"]) == ("never", "outlives the browser")
        client.do(lambda session: setattr(session, "persistent", False))
        assert toolbar.summary()["Cookie"] == "ends with the browser"

    def test_of_what_was_merged(self, toolbar, client):
        client.do(lambda session: (session.update(mine=1), client.do(put(theirs=2))))
        assert toolbar.summary(back=1)["Merged"].startswith("yes, another request")
        assert "Conflicts" not in toolbar.summary(back=1)
        assert "Merged" not in toolbar.summary(back=0)

    def test_of_a_login_that_was_merged(self, toolbar, client):
        def login(session):
            session.regenerate_id()
            client.do(put(theirs=2))

        client.do(login)
        assert toolbar.summary(back=1)["Merged"].startswith("yes, another request")

    def test_of_a_conflict(self, toolbar, client):
        client.do(lambda session: (session.update(user="a"), client.do(put(user="b"))))
        conflicts = toolbar.summary(back=1)["Conflicts"]
        assert conflicts == "user: another request's values were overwritten"

    def test_of_a_login(self, toolbar, client):
        former = client.do(lambda session: session.handle).result
        client.do(lambda session: session.regenerate_id())
        summary = toolbar.summary()
        assert summary["Id"] == f"new; before, the handle was {former}"
        assert summary["Handle"] != former
        assert "Record" not in summary

    def test_of_a_logout(self, toolbar, client):
        client.do(lambda session: session.invalidate())
        summary = toolbar.summary()
        assert summary["Session"] == "ended by the application"
        assert summary.keys().isdisjoint({"Handle", "Id", "Record"})
        assert "The session is empty." in toolbar.shown()

    def test_of_a_cookie_that_is_refused(self, toolbar):
        toolbar.client(cookie="0" * 192).do(dict)
        summary = toolbar.summary()
        assert summary["Session"].endswith("was refused (cookie: not signed by us)")
        assert "Handle" not in summary
        assert "The storage was not asked." in toolbar.shown()

    def test_of_a_record_that_is_not_there(self, toolbar, client):
        other = Toolbar()
        other.client(cookie=client.cookie).do(dict)
        assert other.summary()["Session"].startswith("new: there was none any more")

    def test_of_a_session_that_another_request_moved(self, toolbar, client):
        before = toolbar.client(cookie=client.cookie)
        client.do(lambda session: session.regenerate_id())
        before.do(put(late=1))
        summary = toolbar.summary()
        assert summary["Session"].startswith("none: the client came with an id that was given up")
        assert summary["Stored"].startswith("no: the session goes on under another id")

    def test_of_a_session_that_another_request_ended(self, toolbar, client):
        def overlapping(session):
            session["user"] = "eve"
            client.do(lambda session: session.invalidate())

        client.do(overlapping)
        assert toolbar.summary(back=1)["Stored"].startswith("no: another request ended")
        assert "Merged" not in toolbar.summary(back=1)

    def test_of_a_value_that_cannot_be_stored(self, toolbar):
        with pytest.raises(ValueError, match="bad"):
            toolbar.client().do(put(good=1, bad=object()))
        assert toolbar.summary()["Stored"] == "no: the request failed"
        assert toolbar.table("keys")["bad"][:2] == ["object", "cannot be stored"]

    def test_is_whatever_a_key_is_made_of(self, toolbar):
        toolbar.client().do(put(**{"<script>alert(1)</script>": 1}))
        assert "<script>alert" not in toolbar.shown()
        assert "<script>alert(1)</script>" in html.unescape(toolbar.shown())


@pytest.mark.usefixtures("without_the_other_panel")
class TestOutage:
    def test_that_nobody_handles(self, toolbar, client):
        toolbar.plug.error = REFUSED
        client.do(dict, status=500)  # a page of the toolbar
        assert "failed to do loads: ConnectionRefusedError: refused" in toolbar.shown()

    def test_that_an_exception_view_handles(self):
        def configure(config):
            config.add_exception_view(lambda request: Response("sorry"), context=PlugUnavailable)

        toolbar = Toolbar(configure=configure)
        client = toolbar.client()
        client.do(put(a=1))
        toolbar.plug.error = REFUSED
        client.do(dict)
        assert "failed to do loads: ConnectionRefusedError: refused" in toolbar.shown()

    def test_while_saving(self, toolbar, client):
        toolbar.plug.error = REFUSED
        toolbar.client().do(put(a=1), status=503)
        assert toolbar.summary()["Stored"] == "no: the request failed"
        assert toolbar.table("operations")["swap"][2] == "ConnectionRefusedError"

    def test_that_requests_go_on_in(self):
        toolbar = Toolbar(on_outage="anonymous")
        client = toolbar.client()
        client.do(put(a=1))
        toolbar.plug.error = REFUSED
        client.do(put(a=2))
        summary = toolbar.summary()
        assert summary["Session"].startswith("new: ")
        assert summary["Stored"].startswith("no: the storage could not be reached")


class TestNotLookedInto:
    def test_nothing_is_read_for_the_panel(self, toolbar, client):
        toolbar.plug.taken()
        client.request(lambda request: {})
        assert "The request did not use its session" in toolbar.shown()
        assert toolbar.plug.taken() == []

    @pytest.mark.usefixtures("without_the_other_panel")
    def test_a_session_in_hand_is_not_opened(self, toolbar):
        toolbar.client().request(lambda request: {} if request.session is not None else None)
        assert "has read none of it" in toolbar.shown()
        assert toolbar.plug.taken() == []

    def test_a_request_that_is_not_over(self, toolbar):
        def view(request):
            seen.extend(
                each for each in request.debug_toolbar.panels if each.name == "session_storage"
            )
            seen.append(dict(seen[0].data))
            return {}

        seen = []
        toolbar.client().request(view)
        panel, data = seen
        panel.data = data
        assert panel.nav_subtitle == ""
        assert "The request is not over yet." in toolbar.shown()


class TestStorage:
    def test_its_options(self):
        class OptionPlug(MemoryPlug):
            name = "optional"
            options = (
                Option("url", text, f"optional://ada:{PASSWORD}@host/", "A URL."),
                Option("password", text, PASSWORD, "Secret.", secret=True),
                Option("client", lambda value: value, MemoryPlug(), "An object."),
                Option("hosts", lambda value: value, (f"a://b:{PASSWORD}@c", "d", 1), "Several."),
            )

            def __init__(self, config, **options):
                super().__init__(config)

        toolbar = Toolbar(plug=OptionPlug)
        toolbar.client().do(put(a=1))
        assert "Plug: <code>optional</code>" in toolbar.shown()
        assert toolbar.table("options") == {
            "url": "optional://(hidden)host/",
            "password": "(hidden)",
            "client": "(MemoryPlug)",
            "hosts": "a://(hidden)c, d, 1",
        }
        assert PASSWORD not in toolbar.shown()

    def test_without_introspection(self):
        toolbar = Toolbar(plug=PlainPlug())
        toolbar.client().do(put(a=1))
        assert "Plug: <code>PlainPlug</code>" in toolbar.shown()
        assert "session-storage-options" not in toolbar.shown()

    def test_a_chain(self):
        toolbar = Toolbar(plug=ChainPlug(None, [MemoryPlug(), MemoryPlug()]))
        client = toolbar.client()
        client.do(put(a=1))
        client.do(dict)
        assert toolbar.table("operations").keys() == {"loads"}


class TestSecrets:
    """The toolbar shows cookies, settings and the values. This is what it shows where."""

    @pytest.fixture
    def toolbar(self):
        def configure(config):
            config.set_session_factory(PluggableSessionFactory(OWN_SECRET))

        return Toolbar(configure=configure)

    def test_the_panel_shows_none(self, toolbar, client):
        client.do(put(more=VALUE))
        for back in (0, 1):
            shown = toolbar.shown(back)
            assert VALUE not in shown
            assert client.session_id not in shown
            assert OWN_SECRET not in shown

    def test_the_toolbar_shows_the_settings_the_cookie_and_the_values(self, toolbar, client):
        client.do(dict)
        page = toolbar.page()
        assert toolbar.app.registry.settings["pluggable_session.secret"] in page
        assert client.cookie in page
        assert VALUE in page

    def test_the_toolbar_shows_no_more_than_these(self, toolbar, client):
        client.request(lambda request: {})
        page = toolbar.page()
        assert OWN_SECRET not in page, "a secret that is in no setting is nowhere"
        assert VALUE not in page, "nor the values of a session that was not used"


class TestIncluding:
    def test_is_for_the_toolbar(self):
        with Configurator() as config, pytest.raises(ConfigurationError, match="includes = "):
            config.include(PANEL)

    def test_of_another_session_factory_has_nothing_to_show(self):
        def configure(config):
            config.set_session_factory(SignedCookieSessionFactory("seekrit"))

        toolbar = Toolbar(configure=configure)
        toolbar.client().do(put(a=1))
        assert 'id="pDebugPanel-session_storage-content"' not in toolbar.page()
