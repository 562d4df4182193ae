"""PostgreSQL's errors, translated into the store's own.

PostgreSQL's messages may quote what was to be stored, so only its codes are passed on: no password, no personal data.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from koala_middleware.collector.store.errors import DatabaseUnavailable, TransactionConflict

_COLLISIONS = (errors.DeadlockDetected, errors.SerializationFailure)
# The server stops, starts, is full or read-only: that may change soon.
_NOT_NOW = ("08", "53", "57P", "25006", "25P03")


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise DatabaseUnavailable, TransactionConflict where trying once more helps, or RuntimeError."""
    try:
        yield
    except PoolTimeout:
        raise DatabaseUnavailable("all connections to the database are in use") from None
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.Error):
            raise _translate(error.orig) from None
        raise
    except psycopg.Error as error:
        raise _translate(error) from None


def _translate(error: psycopg.Error) -> Exception:
    code = error.sqlstate
    if isinstance(error, _COLLISIONS):
        return TransactionConflict(f"PostgreSQL code {code}")
    if code is None and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return DatabaseUnavailable(_first_line(error))
    if code is not None and code.startswith(_NOT_NOW):
        return DatabaseUnavailable(f"{_words(error)} (PostgreSQL code {code})")
    if isinstance(error, errors.UndefinedTable | errors.UndefinedFunction | errors.InvalidSchemaName):
        return RuntimeError("This database holds no collector's tables, or those of another version.")
    where = f", table {error.diag.table_name}" if error.diag.table_name else ""
    return RuntimeError(f"PostgreSQL refused the statement: {_words(error)} (code {code}{where})")


def _words(error: psycopg.Error) -> str:
    """`DeadlockDetected` gives `deadlock detected`."""
    name = type(error).__name__
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()


def _first_line(error: psycopg.Error) -> str:
    """Before there is a session, libpq's message names host, port, user and reason, never the password."""
    return str(error).partition("\n")[0] or _words(error)
