"""Delivers what a broker lends, for one public API key: the one place where the relay meets outbox and sender.

The broker keeps each message until it is settled, so memory is enough: what a dying relay holds is received again, with
the same message ids.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.outbox.counters import CORRUPT
from koala_middleware.delivery.outbox.memory import MemoryOutbox
from koala_middleware.delivery.outbox.spool import Full, Spool
from koala_middleware.delivery.report import DeliveryStats
from koala_middleware.delivery.schedule.lanes import Parcel, Waiting
from koala_middleware.delivery.sending.sender import DISK_BYTES, Sender, directory_for
from koala_middleware.delivery.sending.threads import Bell
from koala_middleware.log_once import logger
from koala_middleware.protocol.batches import Batch


class BorrowedDelivery:
    """For one thread at a time."""

    def __init__(self, config: KoalaConfig) -> None:
        self._outbox = _BorrowedOutbox(config)
        self._sender = Sender(config, self._outbox)

    def put(self, batch: Batch) -> None:
        self._sender.put(batch)

    def count_corrupt(self) -> None:
        """Counts a message that holds no batch."""
        self._outbox.count_dropped(1, CORRUPT)

    def wait_settled(self, deadline: float) -> bool:
        """Waits until nothing is left to deliver. False when that takes longer than the deadline, on the monotonic
        clock."""
        return self._outbox.wait_settled(deadline)

    def hand_back(self) -> None:
        """Forgets what is not settled."""
        self._outbox.forget()

    def close(self) -> None:
        """Hands back, and ends threads and connections."""
        self._outbox.forget()
        self._sender.close(0)

    def stats(self) -> DeliveryStats:
        return self._outbox.stats()


class _BorrowedOutbox(MemoryOutbox):
    """Not bounded: the pump bounds how many messages are in hand.

    Entries that the endpoint refuses are kept aside where the settings name an outbox directory.
    """

    def __init__(self, config: KoalaConfig) -> None:
        super().__init__(linger=0.0, max_entries=sys.maxsize, max_bytes=sys.maxsize, drop_old=False)
        self._settled = Bell()
        self._aside: Spool | None = None
        if config.outbox is not None:
            directory = directory_for(config.outbox, config.public_api_key)
            self._aside = Spool(directory, max_bytes=config.outbox_max_bytes or DISK_BYTES, sync=False)

    def done(self, parcel: Parcel, items: Sequence[Waiting]) -> None:
        super().done(parcel, items)
        self._settled.ring()

    def done_all(self, parcels: Sequence[Parcel]) -> None:
        super().done_all(parcels)
        self._settled.ring()

    def refuse(self, parcel: Parcel, items: Sequence[Waiting], reason: str) -> None:
        if self._aside is not None:
            try:
                self._aside.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._aside.keep_refused(items, reason)
            except (Full, OSError) as trouble:
                logger.error("Koala: %d refused entries could not be kept aside: %s", len(items), trouble)
        super().refuse(parcel, items, reason)
        self._settled.ring()

    def wait_settled(self, deadline: float) -> bool:
        while self._waits():
            if (left := deadline - time.monotonic()) <= 0:
                return False
            self._settled.wait(left)
        return True

    def forget(self) -> None:
        with self._sorted():
            self._ledger.accepted -= self._lanes.entries
            self._lanes.clear()

    def _waits(self) -> bool:
        with self._sorted():
            return self._lanes.entries > 0
