"""What was said of whom, as read from batches: to look at, and to assert on with a telling failure.

Knows batches by their JSON alone, and not where they were taken down.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Literal


@dataclass(frozen=True)
class Recorded:
    """One entry and the person or company it belongs to.

    Attributes:
        name: The event's name, a page's title, None for an identify.
        data: Properties, traits, or the page.
        domain: Of a company's entry, the company's; `account_id` likewise.
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
    """What was recorded, by person. Truthy once anything was; iterates over entries, oldest first."""

    def __init__(self) -> None:
        self.batches: list[Mapping[str, Any]] = []

    def add(self, batch: Mapping[str, Any]) -> None:
        self.batches.append(batch)

    def clear(self) -> None:
        self.batches.clear()

    def __iter__(self) -> Iterator[Recorded]:
        for batch in list(self.batches):
            yield from _entries(batch)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @property
    def tracked(self) -> list[Recorded]:
        """The events alone, oldest first."""
        return [entry for entry in self if entry.kind == "track"]

    @property
    def identified(self) -> list[Recorded]:
        """The identifies alone, oldest first."""
        return [entry for entry in self if entry.kind == "identify"]

    def of(self, who: str) -> list[Recorded]:
        """All entries of one person or company: by email, profile id, domain or account id.

        By email, what the same profile did before it was known counts too.
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
    ) -> Recorded:
        """The event of this name, by this person, with at least these properties.

        Raises:
            AssertionError: there is none; shows the nearest one and where it differs.
        """
        wanted = _Wanted(self, "track", event, email, profile_id, properties)
        return wanted.found()

    def assert_identified(
        self, email: str | None = None, *, profile_id: str | None = None, **traits: Any
    ) -> Recorded:
        """The identify of this person, with at least these traits. Fails as `assert_tracked` does."""
        wanted = _Wanted(self, "identify", None, email, profile_id, traits)
        return wanted.found()

    def summary(self) -> str:
        """All entries, one a line."""
        return "\n".join(f"  {entry}" for entry in self) or "  nothing was recorded"


@dataclass(frozen=True)
class _Wanted:
    recorded: RecordedBatches
    kind: str
    name: str | None
    email: str | None
    profile_id: str | None
    data: Mapping[str, Any]

    def found(self) -> Recorded:
        candidates = [entry for entry in self.recorded if entry.kind == self.kind]
        for entry in candidates:
            if not self._differences(entry):
                return entry
        raise AssertionError(self._failure(candidates))

    def _differences(self, entry: Recorded) -> list[str]:
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

    def _failure(self, candidates: list[Recorded]) -> str:
        who = self.email or self.profile_id
        what = f"event {self.name!r}" if self.kind == "track" else "identify"
        lines = [f"no {what}{f' of {who}' if who else ''} with {dict(self.data)} was recorded"]
        if candidates:
            nearest = min(candidates, key=self._distance)
            lines += [f"  nearest: {nearest}", *self._differences(nearest)]
        return "\n".join([*lines, "all that was recorded:", self.recorded.summary()])

    def _distance(self, entry: Recorded) -> tuple[float, int]:
        likeness = SequenceMatcher(None, self.name or "", entry.name or "").ratio()
        return (1 - likeness, len(self._differences(entry)))


class _Missing:
    def __repr__(self) -> str:
        return "nothing"


_MISSING = _Missing()


def _entries(batch: Mapping[str, Any]) -> Iterator[Recorded]:
    whose = {name: batch.get(name) for name in ("email", "profile_id", "domain", "account_id")}
    for entry in batch.get("identifies", ()):
        yield Recorded("identify", None, entry.get("traits", {}), message_id=entry.get("message_id"), **whose)
    for entry in batch.get("events", ()):
        yield Recorded(
            "track",
            entry.get("event"),
            entry.get("properties", {}),
            message_id=entry.get("message_id"),
            **whose,
        )
    for entry in batch.get("page_views", ()):
        page = entry.get("page", {})
        yield Recorded("page", page.get("title"), page, message_id=entry.get("message_id"), **whose)
