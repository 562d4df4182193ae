"""The people whose entries are purged from an outbox.

Knows them by hashes alone, so that a note about them tells nobody who they are. Must not know where entries
wait.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from koala_middleware.protocol.subjects import Person, Subject


@dataclass(frozen=True, slots=True)
class People:
    """People, by email (case-insensitive) and by the profiles seen with these emails.

    Attributes:
        before: Later entries are kept. Seconds since the epoch.
    """

    emails: frozenset[str]
    profile_ids: frozenset[str] = frozenset()
    before: float = math.inf

    @classmethod
    def of(cls, emails: Collection[str]) -> People:
        return cls(frozenset(map(_hash, emails)))

    @classmethod
    def from_json(cls, noted: dict[str, Any]) -> People:
        return cls(frozenset(noted["emails"]), frozenset(noted["profile_ids"]), float(noted["before"]))

    def as_json(self) -> dict[str, Any]:
        return {
            "emails": sorted(self.emails),
            "profile_ids": sorted(self.profile_ids),
            "before": self.before,
        }

    def with_profiles_of(self, subjects: Iterable[Subject]) -> People:
        """Add the profiles that these subjects show to belong to the people."""
        found = {
            _hash(subject.profile_id)
            for subject in subjects
            if isinstance(subject, Person) and subject.profile_id is not None and self._by_email(subject)
        }
        return replace(self, profile_ids=self.profile_ids | found)

    def own(self, subject: Subject, at: float) -> bool:
        """Whether an entry is theirs. Accounts never match a person, nor does another person in the same browser."""
        if not isinstance(subject, Person) or at >= self.before:
            return False
        if subject.email is not None:
            return self._by_email(subject)
        return subject.profile_id is not None and _hash(subject.profile_id) in self.profile_ids

    def _by_email(self, person: Person) -> bool:
        return person.email is not None and _hash(person.email) in self.emails


def _hash(name: str) -> str:
    return sha256(name.lower().encode("utf-8", "surrogatepass")).hexdigest()
