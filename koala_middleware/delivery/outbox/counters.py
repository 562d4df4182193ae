"""Counters: how many entries were accepted, and their outcome. Must not look into an entry.

`Intake` is counted on callers' threads and only grows; `Ledger` belongs to the dispatcher, which publishes it as a
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
UNANSWERED = "unanswered at the end"  # in flight when the process ended: the endpoint may have it
OFF = "delivery off"
ERASED = "erased"
ERROR = "error"


class Tally:
    """A counter. CPython switches threads and runs signal handlers only at calls and loops, so `+=` is one step."""

    __slots__ = ("n",)

    def __init__(self) -> None:
        self.n = 0


class Intake:
    """The entries and bytes that callers put.

    Attributes:
        accepted, size: Entries and bytes accepted.
        refused: Entries given to `set_aside`, which never wait.
        rejected: Entries dropped before they were accepted, by reason.
    """

    def __init__(self) -> None:
        self.accepted = 0
        self.size = 0
        self.refused = 0
        self.rejected: dict[str, Tally] = {}

    def admit(self, entries: int, size: int) -> None:
        self.accepted += entries
        self.size += size

    def reject(self, entries: int, reason: str) -> None:
        tally = self.rejected.get(reason) or self.rejected.setdefault(reason, Tally())
        tally.n += entries


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An immutable copy of the ledger. Times are monotonic."""

    delivered: int = 0
    refused: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    adopted: int = 0
    forgotten: int = 0
    retries: int = 0
    oldest: float | None = None
    succeeded_at: float | None = None

    @property
    def gone(self) -> int:
        return self.delivered + self.refused + sum(self.dropped.values())


@dataclass(slots=True)
class Ledger:
    """The outcomes of entries.

    Attributes:
        gone: Settled entries: delivered, refused and dropped.
        size: Their bytes.
        adopted: Entries adopted from dead processes, which were never put here.
        forgotten: Entries returned to their broker.
        succeeded_at: When a batch was last delivered.
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


def waiting_entries(intake: Intake, outcomes: Ledger | Snapshot) -> int:
    """What was accepted or adopted, and is not settled or handed back."""
    return intake.accepted + outcomes.adopted - outcomes.forgotten - outcomes.gone


def stats_of(intake: Intake, now: Snapshot, clocks: tuple[float, float], waiting_bytes: int) -> DeliveryStats:
    """The statistics. Entries put since the snapshot count as waiting.

    Args:
        clocks: The monotonic clock and the wall clock.
    """
    monotonic, wall = clocks
    rejected = {reason: tally.n for reason, tally in tuple(intake.rejected.items())}
    waiting = waiting_entries(intake, now)  # callers go on counting, so `accepted` follows from it
    dropped = Counter(now.dropped) + Counter(rejected)
    age = None
    if waiting > 0:
        age = 0.0 if now.oldest is None else max(monotonic - now.oldest, 0.0)
    refused = intake.refused
    return DeliveryStats(
        accepted=waiting + now.gone + refused + sum(rejected.values()),
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
