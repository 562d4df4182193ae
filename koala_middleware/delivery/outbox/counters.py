"""How many entries came, and what became of each. Nobody here looks into an entry.

`Door` is counted on callers' threads and only grows; `Ledger` belongs to the dispatcher, which publishes it as a
`Snapshot`. What waits is the difference, so the numbers add up whenever they are read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from koala_middleware.delivery.report import DeliveryStats

OUTBOX_FULL = "outbox full"
TOO_OLD = "too old"
CORRUPT = "corrupt"
ENDED = "process ended"
UNANSWERED = "unanswered at the end"  # on its way when the process ended: the endpoint may have it
OFF = "delivery off"
ERASED = "erased"
ERROR = "error"


class Tally:
    """One number. `+=` of an int on an attribute is one step: CPython changes threads and runs signal handlers at
    calls and loops only."""

    __slots__ = ("n",)

    def __init__(self) -> None:
        self.n = 0


class Door:
    """What callers put, in entries and bytes.

    Attributes:
        accepted, size: What was let in.
        refused: What `set_aside` was given: it never waits.
        left_out: What was dropped before it could wait, by reason.
    """

    def __init__(self) -> None:
        self.accepted = 0
        self.size = 0
        self.refused = 0
        self.left_out: dict[str, Tally] = {}

    def let_in(self, entries: int, size: int) -> None:
        self.accepted += entries
        self.size += size

    def leave_out(self, entries: int, reason: str) -> None:
        tally = self.left_out.get(reason) or self.left_out.setdefault(reason, Tally())
        tally.n += entries


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The ledger as it was at one moment. Times are on the monotonic clock."""

    delivered: int = 0
    refused: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    adopted: int = 0
    forgotten: int = 0
    retries: int = 0
    oldest: float | None = None
    succeeded_at: float | None = None


@dataclass(slots=True)
class Ledger:
    """What became of entries.

    Attributes:
        gone: Entries that wait no more: delivered, refused and dropped.
        size: Their bytes.
        adopted: Entries taken over from dead processes, which came through no door of ours.
        forgotten: Entries handed back to the broker that lent them.
        succeeded_at: When the endpoint last took a batch.
    """

    delivered: int = 0
    refused: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    gone: int = 0
    size: int = 0
    adopted: int = 0
    forgotten: int = 0
    retries: int = 0
    succeeded_at: float | None = None

    def deliver(self, entries: int) -> None:
        self.delivered += entries
        self.gone += entries

    def refuse(self, entries: int) -> None:
        self.refused += entries
        self.gone += entries

    def drop(self, entries: int, reason: str) -> None:
        if entries:
            self.dropped[reason] += entries
            self.gone += entries

    def snapshot(self, oldest: float | None) -> Snapshot:
        return Snapshot(
            delivered=self.delivered,
            refused=self.refused,
            dropped=dict(self.dropped),
            adopted=self.adopted,
            forgotten=self.forgotten,
            retries=self.retries,
            oldest=oldest,
            succeeded_at=self.succeeded_at,
        )


def stats_of(door: Door, now: Snapshot, clocks: tuple[float, float], waiting_bytes: int) -> DeliveryStats:
    """All numbers. What was put since the snapshot waits.

    Args:
        clocks: The monotonic clock and the wall clock.
    """
    monotonic, wall = clocks
    accepted = door.accepted + now.adopted - now.forgotten
    left_out = {reason: tally.n for reason, tally in tuple(door.left_out.items())}
    waiting = accepted - now.delivered - now.refused - sum(now.dropped.values())
    dropped = Counter(now.dropped) + Counter(left_out)
    age = None
    if waiting > 0:
        age = 0.0 if now.oldest is None else max(monotonic - now.oldest, 0.0)
    refused = door.refused
    return DeliveryStats(
        accepted=accepted + refused + sum(left_out.values()),
        delivered=now.delivered,
        waiting=waiting,
        refused=now.refused + refused,
        dropped=dict(dropped),
        adopted=now.adopted,
        retries=now.retries,
        waiting_bytes=waiting_bytes,
        oldest_waiting_age=age,
        last_success=None if now.succeeded_at is None else wall - (monotonic - now.succeeded_at),
    )
