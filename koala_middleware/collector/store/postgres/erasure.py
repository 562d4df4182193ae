"""Deleting one person from the PostgreSQL store, in the transaction under way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from psycopg import Connection

from koala_middleware.collector.identity import NOBODY, Period
from koala_middleware.collector.store.postgres.connection import PostgresConnection
from koala_middleware.collector.store.postgres.counts import add_to_hourly
from koala_middleware.collector.store.postgres.numbers import lock_people, lock_profiles
from koala_middleware.collector.store.shared_sql.ownership_queries import WITHIN, OwnershipQueries, bounds
from koala_middleware.collector.times import DAY, HOUR

_ARRAYS = {"identify": "identifies", "track": "events", "page": "page_views"}
EMPTY = (
    f"NOT EXISTS (SELECT FROM turn WHERE turn.profile_no = profile.profile_no AND person_no <> {NOBODY}) "
    "AND NOT EXISTS (SELECT FROM entry WHERE entry.profile_no = profile.profile_no)"
)


def erase_person(connection: Connection[Any], person: int) -> tuple[Counter[str], list[str]]:
    """Delete a person and all that is theirs. Returns how many entries of each array, and which profiles."""
    counts: Counter[str] = Counter()
    periods = _locked_periods(connection, person)
    for period in periods:
        counts += _delete_entries(connection, WITHIN, bounds(period))
    counts += _delete_entries(connection, "person_no = ? AND profile_no IS NULL", (person,))
    return counts, delete_people(connection, [person], {period.profile for period in periods})


def _locked_periods(connection: Connection[Any], person: int) -> list[Period]:
    """The person's periods, locked in the order that numbers.py describes; again when a profile was added meanwhile."""
    queries = OwnershipQueries(PostgresConnection(lambda: connection))
    locked: set[int] | None = None
    while True:
        rows = connection.execute("SELECT DISTINCT profile_no FROM turn WHERE person_no = %s", (person,))
        profiles = {profile for (profile,) in rows}
        if locked is not None and profiles <= locked:
            return queries.periods_of(person)
        lock_profiles(connection, profiles)
        lock_people(connection, [person])
        locked = profiles | (locked or set())


def _delete_entries(connection: Connection[Any], where: str, values: Sequence[Any]) -> Counter[str]:
    """Delete entries, the raw requests they arrived in, and their messages, which would keep them from coming again.

    Returns how many of each array.
    """
    rows = PostgresConnection(lambda: connection).rows(
        f"WITH gone AS (DELETE FROM entry WHERE {where} "
        "RETURNING project_no, label_no, sent_at, received_at, message_id, request_no), "
        "unread AS (DELETE FROM request USING gone WHERE request.request_no = gone.request_no), "
        "forgotten AS (DELETE FROM message USING gone WHERE message.message_id = gone.message_id "
        "AND message.project_no = gone.project_no) "
        f"SELECT kind, label_no, sent_at / {HOUR}, received_at / {DAY}, count(*) FROM gone "
        "JOIN label USING (label_no) GROUP BY 1, 2, 3, 4",
        values,
    )
    add_to_hourly(connection, {(label, hour, day): -count for _, label, hour, day, count in rows})
    counts: Counter[str] = Counter()
    for kind, *_, count in rows:
        counts[_ARRAYS[kind]] += count
    return counts


def delete_people(connection: Connection[Any], people: Sequence[int], profiles: Collection[int]) -> list[str]:
    """Delete people who have no entry left. They and their profiles are locked. Returns the profiles' names.

    Their ownerships become nobody's, so that what a shared profile sends next is not taken for the others'. A profile
    that holds nothing else is deleted.
    """
    for table in ("trait", "member", "person"):
        connection.execute(f"DELETE FROM {table} WHERE person_no = ANY(%s)".encode(), (people,))
    connection.execute("UPDATE turn SET person_no = %s WHERE person_no = ANY(%s)", (NOBODY, people))
    names = connection.execute(
        "SELECT profile_id FROM profile WHERE profile_no = ANY(%s) ORDER BY 1", (sorted(profiles),)
    ).fetchall()
    delete_empty_profiles(connection, profiles)
    return [name for (name,) in names]


def delete_empty_profiles(connection: Connection[Any], profiles: Collection[int]) -> None:
    """Delete those of the profiles that hold no entries and are nobody's. Their rows are locked already."""
    connection.execute(
        f"WITH gone AS (DELETE FROM profile WHERE profile_no = ANY(%s) AND {EMPTY} RETURNING profile_no) "
        "DELETE FROM turn USING gone WHERE turn.profile_no = gone.profile_no".encode(),
        (sorted(profiles),),
    )
