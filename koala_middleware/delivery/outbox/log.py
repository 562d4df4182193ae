"""The log: the append-only segment files that this process writes.

Callers append, each with one write; the dispatcher reads, marks and deletes. Each side changes numbers of its own.
Must not know the schedule.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from errno import ENOSPC
from pathlib import Path
from typing import NamedTuple

from koala_middleware.delivery.clock import monotonic
from koala_middleware.delivery.outbox import folder
from koala_middleware.delivery.outbox.segment import MARK, Segment, encode
from koala_middleware.protocol.batches import Batch

SLOW = 0.1  # seconds; a slower write on a caller's thread is a sign of a stalled disk
SLOW_IN_A_ROW = 3  # slow writes; then the dispatcher writes for a while
PAUSE = 30.0  # seconds before callers write again, unless the dispatcher can before

_LARGEST_SEGMENT = 16 * 1024 * 1024
_SMALLEST_SEGMENT = 64 * 1024


class Full(Exception):  # noqa: N818  (read as a sentence)
    """The byte limit is reached."""


class Written(NamedTuple):
    """Where a batch was written: one line per entry, from `offset` on."""

    segment: Segment
    offset: int
    lines: list[bytes]


class Log:
    """Attributes:
    lock: Held for one write, and while it is laid into the inbox: so the inbox has the order of the file.
    writing: The thread that has the lock is in the middle of a write. Who sees it is a signal handler or a
        finalizer that interrupted it.
    freed: Bytes of files that were deleted or emptied. The dispatcher's.
    others: Bytes in the folder that others wrote. The dispatcher's.
    paused_until: Callers do not write before this, on the monotonic clock.
    trouble: Why the latest write failed; None when it did not.
    skew: Seconds from the monotonic clock to the wall clock.
    created: Segments that the dispatcher has not seen.
    """

    def __init__(self, directory: Path, *, max_bytes: int, sync: bool) -> None:
        self.directory = directory
        self.lock = threading.RLock()
        self.writing = False
        self.current: Segment | None = None
        self.freed = 0
        self.others = 0
        self.paused_until = 0.0
        self.trouble: OSError | None = None
        self._written = 0
        self._slow = 0  # writes in a row
        self._max_bytes = max_bytes
        self._segment_bytes = min(max(max_bytes // 16, _SMALLEST_SEGMENT), _LARGEST_SEGMENT)
        self._sync = sync
        self.skew = time.time() - monotonic()  # computed once: the wall clock may be set later
        self.created: deque[Segment] = deque()

    @property
    def bytes(self) -> int:
        """The size of the folder: our files exactly, others as of the last scan."""
        return self._written - self.freed + self.others

    def write(self, batch: Batch, came: float) -> Written | None:
        """Write a batch; None if that is impossible now. The caller holds the lock. Raises Full."""
        if self.writing:
            return None
        self.writing = True
        try:
            written = self._write(batch, came)
        except OSError as trouble:
            self.pause(trouble)
            return None
        except BaseException:  # from a signal handler, perhaps after the write: end this file
            self.seal()
            raise
        finally:
            self.writing = False
        return written

    def pause(self, trouble: OSError | None) -> None:
        """Stop callers from writing for a while."""
        self.trouble = trouble
        self.paused_until = monotonic() + PAUSE

    def resume(self) -> None:
        self.trouble = None
        self.paused_until = 0.0

    def seal(self) -> None:
        """End this file; the next write begins a new one."""
        segment, self.current = self.current, None
        if segment is not None:
            segment.sealed = True

    def _write(self, batch: Batch, came: float) -> Written:
        at = came + self.skew
        lines = [encode(batch.subject, entry, batch.ip, at) for entry in batch.entries]
        text = b"".join(lines)
        weight = len(text) + MARK * len(lines)
        if self.bytes + weight > self._max_bytes:
            raise Full
        segment = self._segment_for(len(text))
        offset = segment.append(text, sync=self._sync)
        segment.lines += len(lines)
        segment.written_at = came
        self._written += weight
        if monotonic() - came < SLOW or self._sync:
            self._slow = 0
        else:
            self._slow += 1
            if self._slow >= SLOW_IN_A_ROW:
                self.pause(None)
        return Written(segment, offset, lines)

    def _segment_for(self, size: int) -> Segment:
        segment = self.current
        if segment is not None and segment.size and segment.size + size > self._segment_bytes:
            self.seal()
            segment = None
        if segment is None:
            folder.prepare(self.directory)
            segment = self.current = Segment.create(self.directory, self.skew)
            self.created.append(segment)
        return segment


def trouble_of(error: OSError) -> str:
    """The error without its path."""
    if error.errno == ENOSPC:
        return "no space left on the device"
    return error.strerror or type(error).__name__
