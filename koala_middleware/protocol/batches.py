"""Entries and batches. Each entry is encoded when it is made, so that a bad one cannot spoil its neighbors.

Must not know where an entry came from (a request, a script) or how it travels (threads, HTTP, files).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from koala_middleware.protocol.encoding import json_bytes
from koala_middleware.protocol.subjects import Account, Person, Subject

EntryKind = Literal["identify", "track", "page"]

ARRAY_NAMES: Mapping[EntryKind, str] = {"identify": "identifies", "track": "events", "page": "page_views"}


@dataclass(slots=True)
class Entry:
    """One identify, event or page view. `body` is its JSON object in UTF-8."""

    kind: EntryKind
    body: bytes


@dataclass(slots=True, unsafe_hash=True)  # not frozen: see subjects.py
class Batch:
    """Entries of one person or account, to be sent together.

    Attributes:
        ip: The visitor's address, if the site forwards it.
    """

    subject: Subject
    entries: tuple[Entry, ...]
    ip: str | None = None


def batch_from_json(body: Mapping[str, Any], encode: Callable[[object], bytes] = json_bytes) -> Batch:
    """The batch that a decoded request body describes.

    Args:
        encode: Encodes each entry.
    """
    entries = tuple(
        Entry(kind, encode(entry)) for kind, array in ARRAY_NAMES.items() for entry in body.get(array, ())
    )
    if "profile_id" in body or "email" in body:
        return Batch(Person(body.get("profile_id"), body.get("email")), entries, body.get("ip"))
    return Batch(Account(body.get("domain"), body.get("account_id")), entries)
