"""The interface of an outbox, where entries wait until the endpoint has taken them.

An outbox composes the schedule with a place to store entries. `put` runs on callers' threads; every other method
belongs to the dispatcher. Must not know the network or threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from koala_middleware.delivery.outbox.counters import Intake, Ledger
from koala_middleware.delivery.schedule.items import Waiting
from koala_middleware.delivery.schedule.lanes import Lanes
from koala_middleware.delivery.schedule.purge_targets import People
from koala_middleware.protocol.batches import Batch

# A batch, its arrival time (monotonic), and where it is written; None if only memory has it.
Put = tuple[Batch, float, object | None]
Request = Callable[[float], None]


@dataclass(slots=True)
class SharedState:
    """The state that callers, the dispatcher and its outbox share.

    Attributes:
        inbox: Messages to the dispatcher, in order: batches to accept, and requests to run.
        intake: Counted by callers. `lanes` and `ledger` belong to the dispatcher.
    """

    lanes: Lanes
    inbox: deque[Put | Request] = field(default_factory=deque)
    intake: Intake = field(default_factory=Intake)
    ledger: Ledger = field(default_factory=Ledger)


class Outbox(Protocol):
    """Attributes:
    behind: Entries that only a file has.
    hands_over: Delivers nothing itself: another process does.
    max_age: Seconds that an entry may wait.
    trouble: Why entries are less safe than the settings promise; empty when they are not.
    """

    @property
    def behind(self) -> int: ...
    @property
    def hands_over(self) -> bool: ...
    @property
    def trouble(self) -> str: ...
    @property
    def max_age(self) -> float: ...

    def put(self, batch: Batch, came: float) -> None:
        """Append the batch to the inbox, or count its entries as dropped. Never raises."""

    def take_in(self, put: Put, now: float) -> None:
        """Schedule a batch from the inbox."""

    def read_on(self, now: float) -> None:
        """Read entries from files into the schedule while there is room."""

    def finish(self, items: Sequence[Waiting]) -> None:
        """Mark settled items as done."""

    def keep_aside(self, items: Sequence[Waiting], reason: str) -> None:
        """Store refused items, if the outbox can."""

    def tend(self, now: float) -> None:
        """Periodic maintenance: expired entries, orphaned files, disk errors."""

    def look_around(self, now: float) -> None:
        """Adopt the files of dead processes."""

    def purge(self, people: People) -> int:
        """Remove these people's waiting entries. Returns their number."""

    def close(self) -> None:
        """Release everything. Entries only in memory are counted as dropped; files wait for the next process."""

    def waiting_bytes(self) -> int:
        """The bytes that wait. Thread-safe."""

    def abandon(self) -> None:
        """In a forked child, leave open files to the parent. Takes no lock."""


def size_of(batch: Batch) -> int:
    return sum([len(entry.body) for entry in batch.entries])
