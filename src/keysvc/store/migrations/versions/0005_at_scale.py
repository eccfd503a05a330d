"""Indexes for millions of rows: counting what is due reads no table, keys without an end are in no index of ends, and
the audit record of one resource is found by its name, whatever order the database's locale gives to texts.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_credential_rotate_before", "credential")
    has_date = sa.text("rotate_before IS NOT NULL")
    op.create_index(
        "ix_credential_rotate_before",
        "credential",
        ["rotate_before", "merchant_id", "slot"],
        sqlite_where=has_date,
        postgresql_where=has_date,
        postgresql_include=["state"],
    )
    op.drop_index("ix_credential_key_expire_time", "credential_key")
    ends = sa.text("expire_time IS NOT NULL")
    op.create_index(
        "ix_credential_key_expire_time", "credential_key", ["expire_time"], sqlite_where=ends, postgresql_where=ends
    )
    op.drop_index("ix_audit_event_resource", "audit_event")
    op.create_index(
        "ix_audit_event_resource", "audit_event", ["resource"], postgresql_ops={"resource": "text_pattern_ops"}
    )
