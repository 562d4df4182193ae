"""Recorded batches: to inspect, and to assert on with useful failure messages.

Must know batches only by their JSON, not where they were recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Literal


@dataclass(frozen=True)
class RecordedEntry:
    """One entry, and the person or company it belongs to.

    Attributes:
        name: The event's name, a page's title, None for an identify.
        data: Properties, traits, or the page.
        domain: The company's, for a company's entry; `account_id` likewise.
    """

    kind: Literal["identify", "track", "page"]
    name: str | None
    data: Mapping[str, Any]
    email: str | None = None
    profile_id: str | None = None
    domain: str | None = None
    account_id: str | None = None
    message_id: str | None = None

    def __str__(self) -> str:
        of = self.email or self.profile_id or self.domain or self.account_id
        return f"{self.kind} {f'{self.name!r} ' if self.name else ''}of {of} with {dict(self.data)}"


class RecordedBatches:
    """Recorded batches. Iterates over their entries, oldest first; false while there are none."""

    def __init__(self) -> None:
        self.batches: list[Mapping[str, Any]] = []

    def add(self, batch: Mapping[str, Any]) -> None:
        self.batches.append(batch)

    def clear(self) -> None:
        self.batches.clear()

    def __iter__(self) -> Iterator[RecordedEntry]:
        for batch in list(self.batches):
            yield from _entries(batch)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @property
    def tracked(self) -> list[RecordedEntry]:
        """The events, oldest first."""
        return [entry for entry in self if entry.kind == "track"]

    @property
    def identified(self) -> list[RecordedEntry]:
        """The identifies, oldest first."""
        return [entry for entry in self if entry.kind == "identify"]

    def of(self, who: str) -> list[RecordedEntry]:
        """All entries of one person or company: by email, profile id, domain or account id.

        For an email, this includes what the same profile did before it was identified.
        """
        known = {batch.get("profile_id") for batch in self.batches if batch.get("email") == who}
        known.discard(None)
        return [
            entry
            for entry in self
            if who in (entry.email, entry.profile_id, entry.domain, entry.account_id)
            or (entry.email is None and entry.profile_id in known)
        ]

    def assert_tracked(
        self, event: str, *, email: str | None = None, profile_id: str | None = None, **properties: Any
    ) -> RecordedEntry:
        """The event of this name, by this person, with at least these properties.

        Raises:
            AssertionError: there is none; shows the most similar event and its differences.
        """
        expected = _Expected(self, "track", event, email, profile_id, properties)
        return expected.find()

    def assert_identified(
        self, email: str | None = None, *, profile_id: str | None = None, **traits: Any
    ) -> RecordedEntry:
        """The identify of this person, with at least these traits. Fails as `assert_tracked` does."""
        expected = _Expected(self, "identify", None, email, profile_id, traits)
        return expected.find()

    def summary(self) -> str:
        """All entries, one per line."""
        return "\n".join(f"  {entry}" for entry in self) or "  nothing was recorded"


@dataclass(frozen=True)
class _Expected:
    recorded: RecordedBatches
    kind: str
    name: str | None
    email: str | None
    profile_id: str | None
    data: Mapping[str, Any]

    def find(self) -> RecordedEntry:
        candidates = [entry for entry in self.recorded if entry.kind == self.kind]
        for entry in candidates:
            if not self._differences(entry):
                return entry
        raise AssertionError(self._failure(candidates))

    def _differences(self, entry: RecordedEntry) -> list[str]:
        pairs: list[tuple[str, object, object]] = [("event", self.name, entry.name)]
        if self.email is not None and entry not in self.recorded.of(self.email):
            pairs.append(("email", self.email, entry.email))
        if self.profile_id is not None:
            pairs.append(("profile_id", self.profile_id, entry.profile_id))
        pairs += [(name, value, entry.data.get(name, _MISSING)) for name, value in self.data.items()]
        return [
            f"    {name}: expected {expected!r}, got {got!r}"
            for name, expected, got in pairs
            if expected != got
        ]

    def _failure(self, candidates: list[RecordedEntry]) -> str:
        who = self.email or self.profile_id
        what = f"event {self.name!r}" if self.kind == "track" else "identify"
        lines = [f"no {what}{f' of {who}' if who else ''} with {dict(self.data)} was recorded"]
        if candidates:
            nearest = min(candidates, key=self._distance)
            lines += [f"  nearest: {nearest}", *self._differences(nearest)]
        return "\n".join([*lines, "all that was recorded:", self.recorded.summary()])

    def _distance(self, entry: RecordedEntry) -> tuple[float, int]:
        likeness = SequenceMatcher(None, self.name or "", entry.name or "").ratio()
        return (1 - likeness, len(self._differences(entry)))


class _Missing:
    def __repr__(self) -> str:
        return "nothing"


_MISSING = _Missing()


def _entries(batch: Mapping[str, Any]) -> Iterator[RecordedEntry]:
    whose = {name: batch.get(name) for name in ("email", "profile_id", "domain", "account_id")}
    for entry in batch.get("identifies", ()):
        yield RecordedEntry(
            "identify", None, entry.get("traits", {}), message_id=entry.get("message_id"), **whose
        )
    for entry in batch.get("events", ()):
        yield RecordedEntry(
            "track",
            entry.get("event"),
            entry.get("properties", {}),
            message_id=entry.get("message_id"),
            **whose,
        )
    for entry in batch.get("page_views", ()):
        page = entry.get("page", {})
        yield RecordedEntry("page", page.get("title"), page, message_id=entry.get("message_id"), **whose)
