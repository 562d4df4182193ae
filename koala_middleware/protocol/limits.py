"""The limits of the protocol, for both sides.

Must not know anything else.
"""

from __future__ import annotations

ENTRIES_PER_KIND = 30  # identifies, events or page views in one batch
BATCH_BYTES = 500 * 1024  # of one request's body; peers' endpoints take 475 kB and more
HEAD_BYTES = 4 * 1024  # reserved in it for ids, the address and the arrays' names
BULK_LINES = 1_000  # batches in one bulk request
BULK_BYTES = 4 * 1024 * 1024  # of a bulk request's body, uncompressed
DEPTH = 32  # levels of mappings and lists in traits, properties or context
