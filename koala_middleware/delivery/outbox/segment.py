"""A segment: one append-only file of entries, and beside it a file of those that are done.

One line is one entry, with a checksum; a torn or damaged line costs itself alone. The process that holds the
file's lock (flock) delivers it; a file that nobody holds is an orphan. Must not know delivery's rules.

    3f6c01aa <tab> track <tab> 1790000000.123456 <tab> {"person":{…}} <tab> {"type":"track",…}      x.waiting
    0000a1f3 3f6c01aa                    an entry at this offset with this checksum is done        x.done
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from errno import ENOSPC
from pathlib import Path
from typing import Any, cast
from zlib import crc32

from koala_middleware.delivery.schedule.lanes import Waiting
from koala_middleware.delivery.schedule.purge_targets import People
from koala_middleware.protocol.batches import Entry, EntryKind
from koala_middleware.protocol.subjects import Account, Person, Subject

WAITING = ".waiting"
DONE = ".done"
REFUSED = ".refused"
PURGE = ".purge"

NEW = ".new"
_PRIVATE = 0o600  # entries hold personal data
CHECK = 8  # hex digits of a checksum
MARK = 2 * CHECK + 2  # bytes that say of one entry that it is done
_FIELDS = 4
_CHUNK = 256 * 1024
_json = json.JSONEncoder(separators=(",", ":")).encode  # texts only, so ASCII and nothing to convert
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Place:
    """Where one entry lies."""

    segment: Segment
    offset: int
    check: bytes


@dataclass(slots=True)
class Reading:
    """Entries read, how many damaged lines were among them, and the cursor after all of them."""

    items: list[Waiting]
    damaged: int
    cursor: int


def encode(subject: Subject, entry: Entry, ip: str | None, at: float, reason: str | None = None) -> bytes:
    """One line, newline included."""
    head: dict[str, Any] = {"person" if isinstance(subject, Person) else "account": subject.identifiers()}
    if ip is not None:
        head["ip"] = ip
    if reason is not None:
        head["reason"] = reason
    # Raw newlines are legal between JSON's tokens, though nothing here writes them; in a text both are
    # escaped.
    body = entry.body.replace(b"\n", b" ").replace(b"\t", b" ")
    payload = b"%b\t%.6f\t%b\t%b" % (entry.kind.encode(), at, _json(head).encode(), body)
    return b"%08x\t%b\n" % (crc32(payload), payload)


def decode(line: bytes) -> Waiting | None:
    """The entry of one line without its newline; None for a damaged one."""
    check, _, payload = line.partition(b"\t")
    fields = payload.split(b"\t")
    if len(fields) != _FIELDS or len(check) != CHECK or b"%08x" % crc32(payload) != check:
        return None
    kind, at, head, body = fields
    about = json.loads(head)
    return Waiting(cast("EntryKind", kind.decode()), body, _subject(about), about.get("ip"), float(at))


def _subject(about: dict[str, Any]) -> Subject:
    return Person(**about["person"]) if "person" in about else Account(**about["account"])


def reason_of(line: bytes) -> str:
    """Why the entry of a good line was refused."""
    return str(json.loads(line.split(b"\t")[3]).get("reason", ""))


class Segment:
    """One file in this process's hands: open, and locked against every other process.

    Attributes:
        size: Bytes of whole lines in the file.
        cursor: From where on nobody has read it yet; entries before it are settled or in memory.
        lines: Entries in it, done or not.
        undone: Entries in it that are not done.
        unread: How many of those nobody has read yet.
        sealed: Nothing will be appended.
        adopted: Another process wrote it.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.size = os.fstat(descriptor).st_size
        self.cursor = 0
        self.lines = 0
        self.undone = 0
        self.unread = 0
        self.sealed = False
        self.adopted = False
        self.written_at = time.time()
        self.descriptor = descriptor
        self.done_descriptor = -1
        self._done_before: dict[int, bytes] = {}

    @classmethod
    def create(cls, directory: Path) -> Segment:
        """Raises OSError. Locked before it is visible, so nobody takes it for an orphan."""
        path = directory / f"{time.time_ns():020d}-{os.getpid()}-{next(_numbers)}{WAITING}"
        new = path.with_suffix(NEW)
        descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, _PRIVATE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            new.rename(path)
        except OSError:
            os.close(descriptor)
            raise
        return cls(path, descriptor)

    @classmethod
    def adopt(cls, path: Path) -> Segment | None:
        """The orphan at `path`, sealed; None when a living process has it or it is gone."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink == 0:  # done and deleted while we opened it
                raise FileNotFoundError(path)
            segment = cls(path, descriptor)
            segment._take_over()
        except OSError:
            os.close(descriptor)
            return None
        return segment

    def append(self, lines: bytes, *, sync: bool) -> int:
        """Where they begin. Raises OSError; then the file is as before."""
        written = os.write(self.descriptor, lines)
        if written != len(lines):  # the disk is full: no torn line is left inside the file
            os.ftruncate(self.descriptor, self.size)
            raise OSError(ENOSPC, "no space left for the whole record")
        if sync:
            os.fdatasync(self.descriptor)
        offset, self.size = self.size, self.size + written
        self.written_at = time.time()
        return offset

    def read(self, most_bytes: int) -> Reading:
        """What comes next from the cursor on, without moving it. Raises OSError."""
        block = os.pread(self.descriptor, min(most_bytes, self.size - self.cursor), self.cursor)
        if b"\n" not in block:  # an entry larger than that
            block = os.pread(self.descriptor, self.size - self.cursor, self.cursor)
        reading = Reading([], 0, self.cursor)
        for line in block.split(b"\n")[:-1]:  # not splitlines: it takes other bytes for line ends too
            offset, reading.cursor = reading.cursor, reading.cursor + len(line) + 1
            if self._done_before.get(offset) == line[:CHECK]:
                continue
            item = _decoded(line)
            if item is None:
                reading.damaged += 1
            else:
                item.place = Place(self, offset, line[:CHECK])
                reading.items.append(item)
        return reading

    def subjects(self) -> Iterator[Subject]:
        """Whose entries are in it, done or not; lines that do not say it are left out. Raises OSError."""
        lines = os.pread(self.descriptor, self.size, 0).split(b"\n")
        heads = {fields[3] for line in lines if len(fields := line.split(b"\t", 4)) > _FIELDS}
        for head in heads:
            with suppress(ValueError, TypeError, KeyError):
                yield _subject(json.loads(head))

    def take_out(self, people: People) -> int:
        """Marks what is theirs and not read yet as done; how many entries. Raises OSError."""
        reading = self.read(self.size - self.cursor)
        theirs = [item.place for item in reading.items if people.own(item.subject, item.at)]
        places = [place for place in theirs if isinstance(place, Place)]
        if places:
            self.mark_done(places)
            self._done_before.update((place.offset, place.check) for place in places)
            self.undone -= len(places)
            self.unread -= len(places)
        return len(places)

    @property
    def weight(self) -> int:
        """Bytes on disk, once everything in it is done as well."""
        return self.size + MARK * self.lines

    def mark_done(self, places: list[Place]) -> None:
        """Writes down that these are done. Raises OSError."""
        if self.done_descriptor < 0:
            flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
            self.done_descriptor = os.open(self.path.with_suffix(DONE), flags, _PRIVATE)
        text = b"".join(b"%08x %b\n" % (place.offset, place.check) for place in places)
        os.write(self.done_descriptor, text)

    def empty(self) -> None:
        """All in it is done: the same file from the start. Raises OSError."""
        os.ftruncate(self.descriptor, 0)  # first: marks without entries mean nothing
        if self.done_descriptor >= 0:
            os.ftruncate(self.done_descriptor, 0)
        self.size = self.cursor = self.lines = 0
        self._done_before.clear()

    def remove(self) -> None:
        """Deletes the files and lets go of them."""
        for path in (self.path, self.path.with_suffix(DONE)):
            path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Lets go: whoever finds the file now may deliver what is left."""
        for descriptor in (self.descriptor, self.done_descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        self.descriptor = self.done_descriptor = -1

    @property
    def vanished(self) -> bool:
        """Somebody deleted the file under us."""
        return os.fstat(self.descriptor).st_nlink == 0

    def _take_over(self) -> None:
        """Counts what is left in it; leaves out a torn last line, which was never accepted."""
        self.sealed = self.adopted = True
        self.written_at = os.fstat(self.descriptor).st_mtime
        self.size = _end_of_lines(self.descriptor)
        self._done_before = done_marks(self.path)
        chunks = (os.pread(self.descriptor, _CHUNK, offset) for offset in range(0, self.size, _CHUNK))
        self.lines = sum(chunk.count(b"\n") for chunk in chunks)
        self.undone = self.unread = self.lines - len(self._done_before)


def done_marks(path: Path) -> dict[int, bytes]:
    """Checksums by offset of what is done in the segment at `path`; marks that match no entry are left
    out."""
    try:
        marks = path.with_suffix(DONE).read_bytes().split(b"\n")[:-1]
        with path.open("rb") as entries:
            return dict(_matching(marks, entries.fileno()))
    except OSError:
        return {}


def _matching(marks: list[bytes], descriptor: int) -> Iterator[tuple[int, bytes]]:
    end = _end_of_lines(descriptor)  # what is torn behind it is no entry, whatever a mark says
    for mark in marks:
        try:
            offset, check = int(mark[:CHECK], 16), mark[CHECK + 1 :]
        except ValueError:
            continue
        at_line = offset < end and (offset == 0 or os.pread(descriptor, 1, offset - 1) == b"\n")
        if at_line and len(check) == CHECK and os.pread(descriptor, CHECK, offset) == check:
            yield offset, check


def _end_of_lines(descriptor: int) -> int:
    """Where the last whole line ends."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(end - _CHUNK, 0)
        line_end = os.pread(descriptor, end - start, start).rfind(b"\n") + 1
        if line_end:
            return start + line_end
        end = start
    return 0


def _decoded(line: bytes) -> Waiting | None:
    try:
        return decode(line)
    except (ValueError, TypeError, KeyError):  # a damaged line whose checksum fits: never seen, never fatal
        return None
