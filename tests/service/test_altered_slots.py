"""A slot whose rows were altered: out of use alone, told in the audit record once, and got rid of by revoking."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from support.databases import Database

from keysvc.model.errors import Integrity, StoreUnavailable
from keysvc.model.records import MerchantState
from keysvc.model.slots import Slot
from keysvc.service.trials import Verdict
from service.parts import AES, API_KEY, CALLER, HMAC, SECOND_API_KEY, SECOND_HMAC, Service, outcome

HOUR = timedelta(hours=1)
WRONG = "00" * 32
PRIMARY = "merchants/m/credentials/primary-hmac-key"


@pytest.fixture(autouse=True)
def merchant(service: Service) -> None:
    service.add_merchant()


@pytest.mark.parametrize(("primary", "secondary"), [(HMAC, SECOND_HMAC), (API_KEY, SECOND_API_KEY)])
@pytest.mark.parametrize("table", ["credential", "credential_key"])
def test_the_secondary_works_while_the_primary_is_altered(
    service: Service, primary: Slot, secondary: Slot, table: str
) -> None:
    first, second = service.create(primary), service.create(secondary)
    _alter(service, primary, table)
    verdict = _verify_in_pair(service, primary, second)
    assert verdict.key is not None
    assert ("VALID", secondary) == (verdict.result, verdict.key.slot)
    assert "VALID" == service.verdict(second, secondary)
    # The altered key might have matched: that is no answer of "no".
    for secret in (first, WRONG):
        with pytest.raises(Integrity):
            _verify_in_pair(service, primary, secret)
    assert "INVALID" == service.verdict(WRONG, secondary)


def test_the_primary_works_while_the_secondary_is_altered(service: Service) -> None:
    first, second = service.create(), service.create(SECOND_HMAC)
    _alter(service, SECOND_HMAC)
    assert ["VALID", "Integrity"] == [service.verdict(s) for s in (first, second)]
    assert "OK" == outcome(service.sign)


def test_signing_does_not_fall_back_from_an_altered_primary(service: Service) -> None:
    """Silently signing with another key than the merchant's primary would hide the alteration."""
    service.create()
    service.create(SECOND_HMAC)
    _alter(service, HMAC)
    assert ["Integrity", "OK"] == [outcome(service.sign), outcome(lambda: service.sign(SECOND_HMAC))]


def test_other_slots_and_merchants_are_not_touched(service: Service) -> None:
    service.add_merchant("n")
    others = [(API_KEY, "m"), (HMAC, "n")]
    secrets = [service.create(slot, merchant_id) for slot, merchant_id in others]
    service.create(AES)
    service.create()
    _alter(service, HMAC)
    for secret, (slot, merchant_id) in zip(secrets, others, strict=True):
        assert "VALID" == service.verdict(secret, slot, merchant_id)
    service.renew(AES)


@pytest.mark.parametrize("work", [Service.create, Service.renew])
def test_an_altered_slot_is_neither_filled_nor_renewed(service: Service, work: Callable[[Service], str]) -> None:
    service.create()
    _alter(service, HMAC)
    before = _written(service.database)
    with pytest.raises(Integrity):
        work(service)
    assert before == _written(service.database)


@pytest.mark.parametrize("table", ["credential", "credential_key"])
def test_revoking_gets_rid_of_an_altered_slot(service: Service, table: str) -> None:
    old = service.create()
    retired = service.renew(HMAC, HOUR)
    _alter(service, HMAC, table)
    service.revoke()
    assert 0 == service.database.count("credential_key")
    assert "NO_LIVE_KEY" == service.verdict(old, HMAC)
    new = service.create()
    assert ["VALID", "INVALID", "INVALID"] == [service.verdict(s, HMAC) for s in (new, old, retired)]


@pytest.mark.parametrize("edit", ["fingerprint = 'edited'", "version = version + 1, revision = revision + 1"])
def test_revoking_gets_rid_of_an_altered_slot_that_was_revoked_before(service: Service, edit: str) -> None:
    """Or else nothing would: it can be neither filled nor used as it stands."""
    service.create()
    service.revoke()
    service.database.execute(f"UPDATE credential SET {edit}")
    assert "Integrity" == outcome(service.create)
    assert "OK" == outcome(service.revoke)
    secret = service.create()
    assert "VALID" == service.verdict(secret, HMAC)


def test_terminating_a_merchant_ends_altered_slots_too(service: Service) -> None:
    secret = service.create()
    _alter(service, HMAC)
    service.move(MerchantState.TERMINATED)
    assert 0 == service.database.count("credential_key")
    assert "MERCHANT_NOT_ACTIVE" == service.verdict(secret, HMAC)


@pytest.mark.parametrize("state", MerchantState)
def test_an_altered_merchant_is_not_moved(service: Service, state: MerchantState) -> None:
    service.database.execute("UPDATE merchant SET psp = 'PSP_666'")
    with pytest.raises(Integrity):
        service.move(state)


def test_an_alteration_is_told_in_the_audit_record_once(service: Service) -> None:
    secret = service.create()
    service.create(AES)
    _alter(service, HMAC)
    _alter(service, AES)
    before = service.database.count("audit_event")
    for _ in range(3):
        assert "Integrity" == service.verdict(secret, HMAC)
        service.reporter.flush()
    assert 2 == service.reporter.found()
    events = service.database.rows("audit_event")[before:]
    # The view of a merchant is checked whole, so the other slot is found with it.
    assert {PRIMARY, "merchants/m/credentials/encryption-password"} == {event["resource"] for event in events}
    assert 2 == len(events)
    assert {("keysvc", "REFUSED", "INTEGRITY")} == {
        (event["principal"], event["outcome"], event["reason"]) for event in events
    }


def test_maintenance_tells_what_is_left_when_it_stops(service: Service) -> None:
    service.create()
    _alter(service, HMAC)
    service.maintenance.start()
    assert "Integrity" == outcome(service.sign)
    service.maintenance.stop()
    assert [PRIMARY] == [row["resource"] for row in service.database.rows("audit_event", "reason = 'INTEGRITY'")]


def test_telling_is_made_up_for_when_the_database_could_not_be_written(service: Service) -> None:
    service.create()
    _alter(service, HMAC)
    assert "Integrity" == outcome(service.sign)
    service.database.execute("ALTER TABLE audit_event RENAME TO away")
    with pytest.raises(StoreUnavailable):
        service.reporter.flush()
    service.database.execute("ALTER TABLE away RENAME TO audit_event")
    service.reporter.flush()
    assert [PRIMARY] == [row["resource"] for row in service.database.rows("audit_event", "reason = 'INTEGRITY'")]


@pytest.mark.parametrize("work", [Service.create, Service.renew, Service.revoke])
def test_what_cannot_be_audited_does_not_happen(service: Service, work: Callable[[Service], str]) -> None:
    secret = service.create()
    if work is Service.create:
        service.revoke()
    before = _written(service.database)
    service.database.execute("ALTER TABLE audit_event RENAME TO away")
    assert "StoreUnavailable" == outcome(lambda: work(service))
    service.database.execute("ALTER TABLE away RENAME TO audit_event")
    assert before == _written(service.database)
    expected = "NO_LIVE_KEY" if work is Service.create else "VALID"
    assert expected == service.verdict(secret, HMAC)


def _alter(service: Service, slot: Slot, table: str = "credential") -> None:
    service.database.execute(f"UPDATE {table} SET mac_generation = 2 WHERE merchant_id = 'm' AND slot = '{slot}'")


def _verify_in_pair(service: Service, slot: Slot, secret: str) -> Verdict:
    """By the merchant's name, which stands for the pair of the slot's kind."""
    if slot is HMAC:
        return service.verify(secret)
    service.cache.refresh()
    return service.verification.verify_api_key(CALLER, ("m", None), secret)


def _written(database: Database) -> list[object]:
    tables = ("credential", "credential_key", "audit_event", "epoch")
    return [sorted(map(str, database.rows(table))) for table in tables]
