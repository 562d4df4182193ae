"""How shared SQL reaches SQLite. See sql.connection.SqlConnection."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

from koala_middleware.collector.store.shared_sql.connection import Rows


class SqliteConnection:
    like = "LIKE"
    by_naming = "INDEXED BY entry_naming"  # the planner's own choice reads all of the profile's entries

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        return self._connection.execute(sql, values).fetchall()

    def any_of(self, column: str, numbers: Collection[int]) -> tuple[str, list[Any]]:
        return f"{column} IN (SELECT value FROM json_each(?))", [str([*numbers])]
