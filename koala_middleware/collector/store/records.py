"""What can be asked of a store: the questions pages and exports have, and the shapes of the answers.

Times are milliseconds since 1970, UTC; JSON stays text. Must not know SQL, and must not know HTML.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from koala_middleware.collector.identity import END, Moment, Stretch, Turn


@dataclass(frozen=True, slots=True)
class Shown:
    """One stored entry, with whose it is now.

    Attributes:
        name: The event's name; empty for identifies and page views.
        person, email: Whom it belongs to; None while the visitor is anonymous.
        account, handle: The company, for entries about a company.
        begins_turn: Whether with this entry the visitor became (or was first known to be) that person.
        named: Whether its own request said whose it is.
        body: The entry as it came: a JSON object.
    """

    entry_no: int
    key: str
    kind: str
    name: str
    profile: int | None
    profile_id: str | None
    account: int | None
    handle: str | None
    sent_at: int
    message_id: bytes
    received_at: int
    request_no: int
    body: str
    person: int | None
    email: str | None
    begins_turn: bool
    named: bool

    @property
    def moment(self) -> Moment:
        return self.sent_at, self.message_id


@dataclass(frozen=True, slots=True)
class Trait:
    """A trait's value (JSON), and since when."""

    name: str
    value: str
    sent_at: int


@dataclass(frozen=True, slots=True)
class Person:
    """A person as lists show them."""

    person_no: int
    key: str
    email: str
    first_seen: int | None
    last_seen: int | None
    traits: list[Trait]
    profiles: list[str]
    accounts: list[str]


@dataclass(frozen=True, slots=True)
class Browser:
    """One of a person's profiles, while it was theirs."""

    profile: int
    profile_id: str
    first_seen: int
    last_seen: int
    user_agent: str


@dataclass(frozen=True, slots=True)
class Account:
    """A company. `groups` maps a group_id (empty: the company itself) to its traits."""

    account_no: int
    key: str
    handle: str
    people: int
    last_seen: int | None
    groups: dict[str, list[Trait]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Counted:
    """How often an event came: in all, and in each column (numbered from 0) of the time asked for."""

    label_no: int
    key: str
    kind: str
    name: str
    total: int
    columns: dict[int, int]


@dataclass(frozen=True, slots=True)
class Totals:
    """What a database holds."""

    entries: int
    people: int
    profiles: int
    accounts: int


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries a page wants. None: all."""

    kind: str | None = None
    name: str | None = None
    key: str | None = None


class Reader(Protocol):
    """One snapshot of what is stored."""

    def newest_entry_no(self) -> int: ...
    def entries(self, after: int, limit: int) -> list[Shown]:
        """By arrival, oldest first, from the one after number `after` on."""

    def newest(self, after: int, limit: int, wanted: Filter) -> list[Shown]:
        """By arrival, newest first, down to the one after number `after`. Looks back a bounded way."""

    def people(self, limit: int, search: str = "", before: tuple[int, int] | None = None) -> list[Person]:
        """Whoever was seen last comes first. `before`: the last_seen and number of the last one shown."""

    def person(self, person_no: int) -> Person | None: ...
    def person_by_email(self, email: str) -> list[int]:
        """The people under an email: one in each project that knows it."""

    def turns(self, profile: int) -> list[Turn]: ...
    def stretches_of(self, person_no: int) -> list[Stretch]: ...
    def timeline(self, person_no: int, limit: int, before: Moment = END) -> list[Shown]:
        """All of a person's entries, across profiles, newest first."""

    def visitor_timeline(self, profile: int, limit: int, before: Moment = END) -> list[Shown]: ...
    def visitor(self, profile_id: str) -> int | None: ...
    def browsers(self, person_no: int) -> list[Browser]: ...
    def trait_history(self, person_no: int) -> dict[str, list[Trait]]:
        """Every value a trait had, newest first; a repeated value counts from when it was first said."""

    def accounts(self, limit: int, search: str = "") -> list[Account]: ...
    def account(self, account_no: int) -> Account | None: ...
    def account_people(self, account_no: int, limit: int) -> list[Person]: ...
    def account_timeline(self, account_no: int, limit: int) -> list[Shown]: ...
    def counted(self, since: int, width: int = 1) -> list[Counted]:
        """The commonest first. Both in hours, `since` since 1970; `width`: of a column."""

    def minutes(self, since: int) -> list[tuple[int, str, int, int]]:
        """(minute since 1970, outcome, requests, entries), oldest first."""

    def totals(self) -> Totals: ...
    def keys(self) -> list[str]: ...
    def requests(
        self, limit: int, outcomes: Sequence[str], request_no: int | None = None
    ) -> list[dict[str, Any]]:
        """The last requests as they came, newest first."""

    def deletion(self, deletion_id: str) -> str | None:
        """A deletion request's receipt, JSON."""

    def password_hash(self, name: str) -> str | None: ...
    def has_logins(self) -> bool: ...
    def all_people(self) -> Iterator[Person]: ...
    def all_entries(self) -> Iterator[Shown]: ...
