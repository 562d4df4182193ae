"""Whose entries are: questions that both databases answer to the same SQL, for the ledger and for the reader.

Must not write, nor decide who is who: it reads ownerships, and finds the entries within them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from koala_middleware.collector.identity import Moment, Naming, Ownership, Period, periods
from koala_middleware.collector.stated_traits import SNAPSHOT, Identify
from koala_middleware.collector.store.shared_sql.connection import SqlConnection

WITHIN = "entry.profile_no = ? AND (sent_at, message_id) >= (?, ?) AND (sent_at, message_id) < (?, ?)"
"""The entries of a period; `bounds` gives the values."""

# The first half lets both databases use the index of identifies.
_IS_SNAPSHOT = f"identifies > 0 AND identifies = {SNAPSHOT}"
_WITHOUT_PROFILE = "person_no = ? AND profile_no IS NULL"


def bounds(period: Period) -> tuple[Any, ...]:
    return period.profile, *period.start, *period.end


class OwnershipQueries:
    """Asks one connection."""

    def __init__(self, sql: SqlConnection) -> None:
        self.sql = sql

    def ownerships_of(self, profiles: Collection[int]) -> dict[int, list[Ownership]]:
        """Each profile's ownerships, oldest first."""
        found: dict[int, list[Ownership]] = {profile: [] for profile in profiles}
        if found:
            condition, values = self.sql.any_of("profile_no", found.keys())
            rows = self.sql.rows(
                f"SELECT profile_no, sent_at, message_id, person_no FROM turn WHERE {condition} "
                "ORDER BY profile_no, sent_at, message_id",
                values,
            )
            for profile, sent_at, message_id, person in rows:
                found[profile].append(Ownership((sent_at, message_id), person))
        return found

    def periods_of(self, *people: int) -> list[Period]:
        """The periods in which any profile belongs to one of these people."""
        condition, values = self.sql.any_of("person_no", people)
        profiles = self.sql.rows(f"SELECT DISTINCT profile_no FROM turn WHERE {condition}", values)
        stored = self.ownerships_of([profile for (profile,) in profiles])
        wanted = {*people}
        return [
            period
            for profile, ownerships in stored.items()
            for period in periods(profile, ownerships)
            if period.person in wanted
        ]

    def next_naming(self, profile: int, after: Moment) -> Naming | None:
        rows = self.sql.rows(
            f"SELECT sent_at, message_id, person_no FROM entry {self.sql.by_naming} "
            "WHERE profile_no = ? AND person_no IS NOT NULL AND (sent_at, message_id) > (?, ?) "
            "ORDER BY sent_at, message_id LIMIT 1",
            (profile, *after),
        )
        return Naming((rows[0][0], rows[0][1]), rows[0][2]) if rows else None

    def identifies(self, period: Period) -> Iterator[Identify]:
        return self._identifies(WITHIN, *bounds(period))

    def identifies_without_profile(self, person: int) -> Iterator[Identify]:
        return self._identifies(_WITHOUT_PROFILE, person)

    def _identifies(self, where: str, *values: Any) -> Iterator[Identify]:
        rows = self.sql.rows(
            f"SELECT sent_at, message_id, body, identifies FROM entry WHERE identifies > 0 AND {where}",
            values,
        )
        return (
            Identify((at, message_id), body.encode(), kind == SNAPSHOT) for at, message_id, body, kind in rows
        )

    def snapshot_before(self, period: Period, moment: Moment) -> str | None:
        rows = self.sql.rows(
            f"SELECT body FROM entry WHERE {_IS_SNAPSHOT} AND {WITHIN} "
            "ORDER BY sent_at DESC, message_id DESC LIMIT 1",
            (period.profile, *period.start, *moment),
        )
        return str(rows[0][0]) if rows else None

    def has_later_snapshot(self, period: Period, moment: Moment, before: int) -> bool:
        sql = (
            f"SELECT 1 FROM entry WHERE {_IS_SNAPSHOT} AND {WITHIN} "
            "AND (sent_at, message_id) > (?, ?) AND entry_no < ? LIMIT 1"
        )
        return bool(self.sql.rows(sql, (*bounds(period), *moment, before)))

    def seen_within(self, period: Period) -> tuple[int, int] | None:
        """When the first and the last entry of a period happened."""
        first, last = (
            f"(SELECT sent_at FROM entry WHERE {WITHIN} ORDER BY sent_at {way}, message_id {way} LIMIT 1)"
            for way in ("ASC", "DESC")
        )
        ((first_seen, last_seen),) = self.sql.rows(f"SELECT {first}, {last}", bounds(period) * 2)
        return None if first_seen is None else (first_seen, last_seen)

    def seen_of(self, person: int) -> tuple[int, int] | None:
        """When the first and the last entry of a person happened."""
        spans = [seen for period in self.periods_of(person) if (seen := self.seen_within(period))]
        ((first, last),) = self.sql.rows(
            f"SELECT min(sent_at), max(sent_at) FROM entry WHERE {_WITHOUT_PROFILE}", (person,)
        )
        if first is not None:
            spans.append((first, last))
        return (min(span[0] for span in spans), max(span[1] for span in spans)) if spans else None
