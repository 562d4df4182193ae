"""Lanes: what waits, one lane per person or company, so that each one's entries leave in the order they came.

Knows when a lane is due and hands out at most one parcel of it at a time. Plain bookkeeping in memory: no
lock (the outbox holds one), no file, no network.
"""

from __future__ import annotations

import itertools
import math
import time
from bisect import insort
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from koala_middleware.delivery.schedule import backoff
from koala_middleware.delivery.schedule.due_queue import Turns
from koala_middleware.delivery.schedule.purge_targets import People
from koala_middleware.protocol.batches import Batch, Entry
from koala_middleware.protocol.limits import BATCH_BYTES, BULK_BYTES, BULK_LINES, ENTRIES_PER_KIND, HEAD_BYTES
from koala_middleware.protocol.subjects import Subject, merge_subjects

DRAIN_RATE = 100.0  # parcels of the backlog a second, after an outage or a restart
BULK_DRAIN_RATE = 1_000.0  # the same in bulk, where one costs the endpoint a fraction
WORTH_A_BULK = 4  # parcels; fewer go one by one, in parallel
_QUIET = 1 / 80  # of the linger: who has said nothing for so long is not waited for
_BEAT = 6 / 80  # of the linger
_LATE_AT_ONCE = 100  # parcels of the backlog in one bulk
_FULL_BULK = BULK_BYTES // 4  # bytes of entries; one more batch and what stands around them still fit


def quiet(linger: float) -> float:
    """Seconds after its last entry that a lane is due. One page's calls come close together; longer waiting gathers
    little more, and is what a process that is killed loses."""
    return linger * _QUIET


def beat(linger: float) -> float:
    """Seconds between two moments at which lanes become due, so that many people's leave with one wake-up. Beside a
    busy app that costs a millisecond of CPU, as much as the 50 entries it sends."""
    return linger * _BEAT


def longest_wait(linger: float) -> float:
    """Seconds within which a new lane is due."""
    return quiet(linger) + beat(linger)


@dataclass(slots=True, eq=False)
class Waiting(Entry):
    """An entry that waits.

    Attributes:
        at: When it came, in seconds since the epoch.
        place: Where the durable outbox keeps it; None where only memory has it.
        round: The flush that it belongs to: a flush waits for all that came before it.
        unanswered: It was sent once without an answer, so the endpoint may have it.
        late: It belongs to the backlog, for as long as it has no lane to say so.
    """

    subject: Subject
    ip: str | None
    at: float
    place: object | None = None
    round: int = 0
    unanswered: bool = False
    late: bool = False


@dataclass(slots=True, eq=False)
class Lane:
    """One person's or company's entries in order. All times are on the monotonic clock.

    Attributes:
        began, latest: When the first of the entries that wait came, and the last.
    """

    key: str
    late: bool
    items: list[Waiting]
    began: float = 0.0
    latest: float = 0.0
    claimed: Parcel | None = None
    failures: int = 0
    failing_since: float = 0.0


@dataclass(slots=True, eq=False)
class Parcel:
    """What one POST takes of one lane; nothing else of the lane moves until all of it is settled.

    Attributes:
        items: What is not settled yet.
    """

    lane: Lane
    items: list[Waiting]


class Claim:
    """What one request is to take, of one lane or of many.

    Args:
        most: So many parcels, where that is enough to be worth a bulk.
    """

    def __init__(self, most: int) -> None:
        self.parcels: list[Parcel] = []
        self.late = 0
        self._most = most
        self._size = 0

    @property
    def full(self) -> bool:
        return len(self.parcels) >= self._most or self._size >= _FULL_BULK

    def takes(self, lane: Lane) -> bool:
        """What failed before may be why, so it goes with ever fewer others."""
        if lane.failures:
            self._most = min(self._most, max(BULK_LINES >> 3 * lane.failures, 1))
        return len(self.parcels) < self._most

    def add(self, parcel: Parcel) -> None:
        self.parcels.append(parcel)
        self.late += parcel.lane.late
        for item in parcel.items:
            self._size += len(item.body)


def batch_of(items: Sequence[Waiting]) -> Batch:
    """The items of one parcel as what goes over the wire."""
    if len(items) == 1:  # as most are
        return Batch(items[0].subject, (items[0],), items[0].ip)
    subject, ip = items[0].subject, items[0].ip
    for item in items[1:]:
        subject = merge_subjects(subject, item.subject) or subject
        ip = item.ip or ip
    return Batch(subject, tuple(items), ip)


class Lanes:
    """Fresh lanes are handed out first; late ones (the backlog) at a bounded, jittered rate.

    Who stands in the table is on their way or has one turn: without one nobody would ever send what they said.

    Most people have said one thing when their turn comes, so a single entry stands in the table by itself and gets
    a lane when a second one comes, or when it is claimed. That is a third of the memory of an entry that waits
    (556 bytes instead of 803), and the garbage collector has two objects to walk instead of five: a fifth of the CPU
    from `put` to the answer.
    """

    def __init__(self, linger: float) -> None:
        self._linger = linger
        self._quiet = quiet(linger)
        self._beat = beat(linger)
        self._lanes: dict[str, Waiting | Lane] = {}
        self._fresh = Turns()
        self._late = Turns()
        self._late_from = -math.inf
        self._turns = 0
        self._flushes = 0
        self.round = 0
        self.entries = 0
        self.fresh_entries = 0
        self.bytes = 0
        self.out = 0

    @property
    def people(self) -> int:
        return len(self._lanes)

    def add(self, item: Waiting, now: float, *, late: bool = False, older: bool = False) -> None:
        """It waits from now on.

        Args:
            late: It joins the backlog.
            older: It comes out of a file that somebody else left: what came here since may wait already.
        """
        # Counted before it can be claimed: a signal handler may claim and settle at any moment.
        item.round = self.round - late  # what was behind came before any flush that waits now
        size = len(item.body)
        self.entries += 1
        self.bytes += size
        behind = self._place(item, now, late=late, older=older)
        self.fresh_entries += not behind

    def mend(self, key: str) -> None:
        """After an `add` for this key that a signal handler broke off."""
        self._fresh.due.append(key)  # one turn too many does no harm
        self.entries = self.bytes = self.fresh_entries = 0
        for standing in tuple(self._lanes.values()):
            items = _all(standing)
            self.entries += len(items)
            self.bytes += sum([len(item.body) for item in items])
            self.fresh_entries += 0 if standing.late else len(items)

    def load(self, claim: Claim, now: float, parcels: int) -> bool:
        """Takes so many parcels more, at most, of what is due; whether there may be others for this claim."""
        self._advance(now)
        for _ in range(parcels):
            turns = None if claim.full else self._next(now, claim.late)
            if turns is None:
                return False
            lane = self._laned(turns.popleft()) if turns else None
            if lane is None:
                continue
            if not claim.takes(lane):
                turns.appendleft(lane.key)
                return False
            claim.add(self._parcel(lane))
        return True

    def claimed(self, claim: Claim, now: float) -> list[Parcel]:
        """What was claimed, once no more is loaded: all of it, or the first where it is not worth a bulk. The caller
        settles it."""
        # All may have been cleared while the claim was loaded: then they are not out any more.
        parcels = [parcel for parcel in claim.parcels if parcel.lane.claimed is parcel]
        if 1 < len(parcels) < WORTH_A_BULK:
            self.release(parcels[1:])
            del parcels[1:]
        if late := sum([parcel.lane.late for parcel in parcels]):
            rate = DRAIN_RATE if len(parcels) == 1 else BULK_DRAIN_RATE
            self._late_from = now + backoff.spread(2.0 * late / rate, least=0.0)
        return parcels

    def release(self, parcels: Sequence[Parcel]) -> None:
        """As if they had not been claimed."""
        for parcel in reversed(parcels):
            lane = parcel.lane
            lane.items[:0] = parcel.items
            lane.claimed = None
            self.out -= 1
            (self._late if lane.late else self._fresh).due.appendleft(lane.key)

    def is_out(self, parcel: Parcel) -> bool:
        """Claimed and not settled; False too when everything was cleared meanwhile."""
        return parcel.lane.claimed is parcel

    def settle(self, parcel: Parcel, items: Sequence[Waiting], now: float) -> None:
        """These wait no more. The lane goes on once the whole parcel is settled."""
        gone = set(map(id, items))
        parcel.items = [item for item in parcel.items if id(item) not in gone]
        self._forget(items, late=parcel.lane.late)
        if not parcel.items:
            parcel.lane.failures = 0
            self._requeue(parcel.lane, now, now)

    def settle_all(self, parcels: Iterable[Parcel], now: float) -> None:
        """All items of all these parcels wait no more."""
        for parcel in parcels:
            lane, items = parcel.lane, parcel.items
            parcel.items = []
            self._forget(items, late=lane.late)
            lane.failures = 0
            self._requeue(lane, now, now)

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
        for standing in tuple(self._lanes.values()):
            standing.late = True
        self._late.join(self._fresh)
        self.fresh_entries = 0

    def hurry(self) -> int:
        """All that waits is due, the backlog too, until `relax`. Returns the round to ask `settled` with."""
        self._flushes += 1
        for turns in (self._fresh, self._late):
            turns.due += turns.passed(math.inf)
        self.round += 1
        return self.round

    def relax(self) -> None:
        """A flush is over."""
        self._flushes -= 1

    def settled(self, round_: int) -> bool:
        """Nothing waits any more that waited when `hurry` returned this round."""
        # As long as the oldest waits, this looks at no other.
        first = _all(self._longest_standing())
        return not any(item.round < round_ for item in itertools.chain(first, self.everything()))

    def came_since(self, round_: int) -> bool:
        """Something waits that came after `hurry` returned this round."""
        return any(item.round >= round_ for item in self.everything())

    def next_due(self, now: float) -> float:
        """Seconds until a claim may find something; infinite when nothing waits."""
        self._advance(now)
        return max(min(self._fresh.next(), max(self._late.next(), self._pace())) - now, 0.0)

    def take_out(self, people: People) -> list[Waiting]:
        """Takes out what is theirs and not on its way."""
        people = people.with_profiles_of(item.subject for item in self.everything())
        taken: list[Waiting] = []
        for key, standing in tuple(self._lanes.items()):
            theirs = [item for item in _items(standing) if people.own(item.subject, item.at)]
            taken += [item for item in theirs if self._take(key, item)]
        return taken

    def drop_oldest(self) -> Waiting | None:
        """Takes out about the oldest entry that is not on its way."""
        for turns in (self._late, self._fresh):
            while (turn := turns.take_first()) is not None:
                key = turn[0]
                oldest = next(iter(_items(self._lanes.get(key))), None)
                taken = oldest is not None and self._take(key, oldest)
                if self._laned(key) is not None:
                    turns.give_back(*turn)
                if taken:
                    return oldest
        return None

    def oldest(self) -> float | None:
        """When the oldest entry came, in seconds since the epoch."""
        return min((item.at for item in self._heads()), default=None)

    def clear(self) -> tuple[list[Waiting], list[Waiting]]:
        """Forgets everything that waits, parcels that are out included: what the endpoint may have, on its way now or
        sent before without an answer, and the rest."""
        self._fresh, self._late = Turns(), Turns()
        unanswered: list[Waiting] = []
        rest: list[Waiting] = []
        while self._lanes:
            _, standing = self._lanes.popitem()
            out, waiting = _out(standing), _items(standing)
            self._forget([*out, *waiting], late=standing.late)
            if isinstance(standing, Lane):
                self.out -= standing.claimed is not None
                standing.items, standing.claimed = [], None
            unanswered += out
            for item in waiting:
                (unanswered if item.unanswered else rest).append(item)
        return unanswered, rest

    def everything(self) -> Iterator[Waiting]:
        # Copied, here and below: a signal handler may deliver some.
        for standing in tuple(self._lanes.values()):
            yield from _all(standing)

    def _longest_standing(self) -> Waiting | Lane | None:
        # Not next(iter(…)): a signal handler may come between those two.
        for standing in self._lanes.values():
            return standing
        return None

    def _heads(self) -> Iterator[Waiting]:
        for standing in tuple(self._lanes.values()):
            yield from _all(standing)[:1]

    def _place(self, item: Waiting, now: float, *, late: bool, older: bool) -> bool:
        """Puts it where it has to wait; whether that is with the backlog."""
        key = item.subject.key
        standing = self._lanes.get(key)
        if standing is None:
            self._lanes[key], item.late = item, late
            if late:
                self._late.add(key, now)
            else:
                self._fresh.add(key, self._gathered_by(now, now))
            return late
        lane = standing if isinstance(standing, Lane) else _lane_from(standing, now)
        subject = lane.items[0].subject if lane.items else None
        if subject is not None and subject == item.subject:
            item.subject = subject  # one object for all: 130 bytes less for every further entry
        # No call from here to the last, so no signal handler: it may have delivered all of them just now.
        if key not in self._lanes or self._lanes[key] is not standing:
            return self._place(item, now, late=late, older=older)
        self._lanes[key], lane.latest = lane, now
        if older:
            insort(lane.items, item, key=_AT)
        else:
            lane.items.append(item)
        return lane.late

    def _advance(self, now: float) -> None:
        """Finds out whose turn it is by now. Who has said more meanwhile than when they got their place gets a
        later one."""
        self._late.due += self._late.passed(now)
        for key in self._fresh.passed(now):
            standing = self._lanes.get(key)
            if isinstance(standing, Lane) and (due := self._gathered(standing)) > now:
                self._fresh.add(key, due)
            else:
                self._fresh.due.append(key)

    def _next(self, now: float, late_so_far: int) -> deque[str] | None:
        """Where the next turn is: fresh ones first, yet a steady stream of them must not starve the backlog."""
        fresh, late = self._fresh.due, self._late.due
        if late and (self._pace() > now or (late_so_far >= _LATE_AT_ONCE and not self._flushes)):
            late = _NOBODY
        if not fresh and not late:
            return None
        self._turns += 1
        return late if late and (not fresh or self._turns % 4 == 0) else fresh

    def _laned(self, key: str) -> Lane | None:
        """None where a signal handler, in the middle of another call, has left nothing there."""
        standing = self._lanes.get(key)
        if isinstance(standing, Waiting):
            lane = Lane(key, standing.late, [standing])
            if key not in self._lanes or self._lanes[key] is not standing:  # no call since: see _place
                return self._laned(key)
            self._lanes[key] = standing = lane
        if standing is None or standing.claimed is not None:
            return None
        if not standing.items:
            self._leave_if_empty(standing)
        return standing if standing.items else None

    def _leave_if_empty(self, lane: Lane) -> None:
        if (
            not lane.items
            and lane.claimed is None
            and lane.key in self._lanes
            and self._lanes[lane.key] is lane
        ):
            del self._lanes[lane.key]

    def _parcel(self, lane: Lane) -> Parcel:
        taken = _how_many(lane.items)
        self.out += 1
        lane.claimed = Parcel(lane, lane.items[:taken])
        del lane.items[:taken]
        return lane.claimed

    def _take(self, key: str, item: Waiting) -> bool:
        """Takes out one that waits there and is not on its way; False where a signal handler has just delivered it.

        Who has nothing left keeps their lane until its turn: whoever speaks next must not have two.
        """
        emptied = Lane(key, item.late, [])
        standing = self._lanes.get(key)
        if isinstance(standing, Lane) and item in standing.items:
            standing.items.remove(item)
            late = standing.late
        elif key in self._lanes and self._lanes[key] is item:
            self._lanes[key], late = emptied, item.late
        else:
            return False
        self._forget([item], late=late)
        return True

    def _gathered(self, lane: Lane) -> float:
        """When no more of this person's entries are waited for."""
        if lane.latest == lane.began or lane.failures or not lane.items or lane.items[0].round < self.round:
            return -math.inf
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
        if not lane.items:  # as most: not by _leave_if_empty, a call for each parcel
            if lane.key in self._lanes and self._lanes[lane.key] is lane:
                del self._lanes[lane.key]
            return
        lane.began = _came(lane.items[0], now)
        if lane.late:
            self._late.add(lane.key, at)
        else:
            self._fresh.add(lane.key, max(at, self._gathered(lane)))

    def _forget(self, items: Sequence[Waiting], *, late: bool) -> None:
        entries, size = len(items), 0
        for item in items:
            size += len(item.body)
        # No call from here: a signal handler keeps the same books.
        self.entries -= entries
        self.bytes -= size
        if not late:
            self.fresh_entries -= entries


_NOBODY: deque[str] = deque()
_AT = attrgetter("at")


def _items(standing: Waiting | Lane | None) -> list[Waiting]:
    """What waits there and is not on its way."""
    if standing is None:
        return []
    return standing.items if isinstance(standing, Lane) else [standing]


def _out(standing: Waiting | Lane | None) -> list[Waiting]:
    """What is on its way from there."""
    return standing.claimed.items if isinstance(standing, Lane) and standing.claimed else []


def _all(standing: Waiting | Lane | None) -> list[Waiting]:
    return [*_out(standing), *_items(standing)]


def _lane_from(item: Waiting, now: float) -> Lane:
    """For the second of this person's or company's entries."""
    return Lane(item.subject.key, item.late, [item], began=_came(item, now))


def _came(item: Waiting, now: float) -> float:
    """When it came, on the monotonic clock."""
    return now - max(time.time() - item.at, 0.0)


def _how_many(items: list[Waiting]) -> int:
    """How many of them, from the first, one request can say: of one subject, 30 of each kind, a bounded
    body."""
    if len(items) == 1:  # as most are
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
