"""Prometheus metrics: requests, entries, and how writing goes. Must not hold names or personal data."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class Metrics:
    """One collector's metrics, in a registry of their own."""

    def __init__(self, waiting: Callable[[], int], size: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "koala_collector_requests", "Requests by outcome", ["outcome"], registry=self.registry
        )
        self.entries = Counter("koala_collector_entries", "New entries stored", registry=self.registry)
        self.failed = Counter(
            "koala_collector_failed", "Requests that could not be stored", registry=self.registry
        )
        self.repeats = Counter(
            "koala_collector_repeats", "Entries that were stored before", registry=self.registry
        )
        self.commit = Histogram(
            "koala_collector_commit_seconds",
            "Time to write one group",
            buckets=_SECONDS,
            registry=self.registry,
        )
        Gauge(
            "koala_collector_waiting", "Requests waiting to be written", registry=self.registry
        ).set_function(waiting)
        Gauge("koala_collector_database_bytes", "Database on disk", registry=self.registry).set_function(size)

    def value(self, name: str) -> int:
        """A counter's value since the start."""
        return int(self.registry.get_sample_value(name) or 0)

    def text(self) -> bytes:
        return generate_latest(self.registry)
