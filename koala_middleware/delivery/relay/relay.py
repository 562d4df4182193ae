"""The relay: posts what comes out of a broker, by the same rules as a site without one, and says when it is
settled.

Until then the broker keeps the message, so memory is enough here: what a dying relay had in hand comes again,
with the same message ids. Must not know any broker.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.delivery_log import log
from koala_middleware.delivery.outbox.counters import CORRUPT
from koala_middleware.delivery.outbox.memory import MemoryOutbox
from koala_middleware.delivery.outbox.spool import Full, Spool
from koala_middleware.delivery.report import DeliveryStats
from koala_middleware.delivery.schedule.lanes import Parcel, Waiting
from koala_middleware.delivery.sending.sender import DISK_BYTES, Sender, directory_for
from koala_middleware.delivery.sending.threads import Bell
from koala_middleware.delivery.transports.broker_message import NotABatchError, batch_in
from koala_middleware.errors import KoalaConfigError
from koala_middleware.log_once import LogOnce


class Relay:
    """Takes messages, and tells when all of them are settled: delivered, or refused and kept aside.

    For one thread at a time. Makes nothing before the first message, in the process that has it.
    """

    def __init__(self, config: KoalaConfig) -> None:
        self._config = replace(config, enabled=True, transport="http", delivery="thread", flush_interval=0.0)
        self._senders: dict[str, Sender] = {}
        self._outboxes: dict[str, BorrowedOutbox] = {}
        self._pid = os.getpid()
        self._notices = LogOnce()

    def take(self, public_api_key: str, body: bytes | str) -> None:
        """Begins to deliver one message. Never raises: one that is no batch is counted and said."""
        try:
            batch = batch_in(body)
            sender = self._sender(public_api_key)
        except (NotABatchError, KoalaConfigError) as error:
            kind = type(error).__name__
            self._notices.error(f"a message in the queue is no batch and is left out ({kind})")
            self._sender(self._config.public_api_key).outbox.count_dropped(1, CORRUPT)
        else:
            sender.put(batch)

    def settled(self, seconds: float) -> bool:
        """Whether all that was taken is settled; waits for it, so long at most."""
        deadline = time.monotonic() + seconds
        return all(outbox.settled_by(deadline) for outbox in self._outboxes.values())

    def hand_back(self) -> None:
        """Forgets what is not settled: the broker has it, and somebody will be given it again."""
        for outbox in self._outboxes.values():
            outbox.forget()

    def close(self) -> None:
        """Hands back, and lets go of connections and threads."""
        self.hand_back()
        for sender in self._senders.values():
            sender.close(0)

    def stats(self) -> dict[str, DeliveryStats]:
        """Of what this process has taken, by public API key. What was handed back does not count."""
        return {key: sender.outbox.stats() for key, sender in self._senders.items()}

    def _sender(self, public_api_key: str) -> Sender:
        if self._pid != os.getpid():  # forked after use: threads and connections are the parent's
            self._pid, self._senders, self._outboxes = os.getpid(), {}, {}
        sender = self._senders.get(public_api_key)
        if sender is None:
            config = replace(self._config, public_api_key=public_api_key)
            outbox = self._outboxes[public_api_key] = BorrowedOutbox(config)
            sender = self._senders[public_api_key] = Sender(config, outbox)
        return sender


class BorrowedOutbox(MemoryOutbox):
    """Holds what a broker lends it. Not bounded: whoever takes messages bounds how many.

    What the endpoint refuses is kept aside where the settings name a directory.
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
                log.error("Koala: %d refused entries could not be kept aside: %s", len(items), trouble)
        super().refuse(parcel, items, reason)
        self._settled.ring()

    def settled_by(self, deadline: float) -> bool:
        """Nothing waits any more; or it is not so by the deadline, on the monotonic clock."""
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
