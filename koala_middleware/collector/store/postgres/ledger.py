"""The writer's side of the PostgreSQL store: one connection, one transaction at a time, whole groups in one statement.

Must not know who is who (identity.py) or what a batch means (recording.py): it looks up, adds and sums.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from psycopg import Connection

from koala_middleware.collector.identity import NOBODY, Moment, Stretch, Turn, stretches
from koala_middleware.collector.recording.recorder import HOUR, Known, Row
from koala_middleware.collector.recording.writer import Arrived, Away
from koala_middleware.collector.store.postgres import entries, erasure
from koala_middleware.collector.store.postgres import numbers as names
from koala_middleware.collector.store.postgres import raw_requests as recent
from koala_middleware.collector.store.postgres.entries import WITHIN, bounds
from koala_middleware.collector.store.postgres.errors import told
from koala_middleware.collector.store.postgres.expiry import Expiry, expire_people
from koala_middleware.collector.store.postgres.partitions import DAY, Partitions
from koala_middleware.collector.store.postgres.reader import storable
from koala_middleware.collector.validation.emails_and_domains import company_domain

WRITERS = 32  # rows among which several collectors' counts are spread


class PostgresLedger:
    """See recording.Ledger, writer.GroupLedger and store.ForgettingLedger."""

    def __init__(self, connect: Callable[[], Connection[Any]], partitions: Partitions) -> None:
        """`connect` opens a connection for this ledger alone, whenever it needs a new one."""
        self._connect = connect
        self._partitions = partitions
        self._open: Connection[Any] | None = None
        self._kept = names.Kept(lambda: self.connection)
        self._expiry = Expiry()
        self._forget_group()

    def _forget_group(self) -> None:
        """What is known of the group's profiles and people, under their locks."""
        self._profiles: dict[names.Name, int] = {}
        self._new_profiles: set[int] = set()
        self._people: dict[names.Name, int] = {}
        self._emails: dict[int, tuple[int, str]] = {}
        self._turns: dict[int, list[Turn]] = {}

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
            with told(), self.connection.transaction():
                yield
        except BaseException as error:
            self.forget()
            if isinstance(error, Away):
                self.close()
            raise

    def forget(self) -> None:
        """What is in memory may not be what is in the database: after an undone transaction."""
        self._kept.forget()
        self._partitions.forget()

    def _execute(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        cursor = self.connection.execute(sql.encode(), values)
        return cursor.fetchall() if cursor.description else []

    # What the group names

    def expect(self, profiles: Collection[tuple[str, str]], people: Collection[tuple[str, str]]) -> None:
        """Find or make everything at once, and hold it: first profiles, then people."""
        self._kept.numbers(names.PROJECT, {(key,) for key, _ in (*profiles, *people)})
        self._hold_profiles({(self.project(key), profile_id) for key, profile_id in profiles})
        owners = {turn.person for turns in self._turns.values() for turn in turns} - {NOBODY}
        self._hold_people({(self.project(key), email) for key, email in people}, owners)

    def _hold_profiles(self, profiles: Collection[names.Name]) -> None:
        self._profiles, new = names.numbers(self.connection, names.PROFILE, profiles)
        self._new_profiles = {self._profiles[name] for name in new}
        self._turns = self._stored_turns(self._profiles.values())

    def _hold_people(self, named: Collection[names.Name], owners: set[int]) -> None:
        """Whoever is named, and whose the profiles are. A person erased meanwhile is a new one."""
        while True:
            found, new = names.numbers(self.connection, names.PERSON, named)
            made = {found[name]: name for name in new}  # nobody else sees these yet
            to_hold = {*found.values(), *owners} - made.keys()
            self._emails = made | (names.hold_people(self.connection, to_hold) if to_hold else {})
            self._settle(made)
            if all(number in self._emails for number in found.values()):
                self._people = found
                return

    def _settle(self, people: Mapping[int, names.Name]) -> None:
        """New people's own companies are those of their emails."""
        domains = {number: (name[0], company_domain(name[1])) for number, name in people.items()}
        places = {number: place for number, place in domains.items() if place[1]}
        accounts = self._kept.numbers(names.ACCOUNT, set(places.values()))
        if places:
            self.join([(accounts[place], number, "") for number, place in places.items()])

    def project(self, key: str) -> int:
        return self._kept.number(names.PROJECT, key)

    def profile(self, project: int, profile_id: str) -> int:
        return self._profiles[project, profile_id]

    def person(self, project: int, email: str) -> int:
        return self._people[project, email]

    def account(self, project: int, handle: str) -> int:
        return self._kept.number(names.ACCOUNT, project, handle)

    def label(self, project: int, kind: str, name: str) -> int:
        return self._kept.number(names.LABEL, project, kind, name)

    def email_of(self, person: int) -> tuple[int, str]:
        if person not in self._emails:
            self._emails.update(names.hold_people(self.connection, [person]))
        return self._emails[person]

    # Entries

    def entry_numbers(self, count: int) -> Sequence[int]:
        return (
            [number for (number,) in self._execute("SELECT koala.entry_numbers(%s)", count)] if count else ()
        )

    def add(self, rows: Sequence[Row]) -> Mapping[tuple[int, bytes], Known]:
        if not rows:
            return {}
        arrivals = [row.received_at for row in rows]
        # A day ahead as well: the first group of a new piece should not have to wait for its making.
        self._partitions.cover(min(arrivals), max(arrivals), max(arrivals) + DAY)
        return entries.add(self.connection, rows)

    def restate(self, entry_no: int, person: int) -> None:
        self._execute("UPDATE entry SET person_no = %s WHERE entry_no = %s", person, entry_no)

    def with_entries(self, stretches: Collection[Stretch], before: int) -> set[Stretch]:
        asked = [stretch for stretch in stretches if stretch.profile not in self._new_profiles]
        return entries.of_stretches(self.connection, asked, before)

    # Turns

    def next_naming(self, profile: int, after: Moment) -> Turn | None:
        rows = self._execute(
            "SELECT sent_at, message_id, person_no FROM entry WHERE profile_no = %s AND person_no IS NOT NULL "
            "AND (sent_at, message_id) > (%s, %s) ORDER BY sent_at, message_id LIMIT 1",
            profile,
            *after,
        )
        return Turn((rows[0][0], rows[0][1]), rows[0][2]) if rows else None

    def turns(self, profile: int) -> list[Turn]:
        return self._turns[profile]

    def _stored_turns(self, profiles: Iterable[int]) -> dict[int, list[Turn]]:
        turns: dict[int, list[Turn]] = {profile: [] for profile in profiles}
        old = [profile for profile in turns if profile not in self._new_profiles]
        if old:
            rows = self._execute(
                "SELECT profile_no, sent_at, message_id, person_no FROM turn WHERE profile_no = ANY(%s) "
                "ORDER BY profile_no, sent_at, message_id",
                old,
            )
            for profile, sent_at, message_id, person in rows:
                turns[profile].append(Turn((sent_at, message_id), person))
        return turns

    def keep_turns(self, changed: Mapping[int, tuple[Sequence[Turn], Sequence[Turn]]]) -> None:
        gone = [(p, *turn.since) for p, (old, new) in changed.items() for turn in old if turn not in new]
        added = [
            (p, *turn.since, turn.person)
            for p, (old, new) in changed.items()
            for turn in new
            if turn not in old
        ]
        self._many(
            "DELETE FROM turn USING unnest(%s::bigint[], %s::bigint[], %s::bytea[]) AS gone(profile_no, sent_at, "
            "message_id) WHERE (turn.profile_no, turn.sent_at, turn.message_id) = "
            "(gone.profile_no, gone.sent_at, gone.message_id)",
            gone,
        )
        self._many(
            "INSERT INTO turn SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::bytea[], %s::bigint[])",
            added,
        )
        self._turns.update((profile, list(new)) for profile, (_, new) in changed.items())

    def _many(self, sql: str, rows: Collection[Sequence[Any]], *more: Any) -> None:
        """One statement for all rows, their columns as arrays."""
        if rows:
            columns = [[storable(value) for value in column] for column in zip(*rows, strict=True)]
            self._execute(sql, *columns, *more)

    # Sums over a person's entries

    def identifies(self, stretch: Stretch) -> Iterator[tuple[Moment, bytes]]:
        rows = self._execute(
            f"SELECT sent_at, message_id, body FROM entry WHERE identifies = 1 AND {WITHIN}", *bounds(stretch)
        )
        return (((sent_at, message_id), body.encode()) for sent_at, message_id, body in rows)

    def identifies_of(self, person: int) -> Iterator[tuple[Moment, bytes]]:
        for stretch in self.stretches_of(person):
            yield from self.identifies(stretch)
        rows = self._execute(
            "SELECT sent_at, message_id, body FROM entry "
            "WHERE person_no = %s AND profile_no IS NULL AND identifies = 1",
            person,
        )
        for sent_at, message_id, body in rows:
            yield (sent_at, message_id), body.encode()

    def stretches_of(self, *people: int) -> list[Stretch]:
        """Also of profiles that are not the group's: those who change their turns hold the person, as we do."""
        profiles = self._execute("SELECT DISTINCT profile_no FROM turn WHERE person_no = ANY(%s)", [*people])
        stored = self._stored_turns([profile for (profile,) in profiles])
        wanted = {*people}
        return [
            stretch
            for profile, turns in stored.items()
            for stretch in stretches(profile, turns)
            if stretch.person in wanted
        ]

    def seen_within(self, stretch: Stretch) -> tuple[int, int] | None:
        ((first, last),) = self._execute(
            f"SELECT min(sent_at), max(sent_at) FROM entry WHERE {WITHIN}", *bounds(stretch)
        )
        return None if first is None else (first, last)

    def seen_of(self, person: int) -> tuple[int, int] | None:
        spans = [seen for stretch in self.stretches_of(person) if (seen := self.seen_within(stretch))]
        ((first, last),) = self._execute(
            "SELECT min(sent_at), max(sent_at) FROM entry WHERE person_no = %s AND profile_no IS NULL", person
        )
        if first is not None:
            spans.append((first, last))
        return (min(span[0] for span in spans), max(span[1] for span in spans)) if spans else None

    def saw(self, seen: Mapping[int, tuple[int, int]]) -> None:
        self._many(
            "UPDATE person SET first_seen = least(person.first_seen, seen.first), "
            "last_seen = greatest(person.last_seen, seen.last) "
            "FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS seen(person_no, first, last) "
            "WHERE person.person_no = seen.person_no",
            [(person, *span) for person, span in seen.items()],
        )

    def forget_sums(self, person: int) -> None:
        self._execute("DELETE FROM trait WHERE person_no = %s", person)
        self._execute("DELETE FROM member WHERE person_no = %s", person)
        self._execute("UPDATE person SET first_seen = NULL, last_seen = NULL WHERE person_no = %s", person)
        self._settle({person: self.email_of(person)})

    def tell_traits(self, traits: Mapping[tuple[int, str], tuple[Moment, bytes]]) -> None:
        self._many(
            "INSERT INTO trait SELECT * FROM "
            "unnest(%s::bigint[], %s::text[], %s::text[], %s::bigint[], %s::bytea[]) ORDER BY 1, 2 "
            "ON CONFLICT (person_no, name) DO UPDATE "
            "SET value = excluded.value, sent_at = excluded.sent_at, message_id = excluded.message_id "
            "WHERE (excluded.sent_at, excluded.message_id) > (trait.sent_at, trait.message_id)",
            [(*place, value.decode(), *moment) for place, (moment, value) in _distinct(traits)],
        )

    def tell_account_traits(self, traits: Mapping[tuple[int, str, str], tuple[Moment, bytes]]) -> None:
        self._many(
            "INSERT INTO account_trait SELECT * FROM "
            "unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::bytea[]) ORDER BY 1, 2, 3 "
            "ON CONFLICT (account_no, group_id, name) DO UPDATE "
            "SET value = excluded.value, sent_at = excluded.sent_at, message_id = excluded.message_id "
            "WHERE (excluded.sent_at, excluded.message_id) > (account_trait.sent_at, account_trait.message_id)",
            [(*place, value.decode(), *moment) for place, (moment, value) in _distinct(traits)],
        )

    def join(self, members: Iterable[tuple[int, int, str]]) -> None:
        self._many(
            "INSERT INTO member SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::text[]) ORDER BY 1, 2, 3 "
            "ON CONFLICT DO NOTHING",
            list(members),
        )

    def count(self, rows: Sequence[Row]) -> None:
        self.add_to_counts(Counter((row.label, row.sent_at // HOUR, row.received_at // DAY) for row in rows))

    def add_to_counts(self, counts: Mapping[tuple[int, int, int], int]) -> None:
        """By label, hour, and day of arrival. Less than nothing takes away."""
        self._many(
            "INSERT INTO hourly (label_no, hour, day, entries, writer) SELECT * FROM "
            "unnest(%s::bigint[], %s::integer[], %s::integer[], %s::integer[]), (SELECT %s::smallint) AS writer "
            "ORDER BY 1, 2, 3 "
            "ON CONFLICT (label_no, hour, day, writer) DO UPDATE SET entries = hourly.entries + excluded.entries",
            [(*place, count) for place, count in counts.items()],
            self._writer,
        )

    @property
    def _writer(self) -> int:
        return self.connection.info.backend_pid % WRITERS

    # Forgetting

    def erase(self, email: str) -> dict[str, Any]:
        """Delete the people under an email in all projects. Answers how much went."""
        return erasure.erase(self, storable(email))

    def forget_requests(self, names: Collection[str]) -> None:
        recent.forget(self.connection, names)

    def keep_receipt(self, deletion_id: str, created_at: int, document: str) -> None:
        self._execute("INSERT INTO deletion VALUES (%s, %s, %s)", deletion_id, created_at, document)

    def overwrite_deleted(self) -> bool:
        """PostgreSQL overwrites nothing: it reuses the space as it vacuums, and its log ages by the server's rules."""
        return True

    def expire_entries(self, before: int) -> int:
        return self._expiry.expire_entries(self.connection, before)

    def expire_people(self, before: int, after: int) -> int | None:
        return expire_people(self, before, after)

    def expire_rest(self, before: int) -> bool:
        return self._expiry.expire_rest(self.connection, before)

    # Requests

    def request_numbers(self, count: int) -> Sequence[int]:
        rows = self._execute("SELECT nextval('request_number') FROM generate_series(1, %s)", count)
        return [number for (number,) in rows]

    def keep_requests(self, requests: list[Arrived]) -> None:
        recent.keep(self.connection, requests)

    def count_requests(self, minutes: dict[tuple[int, str], tuple[int, int]]) -> None:
        self._many(
            "INSERT INTO minutely (minute, outcome, requests, entries, writer) SELECT * FROM "
            "unnest(%s::integer[], %s::text[], %s::integer[], %s::integer[]), (SELECT %s::smallint) AS writer "
            "ORDER BY 1, 2 "
            "ON CONFLICT (minute, outcome, writer) DO UPDATE SET requests = minutely.requests + excluded.requests, "
            "entries = minutely.entries + excluded.entries",
            [(*place, *counts) for place, counts in minutes.items()],
            self._writer,
        )


def _distinct(
    traits: Mapping[tuple[Any, ...], tuple[Moment, bytes]],
) -> Iterable[tuple[tuple[Any, ...], tuple[Moment, bytes]]]:
    """Names that differ in what PostgreSQL cannot hold are one name here; the newest value stays."""
    newest_last = sorted(traits.items(), key=lambda item: item[1][0])
    return {tuple(map(storable, place)): told for place, told in newest_last}.items()
