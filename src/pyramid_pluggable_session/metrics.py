"""Metrics for OpenTelemetry: ``config.include('pyramid_pluggable_session.metrics')``.

Only OpenTelemetry's API is used, which does nothing until the application sets up an SDK. What
happens in requests comes from the events of this package, of which this is one subscriber; what is
known of outages is looked up when the metrics are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final
from weakref import ref

from pyramid.exceptions import ConfigurationError

from . import __version__, events
from .breaker import breaker_of
from .interfaces import IPlugSession
from .logs import PlugLog, label
from .plugs.chain import ChainPlug
from .storage import NOT_TRIED, Operation, describe

try:
    from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation, get_meter
except ImportError as error:
    raise ConfigurationError(
        f"pyramid_pluggable_session.metrics needs a package that is not installed ({error}). "
        "Install it with: pip install 'pyramid_pluggable_session[metrics]'"
    ) from error

_SECONDS: Final = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 10)
_BYTES: Final = (128, 256, 512, 1024, 2048, 4096, 16_384, 65_536, 262_144, 1_048_576)

_PLUG: Final = "pyramid.session.plug"
_REASON: Final = "pyramid.session.reason"


def includeme(config: Any) -> None:
    """Measure the sessions of this application."""
    measure(config)


def measure(config: Any, meter_provider: MeterProvider | None = None) -> None:
    """Measure the sessions of this application, with the global meter provider or another one.

    It is called in place of including this module. To import the module without OpenTelemetry's
    API raises :class:`~pyramid.exceptions.ConfigurationError`.
    """
    meter = get_meter("pyramid_pluggable_session", __version__, meter_provider)
    _count_events(config, meter)
    _measure_operations(config, meter)
    _observe_outages(config, meter)


def _count_events(config: Any, meter: Meter) -> None:
    for event, name, unit, what in (
        (events.SessionCreated, "created", "{session}", "Sessions that were stored"),
        (events.SessionMoved, "moved", "{session}", "Sessions that got a new id, as at login"),
        (events.SessionEnded, "ended", "{session}", "Sessions that ended"),
        (events.SessionRejected, "rejected", "{cookie}", "Cookies and records that were refused"),
        (events.SessionDropped, "dropped", "{request}", "Requests whose changes were not stored"),
        (events.SessionConflict, "conflicts", "{request}", "Requests that met a conflict"),
    ):
        counter = meter.create_counter(f"pyramid.session.{name}", unit, what)

        def count(event: Any, counter: Any = counter) -> None:
            reason = getattr(event, "reason", None)
            counter.add(1, {} if reason is None else {_REASON: label(reason)})

        config.add_subscriber(count, event)


def _measure_operations(config: Any, meter: Meter) -> None:
    loads = meter.create_counter("pyramid.session.loads", "{record}", "Records that were asked for")
    saves = meter.create_counter("pyramid.session.saves", "{request}", "Requests that stored")
    duration = meter.create_histogram(
        "pyramid.session.operation.duration",
        *("s", "Time that an operation on the storage took"),
        explicit_bucket_boundaries_advisory=_SECONDS,
    )
    size = meter.create_histogram(
        "pyramid.session.operation.size",
        *("By", "Size of the record that was read or written"),
        explicit_bucket_boundaries_advisory=_BYTES,
    )

    def measure(plug: str, operation: Operation) -> None:
        if operation.error == NOT_TRIED:
            return
        about: dict[str, str | bool] = {_PLUG: plug, "pyramid.session.operation": operation.name}
        if operation.error is not None:
            duration.record(operation.seconds, {**about, "error.type": operation.error})
            return
        duration.record(operation.seconds, about)
        if operation.size:
            size.record(operation.size, about)
        if operation.name == "loads":
            loads.add(1, {_PLUG: plug, "pyramid.session.found": operation.size > 0})

    def close(event: events.SessionClosed) -> None:
        for operation in event.operations:
            measure(event.plug, operation)
        if event.stored:
            saves.add(1, {_PLUG: event.plug})

    config.add_subscriber(close, events.SessionClosed)


def _observe_outages(config: Any, meter: Meter) -> None:
    # The meter lives as long as the process.
    registry = ref(config.registry)

    def observe(value: Callable[[PlugLog], int]) -> Any:
        def callback(_options: CallbackOptions) -> Iterable[Observation]:
            application = registry()
            plug = None if application is None else application.queryUtility(IPlugSession)
            for each in _members(plug):
                yield Observation(value(breaker_of(each).log), {_PLUG: describe(each)})

        return [callback]

    meter.create_observable_counter(
        "pyramid.session.outages",
        observe(lambda log: log.outages),
        *("{outage}", "Outages of the storage that began"),
    )
    meter.create_observable_up_down_counter(
        "pyramid.session.active_outages",
        observe(lambda log: int(log.outage is not None)),
        *("{outage}", "1 during an outage of the storage, else 0"),
    )
    meter.create_observable_counter(
        "pyramid.session.operation.failures",
        observe(lambda log: log.failures),
        *("{operation}", "Operations that failed or were not tried, in outages"),
    )


def _members(plug: Any) -> Iterable[Any]:
    """Return a plug, or the members of a chain, each of which may have outages."""
    if isinstance(plug, ChainPlug):
        return (*plug.front, plug.authority)
    return () if plug is None else (plug,)
