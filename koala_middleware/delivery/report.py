"""Reports: the numbers of `stats()`, the outcome of a flush, and `health()`.

Plain values. Must not know how the numbers came about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from koala_middleware.protocol.batches import Batch

Outcome = Literal["delivered", "retried", "refused", "dropped"]
State = Literal["idle", "delivering", "outage", "held"]
Change = Literal["outage", "held", "recovered"]


@dataclass(frozen=True, slots=True)
class DeliveryStats:
    """Entries since this process began (since the fork, in a forked one), for one key and endpoint.

    `accepted == delivered + waiting + refused + sum(dropped.values())`, whenever it is asked.

    Attributes:
        accepted: Entries taken in, those taken over from dead processes included.
        adopted: How many of the accepted were taken over from a durable outbox's dead processes.
        delivered: Entries that the endpoint took, and those that another process of the same durable outbox saw to
            after this one let go of them: a relay, or a sibling after a close.
        waiting: Entries in memory and in the durable outbox; what this process let go of, until another has seen to it.
        refused: Entries that the endpoint would not take; a durable outbox keeps them aside.
        dropped: Entries lost or left out on purpose, by reason.
        retries: Batches that were not answered with success and are tried again.
        oldest_waiting_age: Seconds that the oldest waiting entry has waited; None when none waits.
        last_success: When the endpoint last took a batch, in seconds since the epoch.
    """

    accepted: int = 0
    delivered: int = 0
    waiting: int = 0
    refused: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    adopted: int = 0
    retries: int = 0
    waiting_bytes: int = 0
    oldest_waiting_age: float | None = None
    last_success: float | None = None


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """The outcome of a flush or close, in entries.

    Attributes:
        complete: Nothing that waited when it was called waits any more.
        waiting: What waits still: in memory, or kept in the durable outbox after a close.
        seconds: How long it took.
    """

    complete: bool
    delivered: int = 0
    waiting: int = 0
    refused: int = 0
    dropped: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Health:
    """Whether entries are delivered.

    Attributes:
        ok: False once entries wait and nothing was delivered for `alarm_after`, or while the endpoint holds.
        reason: What is wrong and what to do, in words; empty when nothing is.
    """

    ok: bool
    state: State
    reason: str
    waiting: int
    oldest_waiting_age: float | None
    last_success: float | None


@dataclass(frozen=True, slots=True)
class DeliveryEvent:
    """The outcome of one POST, or of entries that were never sent. The argument of `on_delivery`.

    Attributes:
        status: The endpoint's HTTP status, None when there was no answer.
        reason: Why it was retried, refused or dropped; empty for delivered.
        batch: The entries themselves, where they are at hand. They hold personal data.
    """

    outcome: Outcome
    entries: int
    status: int | None = None
    reason: str = ""
    batch: Batch | None = None
