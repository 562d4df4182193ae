"""How shared SQL reaches PostgreSQL, see sql.connection.SqlConnection; and statements for many rows at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from typing import Any

from psycopg import Connection

from koala_middleware.collector.store.shared_sql.connection import Rows


class PostgresConnection:
    like = "ILIKE"
    by_naming = ""

    def __init__(self, connection: Callable[[], Connection[Any]]) -> None:
        """`connection` is asked each time: a ledger's connection may be replaced."""
        self._connection = connection

    def rows(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        cursor = self._connection().execute(_with_percents(sql), [without_nul(value) for value in values])
        return cursor.fetchall() if cursor.description else []

    def any_of(self, column: str, numbers: Collection[int]) -> tuple[str, list[Any]]:
        return f"{column} = ANY(?)", [[*numbers]]


def execute_many(connection: Connection[Any], sql: str, rows: Collection[Sequence[Any]], *more: Any) -> None:
    """One statement for all rows. Its first values are the rows' columns, as arrays."""
    if rows:
        arrays = [[without_nul(value) for value in column] for column in zip(*rows, strict=True)]
        connection.execute(sql.encode(), [*arrays, *more])


def columns(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


@lru_cache(maxsize=256)
def _with_percents(sql: str) -> bytes:
    return sql.replace("?", "%s").encode()


def without_nul(value: Any) -> Any:
    """PostgreSQL's text holds everything but NUL."""
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value
