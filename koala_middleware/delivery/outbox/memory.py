"""The memory outbox: bounded by entries and bytes, gone with its process.

`put` never waits: it lays the batch into an inbox, and whoever has the lock at that moment sorts the inbox
into lanes. That also makes it safe to call from a signal handler or a finaliser that interrupts another call.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from koala_middleware.delivery.gil import STRETCH, breathe
from koala_middleware.delivery.outbox import counters
from koala_middleware.delivery.outbox.base import Outbox
from koala_middleware.delivery.outbox.counters import Ledger
from koala_middleware.delivery.report import DeliveryStats
from koala_middleware.delivery.schedule.lanes import Claim, Lanes, Parcel, Waiting
from koala_middleware.delivery.schedule.purge_targets import People
from koala_middleware.protocol.batches import Batch


class MemoryOutbox(Outbox):
    """Holds at most `max_entries` and `max_bytes`; what comes on top falls to `overflow`."""

    def __init__(self, *, linger: float, max_entries: int, max_bytes: int, drop_old: bool) -> None:
        self._lock = threading.RLock()
        self._inbox: deque[Callable[[], None] | tuple[Batch, float]] = deque()
        self._sorting = False
        self._lanes = Lanes(linger)
        self._ledger = Ledger()
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._drop_old = drop_old

    def put(self, batch: Batch) -> None:
        self._inbox.append((batch, time.time()))
        self._sort_if_free()

    def count_dropped(self, entries: int, reason: str) -> None:
        def note() -> None:
            self._ledger.accepted += entries
            self._ledger.drop(entries, reason)

        self._inbox.append(note)
        self._sort_if_free()

    def set_aside(self, batch: Batch, reason: str) -> None:  # noqa: ARG002  (memory keeps none)
        entries = len(batch.entries)

        def note() -> None:
            self._ledger.accepted += entries
            self._ledger.refused += entries

        self._inbox.append(note)
        self._sort_if_free()

    def claim_many(self, now: float, most: int) -> list[Parcel]:
        claim = Claim(most)
        while True:
            with self._sorted():
                if not self._lanes.load(claim, now, STRETCH):
                    return self._lanes.claimed(claim, now)
            breathe()

    def release(self, parcels: Sequence[Parcel]) -> None:
        with self._sorted():
            self._lanes.release(list(filter(self._lanes.is_out, parcels)))

    def done(self, parcel: Parcel, items: Sequence[Waiting]) -> None:
        with self._sorted():
            if self._lanes.is_out(parcel):
                entries = len(items)
                self._ledger.delivered += entries
                self._ledger.last_success = time.time()
                self._lanes.settle(parcel, items, time.monotonic())

    def done_all(self, parcels: Sequence[Parcel]) -> None:
        with self._sorted():
            out = [parcel for parcel in parcels if self._lanes.is_out(parcel)]
            entries = sum(len(parcel.items) for parcel in out)
            self._ledger.delivered += entries
            self._ledger.last_success = time.time()
            self._lanes.settle_all(out, time.monotonic())

    def refuse(self, parcel: Parcel, items: Sequence[Waiting], reason: str) -> None:  # noqa: ARG002  (memory keeps none)
        with self._sorted():
            if self._lanes.is_out(parcel):
                entries = len(items)
                self._ledger.refused += entries
                self._lanes.settle(parcel, items, time.monotonic())

    def put_back(self, parcel: Parcel, now: float, at: float | None = None) -> None:
        with self._sorted():
            if self._lanes.is_out(parcel):
                self._ledger.retries += 1
                self._lanes.put_back(parcel, now, at)

    def purge(self, people: People) -> int:
        with self._sorted():
            return len(self._take_out(people))

    def next_due(self, now: float) -> float:
        with self._sorted():
            return self._lanes.next_due(now)

    def people(self) -> int:
        return self._lanes.people

    @contextmanager
    def lent(self) -> Iterator[bool]:
        # For others it is as if the handler had made their calls itself, which may come at any step of the call
        # that it interrupts; and none of them is in the middle of one when that goes on.
        lock = cast("Any", self._lock)
        held = lock._release_save() if owns(lock) else None
        try:
            yield True
        finally:
            if held is not None:
                lock._acquire_restore(held)

    def out(self) -> int:
        return self._lanes.out

    def hurry(self, now: float) -> int:  # noqa: ARG002  (only a disk is looked at)
        with self._sorted():
            return self._lanes.hurry()

    def relax(self) -> None:
        with self._sorted():
            self._lanes.relax()

    def settled(self, round_: int) -> bool:
        with self._sorted():
            return self._lanes.settled(round_)

    def recovered(self) -> None:
        with self._sorted():
            self._lanes.make_late()

    def stats(self) -> DeliveryStats:
        with self._sorted():
            ledger, oldest = self._ledger, self._lanes.oldest()
            return DeliveryStats(
                accepted=ledger.accepted,
                delivered=ledger.delivered,
                waiting=self._waiting(),
                refused=ledger.refused,
                dropped=dict(ledger.dropped),
                retries=ledger.retries,
                waiting_bytes=self._waiting_bytes(),
                adopted=ledger.adopted,
                oldest_waiting_age=None if oldest is None else max(time.time() - oldest, 0.0),
                last_success=ledger.last_success,
            )

    def tend(self, now: float) -> None:
        pass

    def close(self) -> DeliveryStats:
        with self._sorted():
            self._drop_the_rest(*self._lanes.clear())
        return self.stats()

    def close_after(self, round_: int) -> DeliveryStats | None:
        with self._sorted():
            # What a put of this very thread is sorting in, when a signal's handler closes, has come since, too.
            return None if self._sorting or self._lanes.came_since(round_) else self.close()

    def _drop_the_rest(self, unanswered: list[Waiting], rest: list[Waiting]) -> None:
        """At the close, from what waits: of some the endpoint may have heard, only the answer is missing."""
        self._ledger.drop(len(unanswered), counters.UNANSWERED)
        self._ledger.drop(len(rest), counters.ENDED)

    def abandon(self) -> None:
        pass  # the child's own sender starts empty

    @contextmanager
    def _sorted(self) -> Iterator[None]:
        """The lock, with the inbox sorted. Never taken by `put`, so nothing on the app's path waits for
        it."""
        with self._lock:
            self._sort()
            yield

    def _sort_if_free(self) -> None:
        if self._lock.acquire(blocking=False):
            try:
                self._sort()
            finally:
                self._lock.release()

    def _sort(self) -> None:
        if self._sorting:
            return  # this very thread does it already, further up the stack
        self._sorting = True
        try:
            while self._inbox:
                came = self._inbox[0]
                if callable(came):
                    self._inbox.popleft()
                    came()
                else:
                    self._take_in(*came)
                    self._inbox.popleft()
        finally:
            self._sorting = False

    def _take_in(self, batch: Batch, at: float) -> None:
        now = time.monotonic()
        try:
            for entry in batch.entries:
                self._ledger.accepted += 1
                if self._make_room(len(entry.body)):
                    self._lanes.add(Waiting(entry.kind, entry.body, batch.subject, batch.ip, at), now)
                else:
                    self._ledger.drop(1, counters.OUTBOX_FULL)
        except Exception:
            self._inbox.popleft()  # its own fault, and it would stand before all others for ever
            raise
        except BaseException:
            # A handler's, Ctrl-C's say. It may be others' batch, so it stays in the inbox; what of it is in its lane
            # already is sent twice, with one message id.
            self._lanes.mend(batch.subject.key)
            self._ledger.accepted = self._ledger.settled + self._waiting()
            raise

    def _waiting(self) -> int:
        return self._lanes.entries

    def _waiting_bytes(self) -> int:
        return self._lanes.bytes

    def _dropped_oldest(self, item: Waiting) -> None:
        """An entry had to make room."""

    def _take_out(self, people: People) -> list[Waiting]:
        taken = self._lanes.take_out(people)
        self._ledger.drop(len(taken), counters.ERASED)
        return taken

    def _make_room(self, size: int) -> bool:
        lanes = self._lanes
        while lanes.entries >= self._max_entries or lanes.bytes + size > self._max_bytes:
            oldest = lanes.drop_oldest() if self._drop_old else None
            if oldest is None:
                return False
            self._dropped_oldest(oldest)
            self._ledger.drop(1, counters.OUTBOX_FULL)
        return True


def owns(lock: object) -> bool:
    """The calling thread holds it. What Condition asks every lock; gevent's answers too."""
    return bool(cast("Any", lock)._is_owned())
