"""The durable outbox: every entry is in a file before `put` returns, and in memory only while it is in flight.

Composes the log that callers write, the backlog that is read while there is room, and the schedule. After a disk
error, entries wait in memory and are written later. Must not know the file format.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from koala_middleware.delivery.clock import monotonic
from koala_middleware.delivery.gil import breathe, paced
from koala_middleware.delivery.outbox import counters, folder
from koala_middleware.delivery.outbox.backlog import Backlog
from koala_middleware.delivery.outbox.base import Put, SharedState, size_of
from koala_middleware.delivery.outbox.log import SLOW, Full, Log, Written, trouble_of
from koala_middleware.delivery.outbox.orphans import Orphans, plausible
from koala_middleware.delivery.outbox.purging import known_in, notes, purge_directory
from koala_middleware.delivery.outbox.refused import Refused
from koala_middleware.delivery.outbox.segment import CHECK, Place, Segment
from koala_middleware.delivery.schedule.items import Waiting
from koala_middleware.delivery.schedule.purge_targets import People
from koala_middleware.log_once import logger
from koala_middleware.protocol.batches import Batch

WINDOW = 1000  # the most entries in memory: of new ones, and of the backlog
LOOK_AROUND = 5.0  # seconds between two searches for orphans
READ_AGAIN = 5.0  # seconds until an unreadable file is tried again


class DurableOutbox:
    """Bounded by bytes on disk and by age.

    Args:
        directory: Made if missing, readable by its owner alone. One for all processes of one key.
        max_entries, memory_bytes: The limits in memory after a disk error.
        sync: `put` waits for the disk (survives power loss), not only for the operating system (survives the process).
        hands_over: Delivers nothing itself; releases its files after a second, for a relay.
    """

    def __init__(
        self,
        shared: SharedState,
        directory: Path,
        *,
        max_entries: int,
        max_bytes: int,
        max_age: float,
        drop_old: bool,
        sync: bool,
        memory_bytes: int,
        hands_over: bool = False,
    ) -> None:
        self._shared = shared
        self._log = Log(directory, max_bytes=max_bytes, sync=sync)
        self._refused = Refused(directory, max_bytes)
        self._backlog = Backlog()
        self._orphans = Orphans(directory, max_age)
        self._most_in_memory = (max_entries, memory_bytes)
        self.max_age = max_age
        self._drop_old = drop_old
        self.hands_over = hands_over
        self._ours: dict[str, Segment] = {}
        self._kept: dict[
            str, int
        ] = {}  # entries of released files, by name, until another process is done with them
        self._parked: list[Put] = []  # batches of subjects with a backlog, after a disk error
        self._unwritten = [0, 0]  # entries and bytes only in memory: accepted by callers
        self._unwritten_gone = [0, 0]  # of these, settled or written: counted by the dispatcher
        self._applied_notes: set[str] = set()  # purge notes that were applied, by file name
        self._looked_around_at = self._looked_after_kept_at = self._read_again_at = -math.inf
        self._adopted = 0  # the number of adopted segments
        self._troubles: dict[str, str] = {}  # file errors, by operation
        self._logged = ""
        self._pid = os.getpid()

    # On callers' threads

    def put(self, batch: Batch, came: float) -> None:
        log, shared = self._log, self._shared
        entries, size = len(batch.entries), size_of(batch)
        if came < log.paused_until:
            self._put_in_memory(batch, came, entries, size)
            return
        with log.lock:
            try:
                written = log.write(batch, came)
            except Full:
                if not self._drop_old:
                    shared.intake.reject(entries, counters.OUTBOX_FULL)
                    return
                written = None
            if written is None:
                self._put_in_memory(batch, came, entries, size)
            else:
                shared.intake.admit(entries, size)
                shared.inbox.append((batch, came, written))

    def _put_in_memory(self, batch: Batch, came: float, entries: int, size: int) -> None:
        """Keep a batch in memory until the dispatcher can write it."""
        intake = self._shared.intake
        most_entries, most_bytes = self._most_in_memory
        waits = self._unwritten[0] - self._unwritten_gone[0] + entries
        if waits > most_entries or self._unwritten[1] - self._unwritten_gone[1] + size > most_bytes:
            intake.reject(entries, counters.OUTBOX_FULL)
            return
        self._unwritten[0] += entries
        self._unwritten[1] += size
        intake.admit(entries, size)
        self._shared.inbox.append((batch, came, None))

    def waiting_bytes(self) -> int:
        return max(self._log.bytes + self._unwritten[1] - self._unwritten_gone[1], 0)

    # The dispatcher's

    @property
    def behind(self) -> int:
        kept = sum(self._kept.values()) if self.hands_over else 0
        return self._backlog.entries + kept

    @property
    def trouble(self) -> str:
        if self._log.trouble is not None:
            return f"the outbox cannot be written ({trouble_of(self._log.trouble)})"
        if monotonic() < self._log.paused_until:
            return "the outbox's disk is slow"
        return next(iter(tuple(self._troubles.values())), self._orphans.trouble)

    def take_in(self, put: Put, now: float) -> None:
        batch, came, written = put
        if isinstance(written, Written):
            self._take_in_written(batch, came, written, now)
            return
        try:
            now_written = self._write_now(batch, came)
        except Full:
            if self._drop_old:
                self._drop_unwritten(batch, counters.OUTBOX_FULL)
                return
            now_written = None
        if now_written is not None:
            self._count_unwritten(-len(batch.entries), -size_of(batch))
            self._take_in_written(batch, came, now_written, now, ours=True)
        elif self._backlog.has(batch.subject):
            self._parked.append(put)
        else:
            self._schedule_unwritten(batch, came, now)

    def _schedule_unwritten(self, batch: Batch, came: float, now: float) -> None:
        at = time.time() - (now - came)
        for entry in batch.entries:
            item = Waiting(entry.kind, entry.body, batch.subject, batch.ip, came, at)
            self._shared.lanes.add(item, now)

    def read_on(self, now: float) -> None:
        lanes = self._shared.lanes
        if self.hands_over or now < self._read_again_at:
            return
        while (
            min(WINDOW - lanes.late_entries, 2 * WINDOW - lanes.entries) > 0
            and (segment := self._backlog.next())
            and self._read(segment, now)
        ):
            breathe()
        if self._parked and not self._backlog.entries:
            parked, self._parked = self._parked, []
            for put in parked:
                self.take_in(put, now)

    def finish(self, items: Sequence[Waiting]) -> None:
        by_segment: dict[int, list[Place]] = {}
        for item in items:
            place = item.place
            if isinstance(place, Place):
                by_segment.setdefault(id(place.segment), []).append(place)
            else:
                self._count_unwritten(-1, -len(item.body))
        for places in by_segment.values():
            segment = places[0].segment
            # The next owner of a released segment sends these again.
            if self._ours.get(segment.path.stem) is segment:
                segment.undone -= len(places)
                with self._recording_trouble("finish"):
                    if not self._cleared(segment):
                        segment.mark_done(places)

    def keep_aside(self, items: Sequence[Waiting], reason: str) -> None:
        self._refused.keep(items, reason)

    def tend(self, now: float) -> None:
        self._see_created()
        with self._recording_trouble("tend"):
            self._give_up_vanished()
        if self._log.paused_until:
            self._try_disk()
        if self._unwritten[0] > self._unwritten_gone[0]:
            self._write_unwritten(now)
        if self.hands_over:
            self._let_go()
        elif now - self._looked_around_at >= LOOK_AROUND:
            self.look_around(now)
        for segment in [one for one in self._ours.values() if one.undone <= 0 and not one.adopted]:
            with self._recording_trouble("tend"):
                self._cleared(segment)
        self._look_after_kept(now)
        self._log_trouble()

    def look_around(self, now: float) -> None:
        self._looked_around_at = now
        if self.hands_over:
            self._let_go()
            return
        with self._recording_trouble("look around"):
            found = self._orphans.find(self._ours)
            self._log.others = found.others
            for segment in found.adopted:
                self._adopt(segment)
            self._backlog.adopt([segment for segment in found.adopted if segment.undone > 0])
            self._drop_expired(now)
            self._apply_purge_notes(again=bool(found.adopted))
            if not self._adopted:
                self._orphans.give_up()

    def purge(self, people: People) -> int:
        directory = self._log.directory
        here = 0
        with self._recording_trouble("purge"):
            if directory.is_dir():
                people = known_in(directory, people)
        here = self._take_out(people)
        with self._recording_trouble("purge"):
            here += purge_directory(directory, people)
        return here

    def close(self) -> None:
        shared = self._shared
        self._write_unwritten(monotonic())
        unanswered, rest = shared.lanes.clear()
        for items, reason in ((unanswered, counters.UNANSWERED), (rest, counters.ENDED)):
            lost = [item for item in items if not isinstance(item.place, Place)]
            self.finish(lost)
            shared.ledger.drop(len(lost), reason)
        for batch, _, _ in self._parked:
            self._drop_unwritten(batch, counters.ENDED)
        self._parked.clear()
        self._let_go()

    def abandon(self) -> None:
        for segment in list(self._ours.values()):
            segment.close()
        self._orphans.abandon()

    def __del__(self) -> None:
        """Release the files of an outbox that was not closed. In a forked child they are the parent's."""
        with suppress(Exception):
            if os.getpid() != self._pid:
                self.abandon()
            else:
                self._let_go()

    # Taking in

    def _take_in_written(
        self, batch: Batch, came: float, written: Written, now: float, *, ours: bool = False
    ) -> None:
        """Args:
        ours: The dispatcher wrote it, so earlier writes of callers may still be in the inbox.
        """
        segment, offset, lines = written
        lanes, entries = self._shared.lanes, len(lines)
        if segment.descriptor < 0:  # released before this was accepted
            self._kept[segment.path.stem] = self._kept.get(segment.path.stem, 0) + entries
            return
        self._ours[segment.path.stem] = segment
        segment.undone += entries
        places, end = [], offset
        for line in lines:
            places.append(Place(segment, end, line[:CHECK]))
            end += len(line)
        in_order = not ours or segment.known == offset
        nothing_unread = segment.unread == 0 and in_order
        if in_order:
            segment.known = end
        fresh = lanes.entries - lanes.late_entries
        if self.hands_over or fresh >= WINDOW or self._backlog.has(batch.subject):
            if nothing_unread:
                segment.cursor = offset
            self._backlog.add(segment, batch.subject, entries)
            return
        if nothing_unread:
            segment.cursor = end
        else:
            segment.ahead.update(place.offset for place in places)
        at = came + segment.skew
        for entry, place in zip(batch.entries, places, strict=True):
            lanes.add(Waiting(entry.kind, entry.body, batch.subject, batch.ip, came, at, place), now)

    def _write_now(self, batch: Batch, came: float) -> Written | None:
        """Write what a caller could not. None while a caller writes, or after a disk error. Raises Full."""
        log = self._log
        if log.trouble is not None or not log.lock.acquire(blocking=False):
            return None
        try:
            while True:
                try:
                    return log.write(batch, came)
                except Full:
                    if not (self._drop_old and self._drop_oldest_segment()):
                        raise
        finally:
            log.lock.release()

    def _drop_oldest_segment(self) -> bool:
        """Make room by dropping the oldest file of the backlog."""
        segment = self._backlog.next()
        if segment is None or not segment.sealed:
            return False
        self._lose(segment, counters.OUTBOX_FULL)
        return True

    def _drop_unwritten(self, batch: Batch, reason: str) -> None:
        self._count_unwritten(-len(batch.entries), -size_of(batch))
        self._shared.ledger.drop(len(batch.entries), reason)

    def _count_unwritten(self, entries: int, size: int) -> None:
        """Count entries that are only in memory."""
        self._unwritten_gone[0] -= entries
        self._unwritten_gone[1] -= size

    # Reading on

    def _read(self, segment: Segment, now: float) -> bool:
        """Read a part of the segment into the schedule; False if that is impossible now."""
        try:
            if not segment.open():
                self._lose_to_others(segment)
                return True
            reading = segment.read()
        except OSError as trouble:  # a failing disk says nothing about its content
            self._read_again_at = now + READ_AGAIN
            self._troubles["reading"] = trouble_of(trouble)
            return False
        self._troubles.pop("reading", None)
        if reading.cursor == segment.cursor and segment.unread > 0:
            self._lose(segment, counters.CORRUPT)
            return True
        segment.undone -= reading.damaged
        self._backlog.advance(segment, reading)
        self._shared.ledger.drop(reading.damaged, counters.CORRUPT)
        for item in paced(reading.items):
            item.came = self._came(item, segment, now)
            self._shared.lanes.add(item, now, late=True)
        if segment.cursor >= segment.known:
            with self._recording_trouble("read"):
                if segment.undone > 0 or not self._cleared(segment):
                    self._rest(segment)
        return True

    def _came(self, item: Waiting, segment: Segment, now: float) -> float:
        """By one reading of the clocks for all, so that their order stays."""
        if segment.adopted and not plausible(item.at):
            return now
        return min(item.at - (self._log.skew if segment.adopted else segment.skew), now)

    def _rest(self, segment: Segment) -> None:
        """All of it is read: one descriptor less. Our own stay open, since that says that we live."""
        if segment.adopted:
            segment.close()

    def _lose(self, segment: Segment, reason: str) -> None:
        """Gives up what nobody has read of it."""
        unread = self._backlog.give_up(segment)
        segment.undone -= unread
        self._shared.ledger.drop(unread, reason)
        with self._recording_trouble("lose"):
            self._cleared(segment)

    def _lose_to_others(self, segment: Segment) -> None:
        """Another process has the file now, or it is gone."""
        self._kept[segment.path.stem] = self._backlog.give_up(segment)
        self._forget(segment)

    # Files

    def _see_created(self) -> None:
        created = self._log.created
        while created:
            segment = created.popleft()
            self._ours.setdefault(segment.path.stem, segment)

    def _cleared(self, segment: Segment) -> bool:
        """Deletes or empties the file where everything in it is done; False while there is more."""
        if segment.undone > 0:
            return False
        if segment.adopted or (segment.sealed and segment.known >= segment.size):
            self._remove(segment)
            return True
        log = self._log
        if not log.lock.acquire(blocking=False):
            return False
        try:
            if log.writing or (segment.known < segment.size and self._shared.inbox):
                return False
            if segment.sealed:
                self._remove(segment)
            elif segment.size:
                log.freed += segment.weight
                segment.empty()
        finally:
            log.lock.release()
        return True

    def _remove(self, segment: Segment) -> None:
        self._forget(segment)
        segment.remove()

    def _forget(self, segment: Segment) -> None:
        if self._ours.pop(segment.path.stem, None) is None:
            return
        if not segment.adopted:
            self._log.freed += segment.weight
            return
        self._log.others -= segment.weight
        self._adopted -= 1
        if not self._adopted:
            self._orphans.give_up()

    def _adopt(self, segment: Segment) -> None:
        """Adopt a file of a dead process, or one that we released."""
        name = segment.path.stem
        kept = self._kept.pop(name, 0)
        ledger = self._shared.ledger
        ledger.deliver(max(kept - segment.undone, 0))  # by another process, since we released it
        ledger.adopted += max(segment.undone - kept, 0)
        self._ours[name] = segment
        self._adopted += 1
        self._log.others += segment.weight
        if segment.undone <= 0:
            self._remove(segment)
            return
        for item in paced(segment.all_unread()):
            self._backlog.subject_waits(item.subject)
        segment.close()

    def _let_go(self) -> None:
        """Release our files, so that other processes may deliver them."""
        self._see_created()
        current = self._log.current if self._log.writing else None
        self._log.seal()  # without the lock: a caller in the middle of a write fails or is done
        for name, segment in tuple(self._ours.items()):
            # Entries still in the inbox are in the file as well.
            if segment.undone > 0 or segment.known < segment.size or segment is current:
                self._kept[name] = segment.undone
                self._forget(segment)
                segment.close()
            else:
                with self._recording_trouble("let go"):
                    self._remove(segment)
        self._backlog.clear()
        self._orphans.give_up()

    def _look_after_kept(self, now: float) -> None:
        """Count released files that are gone: another process delivered them."""
        if not self._kept or now - self._looked_after_kept_at < LOOK_AROUND:
            return
        self._looked_after_kept_at = now
        with self._recording_trouble("look after kept"):
            there = self._orphans.names()
            for name in [name for name in self._kept if name not in there]:
                self._shared.ledger.deliver(self._kept.pop(name))

    def _drop_expired(self, now: float) -> None:
        for segment in self._backlog:
            if segment.sealed and now - segment.written_at > self.max_age:
                self._lose(segment, counters.TOO_OLD)

    # Erasure

    def _take_out(self, people: People) -> int:
        taken = self._shared.lanes.take_out(people)
        self.finish(taken)
        number = len(taken)
        for segment in self._backlog:
            with self._recording_trouble("take out"):
                number += self._take_out_of(segment, people)
        self._shared.ledger.drop(number, counters.ERASED)
        return number

    def _take_out_of(self, segment: Segment, people: People) -> int:
        was_open = segment.descriptor >= 0
        if not segment.open():
            return 0
        theirs = segment.take_out(people)
        for item in theirs:
            self._backlog.taken_out(segment, item.subject)
        if segment.undone <= 0:
            self._backlog.give_up(segment)
            self._cleared(segment)
        elif not was_open:
            segment.close()
        return len(theirs)

    def _apply_purge_notes(self, *, again: bool) -> None:
        """Apply purges that another process was asked for, once, and again after an adoption."""
        for name, people in notes(self._log.directory):
            if again or name not in self._applied_notes:
                self._applied_notes.add(name)
                self._take_out(people)

    # Trouble

    def _give_up_vanished(self) -> None:
        """Files were deleted while in use: write again what memory has of them."""
        for segment in [one for one in self._ours.values() if not one.adopted and one.vanished]:
            if segment is self._log.current:
                if not self._log.lock.acquire(blocking=False):
                    return
                try:
                    if self._log.writing:
                        return
                    self._log.seal()
                finally:
                    self._log.lock.release()
            logger.error(
                "Koala: files of the outbox were deleted while in use; what memory has is written again."
            )
            for item in self._shared.lanes.everything():
                if isinstance(item.place, Place) and item.place.segment is segment:
                    item.place = None
                    segment.undone -= 1
                    self._count_unwritten(1, len(item.body))
            lost = self._backlog.give_up(segment)
            segment.undone -= lost
            self._shared.ledger.drop(lost, counters.CORRUPT)
            self._forget(segment)
            segment.close()

    def _try_disk(self) -> None:
        """Try whether the folder can be written again."""
        probe = self._log.directory / f"probe-{os.getpid()}{folder.NEW}"
        try:
            folder.prepare(self._log.directory)
            began = monotonic()
            descriptor = folder.open_file(probe, os.O_CREAT | os.O_WRONLY)
            try:
                os.write(descriptor, b" " * 4096)
            finally:
                os.close(descriptor)
                probe.unlink()
        except OSError as trouble:
            self._log.pause(trouble)
        else:
            if monotonic() - began < SLOW:
                self._log.resume()

    def _write_unwritten(self, now: float) -> None:
        """Write the entries that came after the disk error, in order."""
        if self._log.paused_until > now:
            return
        for item in paced(list(self._shared.lanes.everything())):
            if item.place is not None:
                continue
            try:
                written = self._write_now(Batch(item.subject, (item,), item.ip), item.came)
            except Full:
                return
            if written is None:
                return
            segment, offset, (line,) = written
            self._ours[segment.path.stem] = segment
            segment.undone += 1
            if segment.known == offset and segment.unread == 0:
                segment.known = segment.cursor = offset + len(line)
            else:
                segment.ahead.add(offset)
            item.place = Place(segment, offset, line[:CHECK])
            self._count_unwritten(-1, -len(item.body))

    @contextmanager
    def _recording_trouble(self, occasion: str) -> Iterator[None]:
        """Record an OSError as trouble of this operation, until the operation succeeds."""
        try:
            yield
        except OSError as trouble:
            self._troubles[occasion] = trouble_of(trouble)
        else:
            self._troubles.pop(occasion, None)

    def _log_trouble(self) -> None:
        trouble = self.trouble
        if bool(trouble) == bool(self._logged):
            return
        self._logged = trouble
        if trouble:
            logger.error(
                "Koala: %s: %s; entries that cannot be written wait in memory.", self._log.directory, trouble
            )
        else:
            logger.warning("Koala: the outbox %s can be used again.", self._log.directory)
