"""The first schema: slots and keys, merchants, principals, audit, and the epoch counted by triggers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_COUNTED = {
    "merchant": ("merchants", "merchant_id"),
    "credential": ("merchants", "merchant_id"),
    "credential_key": ("merchants", "merchant_id"),
    "principal": ("principals", "principal_id"),
}
"""Tables whose every change counts the epoch, with the collection and column that name what changed."""


def upgrade() -> None:
    op.create_table(
        "audit_event",
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("principal", sa.String(), nullable=False),
        sa.Column("method", sa.String(), nullable=False),
        sa.Column("resource", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("peer", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("sequence"),
    )
    op.create_index("ix_audit_event_resource", "audit_event", ["resource"], unique=False)
    op.create_table(
        "change",
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("epoch"),
    )
    op.create_table(
        "credential_usage",
        sa.Column("merchant_id", sa.String(64), nullable=False),
        sa.Column("slot", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("last_used_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "slot", "version"),
    )
    op.create_table(
        "epoch",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name="ck_epoch_one_row"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "merchant",
        sa.Column("merchant_id", sa.String(64), nullable=False),
        sa.Column("display_name", sa.String(), nullable=False),
        sa.Column("psp", sa.String(64), nullable=True),
        sa.Column("acquirer", sa.String(64), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
        sa.Column("mac_generation", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "state IN ('WAITING_ACTIVATION', 'ACTIVE', 'SUSPENDED', 'TERMINATED')", name="ck_merchant_state"
        ),
        sa.CheckConstraint("revision >= 1", name="ck_merchant_revision"),
        sa.PrimaryKeyConstraint("merchant_id"),
    )
    op.create_table(
        "principal",
        sa.Column("principal_id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("password_digest", sa.LargeBinary(), nullable=False),
        sa.Column("digest_generation", sa.Integer(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
        sa.Column("mac_generation", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('ADMIN', 'PSP', 'ACQUIRER', 'MERCHANT', 'SERVICE', 'AUDITOR')", name="ck_principal_kind"
        ),
        sa.CheckConstraint("state IN ('ACTIVE', 'DISABLED')", name="ck_principal_state"),
        sa.PrimaryKeyConstraint("principal_id"),
    )
    op.create_table(
        "request",
        sa.Column("principal", sa.String(64), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("resource", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("principal", "request_id"),
    )
    op.create_index("ix_request_time", "request", ["time"], unique=False)
    op.create_table(
        "token_binding",
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("check_value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("purpose", "generation"),
    )
    op.create_table(
        "credential",
        sa.Column("merchant_id", sa.String(64), nullable=False),
        sa.Column("slot", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("hmac_algorithm", sa.String(), nullable=True),
        sa.Column("secret_format", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("weak_key", sa.Boolean(), nullable=False),
        sa.Column("retiring_fingerprints", sa.String(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("renew_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoke_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
        sa.Column("mac_generation", sa.Integer(), nullable=False),
        sa.CheckConstraint("(state = 'INACTIVE') = (revoke_time IS NOT NULL)", name="ck_credential_revoke_time"),
        sa.CheckConstraint(
            "secret_format IN ('HEX', 'BASE64', 'WHSEC', 'TEXT', 'HEX_UPPER_32')", name="ck_credential_secret_format"
        ),
        sa.CheckConstraint(
            "slot IN ('encryption-password', 'primary-hmac-key', 'primary-rest-api-key', 'secondary-hmac-key', 'secondary-rest-api-key', 'api-password', 'webhook-encryption-key')",
            name="ck_credential_slot",
        ),
        sa.CheckConstraint("state IN ('ACTIVE', 'INACTIVE')", name="ck_credential_state"),
        sa.CheckConstraint(
            "hmac_algorithm IS NULL OR hmac_algorithm IN ('HMAC_SHA256', 'HMAC_SHA384', 'HMAC_SHA512', 'HMAC_SHA1')",
            name="ck_credential_algorithm",
        ),
        sa.CheckConstraint("version >= 1 AND revision >= version", name="ck_credential_version"),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.merchant_id"], name="fk_credential_merchant"),
        sa.PrimaryKeyConstraint("merchant_id", "slot"),
        sa.UniqueConstraint("merchant_id", "slot", "state", name="ux_credential_state"),
    )
    op.create_table(
        "credential_key",
        sa.Column("merchant_id", sa.String(64), nullable=False),
        sa.Column("slot", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("slot_state", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("hmac_algorithm", sa.String(), nullable=True),
        sa.Column("material", sa.LargeBinary(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expire_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
        sa.Column("mac_generation", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "(kind = 'HMAC_KEY') = (hmac_algorithm IS NOT NULL)", name="ck_credential_key_algorithm_kind"
        ),
        sa.CheckConstraint(
            "(slot = 'encryption-password' AND kind = 'ENCRYPTION_KEY') OR (slot = 'primary-hmac-key' AND kind = 'HMAC_KEY') OR (slot = 'primary-rest-api-key' AND kind = 'BEARER_SECRET') OR (slot = 'secondary-hmac-key' AND kind = 'HMAC_KEY') OR (slot = 'secondary-rest-api-key' AND kind = 'BEARER_SECRET') OR (slot = 'api-password' AND kind = 'BEARER_SECRET') OR (slot = 'webhook-encryption-key' AND kind = 'ENCRYPTION_KEY')",
            name="ck_credential_key_kind",
        ),
        sa.CheckConstraint(
            "hmac_algorithm IS NULL OR hmac_algorithm IN ('HMAC_SHA256', 'HMAC_SHA384', 'HMAC_SHA512', 'HMAC_SHA1')",
            name="ck_credential_key_algorithm",
        ),
        sa.CheckConstraint("slot_state = 'ACTIVE'", name="ck_credential_key_slot_state"),
        sa.CheckConstraint("length(material) >= 16", name="ck_credential_key_material"),
        sa.CheckConstraint("version >= 1", name="ck_credential_key_version"),
        sa.ForeignKeyConstraint(
            ["merchant_id", "slot", "slot_state"],
            ["credential.merchant_id", "credential.slot", "credential.state"],
            name="fk_credential_key_active_slot",
        ),
        sa.PrimaryKeyConstraint("merchant_id", "slot", "version"),
    )
    op.create_index("ix_credential_key_expire_time", "credential_key", ["expire_time"], unique=False)
    op.create_index(
        "ux_credential_key_current",
        "credential_key",
        ["merchant_id", "slot"],
        unique=True,
        sqlite_where=sa.text("expire_time IS NULL"),
        postgresql_where=sa.text("expire_time IS NULL"),
    )

    op.execute("INSERT INTO epoch (id, value) VALUES (1, 0)")
    if op.get_bind().dialect.name == "sqlite":
        _count_changes_on_sqlite()
    else:
        _count_changes_on_postgresql()


def _count_changes_on_sqlite() -> None:
    for table, (collection, column) in _COUNTED.items():
        for event, row in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")):
            op.execute(_sqlite_trigger(f"{table}_{event.lower()}", event, table, f"'{collection}/' || {row}.{column}"))
        moved = f"WHEN OLD.{column} <> NEW.{column}"
        op.execute(_sqlite_trigger(f"{table}_move", "UPDATE", table, f"'{collection}/' || OLD.{column}", moved))


def _sqlite_trigger(name: str, event: str, table: str, subject: str, condition: str = "") -> str:
    return f"""
        CREATE TRIGGER count_{name} AFTER {event} ON {table} {condition}
        BEGIN
            UPDATE epoch SET value = value + 1;
            INSERT INTO change (epoch, subject) SELECT value, {subject} FROM epoch;
        END
    """


def _count_changes_on_postgresql() -> None:
    op.execute("""
        CREATE FUNCTION count_change() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            before_id text := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) ->> TG_ARGV[1] END;
            after_id text := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) ->> TG_ARGV[1] END;
            changed_id text;
            counted bigint;
        BEGIN
            FOR changed_id IN SELECT DISTINCT id FROM unnest(ARRAY[before_id, after_id]) AS id WHERE id IS NOT NULL
            LOOP
                UPDATE epoch SET value = value + 1 RETURNING value INTO counted;
                INSERT INTO change (epoch, subject) VALUES (counted, TG_ARGV[0] || '/' || changed_id);
            END LOOP;
            RETURN NULL;
        END $$
    """)
    # A TRUNCATE has no rows to name: the epoch moves without an entry in `change`, and readers forget everything.
    op.execute("""
        CREATE FUNCTION count_truncation() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            UPDATE epoch SET value = value + 1;
            RETURN NULL;
        END $$
    """)
    for table, (collection, column) in _COUNTED.items():
        op.execute(f"CREATE TRIGGER count_truncation AFTER TRUNCATE ON {table} EXECUTE FUNCTION count_truncation()")
        op.execute(
            f"CREATE TRIGGER count_change AFTER INSERT OR UPDATE OR DELETE ON {table}"
            f" FOR EACH ROW EXECUTE FUNCTION count_change('{collection}', '{column}')"
        )
