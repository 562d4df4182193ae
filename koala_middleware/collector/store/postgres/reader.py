"""The pages' side of the PostgreSQL store: how its connection is asked, and up to where."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from psycopg import Connection

from koala_middleware.collector.store.sql.reader import Rows, SqlReader


class PostgresReader(SqlReader):
    """See reading.Reader."""

    LIKE = "ILIKE"

    def __init__(self, connection: Connection[Any], settled: int) -> None:
        """`settled`: the number up to which no writer is at work, asked before the snapshot was taken."""
        super().__init__(self._rows)
        self._connection = connection
        self._settled = settled

    def newest_entry_no(self) -> int:
        return self._settled

    def _rows(self, sql: str, values: Sequence[Any]) -> Rows:
        return self._connection.execute(
            _in_psycopgs_words(sql), [storable(value) for value in values]
        ).fetchall()


@lru_cache(maxsize=256)
def _in_psycopgs_words(sql: str) -> bytes:
    return sql.replace("?", "%s").encode()


def storable(value: Any) -> Any:
    """PostgreSQL's text holds everything but NUL."""
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value
