"""The table of the design: what arrives, and what happens."""

from __future__ import annotations

import gc
import json
from typing import ClassVar

import pytest
from pyramid.httpexceptions import HTTPSeeOther
from pyramid.response import Response

from apps import App, CountingPlug, PlainPlug, set_cookies
from pyramid_pluggable_session import SessionConflict, UnserializableValue, events
from pyramid_pluggable_session.keys import SessionKey, handle
from pyramid_pluggable_session.serializers import msgpack
from pyramid_pluggable_session.store import Outcome
from pyramid_pluggable_session.testing import FakeClock
from pyramid_pluggable_session.visit import Visit


@pytest.fixture
def app():
    return App()


@pytest.fixture
def clock():
    with FakeClock() as fake:
        yield fake


class Counting:
    """A serializer that notes what it was given."""

    dumped: ClassVar[list] = []

    def __init__(self, canonical=False):
        self.canonical = canonical

    def dumps(self, state):
        self.dumped.append(dict(state))
        return json.dumps(state).encode()

    def loads(self, data):
        return json.loads(data)


class Text(str):
    """Text that is not just text."""


class _Appends(dict):
    """Changes what it is compared with."""

    def __eq__(self, other):
        other["a"].append(2)
        return False

    __hash__ = None


def put(**values):
    return lambda session: session.update(values)


def set_number(session):
    session["number"] = 2


def count_visits():
    return sum(isinstance(each, Visit) for each in gc.get_objects())


class TestNothingIsDoneInVain:
    def test_a_request_that_does_not_touch_the_session_does_nothing(self, app):
        client = app.client()
        client.do(put(a=1))
        app.plug.taken()
        response = client.request(lambda request: {})
        assert app.plug.taken() == []
        assert set_cookies(response) == []
        assert "Vary" not in response.headers

    def test_naming_the_session_without_a_look_inside_does_nothing(self, app):
        client = app.client()
        client.do(put(a=1))
        app.plug.taken()
        response = client.do(lambda session: None)
        assert app.plug.taken() == []
        assert "Vary" not in response.headers

    def test_reading_does_one_load_and_sends_no_cookie(self, app):
        client = app.client()
        client.do(put(a={"b": [1]}))
        app.plug.taken()
        response = client.do(lambda session: session["a"]["b"])
        assert app.plug.taken() == ["loads"]
        assert set_cookies(response) == []

    def test_a_change_does_one_load_and_one_swap(self, app):
        client = app.client()
        client.do(put(a=1))
        app.plug.taken()
        client.do(put(a=2))
        assert app.plug.taken() == ["loads", "swap"]

    def test_a_new_session_is_one_swap(self, app):
        app.client().do(put(a=1))
        assert app.plug.taken() == ["swap"]

    def test_setting_the_same_value_is_no_change(self, app):
        client = app.client()
        client.do(put(a=[1, {"b": (2,)}]))
        app.plug.taken()
        client.do(put(a=[1, {"b": (2,)}]))
        assert app.plug.taken() == ["loads"]

    def test_an_empty_new_session_is_never_stored_however_touched(self, app):
        def touch(session):
            session["a"] = 1
            del session["a"]
            session.changed()
            session.timeout = 5
            session.persistent = True
            session.pop_flash()
            assert session.session_id

        response = app.client().do(touch)
        assert app.plug.taken() == []
        assert set_cookies(response) == []

    def test_nothing_is_left_for_the_search_for_cycles(self, app):
        client = app.client()
        client.do(put(a=[1]))
        client.do(lambda session: session["a"].append(2))
        gc.collect()
        gc.disable()
        try:
            before = count_visits()
            for _ in range(5):
                client.do(lambda session: session["a"].append(2))
            assert count_visits() == before
        finally:
            gc.enable()

    def test_garbage_in_the_cookie_does_not_reach_the_storage(self, app):
        app.client("garbage").do(dict)
        assert app.plug.taken() == []
        assert app.event_names() == ["SessionRejected:cookie: not signed by us"]


class TestChanges:
    def test_nested_changes_are_found_without_changed(self, app):
        client = app.client()
        client.do(put(cart={"items": []}))
        client.do(lambda session: session["cart"]["items"].append("tea"))
        assert client.data() == {"cart": {"items": ["tea"]}}

    @pytest.mark.parametrize("serializer", ["msgpack", "json"])
    @pytest.mark.parametrize(
        "change",
        [
            lambda session: session["a"].append(2),
            lambda session: session.get("a").append(2),
            lambda session: session.get("none", session["a"]).append(2),
            lambda session: session.setdefault("a", []).append(2),
            lambda session: next(iter(session.values())).append(2),
            lambda session: dict(session.items())["a"].append(2),
            lambda session: session.keys().mapping["a"].append(2),
            lambda session: session.copy()["a"].append(2),
            lambda session: dict(session)["a"].append(2),
            lambda session: {**session}["a"].append(2),
            lambda session: (session | {})["a"].append(2),
            lambda session: ({} | session)["a"].append(2),
            lambda session: session.__json__(None)["a"].append(2),
            lambda session: session.peek_flash("q").append("2"),
            lambda session: session == _Appends(),
        ],
    )
    def test_wherever_somebody_got_a_list_its_change_is_found(self, serializer, change):
        app = App(serializer=serializer)
        client = app.client()
        client.do(lambda session: (session.update(a=[1]), session.flash("1", "q")))
        client.do(change)
        after = client.data()
        assert (after["a"], after["_f_q"]) in (([1, 2], ["1"]), ([1], ["1", "2"]))

    def test_after_a_look_at_what_cannot_change_nothing_is_compared(self):
        app = App(serializer=Counting())
        client = app.client()
        client.do(put(text="a", number=1, none=None, nested=[1]))
        del Counting.dumped[:]
        client.do(
            lambda session: (session["text"], session.get("number"), session["none"], *session)
        )
        assert Counting.dumped == []
        client.do(lambda session: session["nested"])
        assert len(Counting.dumped) == 2  # as it was loaded, and as it is

    def test_a_change_is_serialized_once(self):
        app = App(serializer=Counting(canonical=True))
        client = app.client()
        client.do(put(number=1))
        del Counting.dumped[:]
        client.do(put(number=2))
        assert Counting.dumped == [{"number": 2}]

    def test_types_are_looked_at_only_where_they_can_be_others(self, app, monkeypatch):
        client = app.client()
        client.do(put(number=1, nested=[1]))
        looked = []
        monkeypatch.setattr(msgpack, "_check_types", looked.append)
        client.do(lambda session: session.__setitem__("number", session["number"] + 1))
        client.do(lambda session: session.__setitem__("more", "text"))
        assert looked == []
        client.do(lambda session: session["nested"].append(2))
        client.do(lambda session: session.__setitem__("nested", [3]))
        assert len(looked) == 2
        assert client.data() == {"number": 2, "nested": [3], "more": "text"}

    @pytest.mark.parametrize(
        "change",
        [
            lambda session: session.__setitem__("text", "\ud800"),
            lambda session: (
                session.__setitem__("n", 1),
                session["nested"].append(bytearray(b"1")),
            ),
            lambda session: (
                session.__setitem__("n", 1),
                session.__setitem__("b", bytearray(b"1")),
            ),
            lambda session: (session.__setitem__("n", 1), session.__setitem__(b"b", 1)),
            lambda session: (session.__setitem__("n", 1), session.__setitem__(Text("b"), 1)),
            lambda session: (session.__setitem__("n", 1), session.__setitem__("b", Text("b"))),
        ],
    )
    def test_what_would_come_back_as_something_else_is_refused_all_the_same(self, app, change):
        client = app.client()
        client.do(put(number=1, nested=[1]))
        with pytest.raises(UnserializableValue):
            client.do(change)
        assert client.data() == {"number": 1, "nested": [1]}

    def test_what_another_serializer_has_loaded_is_looked_at(self):
        plug = CountingPlug()
        client = App(plug, serializer="pickle").client()
        client.do(put(text=Text("a")))
        now = App(plug, serializer="msgpack\npickle").client(client.cookie)
        with pytest.raises(UnserializableValue, match="text"):
            now.do(put(number=1))

    def test_the_id_stays_when_data_changes(self, app):
        client = app.client()
        client.do(put(a=1))
        before = client.session_id
        client.do(put(a=2))
        assert client.session_id == before

    def test_a_stored_session_may_become_empty(self, app):
        client = app.client()
        client.do(put(a=1))
        client.do(lambda session: session.clear())
        assert client.data() == {}
        assert client.do(lambda session: session.new).result is False

    def test_changes_in_later_response_callbacks_are_saved(self, app):
        def view(request):
            request.session["a"] = 1
            request.add_response_callback(
                lambda request, response: request.session.update(late=True)
            )
            return {}

        client = app.client()
        client.request(view)
        assert client.data() == {"a": 1, "late": True}

    def test_callbacks_that_add_callbacks_are_waited_for(self, app):
        def again(request, response, left=5):
            request.session["left"] = left
            if left:
                request.add_response_callback(lambda r, s: again(r, s, left - 1))

        def view(request):
            request.session["a"] = 1
            again(request, None)
            return {}

        client = app.client()
        client.request(view)
        assert client.data()["left"] == 0

    def test_a_change_after_the_save_fails_loudly(self):
        def configure(config):
            config.add_subscriber(
                lambda event: event.request.session.update(late=True),
                "pyramid.interfaces.INewResponse",
            )

        app = App(configure=configure)
        with pytest.raises(RuntimeError, match="after it had been saved"):
            app.client().do(put(a=1))

    def test_a_first_look_after_the_callbacks_fails_loudly_if_it_changes_something(self):
        app = App(
            configure=lambda config: config.add_subscriber(
                lambda event: event.request.session.update(late=True),
                "pyramid.interfaces.INewResponse",
            )
        )
        with pytest.raises(RuntimeError, match="is not saved"):
            app.client().request(lambda request: {})

    def test_a_first_look_after_the_callbacks_is_fine_if_it_changes_nothing(self):
        app = App(
            configure=lambda config: config.add_subscriber(
                lambda event: dict(event.request.session), "pyramid.interfaces.INewResponse"
            )
        )
        client = app.client()
        client.do(put(a=1))
        client.request(lambda request: {})
        assert client.data() == {"a": 1}

    def test_a_first_look_while_the_body_is_sent_cannot_change_anything(self, app):
        seen = []

        def view(request):
            session = request.session

            def body():
                seen.append(dict(session))
                with pytest.raises(RuntimeError, match="after it had been saved"):
                    session["late"] = True
                yield b"done"

            return Response(app_iter=body())

        client = app.client()
        client.do(put(a=1))
        client.request(view)
        assert seen == [{"a": 1}]
        assert client.data() == {"a": 1}

    def test_nothing_is_saved_when_the_view_fails_unhandled(self, app):
        def view(request):
            request.session["a"] = 1
            raise ZeroDivisionError

        client = app.client()
        with pytest.raises(ZeroDivisionError):
            client.request(view)
        assert app.plug.ids() == []


class TestExpiry:
    def test_idle_for_timeout_seconds_it_ends(self, app, clock):
        client = app.client()
        client.do(put(a=1))
        old = client.session_id
        clock.advance(1200)
        seen = client.do(lambda session: (session.new, dict(session), session.created)).result
        assert seen == (True, {}, int(clock.now))
        assert app.plug.ids() == []
        assert app.event_names() == ["SessionCreated", "SessionEnded:idle"]
        client.do(put(b=2))
        assert client.session_id != old

    def test_used_before_that_it_lives_on(self, app, clock):
        client = app.client()
        client.do(put(a=1))
        for _ in range(10):
            clock.advance(1100)
            assert client.data() == {"a": 1}

    def test_reading_renews_it_every_tenth_of_the_timeout(self, app, clock):
        client = app.client()
        client.do(put(a=1))
        app.plug.taken()
        clock.advance(119)
        client.data()
        assert app.plug.taken() == ["loads"]
        clock.advance(1)
        client.data()
        assert app.plug.taken() == ["loads", "swap"]
        client.data()
        assert app.plug.taken() == ["loads"]

    def test_reissue_time_none_never_renews_on_reading(self, clock):
        app = App(reissue_time="none")
        client = app.client()
        client.do(put(a=1))
        clock.advance(1199)
        assert client.data() == {"a": 1}
        clock.advance(1)
        assert client.data() == {}

    def test_lifetime_ends_it_however_much_it_is_used(self, clock):
        app = App(lifetime="3600")
        client = app.client()
        client.do(put(a=1))
        for _ in range(6):
            clock.advance(599)
            client.do(lambda session: session.update(n=session.get("n", 0) + 1))
        assert client.data() == {"a": 1, "n": 6}
        clock.advance(6)
        assert client.data() == {}
        assert "SessionEnded:lifetime" in app.event_names()

    def test_a_session_may_have_a_timeout_of_its_own(self, app, clock):
        client = app.client()

        def remember(session):
            session["a"] = 1
            session.timeout = 30 * 24 * 3600
            session.persistent = True

        response = client.do(remember)
        assert "Max-Age=2592000" in set_cookies(response)[0]
        clock.advance(20 * 24 * 3600)
        assert client.data() == {"a": 1}
        assert client.do(lambda session: session.timeout).result == 30 * 24 * 3600

    def test_no_timeout_at_all_for_one_session(self, app, clock):
        client = app.client()

        def remember(session):
            session["a"] = 1
            session.timeout = None

        client.do(remember)
        clock.advance(10 * 365 * 24 * 3600)
        assert client.data() == {"a": 1}
        assert client.do(lambda session: session.expires_at).result is None

    def test_a_short_timeout_of_its_own_is_renewed_in_time(self, app, clock):
        client = app.client()

        def begin(session):
            session["a"] = 1
            session.timeout = 60

        client.do(begin)
        for _ in range(10):
            clock.advance(50)
            assert client.data() == {"a": 1}

    def test_without_a_timeout_nothing_is_renewed_and_nothing_ends(self, clock):
        app = App(timeout="none")
        client = app.client()
        client.do(put(a=1))
        clock.advance(10**9)
        app.plug.taken()
        assert client.data() == {"a": 1}
        assert app.plug.taken() == ["loads"]

    def test_the_record_outlives_the_session_in_the_storage(self, app, clock):
        app.client().do(put(a=1))
        (key,) = app.plug.scan()
        assert key.expires_at >= clock.now + 1200


class TestCookieLifetime:
    def test_persistent_false_makes_it_end_with_the_browser(self, app):
        client = app.client()
        assert "Max-Age=864000" in set_cookies(client.do(put(a=1)))[0]

        def forget(session):
            session.persistent = False

        (cookie,) = set_cookies(client.do(forget))
        assert "Max-Age" not in cookie
        assert set_cookies(client.do(put(a=2))) == []

    def test_persistent_without_a_timeout_is_as_long_as_browsers_allow(self, app):
        def remember(session):
            session["a"] = 1
            session.persistent = True
            session.timeout = None

        (cookie,) = set_cookies(app.client().do(remember))
        assert "Max-Age=34560000;" in cookie

    def test_persistence_set_by_another_request_survives(self, app):
        client = app.client()
        client.do(put(a=1))
        other = app.client(client.cookie)

        def slow(session):
            session["a"] = 2
            other.do(lambda theirs: setattr(theirs, "persistent", False))

        client.do(slow)
        assert client.do(lambda session: (session.persistent, session["a"])).result == (False, 2)

    def test_without_max_age_the_cookie_is_sent_once(self):
        app = App(max_age="none")
        client = app.client()
        (cookie,) = set_cookies(client.do(put(a=1)))
        assert "Max-Age" not in cookie
        assert set_cookies(client.do(put(a=2))) == []


class TestInvalidate:
    def test_it_deletes_the_record_at_once_and_the_cookie(self, app):
        client = app.client()
        client.do(put(a=1))
        app.event_names()

        def end(session):
            session.invalidate()
            assert app.plug.ids() == []
            return session.new, dict(session)

        response = client.do(end)
        assert response.result == (True, {})
        assert "Max-Age=0" in set_cookies(response)[0]
        assert client.cookie is None
        assert app.event_names() == ["SessionEnded:invalidated"]

    def test_a_logout_is_one_operation_beyond_the_load(self, app):
        client = app.client()
        client.do(put(a=1))
        app.plug.taken()
        client.do(lambda session: session.invalidate())
        assert app.plug.taken() == ["loads", "clear"]

    def test_used_afterwards_it_is_a_new_session(self, app):
        client = app.client()
        client.do(put(a=1))
        before = client.session_id

        def end(session):
            session.invalidate()
            session["b"] = 2

        client.do(end)
        assert client.session_id != before
        assert client.data() == {"b": 2}
        assert len(app.plug.ids()) == 1

    def test_twice_is_once(self, app):
        client = app.client()
        client.do(put(a=1))

        def end(session):
            session.invalidate()
            session.invalidate()

        client.do(end)
        assert app.plug.ids() == []

    def test_without_a_cookie_none_is_deleted(self, app):
        assert set_cookies(app.client().do(lambda session: session.invalidate())) == []


class TestRegenerate:
    def test_same_data_new_id_new_csrf_token(self, app):
        client = app.client()
        token = client.do(lambda session: session.get_csrf_token()).result
        client.do(put(a=1))
        before = client.session_id
        app.event_names()
        client.do(lambda session: session.regenerate_id())
        assert client.session_id != before
        (event,) = app.events
        assert (event.former, event.handle) == (handle(before), handle(client.session_id))
        data = client.data()
        assert data.pop("_csrft_") != token
        assert data == {"a": 1}

    def test_the_old_id_gets_an_empty_session_whose_changes_are_dropped(self, app, clock):
        client = app.client()
        client.do(put(a=1))
        old = app.client(client.cookie)
        client.do(lambda session: session.regenerate_id())
        app.event_names()
        response = old.do(put(a=2))
        assert set_cookies(response) == []
        assert app.event_names() == ["SessionDropped:moved"]
        response = old.do(lambda session: session.invalidate())
        assert set_cookies(response) == []
        assert client.data() == {"a": 1}

    @pytest.mark.parametrize("later", [16, 61])
    def test_soon_the_old_id_is_no_hindrance(self, app, clock, later):
        client = app.client()
        client.do(put(a=1))
        old = app.client(client.cookie)
        client.do(lambda session: session.regenerate_id())
        clock.advance(later)
        old.do(put(b=1))
        assert old.data() == {"b": 1}
        assert client.data() == {"a": 1}

    def test_a_request_that_takes_long_still_learns_that_the_session_moved(self, app, clock):
        client = app.client()
        client.do(put(a=1))
        other = app.client(client.cookie)

        def slow(session):
            session["b"] = 1
            other.do(lambda s: s.regenerate_id())
            clock.advance(59)

        app.event_names()
        assert set_cookies(client.do(slow)) == []
        assert app.event_names() == ["SessionMoved", "SessionDropped:moved"]

    def test_of_a_new_session(self, app):
        client = app.client()

        def begin(session):
            session["a"] = 1
            session.regenerate_id()

        client.do(begin)
        assert client.data() == {"a": 1}
        assert len(app.plug.ids()) == 1


class TestTwoRequestsAtOnce:
    """The other request runs inside the first one's view, after that one has loaded."""

    def both(self, app, client, first, second):
        other = app.client(client.cookie)

        def slow(session):
            dict(session)
            other.do(second)
            first(session)

        response = client.do(slow)
        return other, response

    def test_changes_of_different_keys_both_survive(self, app):
        client = app.client()
        client.do(put(a=1, b=1))
        self.both(app, client, put(a=2), put(b=2))
        assert client.data() == {"a": 2, "b": 2}

    def test_flashes_of_both_survive(self, app):
        client = app.client()
        client.do(put(a=1))
        self.both(app, client, lambda s: s.flash("one"), lambda s: s.flash("two"))
        assert sorted(client.data()["_f_"]) == ["one", "two"]

    def test_equal_appends_are_two(self, app):
        client = app.client()
        client.do(put(log=["x"]))
        self.both(app, client, lambda s: s["log"].append("a"), lambda s: s["log"].append("a"))
        assert client.data() == {"log": ["x", "a", "a"]}

    def test_equal_defaults_are_one(self, app):
        client = app.client()
        client.do(put(a=1))
        self.both(app, client, put(langs=["en"]), put(langs=["en"]))
        assert client.data() == {"a": 1, "langs": ["en"]}

    def test_a_real_conflict_takes_ours_with_an_event(self, app):
        client = app.client()
        client.do(put(user={"name": "a"}))
        app.event_names()
        self.both(app, client, put(user={"name": "b"}), put(user={"name": "c"}))
        assert client.data() == {"user": {"name": "b"}}
        assert app.events[-1].keys == ("user.name",)

    def test_a_real_conflict_is_an_error_if_configured(self):
        app = App(on_conflict="fail")
        client = app.client()
        client.do(put(a=1))
        with pytest.raises(Exception, match="changed the same keys of the session: 'a'"):
            self.both(app, client, put(a=2), put(a=3))
        assert client.data() == {"a": 3}

    def test_ended_by_the_other_it_stays_ended(self, app):
        client = app.client()
        client.do(put(a=1))
        app.event_names()
        _, response = self.both(app, client, put(a=2), lambda s: s.invalidate())
        assert app.plug.ids() == []
        assert set_cookies(response) == []
        assert app.event_names() == ["SessionEnded:invalidated", "SessionDropped:ended"]

    def test_moved_by_the_other_its_changes_are_dropped(self, app):
        client = app.client()
        client.do(put(a=1))
        other, response = self.both(app, client, put(a=2), lambda s: s.regenerate_id())
        assert set_cookies(response) == []
        assert other.data() == {"a": 1}

    def test_moved_by_both_only_one_new_id_is_left(self, app):
        client = app.client()
        client.do(put(a=1))
        other, response = self.both(
            app, client, lambda s: s.regenerate_id(), lambda s: s.regenerate_id()
        )
        assert set_cookies(response) == []
        assert other.data() == {"a": 1}
        assert len(app.plug.ids()) == 2  # the new record and the mark

    def test_a_login_carries_what_the_other_changed(self, app):
        client = app.client()
        client.do(put(a=1))
        self.both(app, client, lambda s: s.regenerate_id(), put(b=2))
        assert client.data() == {"a": 1, "b": 2}

    def test_a_login_that_conflicts_leaves_no_record_behind(self):
        app = App(on_conflict="fail")
        client = app.client()
        client.do(put(a=1))

        def login(session):
            session["a"] = 2
            session.regenerate_id()

        with pytest.raises(Exception, match="changed the same keys"):
            self.both(app, client, login, put(a=3))
        assert client.data() == {"a": 3}
        assert len(app.plug.ids()) == 1

    def test_a_renewal_does_not_undo_a_write(self, app, clock):
        client = app.client()
        client.do(put(a=1))
        clock.advance(500)
        app.plug.taken()
        self.both(app, client, lambda s: None, put(a=2))
        assert client.data() == {"a": 2}

    def test_a_renewal_that_another_request_did_is_not_done_again(self, app, clock):
        client = app.client()
        client.do(put(a=1))
        clock.advance(500)
        app.plug.taken()
        self.both(app, client, lambda s: None, dict)
        assert app.plug.taken() == ["loads", "loads", "swap", "swap", "loads"]

    def test_own_timeout_and_persistence_survive_a_change_of_the_other(self, app):
        client = app.client()
        client.do(put(a=1))

        def remember(session):
            session.timeout = 99
            session.persistent = True

        self.both(app, client, remember, put(a=2))
        seen = client.do(lambda s: (s.timeout, s.persistent, s["a"])).result
        assert seen == (99, True, 2)

    def test_own_timeout_set_by_the_other_survives(self, app):
        client = app.client()
        client.do(put(a=1))

        def remember(session):
            session.timeout = 99

        self.both(app, client, put(a=2), remember)
        assert client.do(lambda s: (s.timeout, s["a"])).result == (99, 2)

    def test_without_swap_the_last_one_wins(self):
        app = App(plug=PlainPlug())
        client = app.client()
        client.do(put(a=1, b=1))
        self.both(app, client, put(a=2), put(b=2))
        assert client.data() == {"a": 2, "b": 1}


class TestTheEndOfARequest:
    @pytest.fixture
    def closed(self):
        return []

    @pytest.fixture
    def app(self, closed):
        return App(
            configure=lambda config: config.add_subscriber(closed.append, events.SessionClosed)
        )

    def test_is_told(self, app, closed):
        client = app.client()
        client.do(put(a=1))
        client.data()
        client.do(lambda session: session.invalidate())
        app.client("garbage").data()
        told = [(e.handle != "", e.stored, [each.name for each in e.operations]) for e in closed]
        assert told == [
            (True, True, ["swap"]),
            (True, False, ["loads"]),
            (False, False, ["loads", "clear"]),
            (False, False, []),
        ]
        assert {each.plug for each in closed} == {"memory"}

    def test_is_told_of_an_outage(self, app, closed):
        client = app.client()
        client.do(put(a=1))

        def fail(session, request):
            raise OSError("down")

        app.plug.loads = fail
        client.do(dict, status=503)
        assert [each.error for each in closed[-1].operations] == ["OSError"]
        assert len(closed) == 2

    def test_is_not_told_where_nobody_looked(self, app, closed):
        app.client().do(lambda session: None)
        assert closed == []

    def test_what_a_visit_says_of_itself(self, app):
        client = app.client()
        client.do(put(same=1, other=[1], gone=2))

        def change(session):
            session["other"].append(2)
            del session["gone"]
            session["new"] = None
            app.visit = session.visit

        client.do(change)
        assert app.visit.changed_keys() == ["other", "gone", "new"]
        assert (app.visit.outcome, app.visit.rejected) == (Outcome.STORED, None)

        def look(session):
            len(session)
            app.visit = session.visit

        app.client("garbage").do(look)
        assert (app.visit.outcome, app.visit.rejected) == (None, "cookie: not signed by us")


class TestStarvation:
    """Others change the session each time before this request can."""

    class Contended(CountingPlug):
        contended = False

        def swap(self, session, request, expected, session_data):
            if self.contended and expected is not None:
                return False
            return super().swap(session, request, expected, session_data)

    @pytest.mark.parametrize("action", [put(a=2), lambda session: session.regenerate_id()])
    def test_it_ends_in_an_error_after_a_hundred_attempts(self, action, monkeypatch):
        pauses = []
        monkeypatch.setattr("time.sleep", pauses.append)
        app = App(plug=self.Contended())
        client = app.client()
        client.do(put(a=1))
        app.plug.contended = True
        with pytest.raises(SessionConflict, match="in each of 100 attempts"):
            client.do(action)
        assert len(pauses) > 90
        assert max(pauses) <= 0.05
        app.plug.contended = False
        assert client.data() == {"a": 1}
        assert len(app.plug.ids()) == 1

    def test_a_record_that_became_unreadable_meanwhile_is_an_end(self):
        app = App()
        client = app.client()
        client.do(put(a=1))

        def view(session):
            session["a"] = 2
            app.plug.dumps(SessionKey(client.session_id, None), None, b"garbage")

        client.do(view)
        assert app.event_names()[-1] == "SessionDropped:ended"

    def test_a_new_id_that_is_taken_is_an_error(self):
        class Full(CountingPlug):
            def swap(self, *args):
                return False

        with pytest.raises(SessionConflict, match="is taken"):
            App(plug=Full()).client().do(put(a=1))


class TestWhatIsNotADict:
    def test_is_no_session(self):
        class Lists:
            def dumps(self, state):
                return b"[]"

            def loads(self, data):
                return []

        app = App(serializer=Lists())
        client = app.client()
        client.do(put(a=1))
        assert client.data() == {}
        assert app.event_names()[-1] == "SessionRejected:record: unreadable data"

    def test_nor_is_what_the_serializer_cannot_read(self):
        class Broken:
            def dumps(self, state):
                return b"x"

            def loads(self, data):
                raise KeyError

        app = App(serializer=Broken())
        client = app.client()
        client.do(put(a=1))
        assert client.data() == {}


class TestTheErrorsResponse:
    def configure(self, config):
        def view(error, request):
            request.response.status = 500
            request.response.text = "sorry"
            return request.response

        config.add_exception_view(view, context=Exception)

    def test_may_be_the_views_own_response_object(self):
        app = App(configure=self.configure)

        def view(request):
            request.session["a"] = object()
            return request.response

        assert app.client().request(view, status=500).text == "sorry"

    def test_may_be_the_very_same_object(self):
        shared = Response("both")

        def view(request):
            request.session["a"] = object()
            return shared

        def configure(config):
            config.add_exception_view(lambda error, request: shared, context=Exception)

        assert App(configure=configure).client().request(view).text == "both"

    def test_closes_what_the_view_wanted_to_send(self):
        closed = []

        class Stream:
            def __iter__(self):
                return iter([b"data"])

            def close(self):
                closed.append(True)

        def view(request):
            request.session["a"] = object()
            return Response(app_iter=Stream())

        app = App(configure=self.configure)
        assert app.client().request(view, status=500).text == "sorry"
        assert closed == [True]


class TestErrorsOnSaving:
    def failing(self, error):
        class Failing(CountingPlug):
            broken = False

            def swap(self, *args):
                if self.broken:
                    raise error
                return super().swap(*args)

        return Failing()

    def test_an_outage_is_a_503_without_a_cookie(self):
        app = App(plug=self.failing(ConnectionRefusedError(111, "refused")))
        app.plug.broken = True
        response = app.client().do(put(a=1), status=503)
        assert set_cookies(response) == []
        assert response.headers["Retry-After"]
        assert "refused" not in response.text

    def test_an_outage_while_a_redirect_is_made_is_a_503(self):
        app = App(plug=self.failing(ConnectionError("no route to host")))
        app.plug.broken = True

        def view(request):
            request.session["a"] = 1
            return HTTPSeeOther("/elsewhere")

        response = app.client().request(view, status=503)
        assert "Location" not in response.headers
        assert "not available" in response.text
        assert int(response.headers["Content-Length"]) == len(response.body)

    def test_the_log_says_why(self, caplog):
        app = App(plug=self.failing(ConnectionError("no route to host")))
        app.plug.broken = True
        app.client().do(put(a=1), status=503)
        assert (
            "session storage memory failed to do swap: ConnectionError: no route to host"
            in caplog.messages
        )

    def test_the_applications_exception_view_sees_it(self):
        def configure(config):
            config.add_exception_view(
                lambda error, request: Response(f"sorry: {error}", status=599), context=Exception
            )

        app = App(plug=self.failing(TimeoutError(110, "too slow")), configure=configure)
        app.plug.broken = True
        response = app.client().do(put(a=1), status=599)
        assert response.text.startswith("sorry: session storage memory failed to do swap")
        assert response.headers["Vary"] == "Cookie"

    def test_an_outage_on_loading_is_raised_in_the_view(self):
        class Down(CountingPlug):
            def loads(self, session, request):
                raise ConnectionResetError(104, "reset")

        app = App(plug=Down())
        client = app.client()
        client.do(put(a=1))
        response = client.do(dict, status=503)
        assert set_cookies(response) == []
        assert len(app.plug.ids()) == 1

    def test_a_bug_in_a_plug_is_not_called_an_outage(self):
        app = App(plug=self.failing(TypeError("bug")))
        app.plug.broken = True
        with pytest.raises(TypeError, match="bug"):
            app.client().do(put(a=1))

    def test_what_cannot_be_stored_fails_naming_the_key(self, app):
        with pytest.raises(ValueError, match=r"session\['cart'\]\['items'\]\[0\]"):
            app.client().do(put(cart={"items": [object()]}))
        assert app.plug.ids() == []

    def test_what_is_too_large_fails_naming_the_setting(self):
        app = App(max_size="1000")
        client = app.client()
        client.do(put(a=1))
        with pytest.raises(Exception, match=r"pluggable_session\.max_size"):
            client.do(put(a="x" * 1000))
        assert client.data() == {"a": 1}


class TestExceptionViews:
    def app(self, **options):
        def configure(config):
            config.add_exception_view(
                lambda error, request: Response("oh", status=500), context=ZeroDivisionError
            )

        return App(configure=configure, **options)

    def fail(self, request):
        request.session["a"] = 1
        raise ZeroDivisionError

    def test_the_session_is_saved_when_the_error_was_handled(self):
        app = self.app()
        client = app.client()
        client.request(self.fail, status=500)
        assert client.data() == {"a": 1}

    def test_not_with_set_on_exception_false(self):
        app = self.app(set_on_exception="false")
        response = app.client().request(self.fail, status=500)
        assert set_cookies(response) == []
        assert app.plug.ids() == []

    def test_a_logout_then_still_deletes_the_cookie(self):
        app = self.app(set_on_exception="false")
        client = app.client()
        client.do(put(a=1))

        def view(request):
            request.session.invalidate()
            raise ZeroDivisionError

        response = client.request(view, status=500)
        assert "Max-Age=0" in set_cookies(response)[0]
