"""Letting go of what is older than it may be kept: whole pieces of the table of entries, and the rest in chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from psycopg import Connection, sql

from koala_middleware.collector.store.contract import CHUNK, PEOPLE
from koala_middleware.collector.store.postgres.erasure import EMPTY, forget_empty, forget_people
from koala_middleware.collector.store.postgres.numbers import hold_profiles
from koala_middleware.collector.store.postgres.partitions import DAY, Piece, drop, lock, pieces

if TYPE_CHECKING:
    from koala_middleware.collector.store.postgres.ledger import PostgresLedger

_ANY_NUMBER = 2**62  # above every entry's
# A drop waits for whoever reads the table, and all others wait for the drop: better to try again in an hour.
_PATIENCE = "2s"


class Expiry:
    """One ledger's way through what may go."""

    def __init__(self) -> None:
        self._begun: Piece | None = None
        self._forgotten = 0  # the last entry of that piece whose message is forgotten
        self._walked: int | None = None  # the last profile looked at, after pieces were dropped

    def expire_entries(self, connection: Connection[Any], before: int) -> int:
        """Drop pieces whose entries all arrived before a moment, once up to CHUNK messages a call are forgotten."""
        connection.execute(f"SET LOCAL lock_timeout = '{_PATIENCE}'".encode())
        lock(connection)
        count = 0
        for piece in pieces(connection):
            if piece.end * DAY > before:
                break
            count += self._forget_messages(connection, piece, CHUNK - count)
            if count >= CHUNK:
                break
            self._drop(connection, piece)
        return count

    def _forget_messages(self, connection: Connection[Any], piece: Piece, limit: int) -> int:
        if piece != self._begun:
            self._begun, self._forgotten = piece, 0
        (count, last) = connection.execute(
            sql.SQL(
                "WITH next AS (SELECT project_no, message_id, entry_no FROM {} WHERE entry_no > %s "
                "ORDER BY entry_no LIMIT %s), forgotten AS (DELETE FROM message USING next "
                "WHERE message.message_id = next.message_id AND message.project_no = next.project_no) "
                "SELECT count(*), max(entry_no) FROM next"
            ).format(sql.Identifier(piece.table)),
            (self._forgotten, limit),
        ).fetchone() or (0, None)
        self._forgotten = last or self._forgotten
        return int(count)

    def _drop(self, connection: Connection[Any], piece: Piece) -> None:
        drop(connection, piece)
        connection.execute("DELETE FROM hourly WHERE day >= %s AND day < %s", (piece.start, piece.end))
        self._walked = 0

    def expire_rest(self, connection: Connection[Any], before: int) -> bool:
        """Delete counts and raw requests from before a moment; after a drop also empty profiles, CHUNK at a time."""
        connection.execute("DELETE FROM minutely WHERE minute < %s", (before // 60_000,))
        connection.execute("DELETE FROM request WHERE received_at < %s", (before,))
        if self._walked is not None:
            self._walked = _forget_profiles(connection, self._walked)
        return self._walked is None


def expire_people(ledger: PostgresLedger, before: int, after: int) -> int | None:
    """Look at up to PEOPLE, and lock only those who may go: they may just be getting an entry."""
    old = ledger.connection.execute(
        "SELECT person_no FROM person WHERE person_no > %s AND coalesce(last_seen, 0) < %s ORDER BY 1 LIMIT %s",
        (after, before, PEOPLE),
    )
    people = [person for (person,) in old]
    leaving = _without_entries(ledger, people)
    if leaving:
        _forget_people(ledger, leaving, before)
    return people[-1] if len(people) == PEOPLE else None


def _forget_people(ledger: PostgresLedger, people: Sequence[int], before: int) -> None:
    profiles = {stretch.profile for stretch in ledger.stretches_of(*people)}
    hold_profiles(ledger.connection, profiles)
    held = ledger.connection.execute(
        "SELECT person_no FROM person WHERE person_no = ANY(%s) AND coalesce(last_seen, 0) < %s ORDER BY 1 "
        "FOR UPDATE",
        (people, before),
    )
    forget_people(ledger.connection, _without_entries(ledger, [person for (person,) in held]), profiles)


def _without_entries(ledger: PostgresLedger, people: Sequence[int]) -> list[int]:
    """Those of whom no entry is left."""
    held = {stretch.person for stretch in ledger.with_entries(ledger.stretches_of(*people), _ANY_NUMBER)}
    named = ledger.connection.execute(
        "SELECT asked FROM unnest(%s::bigint[]) AS asked CROSS JOIN LATERAL "
        "(SELECT FROM entry WHERE person_no = asked AND profile_no IS NULL LIMIT 1) AS held",
        (people,),
    )
    held.update(person for (person,) in named)
    return [person for person in people if person not in held]


def _forget_profiles(connection: Connection[Any], after: int) -> int | None:
    """Delete empty ones among the next CHUNK. Answers the last one looked at; None at the end.

    Locked before they are looked at again: a profile may just be getting its first entry.
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
    forget_empty(connection, [number for (number,) in empty])
    return int(last)
