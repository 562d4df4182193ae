"""The reading side of the PostgreSQL store."""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from koala_middleware.collector.store.postgres.connection import PostgresConnection
from koala_middleware.collector.store.shared_sql.reader import SqlReader


class PostgresReader(SqlReader):
    """See contract.Reader."""

    def __init__(self, connection: Connection[Any], settled: int) -> None:
        """`settled`: the number up to which no writer is at work, asked before the snapshot was taken."""
        super().__init__(PostgresConnection(lambda: connection))
        self._settled = settled

    def newest_entry_no(self) -> int:
        return self._settled
