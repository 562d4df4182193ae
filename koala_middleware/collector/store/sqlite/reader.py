"""The pages' side of the SQLite store: how its connection is asked."""

from __future__ import annotations

import sqlite3

from koala_middleware.collector.store.sql.reader import SqlReader


class SqliteReader(SqlReader):
    """See reading.Reader."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(lambda sql, values: connection.execute(sql, values).fetchall())
