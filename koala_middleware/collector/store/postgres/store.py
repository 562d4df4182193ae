"""The PostgreSQL store: one database for several collectors, on as many hosts as it takes.

Opens connections and knows how they must be set; what runs on them is ledger.py's and reader.py's. Everything lies in
a schema of its own, `koala`, so the database may hold other things.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from psycopg import Connection, IsolationLevel
from sqlalchemy import URL, Engine, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError

from koala_middleware.collector.recording.writer import Away, now_ms
from koala_middleware.collector.store.postgres.errors import told
from koala_middleware.collector.store.postgres.ledger import PostgresLedger
from koala_middleware.collector.store.postgres.migrating import migrate
from koala_middleware.collector.store.postgres.notifications import News
from koala_middleware.collector.store.postgres.partitions import DAY, Partitions, width_for
from koala_middleware.collector.store.postgres.reader import PostgresReader

_CONNECTIONS = 8  # kept; pages may take as many again
_PATIENCE = 10  # seconds a page waits for one
_CONNECTING = {
    "application_name": "koala-collector",
    "client_encoding": "utf8",
    "connect_timeout": "5",
    # How libpq finds out that the other side is gone without a word: within about half a minute.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}
# Nothing here runs long enough to be worth compiling (jit=off).
_WRITING = (
    # The writer only looks things up by key: a plan made while tables were small must not scan them once
    # they are large.
    "SET enable_seqscan = off",
    "SET enable_hashjoin = off",
    "SET enable_mergejoin = off",
    # A collector that stops dead in a transaction must not hold up the others for longer.
    "SET idle_in_transaction_session_timeout = '30s'",
)


class PostgresStore:
    """A database on a server. See store.Store."""

    def __init__(self, database: str, keep: int | None = None) -> None:
        """`keep`: for how many milliseconds entries are kept, so that they can be laid out for it."""
        self.url = _url(database)
        self._engine = _engine(self.url)
        self._partitions = Partitions(self._connection, width_for(keep))
        self._news = News(self._connection)

    def prepare(self) -> None:
        """Bring the schema up to date, and make room for what comes."""
        self._migrate()
        now = now_ms()
        with told():
            self._partitions.cover(now, now + DAY)

    def _migrate(self) -> None:
        try:
            with told(), self._engine.begin() as connection:
                migrate(connection)
        except Away as away:
            raise Away(f"Cannot use the database {shown(self.url)}: {away}") from None

    def ledger(self) -> PostgresLedger:
        return PostgresLedger(self._writers_connection, self._partitions)

    def _writers_connection(self) -> Connection[Any]:
        checked_out = self._engine.raw_connection()
        connection = cast("Connection[Any]", checked_out.driver_connection)
        checked_out.detach()  # the ledger's own, for as long as it lives
        connection.autocommit = True
        connection.isolation_level = IsolationLevel.READ_COMMITTED
        for setting in _WRITING:
            connection.execute(setting)
        return connection

    @contextmanager
    def reader(self) -> Iterator[PostgresReader]:
        """One snapshot of what is stored, however long the reading takes. For one thread at a time."""
        with told(), self._connection() as connection:
            (settled,) = connection.execute("SELECT koala.settled()").fetchone() or (0,)
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield PostgresReader(connection, settled)
            connection.execute("ROLLBACK")

    @contextmanager
    def _connection(self) -> Iterator[Connection[Any]]:
        """One of the kept connections, outside any transaction. Not kept when something went wrong on it."""
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

    def follow(self, written: Callable[[], int]) -> None:
        self._news.follow(written)

    @property
    def heard(self) -> int:
        return self._news.heard

    def close(self) -> None:
        self._news.stop()
        self._engine.dispose()

    def answers(self) -> bool:
        try:
            self._one("SELECT 1")
        except Away:
            return False
        return True

    def size(self) -> int:
        """Bytes on the server's disk."""
        tables = (
            "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relnamespace = 'koala'::regnamespace"
        )
        return int(self._one(f"{tables} AND relkind IN ('r', 'S')"))

    def secret(self) -> str:
        self._change(
            "INSERT INTO meta VALUES ('secret', :new) ON CONFLICT DO NOTHING", new=secrets.token_hex(32)
        )
        return str(self._one("SELECT value FROM meta WHERE name = 'secret'"))

    def keep_login(self, name: str, password_hash: str) -> None:
        self._migrate()
        self._change(
            "INSERT INTO login VALUES (:name, :password_hash) "
            "ON CONFLICT (name) DO UPDATE SET password_hash = excluded.password_hash",
            name=name,
            password_hash=password_hash,
        )

    def drop_login(self, name: str) -> bool:
        self._migrate()
        return self._change("DELETE FROM login WHERE name = :name", name=name) > 0

    def _change(self, sql: str, **values: str) -> int:
        with told(), self._engine.begin() as connection:
            return connection.execute(text(sql), values).rowcount

    def _one(self, sql: str) -> Any:
        with told(), self._engine.connect() as connection:
            return connection.execute(text(sql)).scalar_one()


def _url(database: str) -> URL:
    try:
        url = make_url(database)
    except (ArgumentError, ValueError):
        raise ValueError(
            'database is no URL that can be read, expected "postgresql://user:password@host:5432/name" '
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
        connect_args={"options": f"{url.query.get('options', '')} -csearch_path=koala -cjit=off"},
        pool_size=_CONNECTIONS,
        max_overflow=_CONNECTIONS,
        pool_timeout=_PATIENCE,
        pool_pre_ping=True,
        pool_reset_on_return=None,  # whoever takes a connection ends what it began
    )
