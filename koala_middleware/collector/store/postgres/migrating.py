"""Bringing the schema up to date with Alembic, whose steps lie in migrations/ and come with the package."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection, text

MIGRATING = 27503_00  # the advisory lock of whoever does; the next one finds it done
_STEPS = Path(__file__).parent / "migrations"


def migrate(connection: Connection) -> None:
    """Do the steps that are missing, all or none, in the transaction under way. Raises RuntimeError."""
    encoding = connection.scalar(text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise RuntimeError(
            f"This database's encoding is {encoding}, expected UTF8, which holds every name: make another one with "
            "createdb --encoding=UTF8 --template=template0"
        )
    connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATING})"))
    if connection.scalar(text("SELECT to_regnamespace('koala')")) is None:
        connection.execute(text("CREATE SCHEMA koala"))
    config = Config()
    config.set_main_option("script_location", str(_STEPS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError:
        raise RuntimeError(
            "This database was written by a newer version of the collector. Start that version, or give another "
            "--database."
        ) from None
