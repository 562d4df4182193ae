"""Opens the store that a `database` setting names: a path is a SQLite file, `postgresql://…` a server.

The PostgreSQL store is imported only when it is chosen, since it needs an extra.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from koala_middleware.collector.store.contract import Store
from koala_middleware.collector.store.sqlite.store import SqliteStore

_URL = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_POSTGRES = {"postgresql", "postgres"}


def open_store(database: str | Path, keep: int | None = None) -> Store:
    """The store, not connected yet. `keep`: for how many milliseconds entries will be kept.

    Raises:
        ValueError: The URL is not one of a database that is supported.
        ImportError: The extra that the database needs is not installed.
    """
    scheme = url_scheme(database)
    if scheme is None:
        return SqliteStore(database)
    if scheme not in _POSTGRES:
        raise ValueError(
            f'database is a {scheme}:// URL, expected a file\'s name for SQLite, or "postgresql://user@host/name"'
        )
    from koala_middleware.collector.store.postgres.store import PostgresStore  # noqa: PLC0415  (see above)

    return PostgresStore(str(database), keep)


def url_scheme(database: str | Path) -> str | None:
    """`"postgresql"` for such a URL; None for a file's name."""
    match = _URL.match(database) if isinstance(database, str) else None
    return match[1].lower() if match else None


def without_password(database: str | Path) -> str:
    """The setting without the password, to be shown."""
    if url_scheme(database) is None:
        return str(database)
    place = urlsplit(str(database))
    user, at, host = place.netloc.rpartition("@")
    return f"{place.scheme}://{user.partition(':')[0]}{at}{host}{place.path}"
