"""Snapshots of traits (`identifies = 2`) are found like other identifies."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.get_bind().exec_driver_sql("""
        DROP INDEX koala.entry_identify;
        CREATE INDEX entry_identify ON koala.entry (profile_no, sent_at, message_id)
            WHERE profile_no IS NOT NULL AND identifies > 0;
    """)
