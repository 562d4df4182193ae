"""Delivery: the interface of this folder for the rest of the package.

Must not know how a batch is sent, nor what happens at forks and ends.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import TYPE_CHECKING

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery import processes
from koala_middleware.delivery.outbox import counters
from koala_middleware.delivery.outbox.counters import Intake
from koala_middleware.delivery.report import DeliveryReport, DeliveryStats, Health
from koala_middleware.delivery.schedule.purge_targets import People
from koala_middleware.log_once import LogOnce
from koala_middleware.protocol.batches import Batch

if TYPE_CHECKING:
    from koala_middleware.delivery.sending.dispatcher import Dispatcher

FLUSH_TIMEOUT = 10.0  # seconds, where flush() is not told


class Delivery:
    """Accepts batches, delivers them, and counts the outcomes.

    Deliveries of equal configuration in one process share one dispatcher and its numbers, so a client made per request
    costs no thread. Making one starts and opens nothing; the first `put` does. After `close` it can be used again.
    """

    def __init__(self, config: KoalaConfig) -> None:
        self._config = config
        self._dispatcher: Dispatcher | None = None
        self._in_use = False  # we are one of its users
        self._pid = os.getpid()
        self._off = Intake()
        self._searched_in = 0  # the process that has looked for what others left
        if config.enabled and config.delivery != "off":
            processes.prepare(config)

    def put(self, batch: Batch) -> None:
        """Never raises and, but for `delivery="inline"`, never waits for the network.

        With a durable outbox the batch survives the death of the process once this returns.
        """
        try:
            if self._config.delivery == "off":
                self.dropped(len(batch.entries), counters.OFF)
            else:
                self._ready().put(batch)
        except Exception as error:  # noqa: BLE001  (the app comes first, whatever happens here)
            _notices.error("a batch could not be taken in", error)

    def dropped(self, entries: int, reason: str) -> None:
        """Count entries that never reached delivery (sampled out, `before_send`), so that the sum is right."""
        if self._config.delivery == "off" or not self._config.enabled:
            self._off.reject(entries, reason)
        else:
            self._ready().reject(entries, reason)

    def set_aside(self, batch: Batch, reason: str) -> None:
        """Keep a batch that must not be sent with the refused entries. Never raises."""
        try:
            if self._config.delivery == "off":
                self.dropped(len(batch.entries), counters.OFF)
            else:
                self._ready().set_aside(batch, reason)
        except Exception as error:  # noqa: BLE001  (as in put)
            _notices.error("a batch could not be kept aside", error)

    def adopt(self) -> None:
        """Adopt what dead processes left in the durable outbox, and wait for it."""
        self._ready().look_around()

    def deliver_leftovers(self) -> None:
        """Begin to deliver what dead processes left in the outbox, once in a process. Waits for nobody, never raises.

        For processes that record nothing themselves: their first exchange calls it.
        """
        if self._searched_in == os.getpid():
            return
        self._searched_in = os.getpid()
        if self._config.delivery != "thread" or self._config.outbox is None or not self._config.enabled:
            return
        try:
            self._ready().begin_search()
        except Exception as error:  # noqa: BLE001  (as in put)
            _notices.error("the outbox could not be searched", error)

    def purge(self, emails: Collection[str]) -> int:
        """Remove these people's waiting entries. Returns their number.

        Purges a durable outbox's files as well. Entries of another living process go within seconds, and are not
        counted.
        """
        people, dispatcher = People.of(emails), self._current()
        if dispatcher is not None:
            return dispatcher.purge(people)
        if self._config.outbox is None:
            return 0
        from koala_middleware.delivery.outbox.choosing import directory_for  # noqa: PLC0415  (as in processes.prepare)
        from koala_middleware.delivery.outbox.purging import known_in, purge_directory  # noqa: PLC0415  (rare)

        directory = directory_for(self._config.outbox, self._config.public_api_key)
        return purge_directory(directory, known_in(directory, people))

    def flush(self, timeout: float | None = None) -> DeliveryReport:
        """Send what waits now.

        Args:
            timeout: Seconds, 10 when None. It ends earlier if nothing can be sent in that time.
        """
        dispatcher = self._current()
        if dispatcher is None:
            return _NOTHING
        return dispatcher.flush(FLUSH_TIMEOUT if timeout is None else timeout)

    def close(self, timeout: float | None = None) -> DeliveryReport:
        """Flush and release everything. Idempotent; a later `put` starts anew.

        Entries that still wait stay in a durable outbox; from memory they are lost, counted ("process ended") and
        logged in one line. While others of equal configuration are open, or put something meanwhile, this only flushes.

        Args:
            timeout: Seconds, `shutdown_timeout` when None.
        """
        dispatcher = self._current()
        if dispatcher is None:
            return _NOTHING
        seconds = self._config.shutdown_timeout if timeout is None else timeout
        dispatcher.users.discard(self)
        self._in_use = False
        return dispatcher.flush(seconds) if dispatcher.users else dispatcher.close(seconds)

    def stats(self) -> DeliveryStats:
        dispatcher = self._current()
        if dispatcher is None:
            rejected = {reason: tally.n for reason, tally in self._off.rejected.items()}
            return DeliveryStats(accepted=sum(rejected.values()), dropped=rejected)
        return dispatcher.stats()

    def health(self) -> Health:
        dispatcher = self._current()
        if dispatcher is None:
            return Health(
                ok=True, state="idle", reason="", waiting=0, oldest_waiting_age=None, last_success=None
            )
        return dispatcher.health()

    def _ready(self) -> Dispatcher:
        dispatcher = self._current()
        if dispatcher is None or not self._in_use:
            dispatcher = self._dispatcher = processes.dispatcher_for(self._config)
            dispatcher.users.add(self)
            self._in_use = True
        return dispatcher

    def _current(self) -> Dispatcher | None:
        if self._pid != os.getpid():  # we are a forked child: the dispatcher is our parent's
            self._pid = os.getpid()
            self._dispatcher = None
            self._off = Intake()
        return self._dispatcher


_NOTHING = DeliveryReport(complete=True)
_notices = LogOnce()
