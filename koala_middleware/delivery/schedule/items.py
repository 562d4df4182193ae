"""Waiting entries, and parcels: the entries of one person or company that one request takes.

Must not know when anything is due, where entries are stored or how they travel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from koala_middleware.protocol.batches import Batch, Entry
from koala_middleware.protocol.limits import BATCH_BYTES, ENTRIES_PER_KIND, HEAD_BYTES
from koala_middleware.protocol.subjects import Subject, merge_subjects


@dataclass(slots=True, eq=False)
class Waiting(Entry):
    """An entry that waits for delivery.

    Attributes:
        came: When it was put, on the monotonic clock.
        at: The same in seconds since the epoch, as a durable outbox stores it; 0 in memory.
        place: Where a durable outbox stores it; None where only memory has it.
        round: The number of flushes that had begun when it came.
        unanswered: It was sent without an answer, so the endpoint may have it.
    """

    subject: Subject
    ip: str | None
    came: float
    at: float = 0.0
    place: object | None = None
    round: int = 0
    unanswered: bool = False


@dataclass(slots=True, eq=False)
class Parcel:
    """The entries of one lane that one request takes. The rest of the lane waits until all of them are settled.

    Attributes:
        late: It belongs to the backlog.
        items: Entries that are not settled yet.
        parts: Batches still to be sent, in reverse order. Several only after the endpoint refused the whole.
        was_split: The endpoint refused the whole, so parts were sent.
        delivered: Entries that the endpoint has taken.
    """

    key: str
    late: bool
    items: list[Waiting]
    parts: list[list[Waiting]] = field(default_factory=list)
    was_split: bool = False
    delivered: int = 0


def batch_of(items: Sequence[Waiting]) -> Batch:
    """The batch of one parcel's items."""
    if len(items) == 1:  # as most are
        return Batch(items[0].subject, (items[0],), items[0].ip)
    subject, ip = items[0].subject, items[0].ip
    for item in items[1:]:
        subject = merge_subjects(subject, item.subject) or subject
        ip = item.ip or ip
    return Batch(subject, tuple(items), ip)


def fitting(items: list[Waiting]) -> int:
    """How many items, from the first, one request can hold: one subject, 30 of each kind, a bounded body."""
    if len(items) == 1:
        return 1
    so_far = items[0].subject
    room: dict[str, int] = {}
    size = HEAD_BYTES
    for index, item in enumerate(items):
        kind, size = item.kind, size + len(item.body) + 1
        room[kind] = room.get(kind, ENTRIES_PER_KIND) - 1
        both = merge_subjects(so_far, item.subject)
        if index and (both is None or room[kind] < 0 or size > BATCH_BYTES):
            return index
        so_far = both or so_far
    return len(items)
