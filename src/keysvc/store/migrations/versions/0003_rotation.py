"""Due dates, keys that moved to another slot, and uses counted by key, caller and time.

Of the uses until now only the last time is known: it is kept as one call, of nobody known.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("credential", sa.Column("rotate_before", sa.DateTime(timezone=True), nullable=True))
    has_date = sa.text("rotate_before IS NOT NULL")
    op.create_index(
        "ix_credential_rotate_before",
        "credential",
        ["rotate_before", "merchant_id", "slot"],
        sqlite_where=has_date,
        postgresql_where=has_date,
    )
    op.add_column("credential_key", sa.Column("made_in", sa.String(), nullable=True))
    op.create_table(
        "credential_use",
        sa.Column("merchant_id", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("principal", sa.String(64), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("last_used_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "fingerprint", "principal", "step", "since"),
    )
    op.create_index("ix_credential_use_step", "credential_use", ["step", "since"])
    op.execute(
        "INSERT INTO credential_use (merchant_id, fingerprint, principal, step, since, calls, last_used_time)"
        " SELECT u.merchant_id, k.fingerprint, '', 0, 0, 1, max(u.last_used_time) FROM credential_usage u"
        " JOIN credential_key k ON k.merchant_id = u.merchant_id AND k.slot = u.slot AND k.version = u.version"
        " GROUP BY u.merchant_id, k.fingerprint"
    )
    op.drop_table("credential_usage")
