"""Delivers what a broker lends, for one public API key: the one place where the relay meets outbox and dispatcher.

The broker keeps each message until it is settled, so memory is enough: what a dying relay holds is received again, with
the same message ids.
"""

from __future__ import annotations

import sys
import time

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.clock import monotonic
from koala_middleware.delivery.outbox.base import Outbox, SharedState
from koala_middleware.delivery.outbox.choosing import DISK_BYTES, directory_for
from koala_middleware.delivery.outbox.counters import CORRUPT
from koala_middleware.delivery.outbox.memory import MemoryOutbox
from koala_middleware.delivery.outbox.refused import Refused
from koala_middleware.delivery.report import DeliveryStats
from koala_middleware.delivery.sending.dispatcher import Dispatcher
from koala_middleware.protocol.batches import Batch

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.0005, 0.02  # seconds between two looks


class BorrowedDelivery:
    """For one thread at a time."""

    def __init__(self, config: KoalaConfig) -> None:
        self._dispatcher = Dispatcher(config, _borrowed_outbox)

    def put(self, batch: Batch) -> None:
        self._dispatcher.put(batch)

    def count_corrupt(self) -> None:
        """Counts a message that holds no batch."""
        self._dispatcher.reject(1, CORRUPT)

    def wait_settled(self, deadline: float) -> bool:
        """Waits until nothing is left to deliver. False when that takes longer than the deadline, on the monotonic
        clock."""
        pause = _SHORTEST_PAUSE
        while self._dispatcher.stats().waiting:  # and no flush: that would try an endpoint in trouble at once
            if (left := deadline - monotonic()) <= 0:
                return False
            time.sleep(min(pause, left))
            pause = min(pause * 2, _LONGEST_PAUSE)
        return True

    def hand_back(self) -> None:
        """Forgets what is not settled."""
        self._dispatcher.forget()

    def close(self) -> None:
        """Hands back, and ends threads and connections."""
        self._dispatcher.forget()
        self._dispatcher.close(0)

    def stats(self) -> DeliveryStats:
        return self._dispatcher.stats()


def _borrowed_outbox(shared: SharedState, config: KoalaConfig) -> Outbox:
    """Not bounded: the pump bounds how many messages are in hand.

    Entries that the endpoint refuses are kept aside where the settings name an outbox directory.
    """
    refused = None
    if config.outbox is not None:
        directory = directory_for(config.outbox, config.public_api_key)
        refused = Refused(directory, config.outbox_max_bytes or DISK_BYTES)
    return MemoryOutbox(
        shared, max_entries=sys.maxsize, max_bytes=sys.maxsize, drop_old=False, refused=refused
    )
