"""A batch and its entries once they are checked. Times are milliseconds since 1970, UTC."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["identify", "track", "page"]


@dataclass(slots=True)
class IncomingEntry:
    """One identify, event or page view.

    Attributes:
        name: The event's name or the page's path; empty for an identify.
        sent_at: When it happened.
        message_id: 16 bytes. Orders entries of one millisecond, and recognizes a repeat.
        body: The entry as it arrived: one JSON object, unknown fields included.
        traits: An identify's traits.
        email: The person that an identify's own traits name.
        is_snapshot: Whether the traits are all that a browser has cached, see `statements`.
    """

    kind: Kind
    name: str
    sent_at: int
    message_id: bytes
    body: bytes
    traits: dict[str, Any] = field(default_factory=dict)
    email: str | None = None
    is_snapshot: bool = False


@dataclass(slots=True)
class IncomingBatch:
    """One person's or one account's entries from one request.

    Attributes:
        handle: An account's domain, or else its account_id. None in a person's batch.
        warnings: What was odd but taken, in words, for whoever looks at the request.
    """

    key: str
    received_at: int
    profile_id: str | None = None
    email: str | None = None
    handle: str | None = None
    entries: list[IncomingEntry] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
