"""The slot rules hold against a second writer: the database itself refuses what contradicts them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError
from support.databases import Database, Row

from keysvc.model.errors import Integrity
from keysvc.model.records import SlotState
from keysvc.model.slots import Slot
from keysvc.model.uses import Tally
from keysvc.store.store import Store
from store.records import (
    A_USE,
    NOON,
    a_full_principal,
    a_key,
    a_merchant,
    a_principal,
    a_slot,
    a_token_set,
    add_filled_slot,
    an_event,
)

FOREIGN_KEY = "foreign key"
UNIQUE = "unique"
CHECK = "check constraint"

MERCHANT = {"merchant_id": "new"}
SLOT = {"slot": "webhook-encryption-key", "hmac_algorithm": None}
KEY = {"version": 2, "slot": "primary-hmac-key"}
RETIRING = {**KEY, "expire_time": "2026-04-01 00:00:00.000000+00:00"}
PRINCIPAL = {"principal_id": "new"}
TOKENS = {"merchant_id": "bare"}
REVOKED = {"slot": "encryption-password", "kind": "ENCRYPTION_KEY", "hmac_algorithm": None}

GOOD: list[tuple[str, Row]] = [
    ("merchant", MERCHANT), ("credential", SLOT), ("credential_key", RETIRING), ("principal", PRINCIPAL),
    ("merchant_token_set", TOKENS),
]  # fmt: skip
"""Rows that are taken, so that those below are refused for their one fault."""

REFUSED: list[tuple[str, str, Row, str]] = [
    ("a merchant of a state that there is not", "merchant", {**MERCHANT, "state": "GONE"}, "ck_merchant_state"),
    ("a merchant without a revision", "merchant", {**MERCHANT, "revision": 0}, "ck_merchant_revision"),
    ("a merchant twice", "merchant", {"merchant_id": "m"}, UNIQUE),
    ("an unknown slot", "credential", {**SLOT, "slot": "third-hmac-key"}, "ck_credential_slot"),
    ("a slot of a state that there is not", "credential", {**SLOT, "state": "EMPTY"}, "ck_credential_state"),
    ("a slot without a merchant", "credential", {**SLOT, "merchant_id": "nobody"}, FOREIGN_KEY),
    ("a slot twice", "credential", {"slot": "primary-hmac-key"}, UNIQUE),
    ("a slot revoked at no time", "credential", {**SLOT, "state": "INACTIVE"}, "ck_credential_revoke_time"),
    ("an active slot with a time of its end", "credential",
     {**SLOT, "revoke_time": "2026-04-01 00:00:00.000000+00:00"}, "ck_credential_revoke_time"),
    ("an unknown format", "credential", {**SLOT, "secret_format": "ROT13"}, "ck_credential_secret_format"),
    ("a slot of version 0", "credential", {**SLOT, "version": 0}, "ck_credential_version"),
    ("a slot with more versions than revisions", "credential", {**SLOT, "version": 9}, "ck_credential_version"),
    ("a slot of an unknown algorithm", "credential", {"slot": "secondary-hmac-key", "hmac_algorithm": "HMAC_MD5"},
     CHECK),
    ("a second current key", "credential_key", KEY, UNIQUE),
    ("a key twice", "credential_key", {**RETIRING, "version": 1}, UNIQUE),
    ("a key of the wrong kind", "credential_key", {**RETIRING, "kind": "BEARER_SECRET", "hmac_algorithm": None},
     "ck_credential_key_kind"),
    ("an HMAC key without an algorithm", "credential_key", {**RETIRING, "hmac_algorithm": None},
     "ck_credential_key_algorithm_kind"),
    ("a bearer secret with an algorithm", "credential_key",
     {**RETIRING, "slot": "api-password", "kind": "BEARER_SECRET"}, "ck_credential_key_algorithm_kind"),
    ("a key of an unknown algorithm", "credential_key", {**RETIRING, "hmac_algorithm": "HMAC_MD5"},
     "ck_credential_key_algorithm"),
    ("a key under a revoked slot", "credential_key", REVOKED, FOREIGN_KEY),
    ("a key under a revoked slot that says otherwise", "credential_key", {**REVOKED, "slot_state": "INACTIVE"},
     "ck_credential_key_slot_state"),
    ("a key without a slot", "credential_key", {**RETIRING, "slot": "secondary-hmac-key"}, FOREIGN_KEY),
    ("a key without a merchant", "credential_key", {**RETIRING, "merchant_id": "nobody"}, FOREIGN_KEY),
    ("a key without material", "credential_key", {**RETIRING, "material": b""}, "ck_credential_key_material"),
    ("a key of version 0", "credential_key", {**RETIRING, "version": 0}, "ck_credential_key_version"),
    ("a principal of a kind that there is not", "principal", {**PRINCIPAL, "kind": "ROOT"}, "ck_principal_kind"),
    ("a principal of a state that there is not", "principal", {**PRINCIPAL, "state": "OK"}, "ck_principal_state"),
    ("a principal twice", "principal", {"principal_id": "admin"}, UNIQUE),
    ("a SPIFFE id of two principals", "principal", {**PRINCIPAL, "spiffe_id": "spiffe://example.org/billing"}, UNIQUE),
    ("tokens without a merchant", "merchant_token_set", {"merchant_id": "nobody"}, FOREIGN_KEY),
    ("tokens twice", "merchant_token_set", {}, UNIQUE),
    ("a JWT used twice", "used_jwt", {}, UNIQUE),
    ("a step of a caller's use of a key twice", "credential_use", {}, UNIQUE),
    ("an event twice", "audit_event", {}, UNIQUE),
    ("a second end of the audit record", "audit_tail", {"id": 2}, "ck_audit_tail_one_row"),
    ("the end of the audit record twice", "audit_tail", {}, UNIQUE),
    ("a signature twice", "audit_head", {}, UNIQUE),
    ("a second epoch", "epoch", {"id": 2}, "ck_epoch_one_row"),
    ("the epoch twice", "epoch", {}, UNIQUE),
]  # fmt: skip


@pytest.fixture(autouse=True)
def filled(store: Store) -> None:
    """A merchant with an active slot and its key, a slot without one, and a revoked slot, and tokens; one with nothing;
    two principals, a used JWT, a use of a key, and a signed event."""
    with store.change() as change:
        change.add_merchant(a_merchant())
        add_filled_slot(change)
        change.add_slot(a_slot(Slot.API_PASSWORD))
        change.add_slot(
            replace(a_slot(Slot.ENCRYPTION_PASSWORD), state=SlotState.INACTIVE, revoke_time=NOON),
        )
        change.put_tokens(a_token_set())
        change.add_merchant(a_merchant("bare"))
        change.add_principal(a_principal())
        change.add_principal(a_full_principal("billing"))
        change.audit(an_event())
        change.sign_audit(NOON)
    store.use_jwt("admin", bytes(32), NOON)
    store.add_uses({A_USE: Tally(1, NOON)})


def test_rows_that_follow_the_rules_are_taken(database: Database) -> None:
    for table, values in GOOD:
        database.insert(table, _like(database, table, values))


def test_rows_that_break_a_rule_are_refused_by_that_rule(database: Database) -> None:
    for label, table, values, rule in REFUSED:
        row = _like(database, table, values)
        told = _refusal(database, table, row)
        assert (label, rule if rule in told else told) == (label, rule)


def test_what_a_key_hangs_on_cannot_be_taken_away(database: Database) -> None:
    for statement in (
        "DELETE FROM merchant WHERE merchant_id = 'm'",
        "DELETE FROM credential WHERE slot = 'primary-hmac-key'",
        "UPDATE credential SET state = 'INACTIVE', revoke_time = create_time WHERE slot = 'primary-hmac-key'",
        "UPDATE credential SET slot = 'secondary-hmac-key' WHERE slot = 'primary-hmac-key'",
    ):
        with pytest.raises(IntegrityError, match=r"(?i)foreign key"):
            database.execute(statement)


def test_two_retiring_keys_may_become_one_current_key_only(database: Database) -> None:
    database.insert("credential_key", _like(database, "credential_key", RETIRING))
    with pytest.raises(IntegrityError):
        database.execute("UPDATE credential_key SET expire_time = NULL")


def test_no_column_but_those_that_may_be_empty_takes_null(database: Database) -> None:
    may_be_empty = {
        "merchant": {"psp", "acquirer"},
        "credential": {"hmac_algorithm", "renew_time", "revoke_time", "rotate_before"},
        "credential_key": {"hmac_algorithm", "expire_time", "made_in"},
        "principal": {"spiffe_id", "update_time", "password_time"},
        "merchant_token_set": set[str](),
        "used_jwt": set[str](),
        "credential_use": set[str](),
        "audit_event": set[str](),
        "audit_tail": set[str](),
        "audit_head": set[str](),
    }
    for table, empty in may_be_empty.items():
        columns = set(database.rows(table)[0]) - empty
        with database.second_writer() as writer:
            for column in sorted(columns):
                with pytest.raises(IntegrityError), writer.begin_nested():
                    writer.exec_driver_sql(f"UPDATE {table} SET {column} = NULL")


def test_the_services_are_told_of_a_contradiction_as_such(store: Store, database: Database) -> None:
    with pytest.raises(Integrity), store.change() as change:
        change.add_key(a_key(version=2))
    with pytest.raises(Integrity), store.change() as change:
        change.add_slot(a_slot(Slot.WEBHOOK_ENCRYPTION_KEY, merchant_id="nobody"))
    assert 1 == database.count("credential_key")


def _like(database: Database, table: str, values: Row) -> Row:
    """The table's first row of the most ordinary kind, with other values."""
    where = "slot = 'primary-hmac-key'" if table in ("credential", "credential_key") else "true"
    row: dict[str, Any] = {**database.rows(table, where)[0], **values}
    return row


def _refusal(database: Database, table: str, row: Row) -> str:
    """Which rule refused the row: the name of a CHECK, `unique` or `foreign key`."""
    try:
        database.insert(table, row)
    except IntegrityError as error:
        told = str(error.orig).lower()
        return told.replace("duplicate key value", UNIQUE)
    return "it was taken"
