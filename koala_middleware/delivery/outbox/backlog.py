"""The backlog on disk: segments with entries that are in no memory, and whose entries those are.

Read from its oldest end as there is room. A subject with entries here waits for them: what it says next goes behind
them. Must not know the schedule or when anything is read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from koala_middleware.delivery.outbox.segment import Reading, Segment
from koala_middleware.protocol.subjects import Subject


class Backlog:
    """Attributes: `entries` that nobody has read."""

    def __init__(self) -> None:
        self.entries = 0
        self._segments: deque[Segment] = deque()
        # How many entries of each subject, by hash: two of one hash wait for each other.
        self._subjects: dict[int, int] = {}

    def __iter__(self) -> Iterator[Segment]:
        yield from tuple(self._segments)

    def has(self, subject: Subject) -> bool:
        return hash(subject.key) in self._subjects if self._subjects else False

    def add(self, segment: Segment, subject: Subject, entries: int) -> None:
        """Entries of this subject are in the segment, unread."""
        if not segment.queued:
            segment.queued = True
            self._segments.append(segment)
        segment.unread += entries
        self._count(subject, entries)

    def adopt(self, segments: list[Segment]) -> None:
        """What dead processes left comes first: it is older."""
        for segment in reversed(segments):
            segment.queued = True
            self._segments.appendleft(segment)
        self.entries += sum(segment.unread for segment in segments)

    def subject_waits(self, subject: Subject) -> None:
        """An adopted segment, which is counted already, has an entry of this subject."""
        name = hash(subject.key)
        self._subjects[name] = self._subjects.get(name, 0) + 1

    def next(self) -> Segment | None:
        """The segment to read on in."""
        return self._segments[0] if self._segments else None

    def advance(self, segment: Segment, reading: Reading) -> None:
        """This was read and is in memory now."""
        segment.cursor = reading.cursor
        read = len(reading.items) + reading.damaged
        segment.unread -= read
        self.entries -= read
        for item in reading.items:
            self._forget(item.subject)
        if segment.cursor >= segment.known:
            self.give_up(segment)

    def taken_out(self, segment: Segment, subject: Subject) -> None:
        """One entry of this subject need not be read."""
        segment.unread -= 1
        self.entries -= 1
        self._forget(subject)

    def give_up(self, segment: Segment) -> int:
        """Nothing more is read of it; how many entries were unread."""
        unread, segment.unread = max(segment.unread, 0), 0
        segment.cursor = segment.known
        segment.ahead.clear()
        self.entries -= unread
        if segment.queued:
            segment.queued = False
            self._segments.remove(segment)  # nearly always the first
        if not self._segments:
            self.entries = 0
            self._subjects.clear()  # damaged lines never said whose they were
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
