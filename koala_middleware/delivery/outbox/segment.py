"""A segment: an append-only file of entries, with a second file that marks finished ones.

One line is one entry, with a checksum; a torn or damaged line costs itself alone. A file that no living process has
locked was left by a dead one. Must not know delivery's rules.

    3f6c01aa <tab> track <tab> 1790000000.123456 <tab> {"person":{…}} <tab> {"type":"track",…}      x.waiting
    0000a1f3 3f6c01aa                    an entry at this offset with this checksum is done        x.done
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from errno import ENOSPC
from pathlib import Path
from typing import Any, NamedTuple, cast
from zlib import crc32

from koala_middleware.delivery.outbox.folder import DONE, NEW, WAITING, locked, open_file, read_file
from koala_middleware.delivery.schedule.items import Waiting
from koala_middleware.delivery.schedule.purge_targets import People
from koala_middleware.protocol.batches import Entry, EntryKind
from koala_middleware.protocol.subjects import Account, Person, Subject

CHECK = 8  # hex digits of a checksum
MARK = 2 * CHECK + 2  # bytes of the mark of a finished entry
READ_BYTES = 128 * 1024  # read at a time
_FIELDS = 4
_CHUNK = 256 * 1024
_KINDS = frozenset({"identify", "track", "page"})
_json = json.JSONEncoder(separators=(",", ":")).encode  # only texts, written as ASCII
_numbers = itertools.count()


class Place(NamedTuple):
    """The position of an entry."""

    segment: Segment
    offset: int
    check: bytes


@dataclass(slots=True)
class Reading:
    """The entries that were read, the number of damaged lines, and the end offset."""

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
    # Raw newlines are legal between JSON's tokens, though nothing here writes them; in a text both are escaped.
    body = entry.body.replace(b"\n", b" ").replace(b"\t", b" ")
    payload = b"%b\t%.6f\t%b\t%b" % (entry.kind.encode(), at, _json(head).encode(), body)
    return b"%08x\t%b\n" % (crc32(payload), payload)


def decode(line: bytes) -> Waiting | None:
    """Decode a line without its newline; None if it is damaged or foreign."""
    check, _, payload = line.partition(b"\t")
    fields = payload.split(b"\t")
    if len(fields) != _FIELDS or len(check) != CHECK or b"%08x" % crc32(payload) != check:
        return None
    kind, at, head, body = fields
    try:
        about = json.loads(head)
        subject, ip = _subject(about), about.get("ip")
        if kind.decode() not in _KINDS or not isinstance(ip, str | None):
            return None
        return Waiting(cast("EntryKind", kind.decode()), body, subject, ip, 0.0, float(at))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _subject(about: dict[str, Any]) -> Subject:
    head = about["person"] if "person" in about else about["account"]
    if not all(isinstance(text, str) for text in head.values()):
        raise TypeError
    return Person(**head) if "person" in about else Account(**head)


def reason_of(line: bytes) -> str:
    """The reason why the entry of a valid line was refused."""
    return str(json.loads(line.split(b"\t")[3]).get("reason", ""))


class Segment:
    """A file that this process wrote, or adopted from a dead process.

    Attributes:
        descriptor: Of the open file; -1 while it is closed.
        size: Bytes of whole lines in the file.
        cursor: Where nobody has read on yet; entries before it are settled or in memory.
        known: Up to where the dispatcher knows what is in it.
        undone: Entries in it that are not done.
        unread: How many of those nobody has read yet.
        ahead: Offsets beyond the cursor of entries that are done or in memory already.
        lines: Entries in it, done or not.
        sealed: Nothing will be appended.
        adopted: A dead process wrote it.
        queued: It is in the backlog.
        written_at: When something was appended last, on the monotonic clock.
        skew: Seconds from the monotonic clock to the times in it.
    """

    def __init__(self, path: Path, descriptor: int, *, skew: float = 0.0) -> None:
        self.path = path
        self.descriptor = descriptor
        self.size = 0
        self.cursor = 0
        self.known = 0
        self.lines = 0
        self.undone = 0
        self.unread = 0
        self.ahead: set[int] = set()
        self.sealed = False
        self.adopted = False
        self.queued = False
        self.skew = skew
        self.written_at = 0.0

    @classmethod
    def create(cls, directory: Path, skew: float) -> Segment:
        """Create a file, locked before it is visible, so that nobody takes it for an orphan. Raises OSError."""
        path = directory / f"{time.time_ns():020d}-{os.getpid()}-{next(_numbers)}{WAITING}"
        new = path.with_suffix(NEW)
        descriptor = locked(new, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND)
        if descriptor is None:
            raise FileNotFoundError(2, "a new file was deleted at once", str(new))
        try:
            new.rename(path)
        except OSError:
            os.close(descriptor)
            raise
        return cls(path, descriptor, skew=skew)

    @classmethod
    def adopt(cls, path: Path) -> Segment | None:
        """Open and lock the file of a dead process; None if a living process holds it, or it is gone.

        Raises OSError.
        """
        descriptor = locked(path, os.O_RDWR | os.O_APPEND)
        if descriptor is None:
            return None
        segment = cls(path, descriptor)
        try:
            segment._take_over()
        except OSError:
            os.close(descriptor)
            raise
        return segment

    def append(self, lines: bytes, *, sync: bool) -> int:
        """Append lines. Returns their offset. Raises OSError, and then leaves the file unchanged."""
        written = os.write(self.descriptor, lines)
        if written != len(lines):  # the disk is full: leave no torn line
            os.ftruncate(self.descriptor, self.size)
            raise OSError(ENOSPC, "no space left for the whole record")
        if sync:
            os.fdatasync(self.descriptor)
        offset, self.size = self.size, self.size + written
        return offset

    def open(self) -> bool:
        """Reopen a closed file; False if another process holds it now, or it is gone. Raises OSError."""
        if self.descriptor < 0:
            self.descriptor = locked(self.path, os.O_RDWR | os.O_APPEND) or -1
        return self.descriptor >= 0

    def read(self) -> Reading:
        """Read on from the cursor, without moving it. Raises OSError."""
        end = self.size if self.adopted else self.known
        block = self._block(self.cursor, min(READ_BYTES, end - self.cursor))
        if b"\n" not in block:  # an entry larger than the block
            block = self._block(self.cursor, end - self.cursor)
        reading = Reading([], 0, self.cursor)
        for line in block.split(b"\n")[:-1]:  # not splitlines, which also splits at other bytes
            offset, reading.cursor = reading.cursor, reading.cursor + len(line) + 1
            if offset in self.ahead:
                continue
            item = decode(line)
            if item is None:
                reading.damaged += 1
            else:
                item.place = Place(self, offset, line[:CHECK])
                reading.items.append(item)
        return reading

    def all_unread(self) -> Iterator[Waiting]:
        """Every valid unread entry. The cursor stays. Raises OSError."""
        began = self.cursor
        end = self.size if self.adopted else self.known
        try:
            while self.cursor < end:
                reading = self.read()
                if reading.cursor == self.cursor:
                    return
                yield from reading.items
                self.cursor = reading.cursor
        finally:
            self.cursor = began

    def take_out(self, people: People) -> list[Waiting]:
        """Mark these people's unread entries as done. Raises OSError."""
        theirs = [item for item in self.all_unread() if people.own(item.subject, item.at)]
        places = [item.place for item in theirs if isinstance(item.place, Place)]
        if places:
            self.mark_done(places)
            self.ahead.update(place.offset for place in places)
            self.undone -= len(places)
        return theirs

    @property
    def weight(self) -> int:
        """The size on disk when everything in it is marked as done."""
        return self.size + MARK * self.lines

    def mark_done(self, places: Sequence[Place]) -> None:
        """Mark entries as done. Raises OSError."""
        descriptor = open_file(self.path.with_suffix(DONE), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        try:
            os.write(descriptor, b"".join([b"%08x %b\n" % (place.offset, place.check) for place in places]))
        finally:
            os.close(descriptor)

    def empty(self) -> None:
        """Truncate the file once everything in it is done. Raises OSError."""
        os.ftruncate(self.descriptor, 0)  # first: marks without entries are ignored
        self.path.with_suffix(DONE).unlink(missing_ok=True)
        self.size = self.cursor = self.known = self.lines = 0
        self.ahead.clear()

    def remove(self) -> None:
        """Delete the files. Raises OSError."""
        for path in (self.path, self.path.with_suffix(DONE)):
            path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Release the file, so that another process may deliver the rest."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    @property
    def vanished(self) -> bool:
        """Whether the file was deleted by somebody else. Raises OSError."""
        return self.descriptor >= 0 and os.fstat(self.descriptor).st_nlink == 0

    def _block(self, start: int, length: int) -> bytes:
        block = os.pread(self.descriptor, length, start)
        while len(block) < length and (
            more := os.pread(self.descriptor, length - len(block), start + len(block))
        ):
            block += more
        return block

    def _take_over(self) -> None:
        """Count the unfinished entries, without a torn last line, which was never accepted."""
        self.sealed = self.adopted = True
        self.written_at = os.fstat(self.descriptor).st_mtime
        self.size = self.known = _end_of_lines(self.descriptor)
        self.ahead = set(done_marks(self.path))
        chunks = (self._block(start, min(_CHUNK, self.size - start)) for start in range(0, self.size, _CHUNK))
        self.lines = sum(chunk.count(b"\n") for chunk in chunks)
        self.undone = self.unread = self.lines - len(self.ahead)


def done_marks(path: Path) -> dict[int, bytes]:
    """The checksums of finished entries, by offset. Marks that match no entry are ignored."""
    with suppress(OSError):
        marks = read_file(path.with_suffix(DONE)).split(b"\n")[:-1]
        descriptor = open_file(path, os.O_RDONLY)
        try:
            return dict(_matching(marks, descriptor))
        finally:
            os.close(descriptor)
    return {}


def _matching(marks: list[bytes], descriptor: int) -> Iterator[tuple[int, bytes]]:
    end = _end_of_lines(descriptor)  # a torn line is not an entry, whatever a mark says
    for mark in marks:
        try:
            offset, check = int(mark[:CHECK], 16), mark[CHECK + 1 :]
        except ValueError:
            continue
        at_line = 0 <= offset < end and (offset == 0 or os.pread(descriptor, 1, offset - 1) == b"\n")
        if at_line and len(check) == CHECK and os.pread(descriptor, CHECK, offset) == check:
            yield offset, check


def _end_of_lines(descriptor: int) -> int:
    """The end of the last complete line."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(end - _CHUNK, 0)
        line_end = os.pread(descriptor, end - start, start).rfind(b"\n") + 1
        if line_end:
            return start + line_end
        end = start
    return 0
