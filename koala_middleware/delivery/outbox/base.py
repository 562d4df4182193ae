"""What the dispatcher asks of an outbox: where entries wait until the endpoint has taken them.

An outbox composes the schedule with a place to store entries. `put` runs on callers' threads; every other method
belongs to the dispatcher. Must not know the network or threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from koala_middleware.delivery.outbox.counters import Door, Ledger
from koala_middleware.delivery.schedule.items import Waiting
from koala_middleware.delivery.schedule.lanes import Lanes
from koala_middleware.delivery.schedule.purge_targets import People
from koala_middleware.protocol.batches import Batch

# A batch, when it came (monotonic), and where a durable outbox has written it; None where only memory has it.
Put = tuple[Batch, float, object | None]
Request = Callable[[float], None]


@dataclass(slots=True)
class Desk:
    """What callers, the dispatcher and its outbox share.

    Attributes:
        inbox: What callers ask of the dispatcher, in order: batches to take in, and requests to run.
        door: Counted by callers. `lanes` and `ledger` belong to the dispatcher.
    """

    lanes: Lanes
    inbox: deque[Put | Request] = field(default_factory=deque)
    door: Door = field(default_factory=Door)
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
        """Lays the batch into the inbox, or counts its entries as dropped. Never waits long, never raises."""

    def take_in(self, put: Put, now: float) -> None:
        """A batch from the inbox waits from now on."""

    def read_on(self, now: float) -> None:
        """Fills the schedule from files, as far as there is room."""

    def finish(self, items: Sequence[Waiting]) -> None:
        """These items need not be stored any longer."""

    def keep_aside(self, items: Sequence[Waiting], reason: str) -> None:
        """Stores refused items, where the outbox can."""

    def tend(self, now: float) -> None:
        """Regular care: ages, files of dead processes, trouble with the disk."""

    def look_around(self, now: float) -> None:
        """Takes over what dead processes left."""

    def purge(self, people: People) -> int:
        """Takes out what waits of these people; answers how many entries."""

    def close(self) -> None:
        """Lets go of everything: what only memory holds is counted as dropped, files wait for the next process."""

    def waiting_bytes(self) -> int:
        """Of what waits. On any thread."""

    def abandon(self) -> None:
        """In a forked child: what is open belongs to the parent. Takes no lock."""


def size_of(batch: Batch) -> int:
    return sum([len(entry.body) for entry in batch.entries])
