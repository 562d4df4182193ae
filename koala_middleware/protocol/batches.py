"""Entries and the batches they form. Each entry is encoded already, so that none can spoil another.

Must not know where an entry came from (a request, a script) or how it travels (threads, HTTP, files).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from koala_middleware.protocol.encoding import json_bytes
from koala_middleware.protocol.subjects import Account, Person, Subject, record

EntryKind = Literal["identify", "track", "page"]

ARRAYS: Mapping[EntryKind, str] = {"identify": "identifies", "track": "events", "page": "page_views"}


@dataclass(slots=True)
class Entry:
    """One identify, event or page view, encoded: `body` is one JSON object in UTF-8."""

    kind: EntryKind
    body: bytes


@record
class Batch:
    """What one exchange says of one person or company.

    Attributes:
        ip: The visitor's address, only where the site asks to forward it.
    """

    subject: Subject
    entries: tuple[Entry, ...]
    ip: str | None = None


BatchObject = dict[str, Any]


def encoded(body: BatchObject, encode: Callable[[object], bytes] = json_bytes) -> Batch:
    """A batch in the protocol's shape, in Python's values, with each entry encoded alone."""
    entries = tuple(
        Entry(kind, encode(entry)) for kind, array in ARRAYS.items() for entry in body.get(array, ())
    )
    if "profile_id" in body or "email" in body:
        return Batch(Person(body.get("profile_id"), body.get("email")), entries, body.get("ip"))
    return Batch(Account(body.get("domain"), body.get("account_id")), entries)
