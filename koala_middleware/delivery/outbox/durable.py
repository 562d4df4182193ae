"""The durable outbox: every entry is in a file before `put` returns, and in memory only while it is on its
way.

A memory outbox for what is on its way (and for everything while the disk is in trouble), a spool for the
rest. Must not know the file format.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from weakref import finalize

from koala_middleware.delivery.outbox import counters
from koala_middleware.delivery.outbox.memory import MemoryOutbox, owns
from koala_middleware.delivery.outbox.purging import known_in, notes, purge_directory
from koala_middleware.delivery.outbox.segment import Place, Reading, Segment
from koala_middleware.delivery.outbox.spool import READ_BYTES, Full, Spool, slots_of
from koala_middleware.delivery.report import DeliveryStats
from koala_middleware.delivery.schedule.lanes import Parcel, Waiting
from koala_middleware.delivery.schedule.purge_targets import People
from koala_middleware.log_once import logger
from koala_middleware.protocol.batches import Batch

WINDOW = 1000  # entries in memory: so many fresh ones, and so many of those behind
LOOK_AROUND = 5.0  # seconds between two searches for orphans
TROUBLE_PAUSE = 30.0  # seconds before a directory that failed is tried again


class DurableOutbox(MemoryOutbox):
    """Bounded by bytes on disk and by age.

    Args:
        directory: Made if missing, readable by its owner alone. One for all processes of one key.
        sync: Waits at each put until the disk has it (power loss), not only the operating system (process
        death). hand_over: Delivers nothing itself: lets go of its files after a second, for a relay to
        take over.
    """

    def __init__(
        self,
        directory: Path,
        *,
        linger: float,
        max_entries: int,
        max_bytes: int,
        max_age: float,
        drop_old: bool,
        sync: bool,
        memory_bytes: int,
        hand_over: bool = False,
    ) -> None:
        super().__init__(linger=linger, max_entries=max_entries, max_bytes=memory_bytes, drop_old=drop_old)
        self._spool = Spool(directory, max_bytes=max_bytes, sync=sync)
        self._max_age = max_age
        self._hand_over = hand_over
        self._writing = False
        self._loading = threading.Lock()
        self._behind = 0  # entries behind, by the books: changes in order with the inbox
        self._kept: dict[str, int] = {}  # what others may deliver since we let go of it, by segment
        self._uncounted: deque[Callable[[], None]] = deque()  # of what is done, by the files
        self._heeded: set[str] = set()  # notes of purges, by their files' names
        self._trouble: OSError | None = None
        self._trouble_said = False
        self._try_disk_at = -math.inf
        self._looked_around_at = -math.inf
        self._looked_after_kept_at = -math.inf
        # A client that nobody closes is collected some time after its last entry; its files are open until then.
        finalize(self, _let_go_of, self._spool, os.getpid()).atexit = False

    def put(self, batch: Batch) -> None:
        if not batch.entries:
            return
        at = time.time()
        with self._spool.lock:
            # A signal handler or finaliser that interrupts a put of its own thread keeps its batch in memory.
            if self._writing or time.monotonic() < self._try_disk_at:
                self._inbox.append((batch, at))
            else:
                self._writing = True
                try:
                    self._write(batch, at)
                finally:
                    self._writing = False
        self._sort_if_free()

    def claim_many(self, now: float, most: int) -> list[Parcel]:
        if self._hand_over:
            return []
        self._load()
        while parcels := super().claim_many(now, most):
            if young := [parcel for parcel in parcels if not self._all_too_old(parcel)]:
                return young
        return []

    @contextmanager
    def lent(self) -> Iterator[bool]:
        if owns(self._spool.lock):  # others would have our lock while they wait for this one
            yield False
            return
        with super().lent() as lent:
            yield lent

    def done(self, parcel: Parcel, items: Sequence[Waiting]) -> None:
        self._settle(items, partial(super().done, parcel, items))

    def done_all(self, parcels: Sequence[Parcel]) -> None:
        items = [item for parcel in parcels for item in parcel.items]
        self._settle(items, partial(super().done_all, parcels))

    def refuse(self, parcel: Parcel, items: Sequence[Waiting], reason: str) -> None:
        self._keep_refused(items, reason)
        self._settle(items, partial(super().refuse, parcel, items, reason))

    def set_aside(self, batch: Batch, reason: str) -> None:
        at = time.time()
        entries = [Waiting(one.kind, one.body, batch.subject, batch.ip, at) for one in batch.entries]
        self._keep_refused(entries, reason)
        super().set_aside(batch, reason)

    def purge(self, people: People) -> int:
        directory = self._spool.directory
        here = 0
        try:
            people = known_in(directory, people)
            here = self._purge_here(people)
            return here + purge_directory(directory, people)
        except OSError as trouble:
            self._note_trouble(trouble)
            return here or self._purge_here(people)

    def next_due(self, now: float) -> float:
        if self._hand_over:
            return math.inf
        return 0.0 if self._behind and self._room_to_load() > 0 else super().next_due(now)

    def hurry(self, now: float) -> int:
        if self._hand_over:
            self._let_go()
        else:
            self._look_around(now)
        return super().hurry(now)

    def settled(self, round_: int) -> bool:
        return self._hand_over or (super().settled(round_) and not self._behind)

    def stats(self) -> DeliveryStats:
        if self._kept and time.monotonic() - self._looked_after_kept_at >= LOOK_AROUND:
            self._look_after_kept()
        return super().stats()

    def tend(self, now: float) -> None:
        try:
            self._spool.check()
        except OSError as trouble:
            self._note_trouble(trouble)
        if self._hand_over:
            self._let_go()
        elif now - self._looked_around_at >= LOOK_AROUND:
            self._look_around(now)
        self._say_trouble()

    def close(self) -> DeliveryStats:
        with self._counted():
            unanswered, rest = self._lanes.clear()
            self._drop_the_rest(_only_here(unanswered), _only_here(rest))
            self._let_go()
        return self.stats()

    def close_after(self, round_: int) -> DeliveryStats | None:
        with self._counted():
            return super().close_after(round_)

    def abandon(self) -> None:
        self._spool.close_files()

    def _keep_refused(self, items: Sequence[Waiting], reason: str) -> None:
        try:
            self._spool.keep_refused(items, reason)
        except (Full, OSError) as trouble:
            logger.error("Koala: %d refused entries could not be kept aside: %s", len(items), trouble)

    def _write(self, batch: Batch, at: float) -> None:
        """Under the spool's lock, so that the inbox gets everything in the order of the files."""
        behind = self._hand_over or self._lanes.fresh_entries + len(self._inbox) >= WINDOW
        try:
            places = self._spool.write(batch, at, behind=behind)
        except Full:
            self._overflow(batch, at)
        except OSError as trouble:
            self._note_trouble(trouble)
            self._inbox.append((batch, at))
        else:
            self._trouble = None
            self._inbox.append(partial(self._came, batch, at, places))

    def _overflow(self, batch: Batch, at: float) -> None:
        dropped = self._spool.drop_oldest() if self._drop_old else 0
        if dropped:
            self._inbox.append(partial(self._lost_behind, dropped, counters.OUTBOX_FULL))
            self._write(batch, at)
        else:
            self.count_dropped(len(batch.entries), counters.OUTBOX_FULL)

    def _came(self, batch: Batch, at: float, places: list[Place] | None) -> None:
        entries = len(batch.entries)
        self._ledger.accepted += entries
        if places is None:
            self._behind += entries
            return
        now = time.monotonic()
        for entry, place in zip(batch.entries, places, strict=True):
            self._lanes.add(Waiting(entry.kind, entry.body, batch.subject, batch.ip, at, place), now)

    def _load(self) -> None:
        """Reads into memory what is behind, of as many files as there is room for: a person's older entries may be in
        any of them, and what they say now must not leave before."""
        if not (self._behind and self._room_to_load() > 0 and self._loading.acquire(blocking=False)):
            return
        try:
            room = self._room_to_load()
            while room > 0 and (next_up := self._spool.next_segment()):
                room -= self._load_from(next_up)
        finally:
            self._loading.release()

    def _load_from(self, segment: Segment) -> int:
        """How many entries that was."""
        size = segment.size
        try:
            reading = segment.read(READ_BYTES)
        except OSError as trouble:
            self._note_trouble(trouble)
            reading = Reading([], 0, segment.cursor)
        with self._spool.lock:
            if segment is not self._spool.next_segment():
                return 0  # let go of or given up meanwhile
            if reading.cursor > segment.cursor:
                self._spool.advance(segment, reading)
                self._inbox.append(partial(self._loaded, reading, segment.adopted))
            elif size > segment.cursor:  # it was there already, and not a line of it can be read
                self._inbox.append(partial(self._lost_behind, self._spool.drop(segment), counters.CORRUPT))
        return len(reading.items)

    def _loaded(self, reading: Reading, adopted: bool) -> None:
        now = time.monotonic()
        self._lost_behind(reading.damaged, counters.CORRUPT)
        entries = len(reading.items)
        self._behind -= entries
        for item in reading.items:
            self._lanes.add(item, now, late=True, older=adopted)

    def _lost_behind(self, entries: int, reason: str) -> None:
        self._behind -= entries
        self._ledger.drop(entries, reason)

    def _room_to_load(self) -> int:
        """For so many entries; negative when there are more than that already."""
        entries, fresh = self._lanes.entries, self._lanes.fresh_entries
        # What joins a fresh lane counts as fresh, and one person may have all of the backlog.
        return min(WINDOW // 2 - (entries - fresh), 2 * WINDOW - entries)

    def _all_too_old(self, parcel: Parcel) -> bool:
        """Drops what is past the age limit; whether that was all of it."""
        before = time.time() - self._max_age
        old = [item for item in parcel.items if item.at < before]
        if old:
            self._settle(old, partial(self._too_old, parcel, old))
        return not parcel.items

    def _too_old(self, parcel: Parcel, items: Sequence[Waiting]) -> None:
        if self._lanes.is_out(parcel):
            self._ledger.drop(len(items), counters.TOO_OLD)
            self._lanes.settle(parcel, items, time.monotonic())

    def _dropped_oldest(self, item: Waiting) -> None:
        self._finish([item])

    def _settle(self, items: Sequence[Waiting], count: Callable[[], None]) -> None:
        """Marks them as done, then has them counted; by a close that comes in between, if need be. The outbox's lock
        is not kept while the disk writes."""
        with self._spool.lock:
            self._finish(items)
            self._uncounted.append(count)
        with self._sorted():
            self._count()

    def _count(self) -> None:
        while self._uncounted:
            self._uncounted.popleft()()

    def _finish(self, items: Sequence[Waiting]) -> None:
        try:
            self._spool.finish([item.place for item in items if isinstance(item.place, Place)])
        except OSError as trouble:  # they may be sent once more after a restart, with the same message ids
            self._note_trouble(trouble)

    def _look_around(self, now: float) -> None:
        """Takes over what dead processes left, and drops what is too old."""
        self._looked_around_at = now
        before = time.time() - self._max_age
        try:
            orphans = self._spool.find_orphans(before)
            persons = slots_of(orphan for orphan in orphans if orphan.undone)
            with self._spool.lock:
                self._spool.take_over(orphans, persons)
                for orphan in orphans:
                    self._inbox.append(partial(self._adopted, orphan.path.stem, orphan.undone))
                self._inbox.append(
                    partial(self._lost_behind, self._spool.drop_expired(before), counters.TOO_OLD)
                )
            self._heed_notes(adopted=bool(orphans))
        except OSError as trouble:
            self._note_trouble(trouble)

    def _adopted(self, name: str, entries: int) -> None:
        kept = self._kept.pop(name, 0)
        self._behind += entries
        elsewhere, new = max(kept - entries, 0), max(entries - kept, 0)
        self._ledger.delivered += elsewhere  # by another process, since we let go of it
        self._ledger.accepted += new
        self._ledger.adopted += new

    def _look_after_kept(self) -> None:
        """Of what we let go of, those files are gone that another process is done with."""
        self._looked_after_kept_at = time.monotonic()
        kept = list(self._kept)
        try:
            there = self._spool.names()
        except OSError:
            return  # nobody can tell, so they wait
        with self._sorted():
            for name in kept:
                if name not in there:
                    elsewhere = self._kept.pop(name, 0)
                    self._ledger.delivered += elsewhere

    def _purge_here(self, people: People) -> int:
        with self._loading:
            return self._purged(people)

    def _purged(self, people: People) -> int:
        behind = 0
        with self._counted():
            taken = self._take_out(people)
            try:
                behind = self._spool.take_out(people)
            except OSError as trouble:
                self._note_trouble(trouble)
            self._finish(taken)
            self._lost_behind(behind, counters.ERASED)
        return len(taken) + behind

    def _heed_notes(self, *, adopted: bool) -> None:
        """Takes out whom another process was asked to; once, and again of what was taken over since."""
        for name, people in notes(self._spool.directory):
            if not adopted and name in self._heeded:
                continue
            # A signal's handler may look around while its own thread loads or purges: then at the next look.
            if not self._loading.acquire(blocking=False):
                self._heeded.discard(name)
                continue
            try:
                self._heeded.add(name)
                self._purged(people)
            finally:
                self._loading.release()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Both locks, with everything counted that the files say.

        Waits for neither with the other in hand: a put that has the spool's may be interrupted by a signal's handler
        that asks for the outbox's.
        """
        while True:
            with self._sorted():
                if self._spool.lock.acquire(blocking=False):
                    try:
                        self._sort()
                        self._count()
                        yield
                        return
                    finally:
                        self._spool.lock.release()
            with self._spool.lock:
                pass  # whoever wrote is done

    def _let_go(self) -> None:
        """From here on others may deliver what is in our files."""
        with self._counted():
            self._kept.update(self._spool.release())
            self._behind = 0

    def _waiting(self) -> int:
        return self._lanes.entries + self._behind + sum(self._kept.values())

    def _waiting_bytes(self) -> int:
        return self._spool.bytes + sum(
            len(item.body) for item in self._lanes.everything() if item.place is None
        )

    def _note_trouble(self, trouble: OSError) -> None:
        self._trouble = trouble
        self._try_disk_at = time.monotonic() + TROUBLE_PAUSE

    def _say_trouble(self) -> None:
        trouble, said = self._trouble, self._trouble_said
        self._trouble_said = trouble is not None
        if trouble is not None and not said:
            logger.error(
                "Koala: the outbox %s cannot be used (%s); entries wait in memory until it can.",
                self._spool.directory,
                trouble.strerror or type(trouble).__name__,
            )
        elif trouble is None and said:
            logger.warning("Koala: the outbox %s can be used again.", self._spool.directory)


def _only_here(items: list[Waiting]) -> list[Waiting]:
    return [item for item in items if item.place is None]


def _let_go_of(spool: Spool, process: int) -> None:
    """The outbox is collected, so nobody else uses its spool. In a forked child all of it is the parent's."""
    if os.getpid() != process:
        spool.close_files()
        return
    with suppress(OSError):
        spool.release()
