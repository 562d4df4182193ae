"""Calls, and drafts: the calls of one person or account, which become one batch.

Must not know how a call is encoded or sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from koala_middleware.protocol.batches import EntryKind
from koala_middleware.protocol.subjects import Person, Subject, merge_subjects


class Call(NamedTuple):
    """One call of `identify`, `track` or `page`, not yet encoded.

    Attributes:
        name: The event's name or the page's title.
        data: The traits or properties.
        at: When the call was made, in nanoseconds since the epoch.
        message_id: The caller's own; None for a new one.
        context: The caller's own; added to the request's.
    """

    subject: Subject
    kind: EntryKind
    name: str | None
    data: Any
    at: int
    message_id: str | None = None
    context: Mapping[str, Any] | None = None


@dataclass(slots=True)
class Draft:
    """A batch whose calls are not yet encoded, in the order they were made."""

    subject: Subject
    calls: list[Call]


def group_calls(calls: Iterable[Call]) -> list[Draft]:
    """The calls of one exchange, grouped by person and account.

    What an unknown visitor did before they identified themselves belongs to them. After a second person was
    identified, nothing more is added to the first.
    """
    people: list[Draft] = []
    accounts: list[Draft] = []
    for call in calls:
        candidates = people[-1:] if isinstance(call.subject, Person) else accounts
        for draft in candidates:
            if (subject := merge_subjects(draft.subject, call.subject)) is not None:
                draft.subject = subject
                draft.calls.append(call)
                break
        else:
            (people if isinstance(call.subject, Person) else accounts).append(Draft(call.subject, [call]))
    return people + accounts
