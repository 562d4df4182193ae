"""The reading side that both databases share: questions of pages and exports, answered from one snapshot.

Must not write, nor decide who is who: `identity` reads from the ownerships whose an entry is.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from koala_middleware.collector.identity import BEGINNING, END, Moment, Ownership, Period, owner
from koala_middleware.collector.stated_traits import SNAPSHOT, Identify, statements
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
from koala_middleware.collector.store.shared_sql.connection import SqlConnection
from koala_middleware.collector.store.shared_sql.ownership_queries import WITHIN, OwnershipQueries, bounds

LOOKS_BACK = 100_000  # entries that a filtered Live page searches at most
HISTORY = 1_000  # identifies that a trait's history is read from
CHUNK = 1_000  # rows an export reads at a time

_ENTRY = (
    "SELECT entry.entry_no, project.key, label.kind, label.name, entry.profile_no, profile.profile_id, "
    "entry.account_no, account.handle, entry.sent_at, entry.message_id, entry.received_at, entry.request_no, "
    "entry.body, entry.identifies, entry.person_no "
    "FROM entry JOIN project USING (project_no) JOIN label USING (label_no) "
    "LEFT JOIN profile USING (profile_no) LEFT JOIN account USING (account_no) "
)
_PERSON = (
    "SELECT person.person_no, project.key, person.email, person.first_seen, person.last_seen "
    "FROM person JOIN project USING (project_no) "
)
_ACCOUNT = (
    "SELECT account_no, key, handle, count(DISTINCT member.person_no), max(last_seen) "
    "FROM account JOIN project USING (project_no) LEFT JOIN member USING (account_no) "
    "LEFT JOIN person ON person.person_no = member.person_no "
)
_NEWEST_FIRST = "ORDER BY sent_at DESC, message_id DESC LIMIT ?"
_NAMES = ("name", "first_name", "firstName", "last_name", "lastName", "title", "company")
_REQUEST = (
    "request_no",
    "key",
    "path",
    "received_at",
    "status",
    "outcome",
    "notes",
    "user_agent",
    "size",
    "body",
)


class SqlReader(OwnershipQueries):
    """See contract.Reader."""

    def __init__(self, sql: SqlConnection) -> None:
        super().__init__(sql)
        self._ownerships: dict[int, list[Ownership]] = {}
        self._emails: dict[int, str | None] = {}

    # Entries

    def newest_entry_no(self) -> int:
        """The number up to which all entries can be read."""
        return int(self._one("SELECT coalesce(max(entry_no), 0) FROM entry"))

    def entries(self, after: int, limit: int) -> list[StoredEntry]:
        newest = self.newest_entry_no()
        return self._shown(
            f"{_ENTRY} WHERE entry_no > ? AND entry_no <= ? ORDER BY entry_no LIMIT ?", (after, newest, limit)
        )

    def newest(self, after: int, limit: int, wanted: EntryFilter) -> list[StoredEntry]:
        labels, newest = self._labels(wanted), self.newest_entry_no()
        if labels is None:
            return self._arrived("", (), after, newest, limit)
        if len(labels) == 1:
            return self._arrived("entry.label_no = ? AND", labels, after, newest, limit)
        if not labels:
            return []
        places = ",".join("?" * len(labels))
        # Without the plus, the planner would collect and sort all entries of each label.
        where = f"+entry.label_no IN ({places}) AND"
        return self._arrived(where, labels, max(after, newest - LOOKS_BACK), newest, limit)

    def _arrived(
        self, where: str, values: Sequence[Any], after: int, newest: int, limit: int
    ) -> list[StoredEntry]:
        return self._shown(
            f"{_ENTRY} WHERE {where} entry_no > ? AND entry_no <= ? ORDER BY entry_no DESC LIMIT ?",
            (*values, after, newest, limit),
        )

    def _labels(self, wanted: EntryFilter) -> list[int] | None:
        """The labels that a filter selects; None for all."""
        asked = {"kind": wanted.kind, "name": wanted.name, "key": wanted.key}
        asked = {column: value for column, value in asked.items() if value is not None}
        if not asked:
            return None
        where = " AND ".join(f"{column} = ?" for column in asked)
        if wanted.name is not None:
            where += " AND kind = 'track'"
        return self._column(
            f"SELECT label_no FROM label JOIN project USING (project_no) WHERE {where} LIMIT 10000",
            *asked.values(),
        )

    def timeline(self, person_no: int, limit: int, before: Moment = END) -> list[StoredEntry]:
        found = self._shown(
            f"{_ENTRY} WHERE entry.person_no = ? AND entry.profile_no IS NULL AND (sent_at, message_id) < (?, ?) "
            f"{_NEWEST_FIRST}",
            (person_no, *before, limit),
        )
        for period in sorted(self.periods_of(person_no), key=lambda each: each.end, reverse=True):
            if len(found) >= limit and period.end <= found[-1].moment:
                break  # all it holds is older than what is shown
            more = self._within(period, limit, before)
            found = list(heapq.merge(found, more, key=lambda entry: entry.moment, reverse=True))[:limit]
        return found

    def visitor_timeline(self, profile: int, limit: int, before: Moment = END) -> list[StoredEntry]:
        return self._within(Period(profile, BEGINNING, END, None), limit, before)

    def visitor(self, profile_id: str) -> int | None:
        found = self._one("SELECT profile_no FROM profile WHERE profile_id = ?", profile_id)
        return None if found is None else int(found)

    def account_timeline(self, account_no: int, limit: int) -> list[StoredEntry]:
        return self._shown(f"{_ENTRY} WHERE entry.account_no = ? {_NEWEST_FIRST}", (account_no, limit))

    def all_entries(self) -> Iterator[StoredEntry]:
        last = 0
        while some := self.entries(last, CHUNK):
            yield from some
            last = some[-1].entry_no
            self._ownerships.clear()

    def _within(self, period: Period, limit: int, before: Moment) -> list[StoredEntry]:
        end = min(period.end, before)
        return self._shown(
            f"{_ENTRY} WHERE {WITHIN} {_NEWEST_FIRST}", (period.profile, *period.start, *end, limit)
        )

    def _shown(self, sql: str, values: Sequence[Any]) -> list[StoredEntry]:
        return [self._with_owner(row) for row in self.sql.rows(sql, values)]

    def _with_owner(self, row: tuple[Any, ...]) -> StoredEntry:
        profile, moment, named = row[4], (row[8], row[9]), row[14]
        ownerships = self.ownerships(profile) if profile is not None else []
        person = named if named is not None else owner(ownerships, moment)
        begins = any(ownership.since == moment for ownership in ownerships)
        email = self._email(person) if person is not None else None
        is_snapshot = row[13] == SNAPSHOT
        return StoredEntry(
            *(*row[:13], is_snapshot, person if email else None, email, begins, named is not None)
        )

    # People

    def people(
        self, limit: int, search: str = "", before: tuple[int, int] | None = None
    ) -> list[StoredPerson]:
        last_seen, person_no = before or (2**62, 0)
        where = "WHERE (coalesce(last_seen, 0), person.person_no) < (?, ?) "
        values: list[Any] = [last_seen, person_no]
        if search:
            names = ",".join("?" * len(_NAMES))
            where += (
                "AND person.person_no IN "
                f"(SELECT person_no FROM person WHERE email {self.sql.like} ? ESCAPE '\\' UNION "
                f"SELECT person_no FROM trait WHERE value {self.sql.like} ? ESCAPE '\\' AND name IN ({names})) "
            )
            values += [_contains(search)] * 2 + [*_NAMES]
        rows = self.sql.rows(
            f"{_PERSON} {where} ORDER BY last_seen DESC NULLS LAST, person.person_no DESC LIMIT ?",
            (*values, limit),
        )
        return [self._person(*row) for row in rows]

    def person(self, person_no: int) -> StoredPerson | None:
        rows = self.sql.rows(f"{_PERSON} WHERE person_no = ?", (person_no,))
        return self._person(*rows[0]) if rows else None

    def person_by_email(self, email: str) -> list[int]:
        return self._column("SELECT person_no FROM person WHERE email = ?", email)

    def all_people(self) -> Iterator[StoredPerson]:
        last = 0
        while rows := self.sql.rows(
            f"{_PERSON} WHERE person_no > ? ORDER BY person_no LIMIT ?", (last, CHUNK)
        ):
            for row in rows:
                yield self._person(*row)
            last = rows[-1][0]

    def _person(self, person: int, key: str, email: str, first: int | None, last: int | None) -> StoredPerson:
        traits = self.sql.rows(
            "SELECT name, value, sent_at FROM trait WHERE person_no = ? ORDER BY name", (person,)
        )
        return StoredPerson(
            person,
            key,
            email,
            first,
            last,
            [StoredTrait(*row) for row in traits],
            [profile_id for _, profile_id in self._profiles(person)],
            self._column(
                "SELECT DISTINCT handle FROM member JOIN account USING (account_no) WHERE person_no = ?",
                person,
            ),
        )

    def _profiles(self, person: int) -> list[tuple[int, str]]:
        return self.sql.rows(
            "SELECT profile_no, profile_id FROM turn JOIN profile USING (profile_no) WHERE person_no = ? "
            "GROUP BY profile_no, profile_id ORDER BY min(turn.sent_at), profile_no",
            (person,),
        )

    def browsers(self, person_no: int) -> list[PersonBrowser]:
        held: defaultdict[int, list[Period]] = defaultdict(list)
        for period in self.periods_of(person_no):
            held[period.profile].append(period)
        return [
            browser
            for profile, profile_id in self._profiles(person_no)
            if (browser := self._browser(profile, profile_id, held[profile]))
        ]

    def _browser(self, profile: int, profile_id: str, held: Sequence[Period]) -> PersonBrowser | None:
        ends = [
            row
            for period in held
            for way in ("ASC", "DESC")
            for row in self.sql.rows(
                f"SELECT sent_at, body FROM entry WHERE {WITHIN} "
                f"ORDER BY sent_at {way}, message_id {way} LIMIT 1",
                bounds(period),
            )
        ]
        if not ends:
            return None
        agent = next((agent for row in reversed(ends) if (agent := _user_agent(row[1]))), "")
        return PersonBrowser(
            profile, profile_id, min(row[0] for row in ends), max(row[0] for row in ends), agent
        )

    def trait_history(self, person_no: int) -> dict[str, list[StoredTrait]]:
        stated = [
            each for identifies in self._latest_identifies(person_no) for each in statements(identifies)
        ]
        stated.sort(key=lambda each: each[0])
        history: defaultdict[str, list[StoredTrait]] = defaultdict(list)
        for (sent_at, _), traits in stated:
            for name, value in traits.items():
                text = orjson.dumps(value).decode()
                if name not in {"email", "$account"} and (
                    not history[name] or history[name][0].value != text
                ):
                    history[name].insert(0, StoredTrait(name, text, sent_at))
        return dict(history)

    def _latest_identifies(self, person_no: int) -> Iterator[Iterator[Identify]]:
        """Those without a profile, then those of each period."""
        latest = f"{_NEWEST_FIRST.removesuffix('?')}{HISTORY}"
        yield self._identifies(f"person_no = ? AND profile_no IS NULL {latest}", person_no)
        for period in self.periods_of(person_no)[:HISTORY]:
            yield self._identifies(f"{WITHIN} {latest}", *bounds(period))

    # Ownerships

    def ownerships(self, profile: int) -> list[Ownership]:
        ownerships = self._ownerships.get(profile)
        if ownerships is None:
            ownerships = self._ownerships[profile] = self.ownerships_of([profile])[profile]
        return ownerships

    def _email(self, person: int) -> str | None:
        if person not in self._emails:
            self._emails[person] = self._one("SELECT email FROM person WHERE person_no = ?", person)
        return self._emails[person]

    # Companies

    def count_accounts(self, search: str = "") -> int:
        matching = f"SELECT count(*) FROM account WHERE handle {self.sql.like} ? ESCAPE '\\'"
        return int(self._one(matching, _contains(search)))

    def accounts(self, limit: int, search: str = "", offset: int = 0) -> list[StoredAccount]:
        rows = self.sql.rows(
            f"{_ACCOUNT} WHERE handle {self.sql.like} ? ESCAPE '\\' GROUP BY account_no, key, handle "
            "ORDER BY max(last_seen) DESC NULLS LAST, account_no DESC LIMIT ? OFFSET ?",
            (_contains(search), limit, offset),
        )
        return [StoredAccount(*(*row, self._groups(row[0]))) for row in rows]

    def account(self, account_no: int) -> StoredAccount | None:
        rows = self.sql.rows(
            f"{_ACCOUNT} WHERE account_no = ? GROUP BY account_no, key, handle", (account_no,)
        )
        return StoredAccount(*(*rows[0], self._groups(account_no))) if rows else None

    def _groups(self, account_no: int) -> dict[str, list[StoredTrait]]:
        groups: defaultdict[str, list[StoredTrait]] = defaultdict(list)
        rows = self.sql.rows(
            "SELECT group_id, name, value, sent_at FROM account_trait WHERE account_no = ? ORDER BY group_id, name",
            (account_no,),
        )
        for group, *trait in rows:
            groups[group].append(StoredTrait(*trait))
        return dict(groups)

    def account_people(self, account_no: int, limit: int) -> list[StoredPerson]:
        rows = self.sql.rows(
            f"{_PERSON} WHERE person_no IN (SELECT person_no FROM member WHERE account_no = ?) "
            "ORDER BY last_seen DESC NULLS LAST LIMIT ?",
            (account_no, limit),
        )
        return [self._person(*row) for row in rows]

    # Counts

    def event_counts(self, since: int, width: int = 1) -> list[EventCount]:
        rows = self.sql.rows(
            "SELECT label_no, key, kind, name, (hour - ?) / ?, sum(entries) FROM hourly JOIN label USING (label_no) "
            "JOIN project USING (project_no) WHERE hour >= ? GROUP BY label_no, key, kind, name, 5",
            (since, width, since),
        )
        columns: defaultdict[tuple[Any, ...], dict[int, int]] = defaultdict(dict)
        for *label, column, entries in rows:
            columns[tuple(label)][column] = entries
        event_counts = [
            EventCount(*(*label, sum(by_column.values()), by_column)) for label, by_column in columns.items()
        ]
        return sorted(event_counts, key=lambda each: (-each.total, each.name))

    def minutes(self, since: int) -> list[tuple[int, str, int, int]]:
        return self.sql.rows(
            "SELECT minute, outcome, sum(requests), sum(entries) FROM minutely WHERE minute >= ? "
            "GROUP BY minute, outcome ORDER BY minute",
            (since,),
        )

    def totals(self) -> Totals:
        return Totals(
            self._one("SELECT coalesce(sum(entries), 0) FROM hourly"),
            self._one("SELECT count(*) FROM person"),
            self._one("SELECT count(*) FROM profile"),
            self._one("SELECT count(*) FROM account"),
        )

    def keys(self) -> list[str]:
        return self._column("SELECT key FROM project ORDER BY key")

    # Requests

    def requests(
        self, limit: int, outcomes: Sequence[str], request_no: int | None = None
    ) -> list[dict[str, Any]]:
        places = ",".join("?" * len(outcomes))
        numbered, number = ("", []) if request_no is None else ("AND request_no = ?", [request_no])
        rows = self.sql.rows(
            f"SELECT {', '.join(_REQUEST)} FROM request WHERE outcome IN ({places}) {numbered} "
            "ORDER BY request_no DESC LIMIT ?",
            (*outcomes, *number, limit),
        )
        return [dict(zip(_REQUEST, row, strict=True)) for row in rows]

    def deletion(self, deletion_id: str) -> str | None:
        document = self._one("SELECT document FROM deletion WHERE deletion_id = ?", deletion_id)
        return None if document is None else str(document)

    def password_hash(self, name: str) -> str | None:
        kept = self._one("SELECT password_hash FROM login WHERE name = ?", name)
        return None if kept is None else str(kept)

    def login_required(self) -> bool:
        logins = "SELECT 1 FROM login UNION ALL SELECT 1 FROM meta WHERE name = 'login required' LIMIT 1"
        return self._one(logins) is not None

    def session_ended(self, session_id: str) -> bool:
        return self._one("SELECT 1 FROM meta WHERE name = ?", f"ended session {session_id}") is not None

    def _one(self, sql: str, *values: Any) -> Any:
        rows = self.sql.rows(sql, values)
        return rows[0][0] if rows else None

    def _column(self, sql: str, *values: Any) -> list[Any]:
        return [row[0] for row in self.sql.rows(sql, values)]


def _contains(text: str) -> str:
    """A LIKE pattern, with backslash as its escape."""
    for special in "\\%_":
        text = text.replace(special, f"\\{special}")
    return f"%{text}%"


def _user_agent(body: str) -> str:
    """The user agent in an entry's context."""
    context = orjson.loads(body).get("context")
    agent = context.get("userAgent") if isinstance(context, dict) else None
    return agent if isinstance(agent, str) else ""
