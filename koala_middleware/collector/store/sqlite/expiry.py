"""Deleting what is older than it may be kept from the SQLite store, in the transaction under way."""

from __future__ import annotations

import sqlite3

from koala_middleware.collector.store.contract import CHUNK
from koala_middleware.collector.store.sqlite.erasure import EMPTY, delete_empty_profiles, delete_entries
from koala_middleware.collector.times import MINUTE


def expire_entries(connection: sqlite3.Connection, before: int) -> int:
    """Delete up to CHUNK entries that arrived before a moment. Returns how many; fewer than CHUNK: none are left."""
    oldest = "SELECT entry_no FROM entry WHERE entry_no <= ? ORDER BY entry_no LIMIT ?"
    last = _last_before(connection, before)
    return delete_entries(connection, f"entry_no IN ({oldest})", (last, CHUNK)).total()


def _last_before(connection: sqlite3.Connection, before: int) -> int:
    """The number of the last entry that arrived before a moment. Numbers follow arrival, so bisection finds it."""
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
    """Delete empty profiles, and counts and raw requests from before a moment."""
    empty = connection.execute(f"SELECT profile_no FROM profile WHERE {EMPTY}").fetchall()
    delete_empty_profiles(connection, (profile for (profile,) in empty))
    connection.execute("DELETE FROM hourly WHERE entries <= 0")
    connection.execute("DELETE FROM minutely WHERE minute < ?", (before // MINUTE,))
    connection.execute("DELETE FROM request WHERE received_at < ?", (before,))
