"""Rows with a right MAC in a wrong place or time: copied, exchanged, or put back after their key ended.

Foreign keys are off where the second writer needs it: SQLite holds them only for who asks.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy.exc import IntegrityError
from support.databases import Database, Row

from keysvc.model.slots import Slot
from service.parts import API_KEY, HMAC, SECOND_API_KEY, SECOND_HMAC, Clock, Service, both_databases, outcome

HOUR = timedelta(hours=1)
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture(autouse=True)
def two_merchants(service: Service) -> None:
    for merchant_id in ("m", "n"):
        service.add_merchant(merchant_id)


@both_databases
@pytest.mark.parametrize(("slot", "other"), [(HMAC, SECOND_HMAC), (API_KEY, SECOND_API_KEY)])
def test_a_key_copied_over_that_of_another_merchant_or_slot(service: Service, slot: Slot, other: Slot) -> None:
    """The attacker knows the first secret, and wants it to open what the others open."""
    known = service.create(slot)
    places = [("n", slot), ("m", other)]
    for merchant_id, place in places:
        service.create(place, merchant_id)
        row = _key(service, slot)
        service.database.put_back("credential_key", {**row, "merchant_id": merchant_id, "slot": place.value})
        assert (place, "Integrity") == (place, service.verdict(known, place, merchant_id))
    assert "VALID" == service.verdict(known, slot)


def test_a_key_copied_with_its_slot_to_another_merchant(service: Service) -> None:
    known = service.create()
    for table in ("credential", "credential_key"):
        service.database.put_back(table, {**service.row(table, "merchant_id = 'm'"), "merchant_id": "n"})
    assert "Integrity" == service.verdict(known, HMAC, "n")


def test_the_keys_of_two_merchants_exchanged(service: Service) -> None:
    secrets = {merchant_id: service.create(HMAC, merchant_id) for merchant_id in ("m", "n")}
    rows = {merchant_id: service.row("credential_key", f"merchant_id = '{merchant_id}'") for merchant_id in secrets}
    for merchant_id, other in (("m", "n"), ("n", "m")):
        service.database.put_back("credential_key", {**rows[other], "merchant_id": merchant_id})
    for secret in secrets.values():
        assert ["Integrity"] * 2 == [service.verdict(secret, HMAC, m) for m in secrets]


@both_databases
def test_an_old_key_put_back_after_renew(service: Service, database: Database) -> None:
    """Beside the current key the database refuses it; in its place keysvc does."""
    old = service.create()
    row = _key(service)
    new = service.renew()
    with pytest.raises(IntegrityError):
        database.put_back("credential_key", row)
    for put_back in (row, {**row, "version": 2}):
        database.execute("DELETE FROM credential_key")
        assert "Integrity" == service.verdict(new, HMAC)
        database.put_back("credential_key", put_back)
        assert "Integrity" == service.verdict(new, HMAC)
        assert "Integrity" == service.verdict(old, HMAC)


@both_databases
def test_the_current_row_of_a_key_put_back_while_it_retires(service: Service, database: Database) -> None:
    """It has no expire_time, and would live for ever."""
    old = service.create()
    row = _key(service)
    service.renew(HMAC, HOUR)
    with pytest.raises(IntegrityError):
        database.put_back("credential_key", row)
    database.execute("DELETE FROM credential_key WHERE expire_time IS NULL")
    database.put_back("credential_key", row)
    assert "Integrity" == service.verdict(old, HMAC)


def test_an_old_key_put_back_after_revoke(service: Service, database: Database) -> None:
    old = service.create()
    row = _key(service)
    service.revoke()
    with pytest.raises(IntegrityError):
        database.put_back("credential_key", row)
    database.put_back("credential_key", row, foreign_keys=False)
    assert "Integrity" == service.verdict(old, HMAC)
    assert "Integrity" == outcome(lambda: service.sign(HMAC))


@both_databases
def test_an_old_key_put_back_after_revoke_and_create(service: Service, database: Database) -> None:
    old = service.create()
    row = _key(service)
    service.revoke()
    service.create()
    for put_back in (row, {**row, "version": 2}):
        database.execute("DELETE FROM credential_key")
        database.put_back("credential_key", put_back)
        assert "Integrity" == service.verdict(old, HMAC)


def test_a_retiring_key_put_back_after_revoke(service: Service, database: Database) -> None:
    old, row = _retiring(service)
    service.revoke()
    database.put_back("credential_key", row, foreign_keys=False)
    assert "VALID" != service.verdict(old, HMAC)
    assert "OK" != outcome(lambda: service.sign(HMAC))


@both_databases
def test_a_retiring_key_put_back_after_revoke_and_create(service: Service, database: Database, clock: Clock) -> None:
    """Revoking ended it for good, long before its overlap would have."""
    old, row = _retiring(service)
    service.revoke()
    for fill in (Service.create, Service.renew):
        clock.forward(MICROSECOND)
        fill(service)
        database.put_back("credential_key", row)
        assert "Integrity" == service.verdict(old, HMAC)
        database.execute("DELETE FROM credential_key WHERE version = 1")


def test_a_retiring_key_put_back_after_its_time(service: Service, database: Database, clock: Clock) -> None:
    old, row = _retiring(service)
    clock.forward(HOUR)
    assert 1 == service.maintenance.expire()
    database.put_back("credential_key", row)
    assert "INVALID" == service.verdict(old, HMAC)


@both_databases
def test_a_retiring_key_prolonged(service: Service, database: Database, clock: Clock) -> None:
    old, row = _retiring(service)
    service.renew(HMAC, HOUR * 5)
    newer = service.row("credential_key", "version = 2")
    database.put_back("credential_key", {**row, "expire_time": newer["expire_time"]})
    assert "Integrity" == service.verdict(old, HMAC)
    database.put_back("credential_key", row)
    assert "VALID" == service.verdict(old, HMAC)
    clock.forward(HOUR)
    assert "INVALID" == service.verdict(old, HMAC)


@both_databases
def test_a_slot_put_back_after_renew(service: Service, database: Database) -> None:
    service.create()
    row = service.row("credential", "true")
    new = service.renew()
    database.put_back("credential", row)
    assert "Integrity" == service.verdict(new, HMAC)


@both_databases
def test_a_slot_put_back_after_revoke(service: Service, database: Database) -> None:
    old = service.create()
    row = service.row("credential", "true")
    service.revoke()
    database.put_back("credential", row)
    assert "Integrity" == service.verdict(old, HMAC)


def test_a_revoked_slot_put_back_after_create(service: Service, database: Database) -> None:
    service.create()
    service.revoke()
    row = service.row("credential", "true")
    secret = service.create()
    database.put_back("credential", row, foreign_keys=False)
    assert "Integrity" == service.verdict(secret, HMAC)


def test_an_old_key_put_back_under_a_version_that_was_set_back(service: Service, database: Database) -> None:
    """The slot was altered to count anew, and the administrator revoked it as keysvc asks for."""
    service.create()
    old, row = service.renew(), _key(service)
    database.execute("UPDATE credential SET version = 1")
    service.revoke()
    service.create()
    database.execute("DELETE FROM credential_key")
    database.put_back("credential_key", row)
    assert "Integrity" == service.verdict(old, HMAC)


def test_a_retiring_key_put_back_under_a_version_that_was_set_back(service: Service, database: Database) -> None:
    service.create()
    old = service.renew()
    service.renew(HMAC, HOUR)
    row = service.row("credential_key", "expire_time IS NOT NULL")
    database.execute("UPDATE credential SET version = 1")
    service.revoke()
    service.create()
    service.renew(HMAC, HOUR)
    database.put_back("credential_key", row)
    assert "Integrity" == service.verdict(old, HMAC)


def _key(service: Service, slot: Slot = HMAC) -> Row:
    return service.row("credential_key", f"merchant_id = 'm' AND slot = '{slot}' AND expire_time IS NULL")


def _retiring(service: Service) -> tuple[str, Row]:
    """A secret that retires for an hour, and its row."""
    old = service.create()
    service.renew(HMAC, HOUR)
    assert "VALID" == service.verdict(old, HMAC)
    return old, service.row("credential_key", "expire_time IS NOT NULL")
