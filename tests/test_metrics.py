"""The metrics, as OpenTelemetry's SDK reads them."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from pyramid.config import Configurator

from apps import SECRET, App, UnreliablePlug
from pyramid_pluggable_session import metrics
from pyramid_pluggable_session.events import SessionRejected
from pyramid_pluggable_session.plugs.chain import ChainPlug
from pyramid_pluggable_session.plugs.memory import MemoryPlug
from pyramid_pluggable_session.testing import FakeClock

REFUSED = ConnectionRefusedError(111, "refused")


class Measured(App):
    """An application that is measured."""

    def __init__(self, plug=None, **options):
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider(metric_readers=[self.reader])
        super().__init__(
            plug=plug or UnreliablePlug(),
            configure=lambda config: metrics.measure(config, self.provider),
            **options,
        )

    def read(self):
        """Return the metrics by name."""
        data = self.reader.get_metrics_data()
        return {
            metric.name.removeprefix("pyramid.session."): metric
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def points(self, name):
        """Return the values of a metric (of a histogram, the counts) by those of the attributes."""
        metric = self.read().get(name)
        return {
            tuple(point.attributes.values()): getattr(point, "value", getattr(point, "count", None))
            for point in (metric.data.data_points if metric else ())
        }


@pytest.fixture
def app():
    app = Measured()
    yield app
    app.provider.shutdown()


@pytest.fixture
def client(app):
    client = app.client()
    client.do(put(user="ada"))
    return client


def put(**values):
    return lambda session: session.update(values)


class TestEvents:
    def test_a_session_is_created_and_moved_and_ends(self, app, client):
        client.do(lambda session: session.regenerate_id())
        client.do(lambda session: session.invalidate())
        assert app.points("created") == {(): 1}
        assert app.points("moved") == {(): 1}
        assert app.points("ended") == {("invalidated",): 1}

    def test_a_session_is_over(self, app):
        with FakeClock() as clock:
            client = app.client()
            client.do(put(a=1))
            clock.advance(1210)
            client.do(dict)
        assert app.points("ended") == {("idle",): 1}

    def test_cookies_and_records_are_refused(self, app, client):
        app.client(cookie="0" * 192).do(dict)
        (key,) = app.plug.scan()
        app.plug.dumps(key, None, b"garbage")
        client.do(dict)
        assert app.points("rejected") == {
            ("cookie: not signed by us",): 1,
            ("record: too short",): 1,
        }

    def test_what_differs_from_record_to_record_is_no_label(self, app):
        for name in ("one", "it's", "a 'b' c"):
            reason = f"record: serializer {name!r} is not configured"
            app.registry.notify(SessionRejected(None, "", reason))
        assert app.points("rejected") == {("record: serializer is not configured",): 3}

    def test_changes_are_dropped(self, app, client):
        def overlapping(session):
            session["user"] = "eve"
            client.do(lambda session: session.invalidate())

        client.do(overlapping)
        assert app.points("dropped") == {("ended",): 1}

    def test_conflicts(self, app, client):
        client.do(lambda session: (session.update(user="a"), client.do(put(user="b"))))
        assert app.points("conflicts") == {(): 1}


class TestOperations:
    def test_loads_and_saves(self, app, client):
        client.do(dict)
        client.do(put(user="eve"))
        for key in app.plug.scan():
            app.plug.clear(key, None)
        client.do(dict)
        assert app.points("loads") == {("memory", True): 2, ("memory", False): 1}
        assert app.points("saves") == {("memory",): 2}

    def test_seconds_and_bytes(self, app, client):
        client.do(dict)
        client.do(lambda session: session.invalidate())
        counts = {("memory", "swap"): 1, ("memory", "loads"): 2}
        assert app.points("operation.duration") == {**counts, ("memory", "clear"): 1}
        assert app.points("operation.size") == counts
        read = app.read()
        assert (read["operation.duration"].unit, read["operation.size"].unit) == ("s", "By")
        for metric, low, high, bound in (("duration", 0, 5, 0.001), ("size", 50, 500, 2**20)):
            for point in read[f"operation.{metric}"].data.data_points:
                assert low <= point.min <= point.max < high
                assert bound in point.explicit_bounds, "the default ones are of milliseconds"

    def test_errors_of_the_drivers(self, app, client):
        app.plug.error = REFUSED
        app.client().do(put(a=1), status=503)
        durations = app.points("operation.duration")
        assert durations["memory", "swap", "ConnectionRefusedError"] == 1
        assert app.points("operation.size") == {("memory", "swap"): 1}
        assert app.points("saves") == {("memory",): 1}

    def test_errors_at_the_first_look(self, app, client):
        app.plug.error = REFUSED
        client.do(dict, status=503)
        assert app.points("operation.duration")["memory", "loads", "ConnectionRefusedError"] == 1

    def test_what_was_not_tried_took_no_time(self, app, client, monkeypatch):
        monkeypatch.setattr("pyramid_pluggable_session.breaker.SLOW", 0.0)
        monkeypatch.setattr("pyramid_pluggable_session.breaker.PAUSE", 600.0)
        app.plug.error = REFUSED
        for _ in range(5):
            app.client().do(put(a=1), status=503)
        assert sum(app.points("operation.duration").values()) == 1 + 3
        assert app.points("operation.failures") == {("memory",): 5}

    def test_a_request_that_does_not_look_is_not_counted(self, app):
        app.client().request(lambda request: {})
        assert app.points("operation.duration") == {}


class TestOutages:
    def counts(self, app):
        names = ("outages", "active_outages", "operation.failures")
        return [app.points(name) for name in names]

    def test_none(self, app):
        assert self.counts(app) == [{("memory",): 0}] * 3

    def test_one_that_begins_and_ends(self, app, client, monkeypatch):
        app.plug.error = REFUSED
        client.do(dict, status=503)
        client.do(dict, status=503)
        assert self.counts(app) == [{("memory",): 1}, {("memory",): 1}, {("memory",): 2}]
        monkeypatch.setattr("pyramid_pluggable_session.logs.SETTLED", 0.0)
        app.plug.error = None
        client.do(dict)
        assert self.counts(app) == [{("memory",): 1}, {("memory",): 0}, {("memory",): 2}]

    def test_of_the_members_of_a_chain(self):
        class Front(UnreliablePlug):
            name = "front"

        plug = ChainPlug(None, [Front(), MemoryPlug()])
        plug.front[0].error = REFUSED
        app = Measured(plug=plug)
        client = app.client()
        client.do(put(a=1))
        client.do(dict)
        assert self.counts(app)[0] == {("front",): 1, ("memory",): 0}
        app.provider.shutdown()

    def test_of_an_application_that_is_gone(self):
        reader = InMemoryMetricReader()
        provider = MeterProvider(metric_readers=[reader])
        with Configurator() as config:
            metrics.measure(config, provider)
        assert reader.get_metrics_data() is None
        registry = weakref.ref(config.registry)
        del config
        Configurator().end()  # Pyramid remembers the last one
        gc.collect()
        assert reader.get_metrics_data() is None
        assert registry() is None
        provider.shutdown()


class TestIncluding:
    def test_does_nothing_without_an_sdk(self):
        app = App(configure=lambda config: config.include("pyramid_pluggable_session.metrics"))
        client = app.client()
        client.do(put(a=1))
        assert client.data() == {"a": 1}

    def test_takes_the_provider_that_is_set_later(self):
        code = f"""
import sys
sys.path.insert(0, {str(__file__.rpartition("/")[0])!r})
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from apps import App

app = App(configure=lambda config: config.include("pyramid_pluggable_session.metrics"))
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))
app.client().do(lambda session: session.update(a=1))
print("pyramid.session.created" in reader.get_metrics_data().to_json())
"""
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stdout == "True\n"

    def test_says_what_to_install(self):
        code = """
import sys
sys.modules["opentelemetry"] = None
from pyramid.config import Configurator
Configurator().include("pyramid_pluggable_session.metrics")
"""
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "pip install 'pyramid_pluggable_session[metrics]'" in done.stderr

    def test_shows_no_secret(self, app, client):
        client.do(put(user="plaintext-of-the-session"))
        shown = app.reader.get_metrics_data().to_json()
        for secret in (SECRET, "plaintext-of-the-session", client.session_id, client.cookie):
            assert secret not in shown
