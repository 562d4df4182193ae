"""The outbox's contract: where entries wait until the endpoint has taken them, and the books kept of it.

Memory and durable outboxes pass the same tests. Must not know the network or threads; it is called by many.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager

from koala_middleware.delivery.report import DeliveryStats
from koala_middleware.delivery.schedule.lanes import Parcel, Waiting
from koala_middleware.delivery.schedule.purge_targets import People
from koala_middleware.protocol.batches import Batch


class Outbox(ABC):
    """Every call is thread-safe, re-entrant (signal handlers, finalisers), never raises and never waits long.

    One lane per person or company: at most one parcel of a lane is out at a time, and a lane's entries
    leave in the order they came.
    """

    @abstractmethod
    def put(self, batch: Batch) -> None:
        """Takes the batch's entries in, or counts them as dropped."""

    @abstractmethod
    def count_dropped(self, entries: int, reason: str) -> None:
        """Takes note of entries that were dropped before they came here."""

    @abstractmethod
    def set_aside(self, batch: Batch, reason: str) -> None:
        """Keeps a batch that must not be sent where refused ones are kept, and counts it as one."""

    def claim(self, now: float) -> Parcel | None:
        """The next parcel that is due, if any: to be settled entirely by `done`, `refuse` and `put_back`."""
        return next(iter(self.claim_many(now, 1)), None)

    @abstractmethod
    def claim_many(self, now: float, most: int) -> list[Parcel]:
        """The same for many lanes at once, up to `most` where so many are due that it is worth a bulk; else
        the next one, or none."""

    @abstractmethod
    def release(self, parcels: Sequence[Parcel]) -> None:
        """They were not sent: all is as if they had not been claimed."""

    @abstractmethod
    def done(self, parcel: Parcel, items: Sequence[Waiting]) -> None:
        """The endpoint has taken these items of the parcel."""

    @abstractmethod
    def done_all(self, parcels: Sequence[Parcel]) -> None:
        """The endpoint has taken all of these parcels: `done` for many, at the price of one."""

    @abstractmethod
    def refuse(self, parcel: Parcel, items: Sequence[Waiting], reason: str) -> None:
        """The endpoint will never take these items; kept aside where the outbox can."""

    @abstractmethod
    def put_back(self, parcel: Parcel, now: float, at: float | None = None) -> None:
        """What is not settled of the parcel waits again, first in its lane, until `at` (else a backoff)."""

    @abstractmethod
    def purge(self, people: People) -> int:
        """What waits of these people does no more; answers how many entries, counted as dropped. What is on
        its way at this moment may still arrive, or come back."""

    @abstractmethod
    def next_due(self, now: float) -> float:
        """Seconds until a claim may find something; infinite when nothing waits."""

    @abstractmethod
    def people(self) -> int:
        """About how many people and companies have entries in memory that wait. Takes no lock."""

    @abstractmethod
    def lent(self) -> AbstractContextManager[bool]:
        """In this block others may do what the calling thread, a signal handler in the middle of one of its calls,
        keeps them from: it has the lock that they wait for. False: it has what cannot be lent, and they wait on."""

    @abstractmethod
    def out(self) -> int:
        """How many parcels are claimed and not settled."""

    @abstractmethod
    def hurry(self, now: float) -> int:
        """All that waits is due now, until `relax`. Returns a number to ask `settled` with."""

    @abstractmethod
    def relax(self) -> None:
        """The caller of `hurry` waits no more."""

    @abstractmethod
    def settled(self, round_: int) -> bool:
        """Nothing waits any more that waited when `hurry` returned this number."""

    @abstractmethod
    def recovered(self) -> None:
        """The endpoint is back: what waits drains slowly, and what comes now goes first."""

    @abstractmethod
    def stats(self) -> DeliveryStats:
        """All numbers at one moment."""

    @abstractmethod
    def tend(self, now: float) -> None:
        """Regular care, by a worker, never on the app's path: ages, orphans, trouble with the disk."""

    @abstractmethod
    def close(self) -> DeliveryStats:
        """Lets go of everything: what only memory holds is counted as dropped, what a disk has stays
        there."""

    @abstractmethod
    def close_after(self, round_: int) -> DeliveryStats | None:
        """The same, unless something has come since `hurry` returned this number: then None, and all stays."""

    @abstractmethod
    def abandon(self) -> None:
        """In a forked child: what is open belongs to the parent. Takes no lock."""
