"""Counts by hour and by minute. Each of several writers has rows of its own, so that none waits for another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg import Connection

from koala_middleware.collector.store.postgres.connection import execute_many

WRITERS = 32  # rows among which several collectors' counts are spread


def add_to_hourly(connection: Connection[Any], counts: Mapping[tuple[int, int, int], int]) -> None:
    """Entries by label, hour, and day of arrival. Negative counts subtract."""
    execute_many(
        connection,
        "INSERT INTO hourly (label_no, hour, day, entries, writer) SELECT * FROM "
        "unnest(%s::bigint[], %s::integer[], %s::integer[], %s::integer[]), (SELECT %s::smallint) AS writer "
        "ORDER BY 1, 2, 3 "
        "ON CONFLICT (label_no, hour, day, writer) DO UPDATE SET entries = hourly.entries + excluded.entries",
        [(*place, count) for place, count in counts.items()],
        _writer(connection),
    )


def add_to_minutely(connection: Connection[Any], minutes: Mapping[tuple[int, str], tuple[int, int]]) -> None:
    """Requests and entries by minute and outcome."""
    execute_many(
        connection,
        "INSERT INTO minutely (minute, outcome, requests, entries, writer) SELECT * FROM "
        "unnest(%s::integer[], %s::text[], %s::integer[], %s::integer[]), (SELECT %s::smallint) AS writer "
        "ORDER BY 1, 2 "
        "ON CONFLICT (minute, outcome, writer) DO UPDATE SET requests = minutely.requests + excluded.requests, "
        "entries = minutely.entries + excluded.entries",
        [(*place, *counts) for place, counts in minutes.items()],
        _writer(connection),
    )


def _writer(connection: Connection[Any]) -> int:
    return connection.info.backend_pid % WRITERS
