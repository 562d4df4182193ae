"""What a store answers: entries, people, accounts and counts, as pages and exports read them.

Times are milliseconds since 1970, UTC; JSON stays text. Must not know SQL or HTML.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from koala_middleware.collector.identity import Moment


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """One stored entry, and whose it is now.

    Attributes:
        name: The event's name; empty for identifies and page views.
        person, email: Whose it is; None while the visitor is anonymous.
        account, handle: The company, for entries about a company.
        begins_turn: Whether with this entry the visitor became (or was first known to be) that person.
        named: Whether its own request named the person.
        body: The entry as it arrived: a JSON object.
        is_snapshot: Whether it is an identify with all that a browser has cached.
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
    is_snapshot: bool
    person: int | None
    email: str | None
    becomes_person: bool
    named: bool

    @property
    def moment(self) -> Moment:
        return self.sent_at, self.message_id


@dataclass(frozen=True, slots=True)
class StoredTrait:
    """A trait's value (JSON), and when it was stated."""

    name: str
    value: str
    sent_at: int


@dataclass(frozen=True, slots=True)
class StoredPerson:
    """A person as lists show them."""

    person_no: int
    key: str
    email: str
    first_seen: int | None
    last_seen: int | None
    traits: list[StoredTrait]
    profiles: list[str]
    accounts: list[str]


@dataclass(frozen=True, slots=True)
class PersonBrowser:
    """One of a person's profiles, for as long as it was theirs."""

    profile: int
    profile_id: str
    first_seen: int
    last_seen: int
    user_agent: str


@dataclass(frozen=True, slots=True)
class StoredAccount:
    """A company. `groups` maps a group_id (empty: the company itself) to its traits."""

    account_no: int
    key: str
    handle: str
    people: int
    last_seen: int | None
    groups: dict[str, list[StoredTrait]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EventCount:
    """How often an event arrived: in total, and by column (from 0) of the period asked for."""

    label_no: int
    key: str
    kind: str
    name: str
    total: int
    columns: dict[int, int]


@dataclass(frozen=True, slots=True)
class Totals:
    """How much a database holds."""

    entries: int
    people: int
    profiles: int
    accounts: int


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """Which entries to show. None: all."""

    kind: str | None = None
    name: str | None = None
    key: str | None = None
