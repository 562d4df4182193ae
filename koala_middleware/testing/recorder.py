"""Records batches instead of sending them. Cookies and responses stay as in production.

While `recording()` is on, clients deliver only to endpoints that were allowed: those of a test's collector. So no test
suite reaches production by accident.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.config.test_runs import allowed_endpoints
from koala_middleware.delivery import Delivery
from koala_middleware.pipeline import Pipeline
from koala_middleware.protocol.batches import Batch
from koala_middleware.protocol.request_bodies import request_body
from koala_middleware.testing.recorded import RecordedBatches

_listeners: list[RecordedBatches] = []


class RecordedDelivery(Delivery):
    """Gives each batch to the listeners, and delivers it only to allowed endpoints."""

    def __init__(self, config: KoalaConfig) -> None:
        super().__init__(config if config.endpoint in allowed_endpoints else replace(config, delivery="off"))

    def put(self, batch: Batch) -> None:
        for listener in _listeners:
            listener.add(json.loads(request_body(batch)))
        super().put(batch)


@contextmanager
def recording() -> Iterator[None]:
    """Clients made within this block deliver only to allowed endpoints."""
    before = Pipeline.delivery_class
    Pipeline.delivery_class = RecordedDelivery
    try:
        yield
    finally:
        Pipeline.delivery_class = before


@contextmanager
def listening() -> Iterator[RecordedBatches]:
    """The batches of this block, from clients made while recording."""
    recorded = RecordedBatches()
    _listeners.append(recorded)
    try:
        yield recorded
    finally:
        _listeners.remove(recorded)


@contextmanager
def delivering_to(endpoint: str) -> Iterator[None]:
    """Clients made within this block deliver to this endpoint."""
    allowed_endpoints.add(endpoint)
    try:
        yield
    finally:
        allowed_endpoints.discard(endpoint)
