"""Deleting one person for good from the PostgreSQL store, in the ledger's transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from psycopg import Connection

from koala_middleware.collector.identity import NOBODY, Stretch
from koala_middleware.collector.recording.recorder import HOUR
from koala_middleware.collector.store.postgres.entries import WITHIN, bounds
from koala_middleware.collector.store.postgres.numbers import hold_people, hold_profiles
from koala_middleware.collector.store.postgres.partitions import DAY

if TYPE_CHECKING:
    from koala_middleware.collector.store.postgres.ledger import PostgresLedger

_COUNTED = {"identify": "identifies", "track": "events", "page": "page_views"}
EMPTY = (
    f"NOT EXISTS (SELECT FROM turn WHERE turn.profile_no = profile.profile_no AND person_no <> {NOBODY}) "
    "AND NOT EXISTS (SELECT FROM entry WHERE entry.profile_no = profile.profile_no)"
)


def erase(ledger: PostgresLedger, email: str) -> dict[str, Any]:
    """Delete the people under an email in all projects. Answers how much went."""
    total: dict[str, Any] = {"identifies": 0, "events": 0, "page_views": 0, "profiles": []}
    found = ledger.connection.execute("SELECT person_no FROM person WHERE email = %s ORDER BY 1", (email,))
    for (person,) in found.fetchall():
        gone = _erase(ledger, person, _held(ledger, person))
        total = {name: total[name] + count for name, count in gone.items()}
    return total


def _held(ledger: PostgresLedger, person: int) -> list[Stretch]:
    """The person's stretches, locked in the order of names.py; again when a profile came along meanwhile."""
    held: set[int] | None = None
    while True:
        rows = ledger.connection.execute(
            "SELECT DISTINCT profile_no FROM turn WHERE person_no = %s", (person,)
        )
        profiles = {profile for (profile,) in rows}
        if held is not None and profiles <= held:
            return ledger.stretches_of(person)
        hold_profiles(ledger.connection, profiles)
        hold_people(ledger.connection, [person])
        held = profiles | (held or set())


def _erase(ledger: PostgresLedger, person: int, stretches: Sequence[Stretch]) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    for stretch in stretches:
        counts += _delete_entries(ledger, WITHIN, *bounds(stretch))
    counts += _delete_entries(ledger, "person_no = %s AND profile_no IS NULL", person)
    profiles = forget_people(ledger.connection, [person], {stretch.profile for stretch in stretches})
    return {**{name: counts[kind] for kind, name in _COUNTED.items()}, "profiles": profiles}


def _delete_entries(ledger: PostgresLedger, where: str, *values: Any) -> Counter[str]:
    """Delete entries, the raw requests that brought them, and the messages that keep them from coming again.

    Answers how many of each kind.
    """
    rows = ledger.connection.execute(
        (
            f"WITH gone AS (DELETE FROM entry WHERE {where} "
            "RETURNING project_no, label_no, sent_at, received_at, message_id, request_no), "
            "unread AS (DELETE FROM request USING gone WHERE request.request_no = gone.request_no), "
            "forgotten AS (DELETE FROM message USING gone WHERE message.message_id = gone.message_id "
            "AND message.project_no = gone.project_no) "
            f"SELECT kind, label_no, sent_at / {HOUR}, received_at / {DAY}, count(*) FROM gone "
            "JOIN label USING (label_no) GROUP BY 1, 2, 3, 4"
        ).encode(),
        values,
    ).fetchall()
    ledger.add_to_counts({tuple(place): -count for _, *place, count in rows})
    kinds: Counter[str] = Counter()
    for kind, *_, count in rows:
        kinds[kind] += count
    return kinds


def forget_people(connection: Connection[Any], people: Sequence[int], profiles: Collection[int]) -> list[str]:
    """Delete people of whom no entry is left. They and their profiles are locked. Answers the profiles' names.

    Their turns become nobody's, so that what comes from a shared profile next is not taken for the others'; a
    profile that holds nothing else is forgotten.
    """
    for table in ("trait", "member", "person"):
        connection.execute(f"DELETE FROM {table} WHERE person_no = ANY(%s)".encode(), (people,))
    connection.execute("UPDATE turn SET person_no = %s WHERE person_no = ANY(%s)", (NOBODY, people))
    names = connection.execute(
        "SELECT profile_id FROM profile WHERE profile_no = ANY(%s) ORDER BY 1", (sorted(profiles),)
    ).fetchall()
    forget_empty(connection, profiles)
    return [name for (name,) in names]


def forget_empty(connection: Connection[Any], profiles: Collection[int]) -> None:
    """Forget those of the profiles that hold no entries and are nobody's. Their rows are locked already."""
    connection.execute(
        f"WITH gone AS (DELETE FROM profile WHERE profile_no = ANY(%s) AND {EMPTY} RETURNING profile_no) "
        "DELETE FROM turn USING gone WHERE turn.profile_no = gone.profile_no".encode(),
        (sorted(profiles),),
    )
