"""Deleting one person from the SQLite store, in the transaction under way.

Whatever is deleted is overwritten with zeros: the connection is set up so.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from koala_middleware.collector.identity import NOBODY, Period
from koala_middleware.collector.store.mentions import mentions
from koala_middleware.collector.store.shared_sql.ownership_queries import WITHIN, bounds
from koala_middleware.collector.times import HOUR

_ARRAYS = {"identify": "identifies", "track": "events", "page": "page_views"}
EMPTY = (
    f"NOT EXISTS (SELECT 1 FROM turn WHERE turn.profile_no = profile.profile_no AND person_no <> {NOBODY}) "
    "AND NOT EXISTS (SELECT 1 FROM entry WHERE entry.profile_no IS NOT NULL "
    "AND entry.profile_no = profile.profile_no)"
)


def erase_person(
    connection: sqlite3.Connection, person: int, periods: Sequence[Period]
) -> tuple[Counter[str], list[str]]:
    """Delete a person and all that is theirs. Returns how many entries of each array, and which profiles."""
    counts: Counter[str] = Counter()
    for period in periods:
        counts += delete_entries(connection, WITHIN, bounds(period))
    counts += delete_entries(connection, "person_no = ? AND profile_no IS NULL", (person,))
    return counts, delete_person(connection, person, {period.profile for period in periods})


def delete_requests_naming(connection: sqlite3.Connection, names: Collection[str]) -> None:
    """Delete the raw requests that mention one of the names."""
    mentioned = mentions(names)
    kept = connection.execute("SELECT slot, body FROM request")
    gone = [(slot,) for slot, body in kept if mentioned(body)]
    connection.executemany("DELETE FROM request WHERE slot = ?", gone)


def delete_person(connection: sqlite3.Connection, person: int, profiles: set[int]) -> list[str]:
    """Delete a person who has no entry left. Returns the names of their profiles.

    Their ownerships become nobody's, so that what a shared profile sends next is not taken for the others'. A profile
    that holds nothing else is deleted.
    """
    for table in ("trait", "member", "person"):
        connection.execute(f"DELETE FROM {table} WHERE person_no = ?", (person,))
    connection.execute("UPDATE turn SET person_no = ? WHERE person_no = ?", (NOBODY, person))
    names = [
        connection.execute("SELECT profile_id FROM profile WHERE profile_no = ?", (profile,)).fetchone()[0]
        for profile in profiles
    ]
    delete_empty_profiles(connection, profiles)
    return names


def delete_empty_profiles(connection: sqlite3.Connection, profiles: Iterable[int]) -> None:
    """Delete those of the profiles that hold no entries and are nobody's."""
    for profile in profiles:
        gone = connection.execute(f"DELETE FROM profile WHERE profile_no = ? AND {EMPTY}", (profile,))
        if gone.rowcount:
            connection.execute("DELETE FROM turn WHERE profile_no = ?", (profile,))


def delete_entries(connection: sqlite3.Connection, where: str, values: Sequence[Any]) -> Counter[str]:
    """Delete entries and the raw requests they arrived in. Returns how many of each array."""
    hours: Counter[tuple[int, int]] = Counter()
    counts: Counter[str] = Counter()
    rows = connection.execute(
        f"SELECT label_no, kind, sent_at FROM entry JOIN label USING (label_no) WHERE {where}", values
    )
    for label, kind, sent_at in rows:
        hours[label, sent_at // HOUR] += 1
        counts[_ARRAYS[kind]] += 1
    requests = f"SELECT request_no FROM entry WHERE {where}"
    connection.execute(f"DELETE FROM request WHERE request_no IN ({requests})", values)
    connection.execute(f"DELETE FROM entry WHERE {where}", values)
    _uncount(connection, hours)
    return counts


def _uncount(connection: sqlite3.Connection, hours: Counter[tuple[int, int]]) -> None:
    connection.executemany(
        "UPDATE hourly SET entries = entries - ? WHERE label_no = ? AND hour = ?",
        [(count, *place) for place, count in hours.items()],
    )
