"""What a database has to do for the collector: `Ledger` is its writing side, `Reader` its reading side.

Whatever is asked, a store raises DatabaseUnavailable while its database cannot be reached. Must not know SQL, nor
decide who is who: `identity` and `recording` do.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from koala_middleware.collector.identity import END, Moment, Naming, Ownership, Period
from koala_middleware.collector.stated_traits import Identify
from koala_middleware.collector.store.records import (
    EntryFilter,
    EventCount,
    PersonBrowser,
    StoredAccount,
    StoredEntry,
    StoredPerson,
    StoredTrait,
    Totals,
)
from koala_middleware.collector.store.rows import EntryRow, KnownMessage, ReceivedRequest

# In one transaction, so that senders wait for tens of milliseconds at most:
CHUNK = 5_000  # entries deleted
PEOPLE = 500  # people looked at


class Ledger(Protocol):
    """The writing side: for one thread, in one transaction at a time. Times are milliseconds since 1970."""

    def transaction(self) -> AbstractContextManager[None]:
        """Commit at the end, roll back on an exception."""

    def close(self) -> None: ...
    def check_writable(self) -> None:
        """Write some pages, and delete them again. Raises what a full or damaged disk makes of it."""

    # What a group of batches names. Each method finds a row's number or makes the row.

    def prepare_group(
        self, profiles: Collection[tuple[str, str]], people: Collection[tuple[str, str]]
    ) -> None:
        """Announce what the group will look up by name: (key, profile_id) and (key, email).

        Where others write, too, none of it may change until the transaction ends.
        """

    def project(self, key: str) -> int: ...
    def profile(self, project: int, profile_id: str) -> int: ...
    def person(self, project: int, email: str) -> int:
        """The person's number. A new person also becomes a member of their email's company."""

    def account(self, project: int, handle: str) -> int: ...
    def label(self, project: int, kind: str, name: str) -> int: ...
    def email_of(self, person: int) -> tuple[int, str]:
        """The person's project and email."""

    # Entries

    def entry_numbers(self, count: int) -> Sequence[int]:
        """Numbers for new entries, ascending, above those of all entries the group can see."""

    def add(self, rows: Sequence[EntryRow]) -> Mapping[tuple[int, bytes], KnownMessage]:
        """Store the entries whose message ids are new. Returns those stored before, by project and message id."""

    def set_body(self, entry_no: int, body: bytes) -> None: ...

    def set_person(self, entry_no: int, person: int) -> None:
        """Write down the person that a stored entry's request named when the entry arrived again."""

    def with_entries(self, periods: Collection[Period], before: int) -> set[Period]:
        """Those of the periods that hold an entry with a number below `before`."""

    def count_entries(self, rows: Sequence[EntryRow]) -> None:
        """Count new entries by label and hour."""

    # Ownerships

    def ownerships(self, profile: int) -> list[Ownership]: ...
    def next_naming(self, profile: int, after: Moment) -> Naming | None:
        """The first stored entry of a profile later than `after` whose request named a person."""

    def save_ownerships(self, changed: Mapping[int, tuple[Sequence[Ownership], Sequence[Ownership]]]) -> None:
        """By profile: its ownerships as they were and as they are now."""

    # Summaries of a person's entries

    def periods_of(self, *people: int) -> list[Period]:
        """The periods in which any profile belongs to one of these people."""

    def identifies(self, period: Period) -> Iterator[Identify]: ...
    def identifies_without_profile(self, person: int) -> Iterator[Identify]: ...
    def snapshot_before(self, period: Period, moment: Moment) -> str | None:
        """The body of the period's last snapshot before a moment."""

    def has_later_snapshot(self, period: Period, moment: Moment, before: int) -> bool:
        """Whether the period has a snapshot after a moment, with an entry number below `before`."""

    def seen_within(self, period: Period) -> tuple[int, int] | None: ...
    def seen_of(self, person: int) -> tuple[int, int] | None: ...
    def widen_seen(self, seen: Mapping[int, tuple[int, int]]) -> None:
        """Widen first_seen and last_seen of people."""

    def clear_summaries(self, person: int) -> None:
        """Delete traits, company memberships and first_seen/last_seen, before they are computed again."""

    def update_traits(self, traits: Mapping[tuple[int, str], tuple[Moment, bytes]]) -> None:
        """By person and name. A value that was stated later stays."""

    def update_account_traits(self, traits: Mapping[tuple[int, str, str], tuple[Moment, bytes]]) -> None:
        """By account, group id and name. A value that was stated later stays."""

    def add_members(self, members: Iterable[tuple[int, int, str]]) -> None:
        """(account, person, group id)."""

    # Requests as they arrived

    def request_numbers(self, count: int) -> Sequence[int]: ...
    def save_requests(self, requests: list[ReceivedRequest]) -> None: ...
    def count_requests(self, minutes: Mapping[tuple[int, str], tuple[int, int]]) -> None:
        """Add requests and entries, by minute and outcome."""

    # Deletion

    def erase(self, email: str) -> dict[str, Any]:
        """Delete the people with an email in all projects.

        Returns what was deleted: `{"events": 3, "identifies": 1, "page_views": 0, "profiles": ["3e6a…"]}`.
        """

    def delete_requests_naming(self, names: Collection[str]) -> None:
        """Delete the raw requests that mention one of these emails or profiles."""

    def save_receipt(self, deletion_id: str, created_at: int, document: str) -> None: ...
    def overwrite_deleted(self) -> bool:
        """Leave nothing of what was deleted on disk, as far as the database can. Outside a transaction.

        Returns False while a reader is in the way: try again later.
        """

    def expire_entries(self, before: int) -> int:
        """Delete up to CHUNK entries that arrived before a moment. Fewer than CHUNK: none are left.

        A store that deletes whole days at once may keep the last ones a little longer.
        """

    def expire_people(self, before: int, after: int) -> int | None:
        """Delete people last seen before a moment who have no entry left, and what only they needed.

        Looks at up to PEOPLE with numbers above `after`. Returns the last number, or None at the end.
        """

    def expire_rest(self, before: int) -> bool:
        """Delete empty profiles, and counts and raw requests from before a moment. False: there is more."""


class Store(Protocol):
    """A database."""

    def prepare(self) -> None:
        """Make or check the schema, and lock the database where only one may write. Raises RuntimeError."""

    def ledger(self) -> Ledger:
        """The writing side, for the writer's thread only."""

    def reader(self) -> AbstractContextManager[Reader]:
        """One snapshot of what is stored. For one thread at a time."""

    def watch(self, written: Callable[[], int]) -> None:
        """Begin to tell other collectors on this database when `written()` changes, and to hear from them."""

    @property
    def changes_heard(self) -> int:
        """Changes whenever another collector may have written."""

    def answers(self) -> bool:
        """Whether the database answers now."""

    def close(self) -> None: ...
    def size(self) -> int:
        """Bytes on disk."""

    def free_disk(self) -> int | None:
        """Bytes left on the disk; None where the database cannot say."""

    def secret(self) -> str:
        """The secret that signs this database's login cookies. Made on first use."""

    def save_login(self, name: str, password_hash: str) -> None:
        """Add or change a login. Works beside a running collector, like `delete_login`."""

    def delete_login(self, name: str) -> bool:
        """Whether there was one."""

    def end_session(self, session_id: str, now: int, until: int) -> None:
        """Remember an ended session until its cookie expires, and forget those whose cookies have expired."""


class Reader(Protocol):
    """Questions that pages and exports ask, answered from one snapshot."""

    def newest_entry_no(self) -> int: ...
    def entries(self, after: int, limit: int) -> list[StoredEntry]:
        """By arrival, oldest first, beginning after number `after`."""

    def newest(self, after: int, limit: int, wanted: EntryFilter) -> list[StoredEntry]:
        """By arrival, newest first, ending before number `after`. How far it looks back is bounded."""

    def people(
        self, limit: int, search: str = "", before: tuple[int, int] | None = None
    ) -> list[StoredPerson]:
        """Ordered by last_seen, newest first. `before`: the last_seen and number of the last one shown."""

    def person(self, person_no: int) -> StoredPerson | None: ...
    def person_by_email(self, email: str) -> list[int]:
        """The people with an email: one in each project that knows it."""

    def ownerships(self, profile: int) -> list[Ownership]: ...
    def periods_of(self, *people: int) -> list[Period]: ...
    def timeline(self, person_no: int, limit: int, before: Moment = END) -> list[StoredEntry]:
        """All of a person's entries, across profiles, newest first."""

    def visitor_timeline(self, profile: int, limit: int, before: Moment = END) -> list[StoredEntry]: ...
    def visitor(self, profile_id: str) -> int | None: ...
    def browsers(self, person_no: int) -> list[PersonBrowser]: ...
    def trait_history(self, person_no: int) -> dict[str, list[StoredTrait]]:
        """Every value a trait had, newest first. A repeated value has the time it was first stated."""

    def accounts(self, limit: int, search: str = "", offset: int = 0) -> list[StoredAccount]: ...
    def count_accounts(self, search: str = "") -> int: ...
    def account(self, account_no: int) -> StoredAccount | None: ...
    def account_people(self, account_no: int, limit: int) -> list[StoredPerson]: ...
    def account_timeline(self, account_no: int, limit: int) -> list[StoredEntry]: ...
    def event_counts(self, since: int, width: int = 1) -> list[EventCount]:
        """The most frequent first. `since` is in hours since 1970, `width` the hours in a column."""

    def minutes(self, since: int) -> list[tuple[int, str, int, int]]:
        """(minute since 1970, outcome, requests, entries), oldest first."""

    def totals(self) -> Totals: ...
    def keys(self) -> list[str]: ...
    def requests(
        self, limit: int, outcomes: Sequence[str], request_no: int | None = None
    ) -> list[dict[str, Any]]:
        """The last requests as they arrived, newest first."""

    def deletion(self, deletion_id: str) -> str | None:
        """A deletion request's receipt as JSON."""

    def password_hash(self, name: str) -> str | None: ...
    def login_required(self) -> bool:
        """Whether there is, or ever was, a login."""

    def session_ended(self, session_id: str) -> bool: ...
    def all_people(self) -> Iterator[StoredPerson]: ...
    def all_entries(self) -> Iterator[StoredEntry]: ...
