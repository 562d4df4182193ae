"""Deleting what is older than it may be kept: entries by whole partitions, the rest in chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import Connection, sql

from koala_middleware.collector.store.contract import CHUNK, PEOPLE
from koala_middleware.collector.store.postgres.connection import PostgresConnection
from koala_middleware.collector.store.postgres.entries import of_periods
from koala_middleware.collector.store.postgres.erasure import EMPTY, delete_empty_profiles, delete_people
from koala_middleware.collector.store.postgres.numbers import lock_profiles
from koala_middleware.collector.store.postgres.partitions import Partition, drop, lock, partitions
from koala_middleware.collector.store.shared_sql.ownership_queries import OwnershipQueries
from koala_middleware.collector.times import DAY

_ANY_NUMBER = 2**62  # above every entry's
# A drop waits for every reader of the table, and all others wait for the drop: better to try again in an hour.
_PATIENCE = "2s"


class Expiry:
    """How far one ledger has come with deleting."""

    def __init__(self) -> None:
        self._begun: Partition | None = None
        self._last_message = 0  # the last entry of that partition whose message is deleted
        self._walked: int | None = None  # the last profile looked at, after partitions were dropped

    def expire_entries(self, connection: Connection[Any], before: int) -> int:
        """Drop partitions whose entries all arrived before a moment. First their messages go, up to CHUNK a call."""
        connection.execute(f"SET LOCAL lock_timeout = '{_PATIENCE}'".encode())
        lock(connection)
        count = 0
        for partition in partitions(connection):
            if partition.end * DAY > before:
                break
            count += self._delete_messages(connection, partition, CHUNK - count)
            if count >= CHUNK:
                break
            self._drop(connection, partition)
        return count

    def _delete_messages(self, connection: Connection[Any], partition: Partition, limit: int) -> int:
        if partition != self._begun:
            self._begun, self._last_message = partition, 0
        (count, last) = connection.execute(
            sql.SQL(
                "WITH next AS (SELECT project_no, message_id, entry_no FROM {} WHERE entry_no > %s "
                "ORDER BY entry_no LIMIT %s), forgotten AS (DELETE FROM message USING next "
                "WHERE message.message_id = next.message_id AND message.project_no = next.project_no) "
                "SELECT count(*), max(entry_no) FROM next"
            ).format(sql.Identifier(partition.table)),
            (self._last_message, limit),
        ).fetchone() or (0, None)
        self._last_message = last or self._last_message
        return int(count)

    def _drop(self, connection: Connection[Any], partition: Partition) -> None:
        drop(connection, partition)
        connection.execute(
            "DELETE FROM hourly WHERE day >= %s AND day < %s", (partition.start, partition.end)
        )
        self._walked = 0

    def expire_rest(self, connection: Connection[Any], before: int) -> bool:
        """Delete counts and raw requests from before a moment, and after a drop empty profiles, CHUNK at a time."""
        connection.execute("DELETE FROM minutely WHERE minute < %s", (before // 60_000,))
        connection.execute("DELETE FROM request WHERE received_at < %s", (before,))
        if self._walked is not None:
            self._walked = _delete_profiles(connection, self._walked)
        return self._walked is None


def expire_people(connection: Connection[Any], before: int, after: int) -> int | None:
    """Look at up to PEOPLE, and lock only those who may be deleted: another collector may be adding an entry."""
    old = connection.execute(
        "SELECT person_no FROM person WHERE person_no > %s AND coalesce(last_seen, 0) < %s ORDER BY 1 LIMIT %s",
        (after, before, PEOPLE),
    )
    people = [person for (person,) in old]
    leaving = _without_entries(connection, people)
    if leaving:
        _delete_people(connection, leaving, before)
    return people[-1] if len(people) == PEOPLE else None


def _delete_people(connection: Connection[Any], people: Sequence[int], before: int) -> None:
    profiles = {period.profile for period in _queries(connection).periods_of(*people)}
    lock_profiles(connection, profiles)
    held = connection.execute(
        "SELECT person_no FROM person WHERE person_no = ANY(%s) AND coalesce(last_seen, 0) < %s ORDER BY 1 "
        "FOR UPDATE",
        (people, before),
    )
    delete_people(connection, _without_entries(connection, [person for (person,) in held]), profiles)


def _without_entries(connection: Connection[Any], people: Sequence[int]) -> list[int]:
    """Those who have no entry left."""
    held = {
        period.person
        for period in of_periods(connection, _queries(connection).periods_of(*people), _ANY_NUMBER)
    }
    named = connection.execute(
        "SELECT asked FROM unnest(%s::bigint[]) AS asked CROSS JOIN LATERAL "
        "(SELECT FROM entry WHERE person_no = asked AND profile_no IS NULL LIMIT 1) AS held",
        (people,),
    )
    held.update(person for (person,) in named)
    return [person for person in people if person not in held]


def _queries(connection: Connection[Any]) -> OwnershipQueries:
    return OwnershipQueries(PostgresConnection(lambda: connection))


def _delete_profiles(connection: Connection[Any], after: int) -> int | None:
    """Delete empty profiles among the next CHUNK. Returns the last one looked at, or None at the end.

    Locked before they are checked again: another collector may be adding a profile's first entry.
    """
    (last,) = connection.execute(
        "SELECT max(profile_no) FROM (SELECT profile_no FROM profile WHERE profile_no > %s "
        "ORDER BY profile_no LIMIT %s) AS next",
        (after, CHUNK),
    ).fetchone() or (None,)
    if last is None:
        return None
    empty = connection.execute(
        f"SELECT profile_no FROM profile WHERE profile_no > %s AND profile_no <= %s AND {EMPTY} ORDER BY 1 "
        "FOR UPDATE SKIP LOCKED".encode(),
        (after, last),
    )
    delete_empty_profiles(connection, [number for (number,) in empty])
    return int(last)
