"""Deleting from the SQLite store: one person for good, or everything older than a date.

Works on the ledger's connection, inside its transaction. What is deleted is overwritten with zeros.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from koala_middleware.collector.identity import NOBODY, Stretch
from koala_middleware.collector.recording.recorder import HOUR
from koala_middleware.collector.store.contract import CHUNK
from koala_middleware.collector.store.mentions import mentions

_COUNTED = {"identify": "identifies", "track": "events", "page": "page_views"}
_EMPTY = (
    f"NOT EXISTS (SELECT 1 FROM turn WHERE turn.profile_no = profile.profile_no AND person_no <> {NOBODY}) "
    "AND NOT EXISTS (SELECT 1 FROM entry WHERE entry.profile_no IS NOT NULL "
    "AND entry.profile_no = profile.profile_no)"
)


def erase_person(connection: sqlite3.Connection, person: int, stretches: Sequence[Stretch]) -> dict[str, Any]:
    """Delete a person and all that is theirs. Answers how much went, by kind, and which profiles."""
    counts: Counter[str] = Counter()
    for stretch in stretches:
        counts += _delete_entries(
            connection,
            "profile_no = ? AND (sent_at, message_id) >= (?, ?) AND (sent_at, message_id) < (?, ?)",
            (stretch.profile, *stretch.start, *stretch.end),
        )
    counts += _delete_entries(connection, "person_no = ? AND profile_no IS NULL", (person,))
    profiles = forget_person(connection, person, {stretch.profile for stretch in stretches})
    return {**{name: counts[kind] for kind, name in _COUNTED.items()}, "profiles": profiles}


def forget_requests(connection: sqlite3.Connection, names: Collection[str]) -> None:
    """Delete the raw requests that mention one of these."""
    mentioned = mentions(names)
    kept = connection.execute("SELECT slot, body FROM request")
    gone = [(slot,) for slot, body in kept if mentioned(body)]
    connection.executemany("DELETE FROM request WHERE slot = ?", gone)


def forget_person(connection: sqlite3.Connection, person: int, profiles: set[int]) -> list[str]:
    """Delete a person of whom no entry is left. Answers the names of their profiles.

    Their turns become nobody's, so that what comes from a shared profile next is not taken for the others'; a
    profile that holds nothing else is forgotten.
    """
    for table in ("trait", "member", "person"):
        connection.execute(f"DELETE FROM {table} WHERE person_no = ?", (person,))
    connection.execute("UPDATE turn SET person_no = ? WHERE person_no = ?", (NOBODY, person))
    names = [
        connection.execute("SELECT profile_id FROM profile WHERE profile_no = ?", (profile,)).fetchone()[0]
        for profile in profiles
    ]
    _forget_empty(connection, profiles)
    return names


def _forget_empty(connection: sqlite3.Connection, profiles: Iterable[int]) -> None:
    """Forget those of the profiles that hold no entries and are nobody's."""
    for profile in profiles:
        gone = connection.execute(f"DELETE FROM profile WHERE profile_no = ? AND {_EMPTY}", (profile,))
        if gone.rowcount:
            connection.execute("DELETE FROM turn WHERE profile_no = ?", (profile,))


def _delete_entries(connection: sqlite3.Connection, where: str, values: Sequence[Any]) -> Counter[str]:
    """Delete entries and the raw requests that brought them. Answers how many of each kind."""
    hours: Counter[tuple[int, int]] = Counter()
    kinds: Counter[str] = Counter()
    rows = connection.execute(
        f"SELECT label_no, kind, sent_at FROM entry JOIN label USING (label_no) WHERE {where}", values
    )
    for label, kind, sent_at in rows:
        hours[label, sent_at // HOUR] += 1
        kinds[kind] += 1
    brought = f"SELECT request_no FROM entry WHERE {where}"
    connection.execute(f"DELETE FROM request WHERE request_no IN ({brought})", values)
    connection.execute(f"DELETE FROM entry WHERE {where}", values)
    _uncount(connection, hours)
    return kinds


def _uncount(connection: sqlite3.Connection, hours: Counter[tuple[int, int]]) -> None:
    connection.executemany(
        "UPDATE hourly SET entries = entries - ? WHERE label_no = ? AND hour = ?",
        [(count, *place) for place, count in hours.items()],
    )


def expire_entries(connection: sqlite3.Connection, before: int) -> int:
    """Delete up to CHUNK entries that arrived before a moment. Answers how many; fewer than CHUNK: that was all."""
    oldest = "SELECT entry_no FROM entry WHERE entry_no <= ? ORDER BY entry_no LIMIT ?"
    last = _last_before(connection, before)
    return _delete_entries(connection, f"entry_no IN ({oldest})", (last, CHUNK)).total()


def _last_before(connection: sqlite3.Connection, before: int) -> int:
    """The number of the last entry that arrived before a moment: numbers follow arrival, so halving finds it."""
    low, high = connection.execute(
        "SELECT coalesce(min(entry_no), 1) - 1, coalesce(max(entry_no), 0) FROM entry"
    ).fetchone()
    while low < high:
        middle = (low + high + 1) // 2
        row = connection.execute(
            "SELECT received_at FROM entry WHERE entry_no <= ? ORDER BY entry_no DESC LIMIT 1", (middle,)
        ).fetchone()
        if row is None or row[0] < before:
            low = middle
        else:
            high = middle - 1
    return int(low)


def expire_rest(connection: sqlite3.Connection, before: int) -> None:
    """Delete profiles that hold nothing, and sums and raw requests from before a moment."""
    empty = connection.execute(f"SELECT profile_no FROM profile WHERE {_EMPTY}").fetchall()
    _forget_empty(connection, (profile for (profile,) in empty))
    connection.execute("DELETE FROM hourly WHERE entries <= 0")
    connection.execute("DELETE FROM minutely WHERE minute < ?", (before // 60_000,))
    connection.execute("DELETE FROM request WHERE received_at < ?", (before,))
