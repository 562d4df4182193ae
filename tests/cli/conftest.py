"""An outbox that ended processes have left, and a collector to deliver it to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import support.batches
from support.endpoint import json_endpoint

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery import Delivery
from koala_middleware.protocol.batches import Batch
from koala_middleware.testing import Answer, Collector

__all__ = ["batch", "collector", "deliver", "json_endpoint", "outbox"]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture
def batch() -> Callable[..., Batch]:
    """`batch("ada", "1", "2")`: two events of one visitor."""

    return support.batches.batch


@pytest.fixture
def deliver(collector: Collector) -> Iterator[Callable[..., Delivery]]:
    """Makes deliveries to the collector, which are closed at the end of the test."""
    deliveries: list[Delivery] = []

    def make(outbox: Path, **settings: object) -> Delivery:
        defaults = {"public_api_key": "pk_test", "endpoint": collector.url, "flush_interval": 0}
        deliveries.append(Delivery(KoalaConfig(**{**defaults, "outbox": outbox, **settings})))  # type: ignore[arg-type]
        return deliveries[-1]

    yield make
    for delivery in deliveries:
        delivery.close(0)


@pytest.fixture
def outbox(
    tmp_path: Path, collector: Collector, deliver: Callable[..., Delivery], batch: Callable[..., Batch]
) -> Path:
    """Two refused entries and three that wait, of processes that have ended."""
    delivery = deliver(tmp_path / "outbox")
    collector.answer(*[Answer(400, body={"error": "event is missing"})] * 3)  # the batch, then its halves
    delivery.put(batch("ada", "r1", "r2"))
    assert delivery.flush(10).complete
    assert delivery.stats().refused == 2
    collector.answer(Answer(503, {"Retry-After": "100"}))
    delivery.put(batch("grace", "w1", "w2", "w3"))
    assert delivery.close(0.3).waiting == 3
    return tmp_path / "outbox"
