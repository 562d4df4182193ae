"""The backlog on disk: segments with unread entries, and the subjects of these.

Read from its oldest end as there is room. A subject with entries here waits for them: what it says next goes behind
them. Must not know the schedule or when anything is read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from koala_middleware.delivery.outbox.segment import Reading, Segment
from koala_middleware.protocol.subjects import Subject


class Backlog:
    """Attributes: `entries` is the number of unread entries."""

    def __init__(self) -> None:
        self.entries = 0
        self._segments: deque[Segment] = deque()
        # The number of unread entries of each subject, by hash: a collision only makes one wait longer.
        self._subjects: dict[int, int] = {}

    def __iter__(self) -> Iterator[Segment]:
        yield from tuple(self._segments)

    def has(self, subject: Subject) -> bool:
        return hash(subject.key) in self._subjects if self._subjects else False

    def add(self, segment: Segment, subject: Subject, entries: int) -> None:
        """Count unread entries of this subject in the segment."""
        if not segment.queued:
            segment.queued = True
            self._segments.append(segment)
        segment.unread += entries
        self._count(subject, entries)

    def adopt(self, segments: list[Segment]) -> None:
        """Add segments of dead processes, first: they are older."""
        for segment in reversed(segments):
            segment.queued = True
            self._segments.appendleft(segment)
        self.entries += sum(segment.unread for segment in segments)

    def subject_waits(self, subject: Subject) -> None:
        """Register the subject of an entry in an adopted segment, whose entries are counted already."""
        name = hash(subject.key)
        self._subjects[name] = self._subjects.get(name, 0) + 1

    def next(self) -> Segment | None:
        """The segment to read next."""
        return self._segments[0] if self._segments else None

    def advance(self, segment: Segment, reading: Reading) -> None:
        """Entries were read into memory."""
        segment.cursor = reading.cursor
        read = len(reading.items) + reading.damaged
        segment.unread -= read
        self.entries -= read
        for item in reading.items:
            self._forget(item.subject)
        if segment.cursor >= segment.known:
            self.give_up(segment)

    def taken_out(self, segment: Segment, subject: Subject) -> None:
        """Discount one purged entry of this subject."""
        segment.unread -= 1
        self.entries -= 1
        self._forget(subject)

    def give_up(self, segment: Segment) -> int:
        """Stop reading a segment. Returns the number of unread entries."""
        unread, segment.unread = max(segment.unread, 0), 0
        segment.cursor = segment.known
        segment.ahead.clear()
        self.entries -= unread
        if segment.queued:
            segment.queued = False
            self._segments.remove(segment)  # usually the first
        if not self._segments:
            self.entries = 0
            self._subjects.clear()  # the subjects of damaged lines are unknown
        return unread

    def clear(self) -> None:
        for segment in self._segments:
            segment.queued = False
        self._segments.clear()
        self._subjects.clear()
        self.entries = 0

    def _count(self, subject: Subject, entries: int) -> None:
        name = hash(subject.key)
        self._subjects[name] = self._subjects.get(name, 0) + entries
        self.entries += entries

    def _forget(self, subject: Subject) -> None:
        name = hash(subject.key)
        left = self._subjects.get(name, 0) - 1
        if left > 0:
            self._subjects[name] = left
        else:
            self._subjects.pop(name, None)
