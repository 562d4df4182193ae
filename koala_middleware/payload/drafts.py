"""Calls, and the drafts they form: one draft for each person and company that a request spoke of.

Must not know how a call is encoded or sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from koala_middleware.protocol.batches import EntryKind
from koala_middleware.protocol.subjects import Person, Subject, joined_subjects


class Call(NamedTuple):
    """One thing said, before it is encoded: of whom, what kind, its event or page name, its data, and when.

    `at` is in nanoseconds since the epoch: when the call was made, not when it is delivered.
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
    """A batch before it is encoded: one person's or company's calls, in the order they were made."""

    subject: Subject
    calls: list[Call]


def drafts(calls: Iterable[Call]) -> list[Draft]:
    """The calls of one exchange, one draft for each person and company. A batch never mixes two people.

    What an unknown visitor did before they said who they are belongs to them. Once another person has begun,
    nothing more is added to the one before.
    """
    people: list[Draft] = []
    accounts: list[Draft] = []
    for call in calls:
        written = people[-1:] if isinstance(call.subject, Person) else accounts
        for draft in written:
            if (subject := joined_subjects(draft.subject, call.subject)) is not None:
                draft.subject = subject
                draft.calls.append(call)
                break
        else:
            (people if isinstance(call.subject, Person) else accounts).append(Draft(call.subject, [call]))
    return people + accounts
