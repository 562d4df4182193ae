"""Delivery: the one door to delivery for the rest of the package.

Must not know how a batch is sent, nor what happens at forks and ends.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from typing import TYPE_CHECKING

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery import processes
from koala_middleware.delivery.outbox import counters
from koala_middleware.delivery.outbox.counters import Ledger
from koala_middleware.delivery.report import DeliveryReport, DeliveryStats, Health
from koala_middleware.delivery.schedule.purge_targets import People
from koala_middleware.log_once import LogOnce
from koala_middleware.protocol.batches import Batch

if TYPE_CHECKING:
    from koala_middleware.delivery.sending.sender import Sender

FLUSH_TIMEOUT = 10.0  # seconds, where flush() is not told


class Delivery:
    """Takes batches, delivers them, accounts for them.

    Two of equal configuration in one process share one sender, and so its numbers: a client made per request
    costs no thread. Making one starts nothing and opens nothing; the first `put` does, in the process that
    has it. After `close` it can be used again.
    """

    def __init__(self, config: KoalaConfig) -> None:
        self._config = config
        self._sender: Sender | None = None
        self._in_use = False  # we are one of its users
        self._pid = os.getpid()
        self._off = Ledger()
        if config.enabled and config.delivery != "off":
            processes.prepare(config)

    def put(self, batch: Batch) -> None:
        """Never raises and, but for `delivery="inline"`, never waits for the network.

        With a durable outbox the batch is safe from the death of the process when this returns.
        """
        try:
            if self._config.delivery == "off":
                self.dropped(len(batch.entries), counters.OFF)
            else:
                self._ready().put(batch)
        except Exception as error:  # noqa: BLE001  (the app comes first, whatever happens here)
            _notices.error("a batch could not be taken in", error)

    def dropped(self, entries: int, reason: str) -> None:
        """Counts entries that never came to delivery (sampled out, `before_send`), so that the sum is
        right."""
        if self._config.delivery == "off" or not self._config.enabled:
            self._off.accepted += entries
            self._off.drop(entries, reason)
        else:
            self._ready().outbox.count_dropped(entries, reason)

    def set_aside(self, batch: Batch, reason: str) -> None:
        """Keeps a batch that must not be sent with the refused ones, to be looked at. Never raises."""
        try:
            if self._config.delivery == "off":
                self.dropped(len(batch.entries), counters.OFF)
            else:
                self._ready().outbox.set_aside(batch, reason)
        except Exception as error:  # noqa: BLE001  (as in put)
            _notices.error("a batch could not be kept aside", error)

    def adopt(self) -> None:
        """Takes over what dead processes left in the durable outbox, without an entry of one's own."""
        self._ready().outbox.tend(time.monotonic())

    def purge(self, emails: Collection[str]) -> int:
        """Takes out what waits of these people; answers how many entries that were.

        Out of a durable outbox's files as well. What another living process has there goes within seconds,
        and is not in the number.
        """
        people, sender = People.of(emails), self._current()
        if sender is not None:
            return sender.outbox.purge(people)
        if self._config.outbox is None:
            return 0
        from koala_middleware.delivery.outbox.purging import known_in, purge_directory  # noqa: PLC0415  (rare)
        from koala_middleware.delivery.sending.sender import directory_for  # noqa: PLC0415  (as in processes.prepare)

        directory = directory_for(self._config.outbox, self._config.public_api_key)
        return purge_directory(directory, known_in(directory, people))

    def flush(self, timeout: float | None = None) -> DeliveryReport:
        """Sends what waits now.

        Args:
            timeout: Seconds that it may take, 10 when None. It ends before that when nothing can be sent
            before.
        """
        sender = self._current()
        if sender is None:
            return _NOTHING
        return sender.flush(FLUSH_TIMEOUT if timeout is None else timeout)

    def close(self, timeout: float | None = None) -> DeliveryReport:
        """Flushes and lets go. Idempotent; a later `put` starts anew.

        What is still there then stays in a durable outbox; from memory it is lost, counted ("process
        ended") and said in one log line. While others of equal configuration are open, or have put something
        meanwhile, this only flushes.

        Args:
            timeout: Seconds that it may take, `shutdown_timeout` when None.
        """
        sender = self._current()
        if sender is None:
            return _NOTHING
        seconds = self._config.shutdown_timeout if timeout is None else timeout
        sender.users.discard(self)
        self._in_use = False
        return sender.flush(seconds) if sender.users else sender.close(seconds)

    def stats(self) -> DeliveryStats:
        sender = self._current()
        if sender is None:
            off = self._off
            return DeliveryStats(accepted=off.accepted, dropped=dict(off.dropped))
        return sender.outbox.stats()

    def health(self) -> Health:
        sender = self._current()
        if sender is None:
            return Health(
                ok=True, state="idle", reason="", waiting=0, oldest_waiting_age=None, last_success=None
            )
        return sender.health()

    def _ready(self) -> Sender:
        sender = self._current()
        if sender is None or not self._in_use:
            sender = self._sender = processes.sender_for(self._config)
            sender.users.add(self)
            self._in_use = True
        return sender

    def _current(self) -> Sender | None:
        if self._pid != os.getpid():  # we are a forked child: the sender is our parent's
            self._pid = os.getpid()
            self._sender = None
            self._off = Ledger()
        return self._sender


_NOTHING = DeliveryReport(complete=True)
_notices = LogOnce()
