"""The writing side of the SQLite store: one connection, one transaction at a time.

Must not know who is who, nor what a batch means: it looks up, adds and summarizes.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from koala_middleware.collector.identity import Moment, Ownership, Period
from koala_middleware.collector.store.contract import PEOPLE
from koala_middleware.collector.store.rows import (
    REFUSED_KEPT,
    TAKEN_KEPT,
    EntryRow,
    KnownMessage,
    ReceivedRequest,
)
from koala_middleware.collector.store.shared_sql.ledger import SqlLedger
from koala_middleware.collector.store.shared_sql.ownership_queries import WITHIN, bounds
from koala_middleware.collector.store.sqlite import erasure, expiry
from koala_middleware.collector.store.sqlite.connection import SqliteConnection
from koala_middleware.collector.times import HOUR
from koala_middleware.collector.validation.emails_and_domains import company_domain

_CACHED = 200_000  # numbers, ownerships and emails held in memory, each
_LOOKED_UP = 500  # message ids in one statement
_CHECKPOINT_WAIT = 50  # milliseconds for readers of the log to finish
_NUMBERED = ("project", "profile", "person", "account", "label", "entry", "request")


class SqliteLedger(SqlLedger):
    """See contract.Ledger."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(SqliteConnection(connection))
        self.connection = connection
        self._execute = connection.execute
        self._many = connection.executemany
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._ownerships: dict[int, list[Ownership]] = {}
        self._emails: dict[int, tuple[int, str]] = {}
        self._read_counters()

    def _read_counters(self) -> None:
        self._last = {table: self._last_number(table) for table in _NUMBERED}
        self._refused: int = self._one("SELECT count(*) FROM request WHERE slot < 0")

    def _last_number(self, table: str) -> int:
        stored = self._one(f"SELECT max({table}_no) FROM {table}")
        kept = self._one("SELECT value FROM meta WHERE name = ?", f"last {table}")
        return max(stored or 0, int(kept or 0))

    def _keep_counters(self) -> None:
        """Before anything is deleted: readers' cursors and entries refer to numbers, so none may be given twice."""
        last = [(f"last {table}", str(number)) for table, number in self._last.items()]
        self._many("INSERT OR REPLACE INTO meta VALUES (?, ?)", last)

    def _one(self, sql: str, *values: Any) -> Any:
        row = self._execute(sql, values).fetchone()
        return row[0] if row else None

    def close(self) -> None:
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self._execute("ROLLBACK")
            self.forget_cached()
            self._read_counters()
            raise

    def forget_cached(self) -> None:
        """After a rollback or a deletion, memory may not agree with the database."""
        self._numbers.clear()
        self._ownerships.clear()
        self._emails.clear()

    # What the group names

    def prepare_group(
        self, profiles: Collection[tuple[str, str]], people: Collection[tuple[str, str]]
    ) -> None:
        """Nothing to prepare: nobody else writes."""

    def project(self, key: str) -> int:
        return self._number("project", ("key",), (key,))

    def profile(self, project: int, profile_id: str) -> int:
        return self._number("profile", ("project_no", "profile_id"), (project, profile_id))

    def account(self, project: int, handle: str) -> int:
        return self._number("account", ("project_no", "handle"), (project, handle))

    def label(self, project: int, kind: str, name: str) -> int:
        return self._number("label", ("project_no", "kind", "name"), (project, kind, name))

    def person(self, project: int, email: str) -> int:
        return self._number("person", ("project_no", "email"), (project, email), self._join_company)

    def _join_company(self, person: int) -> None:
        project, email = self.email_of(person)
        domain = company_domain(email)
        if domain:
            self.add_members([(self.account(project, domain), person, "")])

    def _number(
        self,
        table: str,
        columns: Sequence[str],
        values: tuple[Any, ...],
        made: Callable[[int], None] | None = None,
    ) -> int:
        key = (table, *values)
        number = self._numbers.get(key)
        if number is None:
            number, is_new = self._find_or_add(table, columns, values)
            if len(self._numbers) >= _CACHED:
                self._numbers.clear()
            self._numbers[key] = number
            if is_new and made:
                made(number)
        return number

    def _find_or_add(self, table: str, columns: Sequence[str], values: tuple[Any, ...]) -> tuple[int, bool]:
        names, places = ", ".join(columns), ", ".join("?" * len(columns))
        next_number = self._last[table] + 1
        added = self._execute(
            f"INSERT INTO {table} ({table}_no, {names}) VALUES (?, {places}) ON CONFLICT DO NOTHING",
            (next_number, *values),
        ).rowcount
        if added:
            self._last[table] = next_number
            return next_number, True
        where = " AND ".join(f"{column} = ?" for column in columns)
        return int(self._one(f"SELECT {table}_no FROM {table} WHERE {where}", *values)), False

    def email_of(self, person: int) -> tuple[int, str]:
        known = self._emails.get(person)
        if known is None:
            known = self._execute(
                "SELECT project_no, email FROM person WHERE person_no = ?", (person,)
            ).fetchone()
            if len(self._emails) >= _CACHED:
                self._emails.clear()
            self._emails[person] = known
        return known

    # Entries

    def entry_numbers(self, count: int) -> Sequence[int]:
        first = self._last["entry"] + 1
        return range(first, first + count)

    def add(self, rows: Sequence[EntryRow]) -> dict[tuple[int, bytes], KnownMessage]:
        if self._added(rows):
            return {}
        known = self._known(rows)
        self._added([row for row in rows if (row.project, row.message_id) not in known])
        return known

    def _known(self, rows: Sequence[EntryRow]) -> dict[tuple[int, bytes], KnownMessage]:
        found = {}
        for start in range(0, len(rows), _LOOKED_UP):
            some = rows[start : start + _LOOKED_UP]
            places = ",".join(["(?, ?)"] * len(some))
            stored = self._execute(
                "SELECT project_no, message_id, entry_no, label_no, profile_no, person_no, account_no, body FROM entry "
                f"WHERE (message_id, project_no) IN (VALUES {places})",
                [value for row in some for value in (row.message_id, row.project)],
            )
            found.update({(project, message): KnownMessage(*rest) for project, message, *rest in stored})
        return found

    def _added(self, rows: Sequence[EntryRow]) -> bool:
        """Store all, or none and False when one of them is stored already."""
        if not rows:
            return True
        self._execute("SAVEPOINT adding")
        try:
            self._many("INSERT INTO entry VALUES (?,?,?,?,?,?,?,?,?,?,?,CAST(? AS TEXT))", rows)
        except sqlite3.IntegrityError:
            self._execute("ROLLBACK TO adding")
            return False
        finally:
            self._execute("RELEASE adding")
        self._last["entry"] = max(self._last["entry"], rows[-1].entry_no)
        return True

    def with_entries(self, periods: Collection[Period], before: int) -> set[Period]:
        sql = f"SELECT 1 FROM entry WHERE {WITHIN} AND entry_no < ? LIMIT 1"
        return {period for period in periods if self._one(sql, *bounds(period), before)}

    # Ownerships

    def ownerships(self, profile: int) -> list[Ownership]:
        ownerships = self._ownerships.get(profile)
        if ownerships is None:
            ownerships = self.ownerships_of([profile])[profile]
            if len(self._ownerships) >= _CACHED:
                self._ownerships.clear()
            self._ownerships[profile] = ownerships
        return ownerships

    def save_ownerships(self, changed: Mapping[int, tuple[Sequence[Ownership], Sequence[Ownership]]]) -> None:
        for profile, (old, new) in changed.items():
            self._save_ownerships(profile, old, new)

    def _save_ownerships(self, profile: int, old: Sequence[Ownership], new: Sequence[Ownership]) -> None:
        gone = [(profile, *ownership.since) for ownership in old if ownership not in new]
        added = [(profile, *ownership.since, ownership.person) for ownership in new if ownership not in old]
        if gone:
            self._many("DELETE FROM turn WHERE profile_no = ? AND sent_at = ? AND message_id = ?", gone)
        if added:
            self._many("INSERT INTO turn VALUES (?, ?, ?, ?)", added)
        self._ownerships[profile] = list(new)

    # Summaries of a person's entries

    def widen_seen(self, seen: Mapping[int, tuple[int, int]]) -> None:
        self._many(
            "UPDATE person SET first_seen = min(coalesce(first_seen, ?1), ?1), "
            "last_seen = max(coalesce(last_seen, ?2), ?2) WHERE person_no = ?3",
            [(first, last, person) for person, (first, last) in seen.items()],
        )

    def update_traits(self, traits: Mapping[tuple[int, str], tuple[Moment, bytes]]) -> None:
        self._many(
            "INSERT INTO trait VALUES (?, ?, CAST(? AS TEXT), ?, ?) ON CONFLICT DO UPDATE "
            "SET value = excluded.value, sent_at = excluded.sent_at, message_id = excluded.message_id "
            "WHERE (excluded.sent_at, excluded.message_id) > (sent_at, message_id)",
            [(*place, value, *moment) for place, (moment, value) in traits.items()],
        )

    def update_account_traits(self, traits: Mapping[tuple[int, str, str], tuple[Moment, bytes]]) -> None:
        self._many(
            "INSERT INTO account_trait VALUES (?, ?, ?, CAST(? AS TEXT), ?, ?) ON CONFLICT DO UPDATE "
            "SET value = excluded.value, sent_at = excluded.sent_at, message_id = excluded.message_id "
            "WHERE (excluded.sent_at, excluded.message_id) > (sent_at, message_id)",
            [(*place, value, *moment) for place, (moment, value) in traits.items()],
        )

    def add_members(self, members: Iterable[tuple[int, int, str]]) -> None:
        self._many("INSERT OR IGNORE INTO member VALUES (?, ?, ?)", members)

    def count_entries(self, rows: Sequence[EntryRow]) -> None:
        hours = Counter((row.label, row.sent_at // HOUR) for row in rows)
        self._many(
            "INSERT INTO hourly VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET entries = entries + excluded.entries",
            [(*place, entries) for place, entries in hours.items()],
        )

    # Deletion

    def erase(self, email: str) -> dict[str, Any]:
        self._keep_counters()
        erased = super().erase(email)
        self.forget_cached()
        return erased

    def _erase_person(self, person: int) -> tuple[Counter[str], Sequence[str]]:
        return erasure.erase_person(self.connection, person, self.periods_of(person))

    def delete_requests_naming(self, names: Collection[str]) -> None:
        self._keep_counters()
        erasure.delete_requests_naming(self.connection, names)

    def overwrite_deleted(self) -> bool:
        """Deleting fills the file's pages with zeros. The old content is still in the log, which is truncated here.

        That has to wait for whoever reads from the log, an export or a backup; writing goes on meanwhile.
        """
        patience = self._one("PRAGMA busy_timeout")
        self._execute(f"PRAGMA busy_timeout = {_CHECKPOINT_WAIT}")
        try:
            busy = self._one("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self._execute(f"PRAGMA busy_timeout = {patience}")
        return not busy

    def expire_entries(self, before: int) -> int:
        self._keep_counters()
        return expiry.expire_entries(self.connection, before)

    def expire_people(self, before: int, after: int) -> int | None:
        self._keep_counters()
        old = self._execute(
            "SELECT person_no FROM person WHERE person_no > ? AND coalesce(last_seen, 0) < ? "
            "ORDER BY person_no LIMIT ?",
            (after, before, PEOPLE),
        ).fetchall()
        for (person,) in old:
            if self.seen_of(person) is None:
                profiles = {period.profile for period in self.periods_of(person)}
                erasure.delete_person(self.connection, person, profiles)
        self.forget_cached()
        return old[-1][0] if len(old) == PEOPLE else None

    def expire_rest(self, before: int) -> bool:
        self._keep_counters()
        expiry.expire_rest(self.connection, before)
        self.forget_cached()
        return True

    # Requests

    def request_numbers(self, count: int) -> Sequence[int]:
        first = self._last["request"] + 1
        self._last["request"] += count
        return range(first, first + count)

    def save_requests(self, requests: list[ReceivedRequest]) -> None:
        self._many(
            "INSERT OR REPLACE INTO request VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(self._slot(request), *request.row()) for request in requests[-TAKEN_KEPT:]],
        )

    def _slot(self, request: ReceivedRequest) -> int:
        if request.outcome == "taken":
            return request.request_no % TAKEN_KEPT
        self._refused += 1
        return -1 - self._refused % REFUSED_KEPT

    def count_requests(self, minutes: Mapping[tuple[int, str], tuple[int, int]]) -> None:
        self._many(
            "INSERT INTO minutely VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE "
            "SET requests = requests + excluded.requests, entries = entries + excluded.entries",
            [(*place, *counts) for place, counts in minutes.items()],
        )
