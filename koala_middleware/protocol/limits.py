"""The limits of the protocol, for both sides. Must not know anything else."""

from __future__ import annotations

ENTRIES_PER_KIND = 30  # the endpoint takes no more of each kind in one request
BATCH_BYTES = 500 * 1024  # what peers' endpoints take at most (475 kB and up); a body stays below it
HEAD_BYTES = 4 * 1024  # of that, kept for what stands around the entries: ids, an address, the arrays
BULK_LINES = 1_000  # batches in one bulk request
BULK_BYTES = 4 * 1024 * 1024  # of them, unpacked; where the endpoint offers bulk, it takes as much
