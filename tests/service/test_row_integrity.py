"""Every stored field has its part in what keysvc accepts: a row with one edited is never used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError
from support.databases import Database

from keysvc.model.principals import PrincipalKind, PrincipalRecord, PrincipalState, RetiringPassword
from keysvc.model.records import KeyRecord, MerchantRecord, SlotRecord
from keysvc.model.secrets import SecretText
from keysvc.model.slots import Kind, Slot
from keysvc.service.access import PASSWORD_USE
from service.parts import API_KEY, HMAC, SECOND_API_KEY, SECOND_HMAC, Clock, Service, basic, both_databases, outcome

LONG_AGO = "'2001-01-01 00:00:00.000001'"
OTHER_BYTES = "(SELECT mac FROM principal)"
"""As good as any others, and written the same in both kinds of SQL."""
PASSWORD = "correct horse"
OLD_PASSWORD = "battery staple"
HOUR = timedelta(hours=1)

Edits = dict[str, str]

MERCHANT: Edits = {
    "display_name": "'Edited'", "psp": "'PSP_666'", "acquirer": "'ACQ_666'", "state": "'SUSPENDED'",
    "create_time": LONG_AGO, "update_time": LONG_AGO, "revision": "revision + 1", "mac": OTHER_BYTES,
    "mac_generation": "2",
}  # fmt: skip
SLOT: Edits = {
    "version": "1",
    "hmac_algorithm": "'HMAC_SHA512'",
    "secret_format": "'BASE64'",
    "fingerprint": "'0000'",
    "retiring_fingerprints": "'1 2'",
    "weak_key": "true",
    "create_time": LONG_AGO,
    "renew_time": LONG_AGO,
    "revision": "revision + 1",
    "mac": OTHER_BYTES,
    "mac_generation": "2",
    "rotate_before": LONG_AGO,
}
KEY: Edits = {
    "hmac_algorithm": "'HMAC_SHA512'",
    "material": OTHER_BYTES,
    "generation": "2",
    "fingerprint": "'0000'",
    "create_time": LONG_AGO,
    "expire_time": "'2099-01-01 00:00:00.000001'",
    "mac": OTHER_BYTES,
    "mac_generation": "2",
    "made_in": "'secondary-hmac-key'",
}
PRINCIPAL: Edits = {
    "kind": "'AUDITOR'", "state": "'DISABLED'", "password_digest": "mac", "digest_generation": "2",
    "create_time": LONG_AGO, "revision": "revision + 1", "mac": "password_digest", "mac_generation": "2",
    "merchants": "'[\"-\"]'", "can_edit_credentials": "true", "remote_access": "true", "can_sign": "true",
    "spiffe_id": "'spiffe://example.org/a'", "jwt_public_keys": "'[\"PEM\"]'", "update_time": LONG_AGO,
    "password_time": LONG_AGO,
    "retiring_passwords": """'[{"digest":"00","generation": 1,"expire_time":"2099-01-01T00:00:00Z"}]'""",
}  # fmt: skip
TAKEN_AWAY: Edits = {
    "merchants": "'[]'", "can_edit_credentials": "false", "remote_access": "false", "can_sign": "false",
    "spiffe_id": "NULL", "jwt_public_keys": "'[]'", "update_time": "NULL", "password_time": "NULL",
    "retiring_passwords": "'[]'",
}  # fmt: skip
"""What a principal's fields of schema 0002 hold where 0001 wrote it: bytes that its MAC does not have."""

UNREADABLE = [("credential", "hmac_algorithm = 'HMAC_MD5'")]
UNREADABLE_SQLITE = [
    ("merchant", "create_time = 'yesterday'"),
    ("merchant", "display_name = CAST(x'ff' AS TEXT)"),
    ("merchant", "create_time = 5"),
    ("credential", "create_time = x'00'"),
    ("credential", "mac = 'text'"),
    ("credential", "weak_key = 'maybe'"),
    ("credential_key", "material = 'sixteen or more letters'"),
]
"""SQLite keeps any value in any column."""
UNREADABLE_POSTGRESQL = [
    ("credential_key", "expire_time = 'infinity'"),
    ("merchant", "create_time = '20000-01-01'"),
]
"""Times that Python has none for."""

EDITED_BELOW = {
    MerchantRecord: {"merchant_id"},
    SlotRecord: {"merchant_id", "slot", "state", "revoke_time"},
    KeyRecord: {"merchant_id", "slot", "version", "kind"},
    PrincipalRecord: {"principal_id"},
}
"""Fields that only make sense edited together with others."""


def test_no_field_is_left_out_here() -> None:
    edits: dict[Any, Edits] = {MerchantRecord: MERCHANT, SlotRecord: SLOT, KeyRecord: KEY, PrincipalRecord: PRINCIPAL}
    for record_type, edited in edits.items():
        assert {field.name for field in fields(record_type)} == set(edited) | EDITED_BELOW[record_type]


def test_an_edited_merchant_is_never_used(service: Service) -> None:
    secret = _filled(service)
    _each(service, "merchant", "merchant_id = 'm'", MERCHANT, lambda: service.verify(secret), service.sign)


def test_an_edited_slot_is_never_used(service: Service) -> None:
    secret = _filled(service)
    where = "merchant_id = 'm' AND slot = 'primary-hmac-key'"
    _each(service, "credential", where, SLOT, lambda: service.verify(secret, HMAC), lambda: service.sign(HMAC))


@pytest.mark.parametrize("version", [1, 2, 3])
def test_an_edited_key_is_never_used(service: Service, version: int) -> None:
    """Neither it nor another key of its slot: where one row was edited, no other can be trusted to be whole."""
    secret = _filled(service)
    newer = service.renew(HMAC, HOUR)
    where = f"merchant_id = 'm' AND slot = 'primary-hmac-key' AND version = {version}"
    edits = KEY if version < 3 else {**KEY, "expire_time": "create_time"}
    uses = (lambda: service.verify(secret, HMAC), lambda: service.verify(newer, HMAC), lambda: service.sign(HMAC))
    _each(service, "credential_key", where, edits, *uses)


def test_an_edited_bearer_secret_is_never_used(service: Service) -> None:
    service.add_merchant()
    service.admins.put("admin", SecretText(PASSWORD))
    secret = service.create(API_KEY)
    edits = {name: value for name, value in KEY.items() if name != "hmac_algorithm"}
    _each(service, "credential_key", "merchant_id = 'm'", edits, lambda: service.verify(secret, API_KEY))


def test_an_edited_key_that_a_swap_moved_is_never_used(service: Service) -> None:
    """Where it was made and when it is due are in SQL then: neither is taken away unnoticed."""
    service.add_merchant()
    service.create(API_KEY, rotate_before=service.clock() + HOUR)
    secret = service.create(SECOND_API_KEY, rotate_before=service.clock() + HOUR)
    service.swap(Kind.BEARER_SECRET)
    taken_away = {
        "credential": ["rotate_before = NULL", "rotate_before = '2099-01-01 00:00:00.000001'"],
        "credential_key": ["made_in = NULL", "made_in = slot", "made_in = 'api-password'"],
    }
    for table, edits in taken_away.items():
        where = f"slot = '{API_KEY}'"
        _each_edit(service, table, where, edits, lambda: service.verify(secret, API_KEY))


def test_an_edited_principal_is_never_let_in(service: Service) -> None:
    service.admins.put("admin", SecretText(PASSWORD))
    _each(service, "principal", "true", PRINCIPAL, lambda: service.log_in(basic("admin", PASSWORD)))


def test_a_principal_that_lost_a_right_or_a_proof_in_sql_is_never_let_in(service: Service) -> None:
    _put_full_principal(service)
    _each(service, "principal", "true", TAKEN_AWAY, lambda: service.log_in(basic("billing", PASSWORD)))


def test_a_retiring_password_is_not_prolonged_in_sql(service: Service, clock: Clock) -> None:
    _put_full_principal(service)
    prolonged = "retiring_passwords = replace(retiring_passwords, '2026-', '2099-')"
    _each_edit(service, "principal", "true", [prolonged], lambda: service.log_in(basic("billing", OLD_PASSWORD)))
    clock.forward(HOUR)
    assert "Unauthenticated" == outcome(lambda: service.log_in(basic("billing", OLD_PASSWORD)))
    service.database.execute(f"UPDATE principal SET {prolonged}")
    assert "Integrity" == outcome(lambda: service.log_in(basic("billing", OLD_PASSWORD)))


def test_a_retiring_password_whose_time_lost_its_zone_is_told_as_altered(service: Service) -> None:
    """The same instant where the machine's clock shows UTC, and so the same MAC; but it compares with none of ours."""
    _put_full_principal(service)
    edit = "retiring_passwords = replace(retiring_passwords, 'Z\"', '\"')"
    _each_edit(service, "principal", "true", [edit], lambda: service.log_in(basic("billing", OLD_PASSWORD)))


def test_a_renamed_merchant_is_never_used(service: Service) -> None:
    service.add_merchant()
    service.database.execute("UPDATE merchant SET merchant_id = 'other'")
    assert "NotFound" == outcome(service.sign)
    assert "Integrity" == outcome(lambda: service.sign(None, "other"))


def test_a_renamed_principal_is_never_let_in(service: Service) -> None:
    service.admins.put("admin", SecretText(PASSWORD))
    service.database.execute("UPDATE principal SET principal_id = 'boss'")
    assert "Integrity" == outcome(lambda: service.log_in(basic("boss", PASSWORD)))
    assert "Unauthenticated" == outcome(lambda: service.log_in(basic("admin", PASSWORD)))


@pytest.mark.parametrize(
    ("moved", "slot", "merchant_id"),
    [("slot = 'secondary-hmac-key'", SECOND_HMAC, "m"), ("merchant_id = 'n'", HMAC, "n")],
)
def test_a_slot_moved_with_its_keys_is_never_used(service: Service, moved: str, slot: Slot, merchant_id: str) -> None:
    secret = _filled(service)
    for table in ("credential", "credential_key"):
        service.database.execute(f"UPDATE {table} SET {moved}", foreign_keys=False)
    assert "Integrity" == service.verdict(secret, slot, merchant_id)
    assert "Integrity" == outcome(lambda: service.sign(slot, merchant_id))


def test_a_revoked_slot_that_is_edited_is_not_taken_as_revoked(service: Service) -> None:
    secret = _filled(service)
    service.revoke()
    assert "NO_LIVE_KEY" == service.verdict(secret, HMAC)
    service.database.execute(f"UPDATE credential SET revoke_time = {LONG_AGO}")
    assert "Integrity" == service.verdict(secret, HMAC)


def test_a_slot_edited_to_look_revoked_is_not_taken_as_revoked(service: Service) -> None:
    secret = _filled(service)
    service.database.execute(f"UPDATE credential SET state = 'INACTIVE', revoke_time = {LONG_AGO}", foreign_keys=False)
    assert "Integrity" == service.verdict(secret, HMAC)


def test_a_key_of_another_version_is_never_used(service: Service) -> None:
    secret = _filled(service)
    service.database.execute("UPDATE credential_key SET version = 9 WHERE expire_time IS NULL")
    assert "Integrity" == service.verdict(secret, HMAC)


@both_databases
def test_what_cannot_even_be_read_was_altered_too(service: Service, database: Database) -> None:
    """A value that no keysvc ever writes: its row is refused as any other edited one, and not an error of ours."""
    _filled(service)
    secret = service.create(SECOND_HMAC)
    for table, edit in [*UNREADABLE, *(UNREADABLE_SQLITE if database.is_sqlite else UNREADABLE_POSTGRESQL)]:
        where = "merchant_id = 'm'" + ("" if table == "merchant" else " AND slot = 'secondary-hmac-key'")
        row = service.row(table, where)
        try:
            database.execute(f"UPDATE {table} SET {edit} WHERE {where}")
        except IntegrityError:
            continue  # the database itself refuses
        assert (edit, "Integrity") == (edit, service.verdict(secret, SECOND_HMAC))
        database.put_back(table, row)


def _filled(service: Service) -> str:
    """Two merchants, a principal, and a slot with a retiring key and its current one, whose secret is returned."""
    service.admins.put("admin", SecretText(PASSWORD))
    for merchant_id in ("m", "n"):
        service.add_merchant(merchant_id)
    service.create()
    return service.renew(HMAC, HOUR)


def _put_full_principal(service: Service) -> None:
    """With a password that retires, and no field of schema 0002 at its default."""
    digest, generation = service.digester.make(PASSWORD_USE, "billing", PASSWORD)
    old_digest, old_generation = service.digester.make(PASSWORD_USE, "billing", OLD_PASSWORD)
    record = PrincipalRecord(
        principal_id="billing", kind=PrincipalKind.SERVICE, state=PrincipalState.ACTIVE, password_digest=digest,
        digest_generation=generation, create_time=service.clock(), revision=1, merchants=("m",),
        can_edit_credentials=True, remote_access=True, can_sign=True, spiffe_id="spiffe://example.org/billing",
        jwt_public_keys=("PEM",), update_time=service.clock(), password_time=service.clock(),
        retiring_passwords=(RetiringPassword(old_digest.hex(), old_generation, service.clock() + HOUR),),
    )  # fmt: skip
    with service.store.change() as change:
        change.add_principal(service.sealer.seal(record))


def _each(service: Service, table: str, where: str, edits: Edits, *uses: Callable[[], object]) -> None:
    _each_edit(service, table, where, [f"{column} = {value}" for column, value in edits.items()], *uses)


def _each_edit(service: Service, table: str, where: str, edits: list[str], *uses: Callable[[], object]) -> None:
    """Makes one edit after another, each undone again: every use is refused with it, and works without."""
    row = service.row(table, where)
    for edit in edits:
        assert 1 == service.database.execute(f"UPDATE {table} SET {edit} WHERE {where}")
        assert (edit, {"Integrity"}) == (edit, {outcome(use) for use in uses})
        service.database.put_back(table, row)
        assert (edit, True) == (edit, {outcome(use) for use in uses} <= {"VALID", "OK"})
