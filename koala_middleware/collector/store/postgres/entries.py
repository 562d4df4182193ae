"""Entries, in bulk: each stored once, and looked for in many periods at a time, in the transaction under way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import Connection
from psycopg.errors import UniqueViolation

from koala_middleware.collector.identity import Period
from koala_middleware.collector.store.postgres.connection import columns
from koala_middleware.collector.store.rows import EntryRow, KnownMessage

Place = tuple[int, bytes]  # project and message id
_TYPES = ("int8",) * 7 + ("bytea", "int8", "int8", "int2", "text")


def add(connection: Connection[Any], rows: Sequence[EntryRow]) -> Mapping[Place, KnownMessage]:
    """Store what is new. Returns what was stored before.

    The table `message` decides: of two collectors that add one message at once, the second waits for the first one's
    commit and then finds it there. Rows are added in order, so that no two groups wait for each other.
    """
    in_order = sorted(rows, key=lambda row: (row.message_id, row.project))
    if _all_new(connection, in_order):
        _copy(connection, rows)
        return {}
    new = _new(connection, in_order)
    _copy(connection, [row for row in rows if row.entry_no in new])
    return _known(connection, [row for row in in_order if row.entry_no not in new])


def _all_new(connection: Connection[Any], rows: Sequence[EntryRow]) -> bool:
    """The usual case, in half the time: with ON CONFLICT PostgreSQL writes every row to its log twice."""
    try:
        with (
            connection.transaction(),
            connection.cursor().copy("COPY message FROM STDIN (FORMAT BINARY)") as copy,
        ):
            copy.set_types(("int8", "bytea", "int8"))
            for row in rows:
                copy.write_row((row.project, row.message_id, row.entry_no))
    except UniqueViolation:
        return False
    return True


def _new(connection: Connection[Any], rows: Sequence[EntryRow]) -> set[int]:
    """The numbers of the entries whose messages are new."""
    added = connection.execute(
        "INSERT INTO message (project_no, message_id, entry_no) SELECT * FROM "
        "unnest(%s::bigint[], %s::bytea[], %s::bigint[]) ORDER BY 2, 1 ON CONFLICT DO NOTHING RETURNING entry_no",
        columns([(row.project, row.message_id, row.entry_no) for row in rows]),
    )
    return {number for (number,) in added}


def _copy(connection: Connection[Any], rows: Sequence[EntryRow]) -> None:
    with connection.cursor().copy("COPY entry FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(_TYPES)
        for row in rows:
            copy.write_row((*row[:-1], row.body.decode()))


def _known(connection: Connection[Any], rows: Sequence[EntryRow]) -> dict[Place, KnownMessage]:
    stored = connection.execute(
        "SELECT project_no, message_id, message.entry_no, label_no, profile_no, person_no, account_no, body "
        "FROM unnest(%s::bigint[], %s::bytea[]) AS given(project_no, message_id) "
        "JOIN message USING (project_no, message_id) LEFT JOIN entry USING (project_no, message_id, entry_no)",
        columns([(row.project, row.message_id) for row in rows]),
    )
    return {(project, message_id): KnownMessage(*rest) for project, message_id, *rest in stored}


def of_periods(connection: Connection[Any], periods: Sequence[Period], before: int) -> set[Period]:
    """Those that hold an entry with a number below `before`."""
    if not periods:
        return set()
    asked = [(place, each.profile, *each.start, *each.end) for place, each in enumerate(periods)]
    rows = connection.execute(
        "SELECT place FROM unnest(%s::integer[], %s::bigint[], %s::bigint[], %s::bytea[], %s::bigint[], %s::bytea[]) "
        "AS period(place, profile, start_at, start_id, end_at, end_id) CROSS JOIN LATERAL "
        "(SELECT FROM entry WHERE profile_no = profile AND (sent_at, message_id) >= (start_at, start_id) "
        "AND (sent_at, message_id) < (end_at, end_id) AND entry_no < %s LIMIT 1) AS held",
        [*columns(asked), before],
    )
    return {periods[place] for (place,) in rows}
