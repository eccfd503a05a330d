"""The tables, and the slot rules that the database itself holds against any second writer.

- A merchant has at most one row per slot, and a slot at most one current key (`ux_credential_key_current`).
- A key fits its slot's kind, and has an HMAC algorithm exactly when it is an HMAC key.
- A revoked slot has no key: a key refers to its slot by (merchant, slot, ACTIVE).
- Every change of a merchant, slot, key, token set or principal counts the epoch and is noted in `change`, by
  triggers (see the migrations).
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint, false, text
from sqlmodel import Field, SQLModel

from keysvc.model.hsm_keys import HsmKeyState, Purpose
from keysvc.model.principals import PrincipalKind, PrincipalState, RetiringPassword
from keysvc.model.records import MerchantState, MerchantToken, SlotState
from keysvc.model.slots import RULES, HmacAlgorithm, Kind, SecretFormat, Slot
from keysvc.store.columns import Listed, UtcDateTime

_EMPTY = {"server_default": "[]"}
_NO = {"server_default": false()}
"""Defaults of columns that a later schema added: what the rows that were there mean."""


class _Texts(Listed[str]):
    element = str
    cache_ok = True


class _Passwords(Listed[RetiringPassword]):
    element = RetiringPassword
    cache_ok = True


class _Tokens(Listed[MerchantToken]):
    element = MerchantToken
    cache_ok = True


def _one_of(column: str, values: type[StrEnum], *without: StrEnum) -> str:
    listed = ", ".join(f"'{value}'" for value in values if value not in without)
    return f"{column} IN ({listed})"


def _kind_fits_slot() -> str:
    return " OR ".join(f"(slot = '{slot}' AND kind = '{rule.kind}')" for slot, rule in RULES.items())


class Merchant(SQLModel, table=True):
    """model.records.MerchantRecord"""

    __tablename__ = "merchant"
    __table_args__ = (
        CheckConstraint(_one_of("state", MerchantState), name="ck_merchant_state"),
        CheckConstraint("revision >= 1", name="ck_merchant_revision"),
        Index("ix_merchant_psp", "psp", "merchant_id"),
        Index("ix_merchant_acquirer", "acquirer", "merchant_id"),
    )

    merchant_id: str = Field(primary_key=True, max_length=64)
    display_name: str
    psp: str | None = Field(default=None, max_length=64)
    acquirer: str | None = Field(default=None, max_length=64)
    state: str
    create_time: datetime = Field(sa_type=UtcDateTime)
    update_time: datetime = Field(sa_type=UtcDateTime)
    revision: int
    mac: bytes
    mac_generation: int = Field(index=True)


class Credential(SQLModel, table=True):
    """model.records.SlotRecord"""

    __tablename__ = "credential"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id"], ["merchant.merchant_id"], name="fk_credential_merchant"),
        UniqueConstraint("merchant_id", "slot", "state", name="ux_credential_state"),
        CheckConstraint(_one_of("slot", Slot), name="ck_credential_slot"),
        CheckConstraint(_one_of("state", SlotState, SlotState.EMPTY), name="ck_credential_state"),
        CheckConstraint("(state = 'INACTIVE') = (revoke_time IS NOT NULL)", name="ck_credential_revoke_time"),
        CheckConstraint(_one_of("secret_format", SecretFormat), name="ck_credential_secret_format"),
        CheckConstraint(
            f"hmac_algorithm IS NULL OR {_one_of('hmac_algorithm', HmacAlgorithm)}", name="ck_credential_algorithm"
        ),
        CheckConstraint("version >= 1 AND revision >= version", name="ck_credential_version"),
        Index(
            "ix_credential_rotate_before",
            "rotate_before",
            "merchant_id",
            "slot",
            sqlite_where=text("rotate_before IS NOT NULL"),
            postgresql_where=text("rotate_before IS NOT NULL"),
            postgresql_include=["state"],
        ),
    )

    merchant_id: str = Field(primary_key=True, max_length=64)
    slot: str = Field(primary_key=True)
    state: str
    version: int
    hmac_algorithm: str | None = None
    secret_format: str
    fingerprint: str
    weak_key: bool
    retiring_fingerprints: str
    create_time: datetime = Field(sa_type=UtcDateTime)
    renew_time: datetime | None = Field(default=None, sa_type=UtcDateTime)
    revoke_time: datetime | None = Field(default=None, sa_type=UtcDateTime)
    revision: int
    mac: bytes
    mac_generation: int = Field(index=True)
    rotate_before: datetime | None = Field(default=None, sa_type=UtcDateTime)


class CredentialKey(SQLModel, table=True):
    """model.records.KeyRecord"""

    __tablename__ = "credential_key"
    __table_args__ = (
        ForeignKeyConstraint(
            ["merchant_id", "slot", "slot_state"],
            ["credential.merchant_id", "credential.slot", "credential.state"],
            name="fk_credential_key_active_slot",
        ),
        Index(
            "ux_credential_key_current",
            "merchant_id",
            "slot",
            unique=True,
            sqlite_where=text("expire_time IS NULL"),
            postgresql_where=text("expire_time IS NULL"),
        ),
        Index(
            "ix_credential_key_expire_time",
            "expire_time",
            sqlite_where=text("expire_time IS NOT NULL"),
            postgresql_where=text("expire_time IS NOT NULL"),
        ),
        CheckConstraint("slot_state = 'ACTIVE'", name="ck_credential_key_slot_state"),
        CheckConstraint(_kind_fits_slot(), name="ck_credential_key_kind"),
        CheckConstraint(
            f"hmac_algorithm IS NULL OR {_one_of('hmac_algorithm', HmacAlgorithm)}", name="ck_credential_key_algorithm"
        ),
        CheckConstraint(
            f"(kind = '{Kind.HMAC_KEY}') = (hmac_algorithm IS NOT NULL)", name="ck_credential_key_algorithm_kind"
        ),
        CheckConstraint("version >= 1", name="ck_credential_key_version"),
        CheckConstraint("length(material) >= 16", name="ck_credential_key_material"),
    )

    merchant_id: str = Field(primary_key=True, max_length=64)
    slot: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    slot_state: str = SlotState.ACTIVE
    kind: str
    hmac_algorithm: str | None = None
    material: bytes
    generation: int = Field(index=True)
    fingerprint: str
    create_time: datetime = Field(sa_type=UtcDateTime)
    expire_time: datetime | None = Field(default=None, sa_type=UtcDateTime)
    mac: bytes
    mac_generation: int = Field(index=True)
    made_in: str | None = None


class MerchantTokenSet(SQLModel, table=True):
    """model.records.TokenSetRecord"""

    __tablename__ = "merchant_token_set"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id"], ["merchant.merchant_id"], name="fk_merchant_token_set_merchant"),
    )

    merchant_id: str = Field(primary_key=True, max_length=64)
    tokens: tuple[MerchantToken, ...] = Field(sa_type=_Tokens)
    revision: int
    mac: bytes
    mac_generation: int = Field(index=True)


class Principal(SQLModel, table=True):
    """model.principals.PrincipalRecord"""

    __tablename__ = "principal"
    __table_args__ = (
        CheckConstraint(_one_of("kind", PrincipalKind), name="ck_principal_kind"),
        CheckConstraint(_one_of("state", PrincipalState), name="ck_principal_state"),
        Index("ux_principal_spiffe_id", "spiffe_id", unique=True),
    )

    principal_id: str = Field(primary_key=True, max_length=64)
    kind: str
    state: str
    password_digest: bytes
    digest_generation: int
    create_time: datetime = Field(sa_type=UtcDateTime)
    revision: int
    mac: bytes
    mac_generation: int
    merchants: tuple[str, ...] = Field(sa_type=_Texts, sa_column_kwargs=_EMPTY)
    can_edit_credentials: bool = Field(sa_column_kwargs=_NO)
    remote_access: bool = Field(sa_column_kwargs=_NO)
    can_sign: bool = Field(sa_column_kwargs=_NO)
    spiffe_id: str | None = None
    jwt_public_keys: tuple[str, ...] = Field(sa_type=_Texts, sa_column_kwargs=_EMPTY)
    update_time: datetime | None = Field(default=None, sa_type=UtcDateTime)
    password_time: datetime | None = Field(default=None, sa_type=UtcDateTime)
    retiring_passwords: tuple[RetiringPassword, ...] = Field(sa_type=_Passwords, sa_column_kwargs=_EMPTY)


class HsmKey(SQLModel, table=True):
    """model.hsm_keys.HsmKeyRecord"""

    __tablename__ = "hsm_key"
    __table_args__ = (
        CheckConstraint(_one_of("purpose", Purpose, Purpose.IMPORT), name="ck_hsm_key_purpose"),
        CheckConstraint(_one_of("state", HsmKeyState), name="ck_hsm_key_state"),
        CheckConstraint("requester = '' OR requester <> approver", name="ck_hsm_key_two_people"),
    )

    purpose: str = Field(primary_key=True)
    generation: int = Field(primary_key=True)
    state: str
    requester: str = Field(max_length=64)
    request_time: datetime | None = Field(default=None, sa_type=UtcDateTime)
    approver: str = Field(max_length=64)
    approve_time: datetime | None = Field(default=None, sa_type=UtcDateTime)
    use_time: datetime | None = Field(default=None, sa_type=UtcDateTime)
    destroy_time: datetime | None = Field(default=None, sa_type=UtcDateTime)
    revision: int
    mac: bytes
    mac_generation: int


class CredentialUse(SQLModel, table=True):
    """model.uses.Use and Tally. Written in batches; decides nothing but refusals on the safe side."""

    __tablename__ = "credential_use"
    __table_args__ = (Index("ix_credential_use_step", "step", "since"),)

    merchant_id: str = Field(primary_key=True, max_length=64)
    fingerprint: str = Field(primary_key=True)
    principal: str = Field(primary_key=True, max_length=64)
    step: int = Field(primary_key=True)
    since: int = Field(primary_key=True, sa_type=BigInteger)
    calls: int = Field(sa_type=BigInteger)
    last_used_time: datetime = Field(sa_type=UtcDateTime)
