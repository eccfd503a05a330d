"""Records as the services would write them, but for the MACs: the store checks none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from keysvc.model.audit import AuditRecord
from keysvc.model.principals import PrincipalKind, PrincipalRecord, PrincipalState, RetiringPassword
from keysvc.model.records import (
    KeyRecord,
    MerchantRecord,
    MerchantState,
    MerchantToken,
    SlotRecord,
    SlotState,
    TokenSetRecord,
)
from keysvc.model.slots import RULES, HmacAlgorithm, Kind, Slot
from keysvc.model.uses import TEN_MINUTES, Use, step_of
from keysvc.store.changes import Change

NOON = datetime(2026, 3, 29, 12, 0, 0, 123457, tzinfo=UTC)
"""To the microsecond, on a day when clocks in Europe move."""
MAC = bytes(range(32))
MATERIAL = bytes(reversed(range(40)))


A_USE = Use("m", "0123456789abcdef", "admin", TEN_MINUTES, step_of(NOON))
"""Of the key of `a_key`, at noon."""


def a_merchant(merchant_id: str = "m", state: MerchantState = MerchantState.ACTIVE) -> MerchantRecord:
    return MerchantRecord(
        merchant_id=merchant_id, display_name="Merchant", psp=None, acquirer=None, state=state,
        create_time=NOON, update_time=NOON, revision=1, mac=MAC, mac_generation=1,
    )  # fmt: skip


def a_slot(slot: Slot = Slot.PRIMARY_HMAC_KEY, version: int = 1, merchant_id: str = "m") -> SlotRecord:
    """An active slot."""
    rule = RULES[slot]
    return SlotRecord(
        merchant_id=merchant_id, slot=slot, state=SlotState.ACTIVE, version=version,
        hmac_algorithm=HmacAlgorithm.HMAC_SHA256 if rule.kind is Kind.HMAC_KEY else None,
        secret_format=rule.default_format, fingerprint="0123456789abcdef", weak_key=False, retiring_fingerprints="",
        create_time=NOON, renew_time=None, revoke_time=None, revision=version, mac=MAC, mac_generation=1,
    )  # fmt: skip


def a_key(slot: Slot = Slot.PRIMARY_HMAC_KEY, version: int = 1, merchant_id: str = "m") -> KeyRecord:
    """A slot's current key."""
    kind = RULES[slot].kind
    return KeyRecord(
        merchant_id=merchant_id, slot=slot, version=version, kind=kind,
        hmac_algorithm=HmacAlgorithm.HMAC_SHA256 if kind is Kind.HMAC_KEY else None,
        material=MATERIAL, generation=1, fingerprint="0123456789abcdef", create_time=NOON, expire_time=None,
        mac=MAC, mac_generation=1,
    )  # fmt: skip


def a_principal(principal_id: str = "admin") -> PrincipalRecord:
    return PrincipalRecord(
        principal_id=principal_id, kind=PrincipalKind.ADMIN, state=PrincipalState.ACTIVE, password_digest=MAC,
        digest_generation=1, create_time=NOON, revision=1, mac=MAC, mac_generation=1,
    )  # fmt: skip


def a_full_principal(principal_id: str = "billing") -> PrincipalRecord:
    """None of its fields is empty. No one kind has all of these rights, but the store asks nothing of that."""
    return replace(
        a_principal(principal_id), kind=PrincipalKind.SERVICE, merchants=("m", "n"), can_edit_credentials=True,
        remote_access=True, can_sign=True, spiffe_id=f"spiffe://example.org/{principal_id}",
        jwt_public_keys=("-----BEGIN PUBLIC KEY-----\n\"+/=\n", "zwölf 🔑"),
        update_time=NOON + timedelta(microseconds=1), password_time=NOON + timedelta(microseconds=2),
        retiring_passwords=(
            RetiringPassword("00ff" * 16, 1, NOON + timedelta(microseconds=3)),
            RetiringPassword("ff00" * 16, 2, NOON + timedelta(days=1)),
        ),
    )  # fmt: skip


def a_token_set(merchant_id: str = "m") -> TokenSetRecord:
    """One token for ever, and one that ends."""
    return TokenSetRecord(
        merchant_id=merchant_id,
        tokens=(
            MerchantToken("t-1", "00ff" * 16, 1, "0123456789abcdef", NOON, None),
            MerchantToken("t-2", "ff00" * 16, 2, "fedcba9876543210", NOON, NOON + timedelta(microseconds=1)),
        ),
        revision=2, mac=MAC, mac_generation=1,
    )  # fmt: skip


def an_event(resource: str = "merchants/m", seconds: int = 0) -> AuditRecord:
    return AuditRecord(
        time=NOON + timedelta(seconds=seconds), principal="principals/admin",
        method="/keysvc.v1.MerchantService/CreateMerchant",
        resource=resource, version=0, outcome="OK", reason="", request_id="", peer="ipv4:127.0.0.1:1",
    )  # fmt: skip


def add_filled_slot(change: Change, slot: Slot = Slot.PRIMARY_HMAC_KEY, merchant_id: str = "m") -> None:
    """An active slot with its current key, version 1."""
    change.add_slot(a_slot(slot, merchant_id=merchant_id))
    change.add_key(a_key(slot, merchant_id=merchant_id))
