"""The spool: the segments of one process in the outbox's directory, and the orphans it took over.

Two kinds are written. The *fresh* segment's entries are in memory too, on their way. What does not fit
there goes *behind*: to the tail of a queue of segments that are read later, in order. Who has entries in
that queue (as far as a small set of hashes can tell) goes behind as well, so each one's order is kept.
Must not know lanes or the network. Its lock is held for single writes only.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from errno import ENOSPC
from pathlib import Path
from zlib import crc32

from koala_middleware.delivery.gil import paced
from koala_middleware.delivery.outbox.segment import (
    CHECK,
    DONE,
    MARK,
    NEW,
    PURGE,
    REFUSED,
    WAITING,
    Place,
    Reading,
    Segment,
    encode,
)
from koala_middleware.delivery.schedule.lanes import Waiting
from koala_middleware.delivery.schedule.purge_targets import People
from koala_middleware.protocol.batches import Batch

READ_BYTES = 128 * 1024  # read at a time from the queue behind

_LARGEST_SEGMENT = 4 * 1024 * 1024
_SMALLEST_SEGMENT = 64 * 1024
_HASHES = 1 << 16  # bytes; two people of one hash only wait for each other


class Full(Exception):  # noqa: N818  (read as a sentence)
    """The byte limit is reached."""


class Spool:
    """Methods that touch files raise OSError; what was written before stays as it was."""

    def __init__(self, directory: Path, *, max_bytes: int, sync: bool) -> None:
        self.directory = directory
        self.lock = threading.RLock()
        self.unread = 0  # entries behind that nobody has read
        self._max_bytes = max_bytes
        self._segment_bytes = min(max(max_bytes // 16, _SMALLEST_SEGMENT), _LARGEST_SEGMENT)
        self._sync = sync
        self._fresh: Segment | None = None
        self._behind: Segment | None = None
        self._queue: deque[Segment] = deque()
        self._ours: dict[str, Segment] = {}
        self._persons_behind = bytearray(_HASHES)
        self._own_bytes = 0
        self._others_bytes = 0

    @property
    def bytes(self) -> int:
        """What the directory holds: ours exactly, the rest as of the last `look_around`."""
        return self._own_bytes + self._others_bytes

    def write(self, batch: Batch, at: float, *, behind: bool) -> list[Place] | None:
        """Writes a batch's entries down. Under the lock.

        Returns:
            Their places in the fresh segment; None when they went behind.
        Raises:
            Full: the byte limit does not allow it.
            OSError: the directory does not allow it.
        """
        lines = [encode(batch.subject, entry, batch.ip, at) for entry in batch.entries]
        text = b"".join(lines)
        if self.bytes + len(text) + MARK * len(lines) > self._max_bytes:
            raise Full
        slot = _slot(batch.subject.key)
        behind = behind or self._persons_behind[slot] != 0
        segment = self._open_segment(len(text), behind=behind)
        offset = segment.append(text, sync=self._sync)
        self._own_bytes += len(text) + MARK * len(lines)
        segment.lines += len(lines)
        segment.undone += len(lines)
        if behind:
            self._persons_behind[slot] = 1
            segment.unread += len(lines)
            self.unread += len(lines)
            return None
        segment.cursor = segment.size
        return _places(segment, offset, lines)

    def finish(self, places: Sequence[Place]) -> None:
        """These are done: marked, or their segment emptied or deleted where nothing else is in it."""
        by_segment: dict[int, list[Place]] = {}
        for place in places:
            by_segment.setdefault(id(place.segment), []).append(place)
        with self.lock:
            for group in by_segment.values():
                self._finish(group[0].segment, group)

    def next_segment(self) -> Segment | None:
        """What is read next; what was read is to be given to `advance`. One thread at a time."""
        return self._queue[0] if self._queue else None

    def advance(self, segment: Segment, reading: Reading) -> None:
        """What was read is in memory now. Under the lock."""
        segment.cursor = reading.cursor
        segment.undone -= reading.damaged
        segment.unread -= len(reading.items) + reading.damaged
        self.unread -= len(reading.items) + reading.damaged
        if segment.cursor >= segment.size:  # what comes now goes behind all others too, into another file
            self._queue.popleft()
            segment.sealed = True
            self._behind = None if segment is self._behind else self._behind
            self._finish(segment, [])
        if self.unread == 0:
            self._persons_behind = bytearray(_HASHES)

    def take_out(self, people: People) -> int:
        """Marks what waits behind and is theirs as done. Under the lock, while nobody reads. How many."""
        taken = sum(segment.take_out(people) for segment in self._queue)
        self.unread -= taken
        return taken

    def names(self) -> set[str]:
        """Of all segments in the directory, whoever has them."""
        with os.scandir(self.directory) as files:
            return {file.name.removesuffix(WAITING) for file in files if file.name.endswith(WAITING)}

    def find_orphans(self, before: float) -> list[Segment]:
        """Locks the segments that dead processes left; deletes refused entries older than `before`."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        orphans, others = [], 0
        with os.scandir(self.directory) as files:
            found = sorted(files, key=lambda file: file.name)
        for file in found:
            if file.name.removesuffix(DONE).removesuffix(WAITING) in self._ours:
                continue
            if file.name.endswith(WAITING) and (orphan := Segment.adopt(Path(file.path))):
                orphans.append(orphan)
            else:
                others += _bytes_left(file, before)
        self._others_bytes = others
        return orphans

    def take_over(self, orphans: list[Segment], slots: set[int]) -> None:
        """They are ours now, behind everything, and so is what these people say from now on. Under the lock.

        Args:
            slots: Of everybody in them, from `slots_of`.
        """
        for slot in slots:
            self._persons_behind[slot] = 1
        for orphan in orphans:
            self._ours[orphan.path.stem] = orphan
            self._own_bytes += orphan.weight
            if orphan.undone:
                self._queue.append(orphan)
                self.unread += orphan.undone
            else:
                self._remove(orphan)

    def drop_expired(self, before: float) -> int:
        """Drops segments whose newest entry is too old. Under the lock. Entries dropped."""
        expired = [one for one in self._queue if one is not self._behind and one.written_at < before]
        return sum(map(self.drop, expired))

    def check(self) -> None:
        """Raises OSError when somebody deleted our files under us; then they are given up."""
        with self.lock:
            gone = [segment for segment in tuple(self._ours.values()) if segment.vanished]
            for segment in gone:
                segment.sealed = True
            if self._fresh in gone:
                self._fresh = None
            if self._behind in gone:
                self._behind = None
        if gone:
            raise FileNotFoundError(2, "its files were deleted while in use")

    def drop_oldest(self) -> int:
        """Makes room: deletes the oldest whole segment behind. Under the lock. Entries dropped."""
        if not self._queue or self._queue[0] is self._behind:
            return 0
        return self.drop(self._queue[0])

    def keep_refused(self, items: Sequence[Waiting], reason: str) -> None:
        """Writes refused entries aside."""
        text = b"".join(encode(item.subject, item, item.ip, item.at, reason) for item in items)
        with self.lock:
            if self.bytes + len(text) > self._max_bytes:
                raise Full
            append_refused(self.directory, text)
            self._others_bytes += len(text)

    def release(self) -> dict[str, int]:
        """Lets go of every segment: whoever looks around next takes over what is left in them.

        Returns:
            How many entries that is, by the segment's name.
        """
        left = {}
        for name, segment in list(self._ours.items()):
            if segment.undone:
                left[name] = segment.undone
                segment.close()
            else:
                self._remove(segment)
        self._fresh = self._behind = None
        self._queue.clear()
        self._ours.clear()
        self._persons_behind = bytearray(_HASHES)
        self.unread = self._own_bytes = 0
        return left

    def close_files(self) -> None:
        """In a forked child: its copies would keep the parent's locks alive. Takes no lock."""
        for segment in list(self._ours.values()):
            segment.close()

    def _open_segment(self, size: int, *, behind: bool) -> Segment:
        segment = self._behind if behind else self._fresh
        if segment is not None and segment.size and segment.size + size > self._segment_bytes:
            segment.sealed = True
            self._finish(segment, [])
            segment = None
        if segment is None:
            segment = self._create()
            if behind:
                self._behind = segment
                self._queue.append(segment)
            else:
                self._fresh = segment
        return segment

    def _create(self) -> Segment:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        segment = Segment.create(self.directory)
        self._ours[segment.path.stem] = segment
        return segment

    def _finish(self, segment: Segment, places: list[Place]) -> None:
        if self._ours.get(segment.path.stem) is not segment:
            return  # let go of meanwhile: its next owner sends these again
        done = len(places)  # before the books are looked at: a finaliser may put something meanwhile
        segment.undone -= done
        if segment.undone == 0 and segment.cursor >= segment.size:
            if segment.sealed:
                self._remove(segment)
            elif segment is self._fresh:
                self._fresh = None  # what a finaliser puts in the middle of this gets a segment of its own
                self._use_again(segment)
        elif places:
            segment.mark_done(places)

    def _use_again(self, segment: Segment) -> None:
        self._discount(segment)
        segment.empty()
        if self._fresh is None:
            self._fresh = segment
        else:
            self._remove(segment)

    def _remove(self, segment: Segment) -> None:
        if self._ours.pop(segment.path.stem, None) is not None:
            self._discount(segment)
            segment.remove()

    def _discount(self, segment: Segment) -> None:
        weight = segment.weight  # before the books are looked at, as above
        self._own_bytes -= weight

    def drop(self, segment: Segment) -> int:
        """Gives up what is unread of it; what of it is in memory goes on. Under the lock. Entries dropped."""
        unread, segment.unread = segment.unread, 0
        self._queue.remove(segment)
        self._behind = None if segment is self._behind else self._behind
        segment.undone -= unread
        segment.sealed, segment.cursor = True, segment.size
        self.unread -= unread
        self._finish(segment, [])
        return unread


def append_refused(directory: Path, text: bytes) -> None:
    """Appends to this process's file of refused entries; a new one each time another process has the old."""
    flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
    for attempt in itertools.count():
        path = directory / f"{os.getpid()}-{attempt}{REFUSED}"
        descriptor = os.open(path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                _append_whole(descriptor, text)
                return
        except BlockingIOError:
            continue
        finally:
            os.close(descriptor)


def _append_whole(descriptor: int, text: bytes) -> None:
    written = os.write(descriptor, text)
    if written != len(text):  # the disk is full: no torn line is left inside the file
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
        raise OSError(ENOSPC, "no space left for the whole record")


def slots_of(segments: Iterable[Segment]) -> set[int]:
    """The hashes of those who have entries in them. Reads all of it, so not on the app's path, and without the lock."""
    slots: set[int] = set()
    for segment in segments:
        with suppress(OSError):  # it cannot be read later either
            slots.update(_slot(subject.key) for subject in paced(segment.subjects()))
    return slots


def _slot(key: str) -> int:
    return crc32(key.encode("utf-8", "surrogatepass")) % _HASHES


def _places(segment: Segment, offset: int, lines: list[bytes]) -> list[Place]:
    places = []
    for line in lines:
        places.append(Place(segment, offset, line[:CHECK]))
        offset += len(line)
    return places


def _bytes_left(file: os.DirEntry[str], before: float) -> int:
    """The size of another's file; 0 when nobody needs it any more, and it is deleted now."""
    path = Path(file.path)
    try:
        found = file.stat()
        too_old = path.suffix in {REFUSED, NEW, PURGE} and found.st_mtime < before
        if too_old or (path.suffix == DONE and not path.with_suffix(WAITING).exists()):
            path.unlink()
            return 0
    except OSError:
        return 0  # gone meanwhile
    return found.st_size
