"""The life of a request: what ``docs/request.md`` says of it, asked of requests."""

from __future__ import annotations

import contextlib
import logging
import re

import pytest
from pyramid import events as pyramid_events
from pyramid.httpexceptions import HTTPFound
from pyramid.request import Request
from pyramid.response import Response
from pyramid.scripting import prepare

from apps import SECRET, App, PlainPlug, UnreliablePlug, set_cookies
from pyramid_pluggable_session import (
    PlugUnavailable,
    SessionAuthenticationHelper,
    SessionTooLarge,
    UnserializableValue,
    events,
)
from pyramid_pluggable_session.testing import FakeClock
from snippets import DOCS, rows, snippets

PAGE = DOCS / "request.md"


def block(word):
    """Return the names of the page's one python block that has this word."""
    (code,) = (each.text for each in snippets(PAGE, "python") if word in each.text)
    names: dict = {"__name__": "page"}
    exec(code, names)
    return names


def put(**values):
    return lambda request: request.session.update(values)


def log_in(request):
    SessionAuthenticationHelper().remember(request, "ada")


def change_with_another(app, client):
    def view(request):
        dict(request.session)
        # Not with this application's counter running: what counts is what this request does.
        operations = len(app.plug.calls)
        app.client(client.cookie).request(put(other=1))
        del app.plug.calls[operations:]
        request.session["mine"] = 1

    return view


# What a row of the table does, with a browser that has a session of {"a": 1} or with a new one.
REQUESTS = {
    "does not name the session": ("old", lambda request: None),
    "names `request.session`, and does not look into it": ("old", lambda request: request.session),
    "reads, and has no cookie": ("new", lambda request: request.session.get("a")),
    "reads, and has a cookie that this application did not sign": (
        "forged",
        lambda request: request.session.get("a"),
    ),
    "touches a new session, and leaves it empty": (
        "new",
        lambda request: (request.session.update(a=1), request.session.clear()),
    ),
    "reads": ("old", lambda request: request.session["a"]),
    "sets a key to the value that it has": ("old", put(a=1)),
    "reads, and a renewal is due": ("two minutes", lambda request: request.session["a"]),
    "changes something": ("old", put(a=2)),
    "changes something while another request does": ("old", change_with_another),
    "puts something into a new session": ("new", put(a=1)),
    "has a cookie whose session is not there any more": ("gone", lambda r: r.session.get("a")),
    "has a cookie whose session is over (`timeout`, `lifetime`)": (
        "over",
        lambda request: request.session.get("a"),
    ),
    "gives the session a new id": ("old", lambda request: request.session.regenerate_id()),
    "logs in, and has no session": ("new", log_in),
    "logs in, and has a session": ("old", log_in),
    "logs out": ("old", lambda request: SessionAuthenticationHelper().forget(request)),
}


@pytest.fixture
def clock():
    with FakeClock() as fake:
        yield fake


@pytest.fixture
def app():
    return App()


def browser(app, clock, which):
    client = app.client()
    if which == "new":
        return client
    client.request(put(a=1))
    if which == "forged":
        return app.client(client.cookie[:-1] + ("1" if client.cookie[-1] == "0" else "0"))
    if which == "gone":
        kept = client.cookie
        client.request(lambda request: request.session.invalidate())
        client = app.client(kept)
    clock.advance({"two minutes": 120, "over": 1200}.get(which, 0))
    return client


def run(app, client, view):
    """Return the operations that a request does, and whether it sets or deletes the cookie."""
    app.plug.taken()
    inner = []

    def whole(request):
        view(request)
        inner.append(request)
        return {}

    response = client.request(whole)
    done = app.plug.taken()
    assert [each.name for each in inner[0].session.operations] == done
    cookie = "".join(set_cookies(response))
    return done, "deleted" if "Max-Age=0" in cookie else "set" if cookie else ""


def test_the_table_has_these_rows():
    assert [row[0] for row in rows(PAGE, "## What a request does")] == list(REQUESTS)


@pytest.mark.parametrize("row", rows(PAGE, "## What a request does"), ids=lambda row: row[0])
def test_operations(app, clock, row):
    what, operations, cookie = row
    which, view = REQUESTS[what]
    client = browser(app, clock, which)
    if view is change_with_another:
        view = change_with_another(app, client)
    assert run(app, client, view) == (re.findall(r"`(\w+)`", operations), cookie)


def test_a_storage_without_swap_has_dumps_instead():
    app = App(plug=PlainPlug())
    client = app.client()
    client.request(put(a=1))
    done = []

    def view(request):
        request.session["a"] = 2
        request.add_finished_callback(
            lambda request: done.extend(each.name for each in request.session.operations)
        )

    client.request(view)
    assert done == ["loads", "dumps"]


def test_without_max_age_the_cookie_is_set_once_after_the_secret_has_changed():
    app = App(max_age="none")
    client = app.client()
    client.request(put(a=1))
    app = App(app.plug, max_age="none", secret=f"{SECRET[::-1]}\n{SECRET}")
    client = app.client(client.cookie)
    assert [run(app, client, put(a=value))[1] for value in (2, 3)] == ["set", ""]


def test_without_max_age_the_cookie_is_set_for_a_new_id_only():
    app = App(max_age="none")
    client = app.client()
    cookies = [
        run(app, client, view)[1]
        for view in (put(a=1), put(a=2), lambda request: request.session.regenerate_id())
    ]
    assert cookies == ["set", "", "set"]


def test_the_subscriber_logs_what_a_request_does(caplog):
    app = App(configure=block("SessionClosed")["includeme"])
    with caplog.at_level(logging.INFO, logger="page"):
        app.client().request(put(a=1))
    (line,) = (each.getMessage() for each in caplog.records if each.name == "page")
    assert line.endswith(": ['swap'] on memory")


def test_an_operation_has_the_fields_that_the_page_names(app):
    client = app.client()
    client.request(put(a=1))
    box = []
    client.request(lambda request: box.append((len(request.session), request.session.operations)))
    ((_, (operation,)),) = box
    assert operation.size > 0
    assert operation.seconds >= 0
    assert operation.error is None


class TestReading:
    def test_what_others_save_meanwhile_is_not_seen(self, app):
        client = app.client()
        client.request(put(a=1))
        seen = []

        def view(request):
            assert "a" in request.session
            app.client(client.cookie).request(put(a=2))
            seen.append(request.session["a"])

        client.request(view)
        assert seen == [1]

    def test_it_renews_a_tenth_of_the_timeout_later_and_no_sooner(self, app, clock):
        client = app.client()
        client.request(put(a=1))
        read = REQUESTS["reads"][1]
        clock.advance(119)
        assert run(app, client, read)[0] == ["loads"]
        clock.advance(1)
        assert run(app, client, read)[0] == ["loads", "swap"]

    def test_with_reissue_time_none_it_never_does(self, clock):
        app = App(reissue_time="none")
        client = app.client()
        client.request(put(a=1))
        clock.advance(1199)
        assert run(app, client, REQUESTS["reads"][1])[0] == ["loads"]
        clock.advance(1)
        assert client.data() == {}


class TestSaving:
    def test_nested_changes_are_found(self, app):
        client = app.client()
        client.request(put(cart=[]))
        client.request(lambda request: request.session["cart"].append("tea"))
        assert client.data() == {"cart": ["tea"]}

    def test_what_was_changed_back_is_no_change(self, app):
        client = app.client()
        client.request(put(cart=[]))

        def there_and_back(request):
            request.session["cart"].append("tea")
            request.session["cart"].pop()

        assert run(app, client, there_and_back) == (["loads"], "")

    def test_response_callbacks_may_change_it(self, app):
        client = app.client()
        client.request(block("count_errors")["page"], status=404)
        assert client.data() == {"errors": 1}

    def test_later_than_that_is_too_late(self, app):
        client = app.client()
        client.request(put(a=1))
        seen = []

        def at_the_end(request):
            seen.append((request.session["a"], request.session))
            with pytest.raises(RuntimeError, match="after it had been saved"):
                request.session["a"] = 2

        def view(request):
            request.add_finished_callback(at_the_end)
            return dict(request.session)

        client.request(view)
        ((value, session),) = seen
        assert value == 1
        assert session.request is None
        assert client.data() == {"a": 1}

    def test_what_is_changed_while_the_body_is_sent_is_not_saved(self, app):
        client = app.client()
        client.request(put(a=1))

        def view(request):
            session = request.session

            def body():
                yield str(session["a"]).encode()
                with pytest.raises(RuntimeError):
                    session["a"] = 2

            dict(session)
            return Response(app_iter=body())

        assert client.request(view).body == b"1"
        assert client.data() == {"a": 1}

    def test_things_happen_in_the_order_of_the_table(self):
        told = []

        def tween_factory(handler, registry):
            def tween(request):
                response = handler(request)
                assert "Set-Cookie" not in response.headers
                told.append("a tween, on its way out")
                return response

            return tween

        def configure(config):
            config.add_tween(f"{__name__}.tween_factory")
            for name in ("NewRequest", "BeforeTraversal", "ContextFound", "NewResponse"):
                kind = getattr(pyramid_events, name)
                config.add_subscriber(lambda event, name=name: told.append(f"`{name}`"), kind)
            for kind in (events.SessionEvent, events.SessionClosed):
                config.add_subscriber(lambda event: told.append(f"`{type(event).__name__}`"), kind)

        def view(request):
            told.append("the view")
            request.session["a"] = 1
            request.add_response_callback(lambda *args: told.append("a response callback"))
            request.add_finished_callback(lambda *args: told.append("a finished callback"))
            return {}

        globals()["tween_factory"] = tween_factory  # where Pyramid looks tweens up
        App(configure=configure).client().request(view)
        assert told == [row[0] for row in rows(PAGE, "What is told, and when")]

    def test_a_logout_deletes_the_record_at_once(self, app):
        client = app.client()
        client.request(put(a=1))

        def view(request):
            app.event_names()
            request.session.invalidate()
            assert app.event_names() == ["SessionEnded:invalidated"]
            assert app.plug.ids() == []

        client.request(view)


class Oops(Exception):
    pass


def answer(error, request):
    return Response("oops", status=500)


class TestAViewThatFails:
    def app(self, answered=True, **options):
        def configure(config):
            if answered:
                config.add_exception_view(answer, context=Oops)

        return App(configure=configure, **options)

    def outcome(self, app, error):
        """Return what is left of a session that a view changes before it raises an error."""
        client = app.client()
        client.request(put(a=1))

        def view(request):
            request.session["a"] = 2
            raise error

        with contextlib.suppress(Oops):
            client.request(view, status="*")
        return client.data()["a"]

    @pytest.mark.parametrize("row", rows(PAGE, "## When the view fails"), ids=lambda row: row[0])
    def test_each_row(self, row):
        what, becomes = row
        saved = {"is saved": 2, "is saved, with all that was changed before": 2, "is not saved": 1}
        if what == "returns a response, of whatever status":
            client = App().client()
            client.request(
                lambda request: request.session.update(a=2) or Response(status=500), status=500
            )
            assert client.data()["a"] == saved[becomes]
        elif what == "raises an exception, and an exception view answers it":
            assert self.outcome(self.app(), Oops()) == saved[becomes]
        elif what == "the same, with `set_on_exception = false`":
            assert self.outcome(self.app(set_on_exception="false"), Oops()) == saved[becomes]
        elif what == "raises an exception that nobody answers":
            assert self.outcome(self.app(answered=False), Oops()) == saved[becomes]
        else:
            assert (what, becomes) == (
                "calls `invalidate()`, and raises an exception",
                "has ended all the same",
            )
            app = self.app(answered=False)
            client = app.client()
            client.request(put(a=1))

            def view(request):
                request.session.invalidate()
                raise Oops

            with pytest.raises(Oops):
                client.request(view)
            assert app.plug.ids() == []

    def test_a_raised_redirect_is_an_exception(self):
        assert self.outcome(self.app(), HTTPFound("/")) == 2
        assert self.outcome(self.app(set_on_exception="false"), HTTPFound("/")) == 1


class TestSavingThatFails:
    @pytest.mark.parametrize(
        "row", rows(PAGE, "no session cookie is set."), ids=lambda row: row[0].split("`")[1]
    )
    def test_each_row(self, row):
        name = row[0].split("`")[1]
        if name == "PlugUnavailable":
            app = App(plug=UnreliablePlug())
            app.plug.error = ConnectionError("refused")
            response = app.client().request(put(a=1), status=503)
            assert "503" in row[1]
            assert "Retry-After" in response.headers
            assert "Set-Cookie" not in response.headers
        elif name == "SessionConflict":
            app = App(on_conflict="fail")
            client = app.client()
            client.request(put(a=1))

            def view(request):
                dict(request.session)
                app.client(client.cookie).request(put(a=2))
                request.session["a"] = 3

            with pytest.raises(Exception, match="changed the same keys"):
                client.request(view)
        else:
            error, value, app = {
                "SessionTooLarge": (SessionTooLarge, "x" * 2000, App(max_size="1000")),
                "UnserializableValue": (UnserializableValue, object(), App()),
            }[name]
            with pytest.raises(error):
                app.client().request(put(a=value))

    def test_the_applications_exception_view_answers(self):
        app = App(configure=block("too_large")["add_exception_views"], max_size="1000")
        client = app.client()
        response = client.request(put(basket="x" * 2000), status=413)
        assert response.text == "Your basket is full."
        assert "Set-Cookie" not in response.headers
        assert client.cookie is None

    def test_it_may_answer_an_outage_too(self):
        app = App(
            plug=UnreliablePlug(),
            configure=lambda config: config.add_exception_view(answer, context=PlugUnavailable),
        )
        app.plug.error = ConnectionError("refused")
        assert app.client().request(put(a=1), status=500).text == "oops"


def test_headers(app):
    client = app.client()
    response = client.request(put(a=1))
    assert response.headers["Vary"] == "Cookie"
    assert response.headers["Cache-Control"] == "private"
    response = client.request(lambda request: dict(request.session))
    assert response.headers["Vary"] == "Cookie"
    assert "Cache-Control" not in response.headers
    response = client.request(lambda request: {})
    assert not {"Vary", "Cache-Control"} & set(response.headers)


class TestSubRequests:
    def configure(self, config):
        def inner(request):
            request.session["inner"] = 1
            return Response("inner")

        config.add_route("inner", "/inner")
        config.add_view(inner, route_name="inner")

    def test_have_a_session_of_their_own(self):
        app = App(configure=self.configure)
        client = app.client()
        client.request(put(a=1))
        response = client.request(lambda r: r.invoke_subrequest(Request.blank("/inner")) and {})
        assert set_cookies(response) == []
        assert client.data() == {"a": 1}
        assert len(app.plug.ids()) == 2

    def test_may_be_given_that_of_the_outer_one(self):
        app = App(configure=self.configure)
        client = app.client()
        client.request(put(a=1))
        app.plug.taken()
        outer = block("invoke_subrequest(inner)")["outer"]
        response = client.request(lambda r: dict(r.session) and outer(r))
        assert response.text == "inner"
        assert app.plug.taken() == ["loads", "swap"]
        assert client.data() == {"a": 1, "inner": 1}


def test_a_script_saves_nothing_and_says_so(app):
    env = prepare(Request.blank("/"), registry=app.registry)
    env["request"].session["a"] = 1
    with pytest.raises(RuntimeError, match="not saved"):
        env["closer"]()
    assert app.plug.ids() == []
