"""The memory outbox: bounded by entries and bytes, lost with its process.

The schedule is all the storage there is. Must not know files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from koala_middleware.delivery.outbox import counters
from koala_middleware.delivery.outbox.base import Put, SharedState, size_of
from koala_middleware.delivery.outbox.refused import Refused
from koala_middleware.delivery.schedule.items import Waiting
from koala_middleware.delivery.schedule.purge_targets import People
from koala_middleware.protocol.batches import Batch

_SLACK = 2  # times the bounds that "drop-old" lets in until the dispatcher makes room


class MemoryOutbox:
    """Holds at most `max_entries` and `max_bytes`.

    Args:
        drop_old: When full, drop the oldest entries instead of the new.
        refused: Stores refused entries; None drops them.
    """

    behind = 0
    hands_over = False
    trouble = ""
    max_age = math.inf

    def __init__(
        self,
        shared: SharedState,
        *,
        max_entries: int,
        max_bytes: int,
        drop_old: bool,
        refused: Refused | None = None,
    ) -> None:
        self._shared = shared
        self._most = (max_entries, max_bytes)
        slack = _SLACK if drop_old else 1
        self._most_let_in = (max_entries * slack, max_bytes * slack)
        self._drop_old = drop_old
        self._refused = refused

    def put(self, batch: Batch, came: float) -> None:
        shared = self._shared
        entries, size = len(batch.entries), size_of(batch)
        if self._overfull(entries, size, self._most_let_in):
            shared.intake.reject(entries, counters.OUTBOX_FULL)
        else:
            shared.intake.admit(entries, size)
            shared.inbox.append((batch, came, None))

    def take_in(self, put: Put, now: float) -> None:
        batch, came, _ = put
        lanes = self._shared.lanes
        for entry in batch.entries:
            lanes.add(Waiting(entry.kind, entry.body, batch.subject, batch.ip, came), now)
        if self._drop_old:
            self._make_room()

    def _make_room(self) -> None:
        while self._overfull(0, 0, self._most) and (oldest := self._shared.lanes.drop_oldest()):
            self.finish((oldest,))
            self._shared.ledger.drop(1, counters.OUTBOX_FULL)

    def read_on(self, now: float) -> None:
        pass

    def finish(self, items: Sequence[Waiting]) -> None:
        self._shared.ledger.size += sum([len(item.body) for item in items])

    def keep_aside(self, items: Sequence[Waiting], reason: str) -> None:
        if self._refused is not None:
            self._refused.keep(items, reason)

    def tend(self, now: float) -> None:
        pass

    def look_around(self, now: float) -> None:
        pass

    def purge(self, people: People) -> int:
        taken = self._shared.lanes.take_out(people)
        self.finish(taken)
        self._shared.ledger.drop(len(taken), counters.ERASED)
        return len(taken)

    def close(self) -> None:
        unanswered, rest = self._shared.lanes.clear()
        self.finish(unanswered)
        self.finish(rest)
        self._shared.ledger.drop(len(unanswered), counters.UNANSWERED)
        self._shared.ledger.drop(len(rest), counters.ENDED)

    def waiting_bytes(self) -> int:
        return self._shared.intake.size - self._shared.ledger.size

    def abandon(self) -> None:
        pass

    def _overfull(self, entries: int, size: int, most: tuple[int, int]) -> bool:
        """Whether this many more would exceed `most`."""
        intake, ledger = self._shared.intake, self._shared.ledger
        too_many = intake.accepted - ledger.gone + entries > most[0]
        return too_many or intake.size - ledger.size + size > most[1]
