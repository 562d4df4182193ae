"""The counts of delivery as Prometheus or OpenTelemetry metrics.

They are read when a scrape asks for them. Neither library is imported before it is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from koala_middleware.delivery.report import DeliveryStats

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

_ENTRIES = "Entries by outcome."
_WAITING = "Entries that wait for delivery."
_OLDEST = "Seconds that the oldest entry has waited."


class HasStats(Protocol):
    """A KoalaClient, or a Delivery."""

    def stats(self) -> DeliveryStats: ...


def to_prometheus(source: HasStats, registry: CollectorRegistry | None = None) -> None:
    """Registers `koala_entries_total{fate, reason}`, `koala_waiting_entries`, `koala_oldest_waiting_seconds`.

    Args:
        registry: prometheus_client's default if None.
    Raises:
        ImportError: prometheus_client is not installed.
    """
    from prometheus_client import REGISTRY  # noqa: PLC0415

    (registry or REGISTRY).register(_PrometheusCollector(source))


def to_opentelemetry(source: HasStats, meter: Meter | None = None) -> None:
    """Registers the same as observable instruments: `koala.entries`, `koala.waiting`, `koala.oldest_waiting`.

    Args:
        meter: One of the global provider if None.
    Raises:
        ImportError: opentelemetry-api is not installed.
    """
    from opentelemetry import metrics  # noqa: PLC0415

    def entries(_: CallbackOptions) -> Iterable[Observation]:
        for fate, reason, count in fates(source.stats()):
            yield metrics.Observation(count, {"fate": fate, "reason": reason})

    def waiting(_: CallbackOptions) -> Iterable[Observation]:
        yield metrics.Observation(source.stats().waiting)

    def oldest(_: CallbackOptions) -> Iterable[Observation]:
        yield metrics.Observation(source.stats().oldest_waiting_age or 0.0)

    meter = meter or metrics.get_meter("koala_middleware")
    meter.create_observable_counter("koala.entries", [entries], "{entry}", _ENTRIES)
    meter.create_observable_gauge("koala.waiting", [waiting], "{entry}", _WAITING)
    meter.create_observable_gauge("koala.oldest_waiting", [oldest], "s", _OLDEST)


def fates(stats: DeliveryStats) -> Iterator[tuple[str, str, int]]:
    """(fate, reason, number of entries). Only dropped entries have a reason."""
    yield "accepted", "", stats.accepted
    yield "delivered", "", stats.delivered
    yield "refused", "", stats.refused
    for reason, count in stats.dropped.items():
        yield "dropped", reason, count


class _PrometheusCollector:
    def __init__(self, source: HasStats) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415

        stats = self._source.stats()
        entries = CounterMetricFamily("koala_entries", _ENTRIES, labels=["fate", "reason"])
        for fate, reason, count in fates(stats):
            entries.add_metric([fate, reason], count)
        yield entries
        yield GaugeMetricFamily("koala_waiting_entries", _WAITING, value=stats.waiting)
        oldest = stats.oldest_waiting_age or 0.0
        yield GaugeMetricFamily("koala_oldest_waiting_seconds", _OLDEST, value=oldest)
