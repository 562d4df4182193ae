"""The schedule: one lane for each person or company, which keeps their entries in order.

Decides which lane is sent next: a lane when it is due, new entries before the backlog, the backlog at a bounded rate.
Pure bookkeeping for one thread. Must not know locks, clocks (time is an argument), files or the network.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from koala_middleware.delivery.schedule import backoff
from koala_middleware.delivery.schedule.due_queue import DueQueue
from koala_middleware.delivery.schedule.items import Parcel, Waiting, fitting
from koala_middleware.delivery.schedule.purge_targets import People
from koala_middleware.protocol.limits import BULK_BYTES, BULK_LINES

DRAIN_RATE = 100.0  # parcels of the backlog a second, at first after an outage or a restart
BULK_DRAIN_RATE = 1_000.0  # the same in bulk, where a parcel costs the endpoint a fraction
FASTEST = 32.0  # times these rates, for an endpoint that goes on taking
WORTH_A_BULK = 4  # parcels; fewer leave one by one, in parallel
_QUIET = 1 / 80  # of the linger
_BEAT = 6 / 80  # of the linger
_LATE_AT_ONCE = 100  # parcels of the backlog in one bulk
_FULL_BULK = BULK_BYTES // 4  # bytes of entries; one more batch and what stands around them still fit
_came = attrgetter("came")


def quiet(linger: float) -> float:
    """How long after its last entry a lane is due, in seconds.

    The calls of one page come close together. A longer wait gathers little more, and a killed process loses it."""
    return linger * _QUIET


def beat(linger: float) -> float:
    """Lanes become due at multiples of this many seconds, so that one wake-up sends many.

    In a busy app a wake-up costs a millisecond of CPU, as much as the 50 entries that it sends."""
    return linger * _BEAT


def longest_wait(linger: float) -> float:
    """The longest time until a new lane is due, in seconds."""
    return quiet(linger) + beat(linger)


@dataclass(slots=True)
class Failure:
    """How many times in a row a lane's parcel was put back, and since when."""

    count: int
    since: float


@dataclass(slots=True, eq=False)
class Mark:
    """One flush. Attributes: `left` is the number of entries present at its begin that still wait."""

    round: int
    left: int


class Lanes:
    """Invariant: every key is either claimed, with one parcel, or queued exactly once.

    Attributes:
        entries: The number of waiting entries, those of claimed parcels included.
        late_entries: The number of these in the backlog.
        out: Parcels that are claimed and not settled, by key.
        speed: The backlog's rate as a multiple of the initial rate.
    """

    def __init__(self, linger: float) -> None:
        self._linger = linger
        self._quiet = quiet(linger)
        self._beat = beat(linger)
        self._lanes: dict[str, list[Waiting]] = {}
        self._failures: dict[str, Failure] = {}
        self._late_keys: set[str] = set()
        self._fresh = DueQueue()
        self._late = DueQueue()
        self._late_from = -math.inf
        self._turns = 0
        self._marks: list[Mark] = []
        self._round = 0
        self.entries = 0
        self.late_entries = 0
        self.out: dict[str, Parcel] = {}
        self.speed = 1.0

    def __len__(self) -> int:
        return len(self._lanes)

    def add(self, item: Waiting, now: float, *, late: bool = False) -> None:
        """Add a waiting item.

        Args:
            late: The item was read from a file and joins the backlog. Its lane may hold newer items already.
        """
        key = item.subject.key
        lane = self._lanes.get(key)
        if lane is None:
            self._lanes[key] = [item]
            if late:
                self._late_keys.add(key)
                self._late.add(key, now)
            else:
                self._fresh.add(key, self._gathered_by(item.came, item.came))
        else:
            if lane and lane[0].subject == item.subject:
                item.subject = lane[0].subject  # one object for all saves 130 bytes an entry
            if late:
                insort(lane, item, key=_came)
            else:
                lane.append(item)
        item.round = 0 if late else self._round
        self.entries += 1
        if self._late_keys or self._marks:
            self._count(item, key)

    def claim(self, now: float, most: int) -> Iterator[Parcel]:
        """Claim up to `most` parcels for one request. List them all, then call `claimed`."""
        self._advance(now)
        parcels = late = size = 0
        while parcels < most and size < _FULL_BULK and (queue := self._next(now, late)) is not None:
            key = queue.popleft()
            lane = self._lanes[key]
            if not lane:
                self._remove(key)
                continue
            if failure := self._failures.get(
                key
            ):  # it may be the cause, so it shares a request with ever fewer
                most = min(most, max(BULK_LINES >> 3 * failure.count, 1))
                if parcels >= most:
                    queue.appendleft(key)
                    return
            parcel = self._parcel(key, lane)
            parcels += 1
            late += parcel.late
            for item in parcel.items:
                size += len(item.body)
            yield parcel

    def claimed(self, parcels: list[Parcel], now: float) -> list[Parcel]:
        """The parcels that stay claimed: all, or only the first if there are too few for a bulk request."""
        if 1 < len(parcels) < WORTH_A_BULK:
            self.release(parcels[1:])
            del parcels[1:]
        if late := sum([parcel.late for parcel in parcels]):
            rate = self.speed * (DRAIN_RATE if len(parcels) == 1 else BULK_DRAIN_RATE)
            self._late_from = now + backoff.spread(2.0 * late / rate, least=0.0)
        return parcels

    def release(self, parcels: Sequence[Parcel]) -> None:
        """Undo the claim."""
        for parcel in reversed(parcels):
            if self.is_out(parcel):
                self._return(parcel)
                del self.out[parcel.key]
                self._queue(parcel.key).due.appendleft(parcel.key)

    def is_out(self, parcel: Parcel) -> bool:
        """Whether the parcel is claimed. False after `clear`."""
        return self.out.get(parcel.key) is parcel

    def settle(self, parcel: Parcel, items: Sequence[Waiting], now: float) -> None:
        """Remove settled items. The lane goes on once its whole parcel is settled."""
        if len(items) == len(parcel.items):
            parcel.items = []
        else:
            gone = set(map(id, items))
            parcel.items = [item for item in parcel.items if id(item) not in gone]
        key = parcel.key
        self._uncount(items, key)
        if parcel.items:
            return
        if self._failures:
            self._failures.pop(key, None)
        if self._lanes[key]:
            self._requeue(key, now, now)
        else:  # the usual case
            del self.out[key]
            self._remove(key)

    def put_back(self, parcel: Parcel, now: float, at: float | None = None) -> None:
        """Return unsettled items to their lane, which is due at `at`, by default after a backoff."""
        failure = self._failures.setdefault(parcel.key, Failure(0, now))
        failure.count += 1
        self._return(parcel)
        pause = backoff.pause(failure.count, now - failure.since)
        self._requeue(parcel.key, now, now + pause if at is None else at)

    def make_late(self) -> None:
        """Make everything that waits the backlog, so that new entries are sent first."""
        self._late_keys.update(self._lanes)
        self._late.join(self._fresh)
        self._fresh = DueQueue()
        self.late_entries = self.entries

    def hurry(self) -> Mark:
        """Make everything due, the backlog included, until `relax` is called with this mark."""
        for queue in (self._fresh, self._late):
            queue.due += queue.passed(math.inf)
        self._round += 1
        self._marks.append(Mark(self._round, self.entries))
        return self._marks[-1]

    def relax(self, mark: Mark) -> None:
        """End a flush."""
        self._marks.remove(mark)

    def next_due(self, now: float) -> float:
        """Seconds until a claim may find something; infinite when nothing waits."""
        self._advance(now)
        return max(min(self._fresh.next(), max(self._late.next(), self._pace())) - now, 0.0)

    def take_out(self, people: People) -> list[Waiting]:
        """Remove and return these people's items that are not claimed."""
        people = people.with_profiles_of(item.subject for item in self.everything())
        taken: list[Waiting] = []
        for key, lane in self._lanes.items():
            theirs = [item for item in lane if people.own(item.subject, item.at)]
            if theirs:
                gone = set(map(id, theirs))
                # An empty lane keeps its place in the queue.
                lane[:] = [item for item in lane if id(item) not in gone]
                self._uncount(theirs, key)
                taken += theirs
        return taken

    def drop_oldest(self) -> Waiting | None:
        """Remove and return approximately the oldest item that is not claimed."""
        for queue in (self._late, self._fresh):
            while first := queue.take_first():
                key, at = first
                lane = self._lanes[key]
                item = lane.pop(0) if lane else None
                if item is not None:
                    self._uncount((item,), key)
                if lane:
                    queue.give_back(key, at)
                else:
                    self._remove(key)
                if item is not None:
                    return item
        return None

    def clear(self) -> tuple[list[Waiting], list[Waiting]]:
        """Remove everything, claimed parcels included. Returns items that the endpoint may have, and the others."""
        unanswered = [item for parcel in self.out.values() for item in parcel.items]
        waiting = [item for lane in self._lanes.values() for item in lane]
        rest = [item for item in waiting if not item.unanswered]
        unanswered += [item for item in waiting if item.unanswered]
        for store in (self._lanes, self._failures, self.out, self._late_keys):
            store.clear()
        self._fresh, self._late = DueQueue(), DueQueue()
        self.entries = self.late_entries = 0
        for mark in self._marks:
            mark.left = 0
        return unanswered, rest

    def everything(self) -> Iterator[Waiting]:
        for parcel in self.out.values():
            yield from parcel.items
        for lane in self._lanes.values():
            yield from lane

    def oldest(self) -> float | None:
        """The arrival time of the oldest item."""
        heads = (items[0].came for items in self._standing() if items)
        return min(heads, default=None)

    def _standing(self) -> Iterator[list[Waiting]]:
        yield from (parcel.items for parcel in self.out.values())
        yield from self._lanes.values()

    def _count(self, item: Waiting, key: str) -> None:
        self.late_entries += key in self._late_keys
        for mark in self._marks:
            mark.left += item.round < mark.round

    def _uncount(self, items: Sequence[Waiting], key: str) -> None:
        entries = len(items)
        self.entries -= entries
        if self._late_keys and key in self._late_keys:
            self.late_entries -= entries
        for mark in self._marks:
            for item in items:
                mark.left -= item.round < mark.round

    def _advance(self, now: float) -> None:
        """Move due lanes to the front. A lane that grew since it was queued is queued again, later."""
        self._late.due += self._late.passed(now)
        for key in self._fresh.passed(now):
            lane = self._lanes[key]
            if len(lane) > 1 and (due := self._gathered(key, lane)) > now:
                self._fresh.add(key, due)
            else:
                self._fresh.due.append(key)

    def _next(self, now: float, late_so_far: int) -> deque[str] | None:
        """The queue to take from: new lanes first, without starving the backlog."""
        fresh, late = self._fresh.due, self._late.due
        if late and (self._pace() > now or (late_so_far >= _LATE_AT_ONCE * self.speed and not self._marks)):
            return fresh or None
        if not fresh and not late:
            return None
        self._turns += 1
        return late if late and (not fresh or self._turns % 4 == 0) else fresh

    def _parcel(self, key: str, lane: list[Waiting]) -> Parcel:
        taken = fitting(lane)
        parcel = self.out[key] = Parcel(key, key in self._late_keys, lane[:taken])
        del lane[:taken]
        return parcel

    def _gathered(self, key: str, lane: list[Waiting]) -> float:
        """When the lane is due."""
        if key in self._failures or lane[0].round < self._round:
            return -math.inf
        return self._gathered_by(lane[-1].came, lane[0].came)

    def _gathered_by(self, latest: float, began: float) -> float:
        quiet_from = latest + self._quiet
        if self._beat:
            quiet_from = math.ceil(quiet_from / self._beat) * self._beat
        return min(quiet_from, began + self._linger)

    def _pace(self) -> float:
        """When the backlog may go on: at once during a flush."""
        return -math.inf if self._marks else self._late_from

    def _queue(self, key: str) -> DueQueue:
        return self._late if key in self._late_keys else self._fresh

    def _return(self, parcel: Parcel) -> None:
        """Return a parcel's items to their lane. Sorted, since older items may have been read from a file meanwhile."""
        lane = self._lanes[parcel.key]
        lane[:0] = parcel.items
        lane.sort(key=_came)

    def _requeue(self, key: str, now: float, at: float) -> None:
        del self.out[key]
        lane = self._lanes[key]
        if not lane:
            self._remove(key)
        elif key in self._late_keys:
            self._late.add(key, at)
        else:
            self._fresh.add(key, max(at, self._gathered(key, lane) if len(lane) > 1 else now))

    def _remove(self, key: str) -> None:
        del self._lanes[key]
        if self._late_keys:
            self._late_keys.discard(key)
        if self._failures:
            self._failures.pop(key, None)


def all_items(parcels: Iterable[Parcel]) -> list[Waiting]:
    return [item for parcel in parcels for item in parcel.items]
