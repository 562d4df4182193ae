"""The PostgreSQL store: one database for several collectors, on as many hosts as needed.

Opens and configures connections; `ledger` and `reader` use them. All tables are in the schema `koala`, so the database
may hold other things.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from psycopg import Connection, IsolationLevel
from sqlalchemy import URL, Engine, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError

from koala_middleware.collector.store.errors import DatabaseUnavailable
from koala_middleware.collector.store.postgres.errors import translated_errors
from koala_middleware.collector.store.postgres.ledger import PostgresLedger
from koala_middleware.collector.store.postgres.migrating import migrate
from koala_middleware.collector.store.postgres.notifications import Notifications
from koala_middleware.collector.store.postgres.partitions import PartitionMaker, width_for
from koala_middleware.collector.store.postgres.reader import PostgresReader
from koala_middleware.collector.times import DAY, now_ms

_CONNECTIONS = 8  # kept; pages may take as many again
_CONNECTION_WAIT = 10  # seconds that a page waits for a connection
_CONNECTING = {
    "application_name": "koala-collector",
    "client_encoding": "utf8",
    "connect_timeout": "5",
    # libpq notices within about half a minute that the server is gone without a word.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}
_WRITING = (
    # The writer looks up rows by key only. A plan made while tables were small must not scan large ones.
    "SET enable_seqscan = off",
    "SET enable_hashjoin = off",
    "SET enable_mergejoin = off",
    # A collector that dies in a transaction must not block the others for longer.
    "SET idle_in_transaction_session_timeout = '30s'",
)
# The pages stay closed once the last login is deleted.
_LOGIN_REQUIRED = "INSERT INTO meta VALUES ('login required', '1') ON CONFLICT DO NOTHING"


class PostgresStore:
    """A database on a server. See contract.Store."""

    def __init__(self, database: str, keep: int | None = None) -> None:
        """`keep`: how many milliseconds entries are kept. Decides the width of partitions."""
        self.url = _url(database)
        self._engine = _engine(self.url)
        self._partitions = PartitionMaker(self._connection, width_for(keep))
        self._notifications = Notifications(self._connection)

    def prepare(self) -> None:
        """Bring the schema up to date, and make the partitions for today and tomorrow."""
        self._migrate()
        now = now_ms()
        with translated_errors():
            self._partitions.ensure(now, now + DAY)

    def _migrate(self) -> None:
        try:
            with translated_errors(), self._engine.begin() as connection:
                migrate(connection)
        except DatabaseUnavailable as away:
            raise DatabaseUnavailable(f"Cannot use the database {shown(self.url)}: {away}") from None

    def ledger(self) -> PostgresLedger:
        return PostgresLedger(self._writers_connection, self._partitions)

    def _writers_connection(self) -> Connection[Any]:
        checked_out = self._engine.raw_connection()
        connection = cast("Connection[Any]", checked_out.driver_connection)
        checked_out.detach()  # the ledger's own from here on
        connection.autocommit = True
        connection.isolation_level = IsolationLevel.READ_COMMITTED
        for setting in _WRITING:
            connection.execute(setting)
        return connection

    @contextmanager
    def reader(self) -> Iterator[PostgresReader]:
        """One snapshot of what is stored, however long the reading takes. For one thread at a time."""
        with translated_errors(), self._connection() as connection:
            (settled,) = connection.execute("SELECT koala.settled()").fetchone() or (0,)
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield PostgresReader(connection, settled)
            connection.execute("ROLLBACK")

    @contextmanager
    def _connection(self) -> Iterator[Connection[Any]]:
        """A pooled connection outside any transaction. After an error it does not return to the pool."""
        pooled = self._engine.raw_connection()
        connection = cast("Connection[Any]", pooled.driver_connection)
        try:
            connection.autocommit = True
            yield connection
            connection.autocommit = False  # as the engine expects it
        except BaseException:
            pooled.invalidate()
            raise
        finally:
            pooled.close()

    def watch(self, written: Callable[[], int]) -> None:
        self._notifications.watch(written)

    @property
    def changes_heard(self) -> int:
        return self._notifications.changes_heard

    def close(self) -> None:
        self._notifications.stop()
        self._engine.dispose()

    def answers(self) -> bool:
        try:
            self._one("SELECT 1")
        except DatabaseUnavailable:
            return False
        return True

    def size(self) -> int:
        """Bytes on the server's disk."""
        tables = (
            "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relnamespace = 'koala'::regnamespace"
        )
        return int(self._one(f"{tables} AND relkind IN ('r', 'S')"))

    def free_disk(self) -> None:
        """The server does not say."""

    def secret(self) -> str:
        self._change(
            "INSERT INTO meta VALUES ('secret', :new) ON CONFLICT DO NOTHING", new=secrets.token_hex(32)
        )
        return str(self._one("SELECT value FROM meta WHERE name = 'secret'"))

    def save_login(self, name: str, password_hash: str) -> None:
        self._migrate()
        self._change(
            "INSERT INTO login VALUES (:name, :password_hash) "
            "ON CONFLICT (name) DO UPDATE SET password_hash = excluded.password_hash",
            name=name,
            password_hash=password_hash,
        )
        self._change(_LOGIN_REQUIRED)

    def delete_login(self, name: str) -> bool:
        self._migrate()
        deleted = self._change("DELETE FROM login WHERE name = :name", name=name) > 0
        if deleted:
            self._change(_LOGIN_REQUIRED)
        return deleted

    def end_session(self, session_id: str, now: int, until: int) -> None:
        expired = "DELETE FROM meta WHERE name LIKE 'ended session %' AND value::bigint < :now"
        self._change(expired, now=now)
        ended = "INSERT INTO meta VALUES (:name, :until) ON CONFLICT DO NOTHING"
        self._change(ended, name=f"ended session {session_id}", until=str(until))

    def _change(self, sql: str, **values: str | int) -> int:
        with translated_errors(), self._engine.begin() as connection:
            return connection.execute(text(sql), values).rowcount

    def _one(self, sql: str) -> Any:
        with translated_errors(), self._engine.connect() as connection:
            return connection.execute(text(sql)).scalar_one()


def _url(database: str) -> URL:
    try:
        url = make_url(database)
    except (ArgumentError, ValueError):
        raise ValueError(
            'database is not a URL that can be read, expected "postgresql://user:password@host:5432/name" '
            "(a password's special characters percent-encoded)"
        ) from None
    return url.set(drivername="postgresql+psycopg")


def shown(url: URL) -> str:
    """The URL without its password, and without options, which may hold one."""
    return url.set(drivername="postgresql", query={}).render_as_string(hide_password=True)


def _engine(url: URL) -> Engine:
    missing = {name: value for name, value in _CONNECTING.items() if name not in url.query}
    return create_engine(
        url.update_query_dict(missing),
        connect_args={
            "options": f"{url.query.get('options', '')} -csearch_path=koala -cjit=off"
        },  # no statement runs long enough to be worth compiling,
        pool_size=_CONNECTIONS,
        max_overflow=_CONNECTIONS,
        pool_timeout=_CONNECTION_WAIT,
        pool_pre_ping=True,
        pool_reset_on_return=None,  # every user of a connection ends its own transaction
    )
