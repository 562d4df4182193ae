"""The writing side of the PostgreSQL store: one connection, and one statement for a whole group where that is possible.

Must not know who is who, nor what a batch means: it looks up, adds and summarizes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from psycopg import Connection

from koala_middleware.collector.identity import NOBODY, Moment, Ownership, Period
from koala_middleware.collector.store.errors import DatabaseUnavailable
from koala_middleware.collector.store.postgres import counts, entries, erasure, expiry, raw_requests
from koala_middleware.collector.store.postgres.connection import PostgresConnection, execute_many, without_nul
from koala_middleware.collector.store.postgres.errors import translated_errors
from koala_middleware.collector.store.postgres.numbers import (
    ACCOUNT,
    LABEL,
    PERSON,
    PROFILE,
    PROJECT,
    Name,
    NumberCache,
    lock_people,
    numbers,
)
from koala_middleware.collector.store.postgres.partitions import PartitionMaker
from koala_middleware.collector.store.rows import EntryRow, KnownMessage, ReceivedRequest
from koala_middleware.collector.store.shared_sql.ledger import SqlLedger
from koala_middleware.collector.times import DAY, HOUR
from koala_middleware.collector.validation.emails_and_domains import company_domain


class PostgresLedger(SqlLedger):
    """See contract.Ledger."""

    def __init__(self, connect: Callable[[], Connection[Any]], partitions: PartitionMaker) -> None:
        """`connect` opens a connection for this ledger alone, whenever it needs a new one."""
        super().__init__(PostgresConnection(lambda: self.connection))
        self._connect = connect
        self._partitions = partitions
        self._open: Connection[Any] | None = None
        self._cache = NumberCache(lambda: self.connection)
        self._expiry = expiry.Expiry()
        self._forget_group()

    def _forget_group(self) -> None:
        """What is known of the group's profiles and people while they are locked."""
        self._profiles: dict[Name, int] = {}
        self._new_profiles: set[int] = set()
        self._people: dict[Name, int] = {}
        self._emails: dict[int, tuple[int, str]] = {}
        self._ownerships: dict[int, list[Ownership]] = {}

    @property
    def connection(self) -> Connection[Any]:
        if self._open is None or self._open.closed:
            self._open = self._connect()
        return self._open

    def close(self) -> None:
        if self._open is not None:
            self._open.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._forget_group()
        try:
            with translated_errors(), self.connection.transaction():
                yield
        except BaseException as error:
            self.forget_cached()
            if isinstance(error, DatabaseUnavailable):
                self.close()
            raise

    def forget_cached(self) -> None:
        """After a rollback, memory may not agree with the database."""
        self._cache.forget()
        self._partitions.forget()

    # What the group names

    def prepare_group(
        self, profiles: Collection[tuple[str, str]], people: Collection[tuple[str, str]]
    ) -> None:
        """Find or make everything at once, and lock it: first profiles, then people."""
        self._cache.numbers(PROJECT, {(key,) for key, _ in (*profiles, *people)})
        self._lock_profiles({(self.project(key), profile_id) for key, profile_id in profiles})
        owners = {
            ownership.person for ownerships in self._ownerships.values() for ownership in ownerships
        } - {NOBODY}
        self._lock_people({(self.project(key), email) for key, email in people}, owners)

    def _lock_profiles(self, profiles: Collection[Name]) -> None:
        self._profiles, new = numbers(self.connection, PROFILE, profiles)
        self._new_profiles = {self._profiles[name] for name in new}
        known = [number for name, number in self._profiles.items() if name not in new]
        self._ownerships = {number: [] for number in self._new_profiles} | self.ownerships_of(known)

    def _lock_people(self, named: Collection[Name], owners: set[int]) -> None:
        """The people named, and the owners of the profiles. A person who was erased meanwhile is made again."""
        while True:
            found, new = numbers(self.connection, PERSON, named)
            made = {found[name]: name for name in new}  # not visible to others yet
            to_lock = {*found.values(), *owners} - made.keys()
            self._emails = made | (lock_people(self.connection, to_lock) if to_lock else {})
            self._join_companies(made)
            if all(number in self._emails for number in found.values()):
                self._people = found
                return

    def _join_company(self, person: int) -> None:
        self._join_companies({person: self.email_of(person)})

    def _join_companies(self, people: Mapping[int, Name]) -> None:
        """Make people members of the companies that their emails name."""
        domains = {number: (name[0], company_domain(name[1])) for number, name in people.items()}
        places = {number: place for number, place in domains.items() if place[1]}
        accounts = self._cache.numbers(ACCOUNT, set(places.values()))
        if places:
            self.add_members([(accounts[place], number, "") for number, place in places.items()])

    def project(self, key: str) -> int:
        return self._cache.number(PROJECT, key)

    def profile(self, project: int, profile_id: str) -> int:
        return self._profiles[project, profile_id]

    def person(self, project: int, email: str) -> int:
        return self._people[project, email]

    def account(self, project: int, handle: str) -> int:
        return self._cache.number(ACCOUNT, project, handle)

    def label(self, project: int, kind: str, name: str) -> int:
        return self._cache.number(LABEL, project, kind, name)

    def email_of(self, person: int) -> tuple[int, str]:
        if person not in self._emails:
            self._emails.update(lock_people(self.connection, [person]))
        return self._emails[person]

    # Entries

    def entry_numbers(self, count: int) -> Sequence[int]:
        if not count:
            return ()
        return [number for (number,) in self.sql.rows("SELECT koala.entry_numbers(?)", (count,))]

    def add(self, rows: Sequence[EntryRow]) -> Mapping[tuple[int, bytes], KnownMessage]:
        if not rows:
            return {}
        arrivals = [row.received_at for row in rows]
        # A day ahead as well: the first group of a new partition should not wait until it is made.
        self._partitions.ensure(min(arrivals), max(arrivals), max(arrivals) + DAY)
        return entries.add(self.connection, rows)

    def with_entries(self, periods: Collection[Period], before: int) -> set[Period]:
        asked = [period for period in periods if period.profile not in self._new_profiles]
        return entries.of_periods(self.connection, asked, before)

    # Ownerships

    def ownerships(self, profile: int) -> list[Ownership]:
        return self._ownerships[profile]

    def save_ownerships(self, changed: Mapping[int, tuple[Sequence[Ownership], Sequence[Ownership]]]) -> None:
        gone = [
            (p, *ownership.since)
            for p, (old, new) in changed.items()
            for ownership in old
            if ownership not in new
        ]
        added = [
            (p, *ownership.since, ownership.person)
            for p, (old, new) in changed.items()
            for ownership in new
            if ownership not in old
        ]
        execute_many(
            self.connection,
            "DELETE FROM turn USING unnest(%s::bigint[], %s::bigint[], %s::bytea[]) AS gone(profile_no, sent_at, "
            "message_id) WHERE (turn.profile_no, turn.sent_at, turn.message_id) = "
            "(gone.profile_no, gone.sent_at, gone.message_id)",
            gone,
        )
        execute_many(
            self.connection,
            "INSERT INTO turn SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::bytea[], %s::bigint[])",
            added,
        )
        self._ownerships.update((profile, list(new)) for profile, (_, new) in changed.items())

    # Summaries of a person's entries

    def widen_seen(self, seen: Mapping[int, tuple[int, int]]) -> None:
        execute_many(
            self.connection,
            "UPDATE person SET first_seen = least(person.first_seen, seen.first), "
            "last_seen = greatest(person.last_seen, seen.last) "
            "FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS seen(person_no, first, last) "
            "WHERE person.person_no = seen.person_no",
            [(person, *span) for person, span in seen.items()],
        )

    def update_traits(self, traits: Mapping[tuple[int, str], tuple[Moment, bytes]]) -> None:
        execute_many(
            self.connection,
            "INSERT INTO trait SELECT * FROM "
            "unnest(%s::bigint[], %s::text[], %s::text[], %s::bigint[], %s::bytea[]) ORDER BY 1, 2 "
            "ON CONFLICT (person_no, name) DO UPDATE "
            "SET value = excluded.value, sent_at = excluded.sent_at, message_id = excluded.message_id "
            "WHERE (excluded.sent_at, excluded.message_id) > (trait.sent_at, trait.message_id)",
            [(*place, value.decode(), *moment) for place, (moment, value) in _distinct(traits)],
        )

    def update_account_traits(self, traits: Mapping[tuple[int, str, str], tuple[Moment, bytes]]) -> None:
        execute_many(
            self.connection,
            "INSERT INTO account_trait SELECT * FROM "
            "unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::bytea[]) ORDER BY 1, 2, 3 "
            "ON CONFLICT (account_no, group_id, name) DO UPDATE "
            "SET value = excluded.value, sent_at = excluded.sent_at, message_id = excluded.message_id "
            "WHERE (excluded.sent_at, excluded.message_id) > (account_trait.sent_at, account_trait.message_id)",
            [(*place, value.decode(), *moment) for place, (moment, value) in _distinct(traits)],
        )

    def add_members(self, members: Iterable[tuple[int, int, str]]) -> None:
        execute_many(
            self.connection,
            "INSERT INTO member SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::text[]) ORDER BY 1, 2, 3 "
            "ON CONFLICT DO NOTHING",
            list(members),
        )

    def count_entries(self, rows: Sequence[EntryRow]) -> None:
        hours = Counter((row.label, row.sent_at // HOUR, row.received_at // DAY) for row in rows)
        counts.add_to_hourly(self.connection, hours)

    # Deletion

    def _erase_person(self, person: int) -> tuple[Counter[str], Sequence[str]]:
        return erasure.erase_person(self.connection, person)

    def delete_requests_naming(self, names: Collection[str]) -> None:
        raw_requests.delete_naming(self.connection, names)

    def overwrite_deleted(self) -> bool:
        """PostgreSQL does not overwrite: VACUUM frees the space for reuse, and the log ages by the server's rules."""
        return True

    def expire_entries(self, before: int) -> int:
        return self._expiry.expire_entries(self.connection, before)

    def expire_people(self, before: int, after: int) -> int | None:
        return expiry.expire_people(self.connection, before, after)

    def expire_rest(self, before: int) -> bool:
        return self._expiry.expire_rest(self.connection, before)

    # Requests

    def request_numbers(self, count: int) -> Sequence[int]:
        rows = self.sql.rows("SELECT nextval('request_number') FROM generate_series(1, ?)", (count,))
        return [number for (number,) in rows]

    def save_requests(self, requests: list[ReceivedRequest]) -> None:
        raw_requests.save(self.connection, requests)

    def count_requests(self, minutes: Mapping[tuple[int, str], tuple[int, int]]) -> None:
        counts.add_to_minutely(self.connection, minutes)


def _distinct(
    traits: Mapping[tuple[Any, ...], tuple[Moment, bytes]],
) -> Iterable[tuple[tuple[Any, ...], tuple[Moment, bytes]]]:
    """Two names may become one without NUL; its newest value stays."""
    newest_last = sorted(traits.items(), key=lambda item: item[1][0])
    return {tuple(map(without_nul, place)): value for place, value in newest_last}.items()
