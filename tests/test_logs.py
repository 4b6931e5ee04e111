"""What the log tells an operator, with which fields, and how much of it there is."""

from __future__ import annotations

import logging
import threading

import pytest
from pyramid.request import Request

from apps import SECRET, App, PlainPlug, UnreliablePlug
from pyramid_pluggable_session import limited_log, logs
from pyramid_pluggable_session.breaker import breaker_of
from pyramid_pluggable_session.errors import PlugUnavailable
from pyramid_pluggable_session.keys import handle
from pyramid_pluggable_session.logs import PlugLog, label
from pyramid_pluggable_session.plugs.chain import ChainPlug
from pyramid_pluggable_session.plugs.memory import MemoryPlug
from pyramid_pluggable_session.responses import unavailable
from pyramid_pluggable_session.storage import Storage

REFUSED = ConnectionRefusedError(111, "refused")
LOGGER = "pyramid_pluggable_session"
LINES = limited_log.LINES


class Time:
    """Stands for the module ``time``; ``now`` is set by the test."""

    now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def time(monkeypatch):
    time = Time()
    monkeypatch.setattr(logs, "time", time)
    monkeypatch.setattr(limited_log, "time", time)
    return time


@pytest.fixture
def app():
    return App(plug=UnreliablePlug())


@pytest.fixture
def client(app):
    client = app.client()
    client.do(put(user="ada"))
    return client


@pytest.fixture
def lines(caplog, app):
    """Return a function to the records since the last time, as fields with the text in them."""
    caplog.set_level(logging.INFO, LOGGER)
    caplog.clear()

    def lines(*events):
        taken = []
        for record in caplog.records:
            fields = {
                name.removeprefix("session_"): value
                for name, value in vars(record).items()
                if name.startswith("session_")
            }
            if not events or fields.get("event") in events:
                taken.append({**fields, "text": record.getMessage(), "level": record.levelname})
        caplog.clear()
        return taken

    return lines


def put(**values):
    return lambda session: session.update(values)


class TestOutage:
    def test_one_line_when_it_begins_and_one_when_it_is_over(self, app, client, lines, time):
        app.plug.error = REFUSED
        for _ in range(4):
            client.do(dict, status=503)
            time.now += 9
        error = "session storage memory failed to do loads: ConnectionRefusedError: refused"
        assert lines("outage_began", "outage_ended") == [
            {
                "event": "outage_began",
                "plug": "memory",
                "operation": "loads",
                "error": error,
                "text": f"an outage of the session storage memory begins: {error}",
                "level": "WARNING",
            }
        ]
        app.plug.error = None
        client.do(dict)
        assert lines("outage_ended") == [], "the last failure was not long ago"
        time.now += 3600
        client.do(dict)
        assert lines() == [
            {
                "event": "outage_ended",
                "plug": "memory",
                "seconds": 36.0,
                "operations": 4,
                "text": "the outage of the session storage memory is over: it lasted 36.0 seconds, "
                "and 4 operations failed",
                "level": "WARNING",
            }
        ]
        client.do(dict)
        assert lines() == []

    def test_one_that_flickers_is_one(self, app, client, lines, time):
        for _ in range(50):
            app.plug.error = REFUSED
            client.do(dict, status=503)
            app.plug.error = None
            time.now += 5
            client.do(dict)
        time.now += 5
        client.do(dict)
        began, ended = lines("outage_began", "outage_ended")
        assert began["event"] == "outage_began"
        assert (ended["seconds"], ended["operations"]) == (250.0, 50)

    def test_another_one_much_later_is_another(self, app, client, lines, time):
        """Nobody came by in between, to see that the first one was over."""
        app.plug.error = REFUSED
        client.do(dict, status=503)
        app.plug.error = None
        time.now += 5
        client.do(dict)
        time.now += 3600
        app.plug.error = REFUSED
        client.do(dict, status=503)
        told = lines("outage_began", "outage_ended")
        assert [(each["event"], each.get("seconds")) for each in told] == [
            ("outage_began", None),
            ("outage_ended", 5.0),
            ("outage_began", None),
        ]
        assert breaker_of(app.plug).log.outages == 2

    def test_silence_is_not_its_end(self, app, client, lines, time):
        app.plug.error = REFUSED
        client.do(dict, status=503)
        time.now += 3600
        client.do(dict, status=503)
        assert len(lines("outage_began")) == 1

    def test_of_a_storage_that_is_left_alone_goes_on(self, app, client, lines, monkeypatch):
        monkeypatch.setattr("pyramid_pluggable_session.breaker.SLOW", 0.0)
        monkeypatch.setattr("pyramid_pluggable_session.breaker.PAUSE", 600.0)
        app.plug.error = REFUSED
        for _ in range(10):
            client.do(dict, status=503)
        assert len(lines("outage_began")) == 1
        assert breaker_of(app.plug).log.failures == 10

    def test_of_the_front_of_a_chain(self, lines):
        front = UnreliablePlug()
        front.error = REFUSED
        app = App(plug=ChainPlug(None, [front, MemoryPlug()]))
        client = app.client()
        client.do(put(a=1))
        client.do(dict)
        assert [each["event"] for each in lines("outage_began")] == ["outage_began"]

    def test_of_a_plug_that_cannot_be_remembered(self, lines):
        class Forgettable(PlainPlug):
            __hash__ = None

            def dumps(self, session, request, session_data):
                raise REFUSED

        app = App(plug=Forgettable())
        for _ in range(50):
            app.client().do(put(a=1), status=503)
        told = lines()
        assert sum(each.get("event") == "outage_began" for each in told) == 1
        assert sum(each.get("event") == "request_failed" for each in told) == LINES

    @pytest.mark.parametrize("error", [TypeError("bug"), KeyError("bug")])
    def test_is_not_what_another_error_is(self, app, client, lines, error):
        app.plug.error = error
        with pytest.raises(type(error)):
            client.do(dict)
        assert lines() == []

    def test_is_counted_by_threads_at_once(self, lines):
        plug_log, error = PlugLog(), PlugUnavailable("refused")

        def fail():
            for _ in range(200):
                plug_log.failed("memory", "loads", error)
                plug_log.request_failed(error)

        threads = [threading.Thread(target=fail) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (plug_log.failures, plug_log.outages) == (1600, 1)
        assert len(lines("outage_began")) == 1

    def test_that_nobody_is_in_cannot_end(self, lines):
        PlugLog().succeeded()
        assert lines() == []


class TestOperationsTell:
    """Whether they failed, for those who look at them afterwards."""

    def errors(self, storage):
        return [(each.name, each.error) for each in storage.operations]

    @pytest.fixture
    def storage(self, app):
        return Storage(app.plug, None)

    def test_what_an_operation_failed_with(self, app, storage):
        app.plug.error = REFUSED
        with pytest.raises(PlugUnavailable):
            storage.loads(None)
        assert self.errors(storage) == [("loads", "ConnectionRefusedError")]

    @pytest.mark.parametrize(
        "error", [TypeError("bug"), PlugUnavailable("down"), KeyboardInterrupt()]
    )
    def test_whatever_it_is(self, app, storage, error):
        app.plug.error = error
        with pytest.raises(type(error)):
            storage.loads(None)
        assert self.errors(storage) == [("loads", type(error).__name__)]

    def test_that_it_was_not_tried(self, app, storage, monkeypatch):
        monkeypatch.setattr("pyramid_pluggable_session.breaker.SLOW", 0.0)
        monkeypatch.setattr("pyramid_pluggable_session.breaker.PAUSE", 600.0)
        app.plug.error = REFUSED
        for _ in range(4):
            with pytest.raises(PlugUnavailable):
                storage.loads(None)
        assert self.errors(storage)[-1] == ("loads", "not tried")
        assert storage.operations[-1].seconds == 0

    def test_that_it_did_not(self, client, app):
        seen = client.do(lambda session: (dict(session), session.operations)[1]).result
        assert [(each.name, each.error) for each in seen] == [("loads", None)]


class TestRefused:
    def test_a_record(self, app, client, lines):
        (key,) = app.plug.scan()
        app.plug.dumps(key, None, b"garbage")
        client.do(dict)
        assert lines() == [
            {
                "event": "record_refused",
                "handle": handle(key.session_id),
                "reason": "too short",
                "text": f"refused the record of session {handle(key.session_id)}: too short",
                "level": "WARNING",
            }
        ]

    def test_a_cookie(self, app, lines):
        app.client(cookie="0" * 192).do(dict)
        assert lines() == [
            {
                "event": "cookie_refused",
                "reason": "cookie: not signed by us",
                "text": "refused a cookie: not signed by us",
                "level": "INFO",
            }
        ]

    def test_the_label_has_no_names(self):
        for name in ("pickle", "it's", "a 'b' c", "say \"x\" 'y'"):
            assert label(f"serializer {name!r} is not configured") == "serializer is not configured"
        assert label("bad signature") == "bad signature"


class TestLimit:
    def test_few_lines_a_minute_and_then_how_many_more(self, app, lines, time):
        client = app.client(cookie="0" * 192)
        for _ in range(100):
            client.do(dict)
            time.now += 0.5
        assert [each["event"] for each in lines()] == ["cookie_refused"] * LINES
        time.now += 10
        client.do(dict)
        summary, next_one = lines()
        assert summary == {
            "event": "lines_left_out",
            "of": "cookie_refused (cookie: not signed by us)",
            "count": 95,
            "seconds": 60.0,
            "text": "left out 95 more lines of cookie_refused (cookie: not signed by us) "
            "in 60 seconds",
            "level": "INFO",
        }
        assert next_one["event"] == "cookie_refused"

    def test_few_are_not_commented_upon(self, app, lines, time):
        client = app.client(cookie="0" * 192)
        for _ in range(3):
            for _ in range(LINES):
                client.do(dict)
            time.now += 60
        assert [each["event"] for each in lines()] == ["cookie_refused"] * 3 * LINES

    def test_of_one_kind_does_not_hide_another(self, app, client, lines):
        flood = app.client(cookie="0" * 192)
        for _ in range(2 * LINES):
            flood.do(dict)
        other = app.client()
        other.do(put(a=1))
        two = {"Cookie": f"session={client.cookie}; session={other.cookie}"}
        app.client().do(dict, headers=two)
        assert lines()[-1]["reason"] == "cookie: two that differ"

    def test_of_one_storage_does_not_hide_another(self, app, lines):
        for each in (app, App(plug=UnreliablePlug())):
            for _ in range(2 * LINES):
                each.client(cookie="0" * 192).do(dict)
        assert len(lines("cookie_refused")) == 2 * LINES

    def test_nothing_is_counted_for_a_level_that_is_off(self, app, lines, time, caplog):
        caplog.set_level(logging.WARNING, LOGGER)
        flood = app.client(cookie="0" * 192)
        for _ in range(2 * LINES):
            flood.do(dict)
        time.now += 60
        caplog.set_level(logging.INFO, LOGGER)
        flood.do(dict)
        assert [each["event"] for each in lines()] == ["cookie_refused"]

    def test_the_end_of_an_outage_tells_what_was_left_out(self, lines, time):
        app = App(plug=UnreliablePlug(), on_outage="anonymous")
        client = app.client()
        client.do(put(a=1))
        app.plug.error = REFUSED
        for _ in range(20):
            client.do(dict)
        app.plug.error = None
        time.now += 20
        client.do(dict)
        told = [each for each in lines() if each.get("event") in ("outage_ended", "lines_left_out")]
        assert [(each["event"], each.get("count")) for each in told] == [
            ("outage_ended", None),
            ("lines_left_out", 20 - LINES),
        ]
        time.now += 60
        app.client(cookie="0" * 192).do(dict)
        assert lines("lines_left_out") == [], "that was told"

    def test_that_telling_does_not_begin_a_new_minute(self, lines, time):
        plug_log, error = PlugLog(), PlugUnavailable("refused")
        for _ in range(10):
            for _ in range(3):
                plug_log.failed("memory", "loads", error)
                plug_log.request_failed(error)
            plug_log.succeeded()
            time.now += 5
            plug_log.succeeded()
        assert len(lines("request_failed")) == LINES

    def test_one_traceback_a_minute(self, app, client, caplog, time):
        app.plug.error = REFUSED
        for _ in range(LINES):
            client.do(dict, status=503)
        with_one = [record.exc_text or record.exc_info for record in caplog.records]
        assert sum(map(bool, with_one)) == 1
        time.now += 60
        caplog.clear()
        client.do(dict, status=503)
        assert any(record.exc_info for record in caplog.records)


class TestVolume:
    """What 10,000 failures in ten minutes write to a file."""

    @pytest.fixture
    def written(self, tmp_path, time, monkeypatch):
        """Return a function that does something so often, and returns the size of the log."""
        log = logging.getLogger(LOGGER)
        handler = logging.FileHandler(tmp_path / "app.log")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s [%(name)s] %(message)s"))
        monkeypatch.setattr(log, "handlers", [handler])
        monkeypatch.setattr(log, "propagate", False)
        monkeypatch.setattr(log, "level", logging.INFO)

        def written(do):
            for number in range(10_000):
                do(number)
                time.now += 0.06
            handler.close()
            return (tmp_path / "app.log").stat().st_size

        yield written
        handler.close()

    def test_of_requests_that_fail_in_an_outage(self, app, written):
        request = Request.blank("/")
        request.registry = app.registry
        app.plug.error = REFUSED

        def fail(number):
            try:
                Storage(app.plug, request).loads(None)
            except PlugUnavailable as error:
                unavailable(error, request)

        assert 1000 < written(fail) < 50_000

    def test_of_requests_that_go_on_in_an_outage(self, app, written):
        app.plug.error = REFUSED
        storage = Storage(app.plug, None)

        def go_on(number):
            for without in ("a session", "saving"):
                try:
                    storage.loads(None)
                except PlugUnavailable as error:
                    storage.log.goes_on(without, error)

        assert 1000 < written(go_on) < 30_000

    def test_of_forged_cookies(self, written):
        plug_log = PlugLog()
        assert (
            1000 < written(lambda _: plug_log.refused_cookie("cookie: not signed by us")) < 10_000
        )

    def test_of_refused_records(self, written):
        plug_log = PlugLog()

        def refuse(number):
            reason = f"serializer 'made up {number}' is not configured"
            plug_log.refused_record(handle(str(number)), reason)

        assert 1000 < written(refuse) < 15_000


def test_the_fields_hold_no_secret(app, client, lines):
    app.plug.error = ConnectionError(f"redis://:hunter2@host/ {client.session_id}")
    client.do(dict, status=503)
    app.client(cookie=client.session_id + "0" * 128).do(dict)
    shown = str(lines())
    assert "outage_began" in shown
    for secret in ("hunter2", client.session_id, client.cookie, SECRET):
        assert secret not in shown
