"""The SQLite store: one file in WAL mode, so that pages read while batches are written.

Opens and configures connections; `ledger` and the shared reader use them.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from queue import Empty, LifoQueue
from typing import IO

from koala_middleware.collector.store.errors import DatabaseUnavailable
from koala_middleware.collector.store.shared_sql.reader import SqlReader
from koala_middleware.collector.store.sqlite.connection import SqliteConnection
from koala_middleware.collector.store.sqlite.ledger import SqliteLedger

try:
    import fcntl
except ImportError:  # Windows has none; there nothing keeps two collectors from one file
    fcntl = None  # type: ignore[assignment]

VERSION = 2  # of the schema, in the file's user_version
BUSY = 10.0  # seconds to wait for another process that holds the file
_PAGE_CACHE = 64 * 1024  # KiB, of the one connection that writes
_READERS_KEPT = 8
_MIGRATIONS = {  # by the version they start from
    1: "DROP INDEX entry_identify; CREATE INDEX entry_identify ON entry (profile_no, sent_at, message_id) "
    "WHERE profile_no IS NOT NULL AND identifies > 0;",
}
# The pages stay closed once the last login is deleted.
_LOGIN_REQUIRED = "INSERT OR IGNORE INTO meta VALUES ('login required', '1')"


class SqliteStore:
    """A database file, made on first use. See contract.Store."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock: IO[bytes] | None = None
        self._idle: LifoQueue[sqlite3.Connection] = LifoQueue(_READERS_KEPT)

    def prepare(self) -> None:
        """Make or check the schema; a file that cannot be used is refused here."""
        self._lock = self._lock or _locked(self.path)
        self.ledger().close()

    def ledger(self) -> SqliteLedger:
        """The writer's connection; only its own thread may use it. Makes or checks the schema."""
        connection = self._connect()
        connection.execute("PRAGMA journal_mode = WAL")
        # A power cut loses nothing that was answered. All batches of a group share one fsync.
        connection.execute("PRAGMA synchronous = FULL")
        # Always, not only while erasing: a later erasure does not reach what an update or a replaced request leaves
        # in free space.
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute(f"PRAGMA cache_size = -{_PAGE_CACHE}")
        set_up(connection, self.path)
        return SqliteLedger(connection)

    @contextmanager
    def reader(self) -> Iterator[SqlReader]:
        """One snapshot of what is stored, however long the reading takes. For one thread at a time."""
        try:
            connection = self._idle.get_nowait()
        except Empty:
            connection = self._connect()
            connection.execute("PRAGMA query_only = ON")
        try:
            connection.execute("BEGIN")
            yield SqlReader(SqliteConnection(connection))
            connection.execute("ROLLBACK")
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.ProgrammingError):
                raise DatabaseUnavailable(f"SQLite cannot read the file: {error}") from error
            raise
        self._put_back(connection)

    def _put_back(self, connection: sqlite3.Connection) -> None:
        if self._idle.full():
            connection.close()
        else:
            self._idle.put(connection)

    def close(self) -> None:
        while not self._idle.empty():
            self._idle.get().close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def watch(self, written: Callable[[], int]) -> None:
        """Nobody else writes: there is nothing to watch."""

    @property
    def changes_heard(self) -> int:
        return 0

    def answers(self) -> bool:
        return True

    def secret(self) -> str:
        with self._beside() as connection:
            connection.execute("INSERT OR IGNORE INTO meta VALUES ('secret', ?)", (secrets.token_hex(32),))
            return str(connection.execute("SELECT value FROM meta WHERE name = 'secret'").fetchone()[0])

    def save_login(self, name: str, password_hash: str) -> None:
        with self._beside() as connection:
            connection.execute("INSERT OR REPLACE INTO login VALUES (?, ?)", (name, password_hash))
            connection.execute(_LOGIN_REQUIRED)

    def delete_login(self, name: str) -> bool:
        with self._beside() as connection:
            deleted = connection.execute("DELETE FROM login WHERE name = ?", (name,)).rowcount > 0
            if deleted:
                connection.execute(_LOGIN_REQUIRED)
            return deleted

    def end_session(self, session_id: str, now: int, until: int) -> None:
        with self._beside() as connection:
            expired = "DELETE FROM meta WHERE name LIKE 'ended session %' AND CAST(value AS INTEGER) < ?"
            connection.execute(expired, (now,))
            ended = f"ended session {session_id}"
            connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (ended, str(until)))

    @contextmanager
    def _beside(self) -> Iterator[sqlite3.Connection]:
        """A transaction beside the ledger's, on tables that the ledger does not cache."""
        connection = self._connect()
        try:
            set_up(connection, self.path)
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        finally:
            connection.close()

    def size(self) -> int:
        """Bytes on disk, the write-ahead log included."""
        files = (Path(f"{self.path}{suffix}") for suffix in ("", "-wal", "-shm"))
        return sum(file.stat().st_size for file in files if file.exists())

    def free_disk(self) -> int:
        return shutil.disk_usage(self.path.absolute().parent).free

    def _connect(self) -> sqlite3.Connection:
        if not self.path.exists():
            _private(self.path).close()
        return sqlite3.connect(
            self.path, timeout=BUSY, isolation_level=None, check_same_thread=False, cached_statements=256
        )


def _locked(path: Path) -> IO[bytes] | None:
    """The ledger caches numbers, so a file has one collector. The lock ends with the process."""
    if fcntl is None:
        return None
    file = _private(Path(f"{path}.lock"))  # held until the store closes
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise RuntimeError(
            f"Another collector already writes to {path}. Stop it, or give another --database."
        ) from None
    return file


def _private(path: Path) -> IO[bytes]:
    """Open a file for writing; a new one only its owner may read. SQLite gives the log the same mode."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb")


def set_up(connection: sqlite3.Connection, path: str | Path) -> None:
    """Make the schema in a new database; check it in an old one."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:
        schema = resources.files("koala_middleware.collector.store.sqlite").joinpath("schema.sql").read_text()
        connection.executescript(f"BEGIN; {schema} PRAGMA user_version = {VERSION}; COMMIT;")
    elif version in _MIGRATIONS:
        connection.executescript(
            f"BEGIN; {_MIGRATIONS[version]} PRAGMA user_version = {version + 1}; COMMIT;"
        )
        set_up(connection, path)
    elif version != VERSION:
        raise RuntimeError(
            f"{path} was written by another version of the collector (schema {version}, this one knows {VERSION}). "
            "Start that version and export, or give another --database."
        )
