"""The generations of the token's own keys, and a count of how often one was put into use.

The count stands in the epoch's row, which every change locks: so a change knows before it writes anything whether it
has to look for a newer key.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_PURPOSES = "'wrapping', 'row', 'digest', 'audit'"
_STATES = "'REQUESTED', 'APPROVED', 'CURRENT', 'RETIRING', 'DESTROYED'"
_MADE_BY = {
    "credential_key": ("generation", "mac_generation"),
    "credential": ("mac_generation",),
    "merchant": ("mac_generation",),
    "merchant_token_set": ("mac_generation",),
}
"""Columns of tables that grow with the merchants: what hangs on a key is found without reading all that does not."""
_TIMES = ("request_time", "approve_time", "use_time", "destroy_time")


def upgrade() -> None:
    op.add_column("epoch", sa.Column("hsm_keys", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "hsm_key",
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("requester", sa.String(64), nullable=False),
        sa.Column("approver", sa.String(64), nullable=False),
        *(sa.Column(time, sa.DateTime(timezone=True), nullable=True) for time in _TIMES),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
        sa.Column("mac_generation", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("purpose", "generation"),
        sa.CheckConstraint(f"purpose IN ({_PURPOSES})", name="ck_hsm_key_purpose"),
        sa.CheckConstraint(f"state IN ({_STATES})", name="ck_hsm_key_state"),
        sa.CheckConstraint("requester = '' OR requester <> approver", name="ck_hsm_key_two_people"),
    )
    for table, columns in _MADE_BY.items():
        for column in columns:
            op.create_index(f"ix_{table}_{column}", table, [column])
