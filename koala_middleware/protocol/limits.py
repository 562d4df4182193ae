"""The limits of the protocol, for both sides.

Must not know anything else.
"""

from __future__ import annotations

ENTRIES_PER_KIND = 30  # identifies, events or page views in one batch
BATCH_BYTES = 500 * 1024  # of one request's body; peers' endpoints take 475 kB and more
HEAD_BYTES = 4 * 1024  # reserved in it for ids, the address and the arrays' names
BULK_LINES = 1_000  # batches in one bulk request
BULK_BYTES = 4 * 1024 * 1024  # of a bulk request's body, uncompressed
BODY_DEPTH = 32  # levels of objects and arrays in a body
DATA_DEPTH = (
    BODY_DEPTH - 3
)  # in traits, properties, a page or context: below the body, an array and the entry
MAX_TEXT = 500  # characters of an event's name, a message_id, a profile_id, an account_id
MAX_NAME_BYTES = 1_000  # of a trait's name, a group_id; PostgreSQL indexes at most 2,700 for both
MAX_EMAIL = 254  # characters; RFC 5321, section 4.5.3.1.3
MAX_INT_BITS = 1_023  # of a whole number: beyond a double, JSON readers fail
MAX_TRAITS = 500  # of one identify that count; the collector keeps the others in the entry only
MAX_TRAITS_BYTES = 100 * 1024  # of one identify's traits, as JSON
