"""A sender: one outbox, one gate, one crew, for one endpoint and key in one process.

Puts the parts together and bounds every wait in time. Must not know forks or the end of the process.
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from weakref import WeakSet

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.delivery_log import Logbook, log
from koala_middleware.delivery.outbox.base import Outbox
from koala_middleware.delivery.outbox.durable import DurableOutbox
from koala_middleware.delivery.outbox.memory import MemoryOutbox
from koala_middleware.delivery.report import DeliveryEvent, DeliveryReport, DeliveryStats, Health, State
from koala_middleware.delivery.schedule.lanes import Parcel, longest_wait
from koala_middleware.delivery.sending.circuit_breaker import Gate
from koala_middleware.delivery.sending.hook import Hook
from koala_middleware.delivery.sending.threads import TEND, Bell, Crew, Pause
from koala_middleware.delivery.sending.worker import Worker
from koala_middleware.delivery.transports.base import Transport
from koala_middleware.delivery.transports.choosing import destination, transport_for
from koala_middleware.protocol.batches import Batch

MEMORY_BYTES = 16 * 1024 * 1024
DISK_BYTES = 256 * 1024 * 1024

_GLANCE = 0.25  # seconds between two looks of a flush at whether waiting still makes sense


class Sender:
    """Starts nothing until the first entry.

    Args:
        outbox: Where entries wait; of the kind that the settings name when None.
    """

    def __init__(self, config: KoalaConfig, outbox: Outbox | None = None) -> None:
        self._config = config
        self.users: WeakSet[object] = WeakSet()
        self.outbox = outbox or outbox_for(config)
        self._gate = Gate()
        self._hook = Hook(config.on_delivery)
        self._logbook = Logbook(destination(config), config.alarm_after)
        self._worker = Worker(config, self.outbox, self._gate, self._logbook, self._hook)
        self._inline = config.delivery == "inline" or _threads_stand_still()
        self._crew = Crew(
            config.concurrency,
            claim=self._claim,
            deliver=self._deliver,
            tend=self._tend,
            due=self._due,
            transport=self._transport,
            linger=longest_wait(config.flush_interval),
        )
        self._hurried_at = -math.inf
        self._flushes: dict[Bell, int] = {}
        self._tended_at = -math.inf
        self._closed = False
        self._told_dropped: dict[str, int] = {}

    @property
    def shutdown_timeout(self) -> float:
        return self._config.shutdown_timeout

    def abandon(self) -> None:
        """In a forked child: this is the parent's. Takes no lock."""
        self.outbox.abandon()

    def put(self, batch: Batch) -> None:
        self.outbox.put(batch)
        self._closed = False  # not before: a signal's handler may close in the middle of a put
        if self._inline:
            self.flush(self._config.shutdown_timeout)
        else:
            self._crew.summon(self.outbox.people())

    def flush(self, timeout: float) -> DeliveryReport:
        """Sends what waits now; ends when that is settled, when it cannot be in time, or after `timeout`."""
        return self._flush(timeout)[0]

    def close(self, timeout: float, *, last: bool = False) -> DeliveryReport:
        """Flushes, then lets go of everything; what only memory holds is lost, counted and said.

        Called from on_delivery it only hurries: the thread that would have to deliver is the caller's own. Where
        others have put something meanwhile, it goes on for them, unless this is the `last` of it: the process ends.
        """
        if self._crew.is_crew():
            return self.flush(timeout)
        before, began = self.outbox.stats(), time.monotonic()
        if self._closed:  # and nothing came since
            return DeliveryReport(complete=True, waiting=before.waiting)
        self._closed = True
        report, round_ = self._flush(timeout)
        self._crew.dismiss()
        after = self.outbox.close() if last else self.outbox.close_after(round_)
        if after is None:
            self._closed = False
            self._crew.summon(self.outbox.people())
            return report
        self._tell_dropped(after)
        lost = sum(after.dropped.values()) - sum(before.dropped.values())
        self._logbook.ended(after, before)
        return DeliveryReport(
            complete=report.complete,
            delivered=after.delivered - before.delivered,
            waiting=after.waiting,
            refused=after.refused - before.refused,
            dropped=lost,
            seconds=time.monotonic() - began,
        )

    def health(self) -> Health:
        stats, gate = self.outbox.stats(), self._gate.state
        state: State = gate.state if gate.state != "open" else ("delivering" if stats.waiting else "idle")
        unserved = _unserved(stats)
        reason = ""
        if gate.state != "open" and gate.answer is not None:
            reason = f"{destination(self._config)}: {gate.answer.summary}"
        elif unserved >= self._config.alarm_after:
            reason = f"nothing was delivered for {unserved:.0f} s while entries wait"
        ok = gate.state != "held" and unserved < self._config.alarm_after
        return Health(ok, state, reason, stats.waiting, stats.oldest_waiting_age, stats.last_success)

    def _flush(self, timeout: float) -> tuple[DeliveryReport, int]:
        """The report, and the outbox's number of this flush."""
        began, before = time.monotonic(), self.outbox.stats()
        self._hurried_at = began
        round_ = self.outbox.hurry(began)
        # Called from on_delivery: waiting for ourselves would last until the timeout.
        try:
            if not self._crew.is_crew():
                with self.outbox.lent() as others_work:
                    if others_work and not self._inline:
                        self._wait(round_, began, began + timeout)
                    else:
                        self._work_here(round_, began + timeout)
        finally:
            self.outbox.relax()
        return self._report(before, round_, began), round_

    def _wait(self, round_: int, began: float, deadline: float) -> None:
        """While the crew delivers."""
        settled = Bell()
        self._flushes[settled] = round_
        try:
            while not self.outbox.settled(round_) and (left := deadline - time.monotonic()) > 0:
                self._crew.wake()
                if self._crew.alive == 0:  # the interpreter ends and starts no threads: this one does it
                    self._work_here(round_, deadline)
                    return
                if self.outbox.out() == 0 and self._gate.closed_beyond(deadline, since=began):
                    return
                settled.wait(min(left, _GLANCE))
        finally:
            del self._flushes[settled]

    def _work_here(self, round_: int, deadline: float) -> None:
        """Delivers on the calling thread."""
        transport = self._transport()
        try:
            while not self.outbox.settled(round_) and (left := deadline - time.monotonic()) > 0:
                found = self._claim()
                if not isinstance(found, Pause):
                    self._worker.deliver(found, transport, deadline)
                elif found.seconds >= left:
                    return
                else:
                    time.sleep(found.seconds)
        finally:
            transport.close()

    def _claim(self) -> list[Parcel] | Pause:
        return self._worker.claim(self._hurried_at)

    def _deliver(self, parcels: list[Parcel], transport: Transport) -> None:
        self._worker.deliver(parcels, transport)
        for flush, round_ in tuple(self._flushes.items()):
            # Not after every parcel: two threads that take turns cost more than what they send.
            if self._gate.state.state != "open" or self.outbox.settled(round_):
                flush.ring()

    def _due(self) -> float:
        now, gate = time.monotonic(), self._gate.state
        return max(self.outbox.next_due(now), 0.0 if gate.state == "open" else gate.until - now)

    def _transport(self) -> Transport:
        return transport_for(self._config)

    def _tend(self) -> None:
        now = time.monotonic()
        if now - self._tended_at < TEND:
            return
        self._tended_at = now
        self.outbox.tend(now)
        stats = self.outbox.stats()
        self._logbook.look(stats, _unserved(stats), now)
        self._tell_dropped(stats)

    def _tell_dropped(self, stats: DeliveryStats) -> None:
        told, self._told_dropped = self._told_dropped, dict(stats.dropped)
        for reason, entries in stats.dropped.items():
            if more := entries - told.get(reason, 0):
                self._hook.tell(DeliveryEvent("dropped", more, reason=reason))

    def _report(self, before: DeliveryStats, round_: int, began: float) -> DeliveryReport:
        after = self.outbox.stats()
        return DeliveryReport(
            complete=self.outbox.settled(round_),
            delivered=after.delivered - before.delivered,
            waiting=after.waiting,
            refused=after.refused - before.refused,
            dropped=sum(after.dropped.values()) - sum(before.dropped.values()),
            seconds=time.monotonic() - began,
        )


def outbox_for(config: KoalaConfig) -> Outbox:
    drop_old = config.overflow == "drop-old"
    if config.outbox is None:
        return MemoryOutbox(
            linger=config.flush_interval,
            max_entries=config.outbox_max_entries,
            max_bytes=config.outbox_max_bytes or MEMORY_BYTES,
            drop_old=drop_old,
        )
    return DurableOutbox(
        directory_for(config.outbox, config.public_api_key),
        linger=config.flush_interval,
        max_entries=config.outbox_max_entries,
        max_bytes=config.outbox_max_bytes or DISK_BYTES,
        memory_bytes=min(config.outbox_max_bytes or MEMORY_BYTES, MEMORY_BYTES),
        max_age=config.outbox_max_age,
        drop_old=drop_old,
        sync=config.outbox_fsync,
        hand_over=config.delivery == "relay",
    )


def directory_for(outbox: str, public_api_key: str) -> Path:
    """Entries of different keys never mix: each key has a directory of its own."""
    return Path(outbox) / f"key-{public_api_key}"


def _unserved(stats: DeliveryStats) -> float:
    """Seconds that entries have waited without any delivery."""
    if stats.oldest_waiting_age is None:
        return 0.0
    since_success = math.inf if stats.last_success is None else time.time() - stats.last_success
    return max(min(stats.oldest_waiting_age, since_success), 0.0)


def _threads_stand_still() -> bool:
    """Before 2.0.27, uWSGI without enable-threads starts threads that never run."""
    if getattr(sys.modules.get("uwsgi"), "has_threads", True):
        return False
    log.warning(
        "Koala: uWSGI runs without enable-threads; batches are sent at the end of each request instead."
    )
    return True
