"""Taking batches down instead of sending them. Cookies and responses stay as in production.

While `recording()` is on, a client made anywhere in the process delivers for real only to an endpoint that
was asked for: a test's collector. So no test suite reaches production by accident.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from koala_middleware.client import KoalaClient
from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery import Delivery
from koala_middleware.protocol.batches import Batch
from koala_middleware.protocol.bodies import request_body
from koala_middleware.testing.recorded import RecordedBatches

_listening: list[RecordedBatches] = []
_endpoints: set[str] = set()


class RecordedDelivery(Delivery):
    """Shows each batch to those who listen, and delivers it only where that was asked for."""

    def __init__(self, config: KoalaConfig) -> None:
        super().__init__(config if config.endpoint in _endpoints else replace(config, delivery="off"))

    def put(self, batch: Batch) -> None:
        for listener in _listening:
            listener.add(json.loads(request_body(batch)))
        super().put(batch)


@contextmanager
def recording() -> Iterator[None]:
    """Within this block, no client that is made delivers to anything but a test's collector."""
    before = KoalaClient.delivered_by
    KoalaClient.delivered_by = RecordedDelivery
    try:
        yield
    finally:
        KoalaClient.delivered_by = before


@contextmanager
def listening() -> Iterator[RecordedBatches]:
    """What clients made while recording hand over within this block."""
    recorded = RecordedBatches()
    _listening.append(recorded)
    try:
        yield recorded
    finally:
        _listening.remove(recorded)


@contextmanager
def delivering_to(endpoint: str) -> Iterator[None]:
    """Clients made within this block do deliver to this endpoint."""
    _endpoints.add(endpoint)
    try:
        yield
    finally:
        _endpoints.discard(endpoint)
