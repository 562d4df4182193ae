"""What is written to a store: entries and received requests, as rows. Must not know SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from koala_middleware.collector.identity import Moment
from koala_middleware.collector.validation.checked import IncomingBatch

TAKEN_KEPT = 5_000  # requests whose raw body is kept; older ones make room
REFUSED_KEPT = 1_000
BODY_KEPT = 64 * 1024  # bytes of a kept request's body


class EntryRow(NamedTuple):
    """One entry as it is stored. The order is that of the table's columns."""

    entry_no: int
    project: int
    label: int
    profile: int | None
    person: int | None
    account: int | None
    sent_at: int
    message_id: bytes
    received_at: int
    request_no: int
    identifies: int
    body: bytes

    @property
    def moment(self) -> Moment:
        return self.sent_at, self.message_id


class KnownMessage(NamedTuple):
    """A stored entry with the same message id as one that arrived."""

    entry_no: int
    label: int
    profile: int | None
    person: int | None  # the one its request named, if any
    account: int | None
    body: str


@dataclass(slots=True)
class ReceivedRequest:
    """One request as it arrived, kept for whoever looks at it later.

    Attributes:
        outcome: `"taken"`, `"refused"` or `"ignored"`.
        notes: What was wrong or odd, one a line.
        batch: None when nothing of it is recorded.
    """

    key: str
    path: str
    received_at: int
    body: bytes
    user_agent: str
    status: int = 200
    outcome: str = "taken"
    notes: str = ""
    batch: IncomingBatch | None = None
    request_no: int = 0

    def row(self) -> tuple[Any, ...]:
        """The columns that every store keeps."""
        return (
            self.request_no,
            self.key,
            self.path,
            self.received_at,
            self.status,
            self.outcome,
            self.notes,
            self.user_agent,
            len(self.body),
            self.body[:BODY_KEPT].decode("utf-8", "replace"),
        )
