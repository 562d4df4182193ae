"""The writer's side of the SQLite store: one connection, one transaction at a time.

Must not know who is who (identity.py) or what a batch means (recording.py): it looks up, adds and sums.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from koala_middleware.collector.identity import Moment, Stretch, Turn, stretches
from koala_middleware.collector.recording.recorder import HOUR, Known, Row
from koala_middleware.collector.recording.writer import REFUSED_KEPT, TAKEN_KEPT, Arrived
from koala_middleware.collector.store.contract import PEOPLE
from koala_middleware.collector.store.sqlite.erasure import (
    erase_person,
    expire_entries,
    expire_rest,
    forget_person,
    forget_requests,
)
from koala_middleware.collector.validation.emails_and_domains import company_domain

_REMEMBERED = 200_000  # numbers and turns held in memory
_NEITHER_END = "sent_at, message_id"
_WITHIN = f"profile_no = ? AND ({_NEITHER_END}) >= (?, ?) AND ({_NEITHER_END}) < (?, ?)"
_LOOKED_UP = 500  # message ids in one statement
_OVERWRITING = 50  # milliseconds to wait for readers of the log
_NUMBERED = ("project", "profile", "person", "account", "label", "entry", "request")


class SqliteLedger:
    """See recording.Ledger, writer.GroupLedger and store.ForgettingLedger."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._execute = connection.execute
        self._many = connection.executemany
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._turns: dict[int, list[Turn]] = {}
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
        """Before anything is deleted: no number may be given again, to which readers' places and entries refer."""
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
        """What is in memory may not be what is on disk: after an undone transaction, after erasing."""
        self._numbers.clear()
        self._turns.clear()
        self._emails.clear()

    # Numbers of things, made on first sight

    def expect(self, profiles: Collection[tuple[str, str]], people: Collection[tuple[str, str]]) -> None:
        """Nothing to prepare: a lookup is no journey, and nobody else writes."""

    def project(self, key: str) -> int:
        return self._number("project", ("key",), (key,))

    def profile(self, project: int, profile_id: str) -> int:
        return self._number("profile", ("project_no", "profile_id"), (project, profile_id))

    def account(self, project: int, handle: str) -> int:
        return self._number("account", ("project_no", "handle"), (project, handle))

    def label(self, project: int, kind: str, name: str) -> int:
        return self._number("label", ("project_no", "kind", "name"), (project, kind, name))

    def person(self, project: int, email: str) -> int:
        return self._number("person", ("project_no", "email"), (project, email), self._place)

    def _place(self, person: int) -> None:
        """A person's own company is that of their email."""
        project, email = self.email_of(person)
        domain = company_domain(email)
        if domain:
            self.join([(self.account(project, domain), person, "")])

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
            if len(self._numbers) >= _REMEMBERED:
                self._numbers.clear()
            self._numbers[key] = number
            if is_new and made:
                made(number)
        return number

    def _find_or_add(self, table: str, columns: Sequence[str], values: tuple[Any, ...]) -> tuple[int, bool]:
        names, places = ", ".join(columns), ", ".join("?" * len(columns))
        next_number = self._last[table] + 1
        added = self._execute(  # the names are this module's own
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
            if len(self._emails) >= _REMEMBERED:
                self._emails.clear()
            self._emails[person] = known
        return known

    # Entries

    def entry_numbers(self, count: int) -> Sequence[int]:
        first = self._last["entry"] + 1
        return range(first, first + count)

    def add(self, rows: Sequence[Row]) -> dict[tuple[int, bytes], Known]:
        if self._added(rows):
            return {}
        known = self._known(rows)
        self._added([row for row in rows if (row.project, row.message_id) not in known])
        return known

    def _known(self, rows: Sequence[Row]) -> dict[tuple[int, bytes], Known]:
        found = {}
        for start in range(0, len(rows), _LOOKED_UP):
            some = rows[start : start + _LOOKED_UP]
            places = ",".join(["(?, ?)"] * len(some))
            stored = self._execute(
                "SELECT project_no, message_id, entry_no, person_no FROM entry "
                f"WHERE (message_id, project_no) IN (VALUES {places})",
                [value for row in some for value in (row.message_id, row.project)],
            )
            found.update({(project, message): Known(number, who) for project, message, number, who in stored})
        return found

    def _added(self, rows: Sequence[Row]) -> bool:
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
        self._last["entry"] = rows[-1].entry_no
        return True

    def restate(self, entry_no: int, person: int) -> None:
        self._execute("UPDATE entry SET person_no = ? WHERE entry_no = ?", (person, entry_no))

    def with_entries(self, stretches: Collection[Stretch], before: int) -> set[Stretch]:
        sql = f"SELECT 1 FROM entry WHERE {_WITHIN} AND entry_no < ? LIMIT 1"
        return {stretch for stretch in stretches if self._one(sql, *_bounds(stretch), before)}

    # Turns

    def next_naming(self, profile: int, after: Moment) -> Turn | None:
        row = self._execute(
            "SELECT sent_at, message_id, person_no FROM entry INDEXED BY entry_naming "
            "WHERE profile_no = ? AND person_no IS NOT NULL AND (sent_at, message_id) > (?, ?) "
            "ORDER BY sent_at, message_id LIMIT 1",
            (profile, *after),
        ).fetchone()
        return Turn((row[0], row[1]), row[2]) if row else None

    def turns(self, profile: int) -> list[Turn]:
        turns = self._turns.get(profile)
        if turns is None:
            rows = self._execute(
                "SELECT sent_at, message_id, person_no FROM turn WHERE profile_no = ? ORDER BY sent_at, message_id",
                (profile,),
            )
            turns = [Turn((sent_at, message_id), person) for sent_at, message_id, person in rows]
            if len(self._turns) >= _REMEMBERED:
                self._turns.clear()
            self._turns[profile] = turns
        return turns

    def keep_turns(self, changed: Mapping[int, tuple[Sequence[Turn], Sequence[Turn]]]) -> None:
        for profile, (old, new) in changed.items():
            self._keep_turns(profile, old, new)

    def _keep_turns(self, profile: int, old: Sequence[Turn], new: Sequence[Turn]) -> None:
        gone = [(profile, *turn.since) for turn in old if turn not in new]
        added = [(profile, *turn.since, turn.person) for turn in new if turn not in old]
        if gone:
            self._many("DELETE FROM turn WHERE profile_no = ? AND sent_at = ? AND message_id = ?", gone)
        if added:
            self._many("INSERT INTO turn VALUES (?, ?, ?, ?)", added)
        self._turns[profile] = list(new)

    # Sums over a person's entries

    def identifies(self, stretch: Stretch) -> Iterator[tuple[Moment, bytes]]:
        rows = self._execute(
            f"SELECT sent_at, message_id, body FROM entry WHERE identifies = 1 AND {_WITHIN}",
            _bounds(stretch),
        ).fetchall()
        return (((sent_at, message_id), body.encode()) for sent_at, message_id, body in rows)

    def identifies_of(self, person: int) -> Iterator[tuple[Moment, bytes]]:
        for stretch in self.stretches_of(person):
            yield from self.identifies(stretch)
        rows = self._execute(
            "SELECT sent_at, message_id, body FROM entry "
            "WHERE person_no = ? AND profile_no IS NULL AND identifies = 1",
            (person,),
        ).fetchall()
        for sent_at, message_id, body in rows:
            yield (sent_at, message_id), body.encode()

    def stretches_of(self, person: int) -> list[Stretch]:
        profiles = self._execute(
            "SELECT DISTINCT profile_no FROM turn WHERE person_no = ?", (person,)
        ).fetchall()
        return [
            stretch
            for (profile,) in profiles
            for stretch in stretches(profile, self.turns(profile))
            if stretch.person == person
        ]

    def seen_within(self, stretch: Stretch) -> tuple[int, int] | None:
        first, last = (
            self._one(
                f"SELECT sent_at FROM entry WHERE {_WITHIN} ORDER BY sent_at {way}, message_id {way} LIMIT 1",
                *_bounds(stretch),
            )
            for way in ("ASC", "DESC")
        )
        return None if first is None else (first, last)

    def seen_of(self, person: int) -> tuple[int, int] | None:
        spans = [seen for stretch in self.stretches_of(person) if (seen := self.seen_within(stretch))]
        first, last = self._execute(
            "SELECT min(sent_at), max(sent_at) FROM entry WHERE person_no = ? AND profile_no IS NULL",
            (person,),
        ).fetchone()
        if first is not None:
            spans.append((first, last))
        return (min(span[0] for span in spans), max(span[1] for span in spans)) if spans else None

    def saw(self, seen: Mapping[int, tuple[int, int]]) -> None:
        self._many(
            "UPDATE person SET first_seen = min(coalesce(first_seen, ?1), ?1), "
            "last_seen = max(coalesce(last_seen, ?2), ?2) WHERE person_no = ?3",
            [(first, last, person) for person, (first, last) in seen.items()],
        )

    def forget_sums(self, person: int) -> None:
        self._execute("DELETE FROM trait WHERE person_no = ?", (person,))
        self._execute("DELETE FROM member WHERE person_no = ?", (person,))
        self._execute("UPDATE person SET first_seen = NULL, last_seen = NULL WHERE person_no = ?", (person,))
        self._place(person)

    def tell_traits(self, traits: Mapping[tuple[int, str], tuple[Moment, bytes]]) -> None:
        self._many(
            "INSERT INTO trait VALUES (?, ?, CAST(? AS TEXT), ?, ?) ON CONFLICT DO UPDATE "
            "SET value = excluded.value, sent_at = excluded.sent_at, message_id = excluded.message_id "
            "WHERE (excluded.sent_at, excluded.message_id) > (sent_at, message_id)",
            [(*place, value, *moment) for place, (moment, value) in traits.items()],
        )

    def tell_account_traits(self, traits: Mapping[tuple[int, str, str], tuple[Moment, bytes]]) -> None:
        self._many(
            "INSERT INTO account_trait VALUES (?, ?, ?, CAST(? AS TEXT), ?, ?) ON CONFLICT DO UPDATE "
            "SET value = excluded.value, sent_at = excluded.sent_at, message_id = excluded.message_id "
            "WHERE (excluded.sent_at, excluded.message_id) > (sent_at, message_id)",
            [(*place, value, *moment) for place, (moment, value) in traits.items()],
        )

    def join(self, members: Iterable[tuple[int, int, str]]) -> None:
        self._many("INSERT OR IGNORE INTO member VALUES (?, ?, ?)", members)

    def count(self, rows: Sequence[Row]) -> None:
        hours = Counter((row.label, row.sent_at // HOUR) for row in rows)
        self._many(
            "INSERT INTO hourly VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET entries = entries + excluded.entries",
            [(*place, entries) for place, entries in hours.items()],
        )

    # Forgetting

    def erase(self, email: str) -> dict[str, Any]:
        """Delete the people under an email in all projects. Answers how much went."""
        total: dict[str, Any] = {"identifies": 0, "events": 0, "page_views": 0, "profiles": []}
        self._keep_counters()
        for (person,) in self._execute("SELECT person_no FROM person WHERE email = ?", (email,)).fetchall():
            gone = erase_person(self.connection, person, self.stretches_of(person))
            total = {name: total[name] + count for name, count in gone.items()}
        self.forget_cached()
        return total

    def forget_requests(self, names: Collection[str]) -> None:
        self._keep_counters()
        forget_requests(self.connection, names)

    def keep_receipt(self, deletion_id: str, created_at: int, document: str) -> None:
        self._execute("INSERT INTO deletion VALUES (?, ?, ?)", (deletion_id, created_at, document))

    def overwrite_deleted(self) -> bool:
        """Deleting put zeros in the file's pages; what was there is still in the log, which is cut to nothing.

        That has to wait for whoever reads from the log, an export or a backup; ingestion has not.
        """
        patience = self._one("PRAGMA busy_timeout")
        self._execute(f"PRAGMA busy_timeout = {_OVERWRITING}")
        try:
            busy = self._one("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self._execute(f"PRAGMA busy_timeout = {patience}")
        return not busy

    def expire_entries(self, before: int) -> int:
        self._keep_counters()
        return expire_entries(self.connection, before)

    def expire_people(self, before: int, after: int) -> int | None:
        self._keep_counters()
        old = self._execute(
            "SELECT person_no FROM person WHERE person_no > ? AND coalesce(last_seen, 0) < ? "
            "ORDER BY person_no LIMIT ?",
            (after, before, PEOPLE),
        ).fetchall()
        for (person,) in old:
            if self.seen_of(person) is None:
                forget_person(self.connection, person, {each.profile for each in self.stretches_of(person)})
        self.forget_cached()
        return old[-1][0] if len(old) == PEOPLE else None

    def expire_rest(self, before: int) -> bool:
        self._keep_counters()
        expire_rest(self.connection, before)
        self.forget_cached()
        return True

    # Requests

    def request_numbers(self, count: int) -> Sequence[int]:
        first = self._last["request"] + 1
        self._last["request"] += count
        return range(first, first + count)

    def keep_requests(self, requests: list[Arrived]) -> None:
        self._many(
            "INSERT OR REPLACE INTO request VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(self._slot(request), *request.row()) for request in requests[-TAKEN_KEPT:]],
        )

    def _slot(self, request: Arrived) -> int:
        if request.outcome == "taken":
            return request.request_no % TAKEN_KEPT
        self._refused += 1
        return -1 - self._refused % REFUSED_KEPT

    def count_requests(self, minutes: dict[tuple[int, str], tuple[int, int]]) -> None:
        self._many(
            "INSERT INTO minutely VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE "
            "SET requests = requests + excluded.requests, entries = entries + excluded.entries",
            [(*place, *counts) for place, counts in minutes.items()],
        )


def _bounds(stretch: Stretch) -> tuple[Any, ...]:
    return stretch.profile, *stretch.start, *stretch.end
