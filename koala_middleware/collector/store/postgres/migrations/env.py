"""What Alembic runs for each upgrade: on the connection it is given, in the transaction that is under way there."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table_schema="koala",
    transactional_ddl=True,
)
context.run_migrations()
