"""Delivery in the host's own observability: its numbers are there, its requests are not."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from opentelemetry import context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest

from koala_middleware import KoalaClient
from koala_middleware.delivery import Delivery
from koala_middleware.delivery.transports.untraced import untraced
from koala_middleware.metrics import to_opentelemetry, to_prometheus
from koala_middleware.protocol.batches import Batch

Deliver = Callable[..., Delivery]
MakeBatch = Callable[..., Batch]
RunPython = Callable[..., "subprocess.Popen[str]"]
Endpoint = Any  # conftest.py's; reaches tests as a fixture


@pytest.fixture
def delivery(endpoint: Endpoint, deliver: Deliver, batch: MakeBatch) -> Delivery:
    """Two entries delivered, one sampled out, one that waits."""
    made = deliver(flush_interval=6000)
    made.put(batch("ada", 1, 2))
    assert made.flush(10).complete
    made.dropped(1, "sampled")
    made.put(batch("ada", 3))
    return made


def test_a_client_tells_its_deliverys_health(defaults: dict[str, Any], batch: MakeBatch) -> None:
    with closing(KoalaClient(**{**defaults, "endpoint": "http://127.0.0.1:9"})) as client:
        assert client.health().state == "idle"
        client._pipeline.delivery.put(batch("ada", 1))
        client.flush(10)
        assert client.health().state == "outage"


def test_prometheus_sees_what_became_of_every_entry(delivery: Delivery) -> None:
    registry = CollectorRegistry()
    to_prometheus(delivery, registry)
    text = generate_latest(registry).decode()
    assert 'koala_entries_total{fate="delivered",reason=""} 2.0' in text
    assert 'koala_entries_total{fate="dropped",reason="sampled"} 1.0' in text
    assert "koala_waiting_entries 1.0" in text


def test_opentelemetry_sees_the_same(delivery: Delivery) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    to_opentelemetry(delivery, provider.get_meter("test"))
    data = reader.get_metrics_data()
    assert data is not None
    points: dict[Any, Any] = {
        (metric.name, (point.attributes or {}).get("fate")): getattr(point, "value", None)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    }
    assert points["koala.entries", "delivered"] == 2
    assert points["koala.waiting", None] == 1
    provider.shutdown()


def test_opentelemetrys_instrumentations_are_told_to_look_away() -> None:
    assert context.get_value("suppress_instrumentation") is None
    with untraced():
        assert context.get_value("suppress_instrumentation") is True
        assert context.get_value(context._SUPPRESS_INSTRUMENTATION_KEY) is True
    assert context.get_value("suppress_instrumentation") is None


def test_sentry_gets_no_breadcrumb_and_no_span_of_ours(endpoint: Endpoint, run_python: RunPython) -> None:
    """In a process of its own: sentry_sdk patches the whole standard library for good."""
    process = run_python(
        """
        import sentry_sdk
        messages, transactions = [], []
        sentry_sdk.init(
            "http://key@127.0.0.1:9/1",
            traces_sample_rate=1,
            auto_enabling_integrations=False,  # those import whatever is installed here
            before_send=lambda event, _: messages.append(event),
            before_send_transaction=lambda event, _: transactions.append(event),
        )
        with sentry_sdk.start_transaction(name="request"):
            delivery.put(batch("ada", 1))
            sentry_sdk.capture_message("after the request")
        crumbs = messages[0].get("breadcrumbs", {}).get("values", [])
        print(json.dumps([crumbs, transactions[0]["spans"]], default=str), flush=True)
        os._exit(0)
        """,
        delivery="inline",
    )
    out, err = process.communicate(timeout=60)
    assert json.loads(out) == [[], []], err
    assert endpoint.taken == ["1"]
