"""The log: the append-only files that this process writes, one after the other.

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

SLOW = 0.1  # seconds that a write may take on a caller's thread, but for a busy machine's sake
SLOW_IN_A_ROW = 3  # writes; after so many the dispatcher writes for a while
PAUSE = 30.0  # seconds before callers write again, unless the dispatcher can before

_LARGEST_SEGMENT = 16 * 1024 * 1024
_SMALLEST_SEGMENT = 64 * 1024


class Full(Exception):  # noqa: N818  (read as a sentence)
    """The byte limit is reached."""


class Written(NamedTuple):
    """Where a batch was written: one line for each entry, from `offset` on."""

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
        self.skew = time.time() - monotonic()  # once: the wall clock may be set meanwhile
        self.created: deque[Segment] = deque()

    @property
    def bytes(self) -> int:
        """What the folder holds: ours exactly, the rest as of the last look."""
        return self._written - self.freed + self.others

    def write(self, batch: Batch, came: float) -> Written | None:
        """Writes a batch down; None where that cannot be done now. Under the lock. Raises Full."""
        if self.writing:
            return None
        self.writing = True
        try:
            written = self._write(batch, came)
        except OSError as trouble:
            self.pause(trouble)
            return None
        except BaseException:  # a signal handler's, perhaps after the write: this file is written no more
            self.seal()
            raise
        finally:
            self.writing = False
        return written

    def pause(self, trouble: OSError | None) -> None:
        """Callers write no more for a while."""
        self.trouble = trouble
        self.paused_until = monotonic() + PAUSE

    def resume(self) -> None:
        self.trouble = None
        self.paused_until = 0.0

    def seal(self) -> None:
        """The next write begins a new file."""
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
    """The kind of trouble, without a path."""
    if error.errno == ENOSPC:
        return "no space left on the device"
    return error.strerror or type(error).__name__
