"""Rights and proofs of principals, merchants' tokens, used JWTs, and the audit record as a chain.

The events that are there become the chain's beginning, as they are found.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_FIRST_HASH = "0" * 64
_EVENT_FIELDS = ("principal", "method", "resource", "version", "outcome", "reason", "request_id", "peer")


def upgrade() -> None:
    _add_to_principal()
    op.create_index("ix_merchant_psp", "merchant", ["psp", "merchant_id"])
    op.create_index("ix_merchant_acquirer", "merchant", ["acquirer", "merchant_id"])
    op.create_table(
        "merchant_token_set",
        sa.Column("merchant_id", sa.String(64), nullable=False),
        sa.Column("tokens", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
        sa.Column("mac_generation", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.merchant_id"], name="fk_merchant_token_set_merchant"),
        sa.PrimaryKeyConstraint("merchant_id"),
    )
    op.create_table(
        "used_jwt",
        sa.Column("principal", sa.String(64), nullable=False),
        sa.Column("jti_hash", sa.LargeBinary(), nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("principal", "jti_hash"),
    )
    op.create_index("ix_used_jwt_expire_time", "used_jwt", ["expire_time"])
    if op.get_bind().dialect.name == "sqlite":
        _count_token_sets_on_sqlite()
    else:
        _count_token_sets_on_postgresql()
    _chain_audit_events()


def _add_to_principal() -> None:
    for name in ("merchants", "jwt_public_keys", "retiring_passwords"):
        op.add_column("principal", sa.Column(name, sa.Text(), nullable=False, server_default="[]"))
    for name in ("can_edit_credentials", "remote_access", "can_sign"):
        op.add_column("principal", sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false()))
    for name in ("update_time", "password_time"):
        op.add_column("principal", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    op.add_column("principal", sa.Column("spiffe_id", sa.String(), nullable=True))
    op.create_index("ux_principal_spiffe_id", "principal", ["spiffe_id"], unique=True)


def _count_token_sets_on_sqlite() -> None:
    for event, row in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")):
        op.execute(_sqlite_trigger(event.lower(), event, row))
    op.execute(_sqlite_trigger("move", "UPDATE", "OLD", "WHEN OLD.merchant_id <> NEW.merchant_id"))


def _sqlite_trigger(name: str, event: str, row: str, condition: str = "") -> str:
    return f"""
        CREATE TRIGGER count_merchant_token_set_{name} AFTER {event} ON merchant_token_set {condition}
        BEGIN
            UPDATE epoch SET value = value + 1;
            INSERT INTO change (epoch, subject) SELECT value, 'merchants/' || {row}.merchant_id FROM epoch;
        END
    """


def _count_token_sets_on_postgresql() -> None:
    op.execute(
        "CREATE TRIGGER count_truncation AFTER TRUNCATE ON merchant_token_set EXECUTE FUNCTION count_truncation()"
    )
    op.execute(
        "CREATE TRIGGER count_change AFTER INSERT OR UPDATE OR DELETE ON merchant_token_set"
        " FOR EACH ROW EXECUTE FUNCTION count_change('merchants', 'merchant_id')"
    )


def _chain_audit_events() -> None:
    op.add_column("audit_event", sa.Column("previous_hash", sa.String(), nullable=False, server_default=sa.text("''")))
    op.add_column("audit_event", sa.Column("hash", sa.String(), nullable=False, server_default=sa.text("''")))
    tail = op.create_table(
        "audit_tail",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.CheckConstraint("id = 1", name="ck_audit_tail_one_row"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "audit_head",
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sequence"),
    )
    columns = ("sequence", "time", *_EVENT_FIELDS, "previous_hash", "hash")
    event = sa.table("audit_event", *[sa.column(name) for name in columns])
    event.c.time.type = sa.DateTime(timezone=True)
    bind = op.get_bind()
    last, previous = 0, _FIRST_HASH
    for row in bind.execute(sa.select(event).order_by(event.c.sequence)).mappings().all():
        last, digest = row["sequence"], _event_hash(row, previous)
        linked = sa.update(event).where(event.c.sequence == last).values(previous_hash=previous, hash=digest)
        bind.execute(linked)
        previous = digest
    op.execute(tail.insert().values(id=1, sequence=last, hash=previous))


def _event_hash(row: Any, previous: str) -> str:
    """As keysvc.model.audit.event_hash was when this was written."""
    time = row["time"].replace(tzinfo=UTC) if row["time"].tzinfo is None else row["time"].astimezone(UTC)
    listed = ["keysvc audit event 1", row["sequence"], time.isoformat(timespec="microseconds")]
    listed += [row[name] for name in _EVENT_FIELDS] + [previous]
    return hashlib.sha256(json.dumps(listed, separators=(",", ":")).encode()).hexdigest()
