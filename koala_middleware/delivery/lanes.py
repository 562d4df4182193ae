"""Lanes: what waits, one lane per person or company, so that each one's entries leave in the order they came.

Knows when a lane is due and hands out at most one parcel of it at a time. Plain bookkeeping in memory: no
lock (the outbox holds one), no file, no network.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from koala_middleware.delivery import backoff
from koala_middleware.delivery.people import People
from koala_middleware.wire import (
    BATCH_BYTES,
    BULK_BYTES,
    BULK_LINES,
    ENTRIES_PER_KIND,
    Batch,
    Entry,
    Subject,
    joined_subjects,
)

DRAIN_RATE = 100.0  # parcels of the backlog a second, after an outage or a restart
BULK_DRAIN_RATE = 1_000.0  # the same in bulk, where one costs the endpoint a fraction
WORTH_A_BULK = 4  # parcels; fewer go one by one, in parallel
_QUIET = 1 / 20  # of the linger: who has said nothing for so long is not waited for
_LATE_AT_ONCE = 100  # parcels of the backlog in one bulk
_FULL_BULK = BULK_BYTES // 4  # bytes of entries; one more batch and what stands around them still fit


def quiet(linger: float) -> float:
    """Seconds after its last entry that a lane is due. One page's calls come close together; longer waiting gathers
    little more, and is what a process that is killed loses."""
    return linger * _QUIET


def beat(linger: float) -> float:
    """Seconds between two moments at which lanes become due, so that many people's leave with one wake-up."""
    return quiet(linger) / 2


def longest_wait(linger: float) -> float:
    """Seconds within which a new lane is due."""
    return quiet(linger) + beat(linger)


@dataclass(slots=True, eq=False)
class Waiting:
    """One entry that waits.

    Attributes:
        at: When it came, in seconds since the epoch.
        round: The flush that it belongs to: a flush waits for all that came before it.
        place: Where the durable outbox keeps it; None where only memory has it.
        unanswered: It was sent once without an answer, so the endpoint may have it.
    """

    subject: Subject
    entry: Entry
    ip: str | None
    at: float
    place: object | None = None
    round: int = 0
    unanswered: bool = False


@dataclass(slots=True, eq=False)
class Lane:
    """One person's or company's entries in order. All times are on the monotonic clock.

    Attributes:
        began, latest: When the first of the entries that wait came, and the last.
    """

    key: str
    due: float
    late: bool
    began: float
    latest: float
    items: list[Waiting] = field(default_factory=list)
    claimed: Parcel | None = None
    failures: int = 0
    failing_since: float = 0.0

    def __lt__(self, other: Lane) -> bool:
        return self.due < other.due


@dataclass(slots=True, eq=False)
class Parcel:
    """What one POST takes of one lane; nothing else of the lane moves until all of it is settled.

    Attributes:
        items: What is not settled yet.
    """

    lane: Lane
    items: list[Waiting]


def batch_of(items: Sequence[Waiting]) -> Batch:
    """The items of one parcel as what goes over the wire."""
    if len(items) == 1:  # as most are
        return Batch(items[0].subject, (items[0].entry,), items[0].ip)
    subject, ip = items[0].subject, items[0].ip
    for item in items[1:]:
        subject = joined_subjects(subject, item.subject) or subject
        ip = item.ip or ip
    return Batch(subject, tuple(item.entry for item in items), ip)


class Lanes:
    """Fresh lanes are handed out first; late ones (the backlog) at a bounded, jittered rate."""

    def __init__(self, linger: float) -> None:
        self._linger = linger
        self._quiet = quiet(linger)
        self._beat = beat(linger)
        self._lanes: dict[str, Lane] = {}
        self._fresh: list[Lane] = []
        self._late: list[Lane] = []
        self._late_from = -math.inf
        self._turns = 0
        self._flushes = 0
        self._waiting_by_round: dict[int, int] = {0: 0}
        self.round = 0
        self.entries = 0
        self.fresh_entries = 0
        self.bytes = 0
        self.out = 0

    @property
    def people(self) -> int:
        return len(self._lanes)

    def add(self, item: Waiting, now: float, *, late: bool = False) -> None:
        item.round = self.round - late  # what was behind came before any flush that waits now
        self._waiting_by_round[item.round] = self._waiting_by_round.get(item.round, 0) + 1
        key = item.subject.key
        lane = self._lanes.get(key)
        if lane is not None:
            lane.items.append(item)
            lane.latest = now
        else:  # never without an item: a signal handler may claim at any moment
            due = now if late else self._gathered_by(now, now)
            lane = self._lanes[key] = Lane(key, due, late, now, now, [item])
            heapq.heappush(self._late if late else self._fresh, lane)
        self.entries += 1
        self.fresh_entries += not lane.late
        self.bytes += len(item.entry.body)

    def claim(self, now: float, most: int = 1) -> list[Parcel]:
        """What is due next: a parcel with all of its lane that may go into one batch, or none. The caller
        settles it.

        Args:
            most: So many parcels of as many lanes, where that is enough to be worth a bulk.
        """
        parcels: list[Parcel] = []
        size = late = 0
        while len(parcels) < most and size < _FULL_BULK:
            lane = self._next(now, late)
            if lane is None:
                break
            most = min(most, _company(lane))
            if len(parcels) >= most:
                self._queue(lane)
                break
            parcels.append(self._parcel(lane))
            late += lane.late
            for item in parcels[-1].items:
                size += len(item.entry.body)
        if 1 < len(parcels) < WORTH_A_BULK:
            for parcel in parcels[1:]:
                self.release(parcel)
            del parcels[1:]
            late = min(late, int(parcels[0].lane.late))
        if late:
            rate = DRAIN_RATE if len(parcels) == 1 else BULK_DRAIN_RATE
            self._late_from = now + backoff.spread(2.0 * late / rate, least=0.0)
        return parcels

    def release(self, parcel: Parcel) -> None:
        """As if it had not been claimed."""
        parcel.lane.items[:0] = parcel.items
        parcel.lane.claimed = None
        self.out -= 1
        self._queue(parcel.lane)

    def is_out(self, parcel: Parcel) -> bool:
        """Claimed and not settled; False too when everything was cleared meanwhile."""
        return parcel.lane.claimed is parcel

    def settle(self, parcel: Parcel, items: Sequence[Waiting], now: float) -> None:
        """These wait no more. The lane goes on once the whole parcel is settled."""
        gone = set(map(id, items))
        parcel.items = [item for item in parcel.items if id(item) not in gone]
        self._forget(parcel.lane, items)
        if not parcel.items:
            parcel.lane.failures = 0
            self._requeue(parcel.lane, now, now)

    def settle_all(self, parcels: Iterable[Parcel], now: float) -> None:
        """All items of all these parcels wait no more."""
        for parcel in parcels:
            items, parcel.items = parcel.items, []
            self._forget(parcel.lane, items)
            parcel.lane.failures = 0
            self._requeue(parcel.lane, now, now)

    def put_back(self, parcel: Parcel, now: float, at: float | None = None) -> None:
        """What is not settled goes back to the head of its lane, until `at` (by default a backoff of its
        own)."""
        lane = parcel.lane
        lane.failing_since = lane.failing_since if lane.failures else now
        lane.failures += 1
        lane.items[:0] = parcel.items
        self._requeue(
            lane, now, now + backoff.pause(lane.failures, now - lane.failing_since) if at is None else at
        )

    def make_late(self) -> None:
        """All that waits becomes backlog: what comes from now on goes first, each one's order kept."""
        for lane in self._lanes.values():
            lane.late = True
        self._late += self._fresh
        self._fresh = []
        heapq.heapify(self._late)
        self.fresh_entries = 0

    def hurry(self, now: float) -> int:
        """All that waits is due now, the backlog too, until `relax`. Returns the round to ask `settled`
        with."""
        self._flushes += 1
        for lane in (*self._fresh, *self._late):
            lane.due = min(lane.due, now)  # the same for all, so both heaps stay heaps
        self.round += 1
        self._waiting_by_round = {number: count for number, count in self._waiting_by_round.items() if count}
        self._waiting_by_round[self.round] = 0
        return self.round

    def relax(self) -> None:
        """A flush is over."""
        self._flushes -= 1

    def settled(self, round_: int) -> bool:
        """Nothing waits any more that waited when `hurry` returned this round."""
        return not any(count for number, count in self._waiting_by_round.items() if number < round_)

    def next_due(self, now: float) -> float:
        """Seconds until a claim may find something; infinite when nothing waits."""
        due = min(
            self._fresh_due(),
            max(self._late[0].due, self._pace()) if self._late else math.inf,
        )
        return max(due - now, 0.0)

    def take_out(self, people: People) -> list[Waiting]:
        """Takes out what is theirs and not on its way."""
        people = people.with_profiles_of(item.subject for item in self.everything())
        taken: list[Waiting] = []
        for lane in list(self._lanes.values()):
            theirs = [item for item in lane.items if people.own(item.subject, item.at)]
            if theirs:
                lane.items = [item for item in lane.items if not people.own(item.subject, item.at)]
                self._forget(lane, theirs)
                taken += theirs
                if not lane.items and lane.claimed is None:
                    del self._lanes[lane.key]
        if taken:
            self._fresh = [lane for lane in self._fresh if lane.items]
            self._late = [lane for lane in self._late if lane.items]
            heapq.heapify(self._fresh)
            heapq.heapify(self._late)
        return taken

    def drop_oldest(self) -> Waiting | None:
        """Takes out about the oldest entry that is not on its way."""
        heap = self._late or self._fresh
        if not heap:
            return None
        lane = heap[0]
        item = lane.items.pop(0)
        self._forget(lane, [item])
        if not lane.items:
            heapq.heappop(heap)
            del self._lanes[lane.key]
        return item

    def oldest(self) -> float | None:
        """When the oldest entry came, in seconds since the epoch."""
        return min((item.at for item in self._heads()), default=None)

    def clear(self) -> None:
        """Forgets everything that waits, parcels that are out included."""
        for lane in self._lanes.values():
            lane.claimed = None
        self._lanes.clear()
        self._fresh.clear()
        self._late.clear()
        self._waiting_by_round = {self.round: 0}
        self.entries = self.fresh_entries = self.bytes = self.out = 0

    def unanswered(self) -> Iterator[Waiting]:
        """What the endpoint may have: sent before without an answer, or on its way now."""
        for lane in self._lanes.values():
            yield from lane.claimed.items if lane.claimed else ()
            yield from (item for item in lane.items if item.unanswered)

    def everything(self) -> Iterator[Waiting]:
        for lane in self._lanes.values():
            yield from lane.claimed.items if lane.claimed else ()
            yield from lane.items

    def _heads(self) -> Iterator[Waiting]:
        for lane in self._lanes.values():
            claimed = lane.claimed.items if lane.claimed else []
            yield from (claimed or lane.items)[:1]

    def _next(self, now: float, late_so_far: int) -> Lane | None:
        fresh = self._fresh_due() <= now
        late = bool(self._late) and max(self._late[0].due, self._pace()) <= now
        if late_so_far >= _LATE_AT_ONCE and not self._flushes:
            late = False
        if not fresh and not late:
            return None
        # Fresh ones first; yet a steady stream of them must not starve the backlog.
        self._turns += 1
        return heapq.heappop(self._late if late and (not fresh or self._turns % 4 == 0) else self._fresh)

    def _parcel(self, lane: Lane) -> Parcel:
        taken = _how_many(lane.items)
        self.out += 1
        lane.claimed = Parcel(lane, lane.items[:taken])
        del lane.items[:taken]
        return lane.claimed

    def _queue(self, lane: Lane) -> None:
        heapq.heappush(self._late if lane.late else self._fresh, lane)

    def _fresh_due(self) -> float:
        """When the first of the fresh lanes is due. Who has said more meanwhile is due later than their place in
        the heap says, and gets a new one here."""
        while self._fresh:
            lane = self._fresh[0]
            if (due := self._gathered(lane)) <= lane.due:
                return lane.due
            lane.due = due
            heapq.heapreplace(self._fresh, lane)
        return math.inf

    def _gathered(self, lane: Lane) -> float:
        """When no more of this person's entries are waited for."""
        if lane.latest == lane.began or lane.failures or lane.items[0].round < self.round:
            return lane.due
        return self._gathered_by(lane.latest, lane.began)

    def _gathered_by(self, latest: float, began: float) -> float:
        quiet_from = latest + self._quiet
        if self._beat:
            quiet_from = math.ceil(quiet_from / self._beat) * self._beat
        return min(quiet_from, began + self._linger)

    def _pace(self) -> float:
        """When the backlog may go on: at once if a flush waits for it."""
        return -math.inf if self._flushes else self._late_from

    def _requeue(self, lane: Lane, now: float, at: float) -> None:
        lane.claimed = None
        self.out -= 1
        if not lane.items:
            del self._lanes[lane.key]
            return
        lane.began, lane.due = now - max(time.time() - lane.items[0].at, 0.0), at
        if not lane.late:
            lane.due = max(at, self._gathered(lane))
        self._queue(lane)

    def _forget(self, lane: Lane, items: Sequence[Waiting]) -> None:
        self.entries -= len(items)
        self.fresh_entries -= 0 if lane.late else len(items)
        for item in items:
            self.bytes -= len(item.entry.body)
            self._waiting_by_round[item.round] -= 1


def _company(lane: Lane) -> int:
    """With how many others it may share a request: what failed before may be why, so with ever fewer."""
    return max(BULK_LINES >> 3 * lane.failures, 1)


def _how_many(items: list[Waiting]) -> int:
    """How many of them, from the first, one request can say: of one subject, 30 of each kind, a bounded
    body."""
    if len(items) == 1:  # as most are
        return 1
    so_far = items[0].subject
    room: dict[str, int] = {}
    size = 0
    for index, item in enumerate(items):
        kind, size = item.entry.kind, size + len(item.entry.body) + 1
        room[kind] = room.get(kind, ENTRIES_PER_KIND) - 1
        both = joined_subjects(so_far, item.subject)
        if index and (both is None or room[kind] < 0 or size > BATCH_BYTES):
            return index
        so_far = both or so_far
    return len(items)
