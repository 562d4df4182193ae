"""An outbox in a test's hands: what the dispatcher does with it, one step at a time and at any moment."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from koala_middleware.delivery.clock import monotonic
from koala_middleware.delivery.outbox import counters
from koala_middleware.delivery.outbox.base import Outbox, SharedState
from koala_middleware.delivery.outbox.counters import stats_of
from koala_middleware.delivery.outbox.durable import DurableOutbox
from koala_middleware.delivery.outbox.memory import MemoryOutbox
from koala_middleware.delivery.report import DeliveryStats
from koala_middleware.delivery.schedule.items import Parcel, Waiting
from koala_middleware.delivery.schedule.lanes import Lanes, Mark
from koala_middleware.delivery.schedule.purge_targets import People
from koala_middleware.protocol.batches import Batch


class Box:
    """Attributes: `taken` are the message ids of what was delivered, in order."""

    def __init__(self, make: Callable[[SharedState], Outbox], linger: float = 0.0) -> None:
        self.shared = SharedState(Lanes(linger))
        self.lanes = self.shared.lanes
        self.outbox = make(self.shared)
        self.taken: list[str] = []

    def put(self, batch: Batch) -> None:
        self.outbox.put(batch, monotonic())
        self.take_in()

    def take_in(self) -> None:
        now = monotonic()
        while self.shared.inbox:
            self.outbox.take_in(cast("Any", self.shared.inbox.popleft()), now)

    def claim_many(self, now: float, most: int) -> list[Parcel]:
        self.take_in()
        self.outbox.read_on(now)
        while parcels := self.lanes.claimed(list(self.lanes.claim(now, most)), now):
            for parcel in parcels:
                if old := [item for item in parcel.items if now - item.came > self.outbox.max_age]:
                    self.settled(parcel, old)
                    self.shared.ledger.drop(len(old), counters.TOO_OLD)
            if young := [parcel for parcel in parcels if parcel.items]:
                return young
            self.outbox.read_on(now)
        return []

    def claim(self, now: float | None = None) -> Parcel | None:
        return next(iter(self.claim_many(monotonic() if now is None else now, 1)), None)

    def claimed(self, now: float | None = None) -> Parcel:
        parcel = self.claim(now)
        assert parcel is not None, "nothing to claim"
        return parcel

    def settled(self, parcel: Parcel, items: Sequence[Waiting]) -> None:
        self.outbox.finish(items)
        self.lanes.settle(parcel, items, monotonic())

    def done(self, parcel: Parcel, items: Sequence[Waiting] | None = None) -> None:
        items = parcel.items if items is None else items
        self.taken += ids_of(items)
        self.shared.ledger.deliver(len(items))
        self.settled(parcel, items)

    def refuse(self, parcel: Parcel, items: Sequence[Waiting], reason: str) -> None:
        self.outbox.keep_aside(items, reason)
        self.shared.ledger.refuse(len(items))
        self.settled(parcel, items)

    def put_back(self, parcel: Parcel, now: float, at: float | None = None) -> None:
        self.lanes.put_back(parcel, now, at)

    def hurry(self) -> Mark:
        self.take_in()
        self.outbox.look_around(monotonic())
        return self.lanes.hurry()

    def tend(self) -> None:
        self.outbox.tend(monotonic())

    def purge(self, people: People) -> int:
        return self.outbox.purge(people)

    def close(self) -> DeliveryStats:
        self.outbox.close()
        return self.stats()

    def abandon(self) -> None:
        """All that the death of a process does to its files: they are closed, and so unlocked."""
        self.outbox.abandon()

    def stats(self) -> DeliveryStats:
        snapshot = self.shared.ledger.snapshot(self.lanes.oldest())
        clocks = monotonic(), time.time()
        return stats_of(self.shared.intake, snapshot, clocks, self.outbox.waiting_bytes())

    def drain(self) -> list[str]:
        """Adopts, delivers everything, and tells the message ids in the order they would have left."""
        mark, before = self.hurry(), len(self.taken)
        while mark.left > 0 or self.outbox.behind:
            parcel = self.claim(monotonic() + 60)
            assert parcel or (mark.left <= 0 and not self.outbox.behind), "it waits and cannot be claimed"
            if parcel:
                self.done(parcel)
        self.lanes.relax(mark)
        return self.taken[before:]


def memory_box(linger: float = 0.0, **settings: Any) -> Box:
    settings = {"max_entries": 100, "max_bytes": 1 << 20, "drop_old": False, **settings}
    return Box(lambda shared: MemoryOutbox(shared, **settings), linger)


def durable_box(directory: Path, linger: float = 0.0, **settings: Any) -> Box:
    limits = {"max_entries": 1000, "max_bytes": 1 << 22, "memory_bytes": 1 << 20}
    usual = {**limits, "max_age": 3600.0, "drop_old": False, "sync": False}
    return Box(lambda shared: DurableOutbox(shared, directory, **{**usual, **settings}), linger)


def ids_of(items: Sequence[Waiting]) -> list[str]:
    return [json.loads(item.body).get("message_id", "") for item in items]
