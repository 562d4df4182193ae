"""The relay: delivers messages from a broker by the rules of a site without one, and says when they are settled.

Must not know any broker.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.relay.borrowed import BorrowedDelivery
from koala_middleware.delivery.report import DeliveryStats
from koala_middleware.delivery.transports.broker_message import NotABatchError, batch_from
from koala_middleware.errors import KoalaConfigError
from koala_middleware.log_once import LogOnce


class Relay:
    """Accepts messages, and tells when all of them are settled: delivered, or refused and kept aside.

    For one thread at a time. Starts nothing before the first message.
    """

    def __init__(self, config: KoalaConfig) -> None:
        self._config = replace(config, enabled=True, transport="http", delivery="thread", flush_interval=0.0)
        self._deliveries: dict[str, BorrowedDelivery] = {}  # by public API key
        self._pid = os.getpid()
        self._log = LogOnce()

    def accept(self, public_api_key: str, body: bytes | str) -> None:
        """Starts to deliver one message. Never raises: a message without a batch is counted and logged."""
        try:
            batch = batch_from(body)
            delivery = self._delivery(public_api_key)
        except (NotABatchError, KoalaConfigError) as error:
            kind = type(error).__name__
            self._log.error(f"a message in the queue is no batch and is left out ({kind})")
            self._delivery(self._config.public_api_key).count_corrupt()
        else:
            delivery.put(batch)

    def wait_settled(self, timeout: float) -> bool:
        """Waits until everything that was accepted is settled. Returns False after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        return all(delivery.wait_settled(deadline) for delivery in self._deliveries.values())

    def hand_back(self) -> None:
        """Forgets what is not settled: the broker still has it, and delivers it again."""
        for delivery in self._deliveries.values():
            delivery.hand_back()

    def close(self) -> None:
        """Hands back, and ends threads and connections."""
        for delivery in self._deliveries.values():
            delivery.close()

    def stats(self) -> dict[str, DeliveryStats]:
        """Counts of what this process has accepted, by public API key. What was handed back does not count."""
        return {key: delivery.stats() for key, delivery in self._deliveries.items()}

    def _delivery(self, public_api_key: str) -> BorrowedDelivery:
        if self._pid != os.getpid():  # forked after use: threads and connections are the parent's
            self._pid, self._deliveries = os.getpid(), {}
        delivery = self._deliveries.get(public_api_key)
        if delivery is None:
            config = replace(self._config, public_api_key=public_api_key)
            delivery = self._deliveries[public_api_key] = BorrowedDelivery(config)
        return delivery
