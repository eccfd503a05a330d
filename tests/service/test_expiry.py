"""Overlaps end to the microsecond, by the clock and not by the row's erasure; the row is erased soon after."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.databases import Database

from keysvc.model.errors import DecryptFailed, TooManyRetiring
from keysvc.model.names import CredentialName
from keysvc.model.slots import Slot
from keysvc.service.maintenance import EXPIRE_EVERY
from service.parts import AES, API_KEY, CALLER, HMAC, SECOND_HMAC, Clock, Service, both_databases

HOUR = timedelta(hours=1)
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture(autouse=True)
def merchant(service: Service) -> None:
    service.add_merchant()


@both_databases
@pytest.mark.parametrize("slot", [HMAC, API_KEY])
def test_an_old_key_verifies_until_just_before_its_expire_time(service: Service, clock: Clock, slot: Slot) -> None:
    old = service.create(slot)
    new = service.renew(slot, HOUR)
    clock.forward(HOUR - MICROSECOND)
    assert ["VALID", "VALID"] == [service.verdict(s, slot) for s in (old, new)]
    clock.forward(MICROSECOND)
    assert ["INVALID", "VALID"] == [service.verdict(s, slot) for s in (old, new)]


def test_an_overlap_of_one_microsecond(service: Service, clock: Clock) -> None:
    old = service.create()
    service.renew(HMAC, MICROSECOND)
    assert "VALID" == service.verdict(old)
    clock.forward(MICROSECOND)
    assert "INVALID" == service.verdict(old)


def test_without_an_overlap_the_old_key_ends_at_once(service: Service, database: Database) -> None:
    old = service.create()
    service.renew()
    assert "INVALID" == service.verdict(old)
    assert [2] == [row["version"] for row in database.rows("credential_key")]


def test_a_match_by_an_old_key_says_that_it_retires(service: Service, clock: Clock) -> None:
    old = service.create()
    new = service.renew(HMAC, HOUR)
    verdicts = [service.verify(secret) for secret in (old, new)]
    assert [(1, clock.time + HOUR), (2, None)] == [(v.key.version, v.key.expire_time) for v in verdicts if v.key]


def test_an_old_encryption_key_decrypts_until_its_expire_time(service: Service, clock: Clock) -> None:
    name = CredentialName("m", AES)
    service.create(AES)
    ciphertext, _ = service.encryption.encrypt(CALLER, name, b"plain", b"")
    service.renew(AES, HOUR)
    clock.forward(HOUR - MICROSECOND)
    service.cache.refresh()
    assert (b"plain", 1) == service.encryption.decrypt(CALLER, name, ciphertext, b"")
    clock.forward(MICROSECOND)
    with pytest.raises(DecryptFailed):
        service.encryption.decrypt(CALLER, name, ciphertext, b"")


def test_an_old_key_signs_nothing_new(service: Service) -> None:
    service.create()
    new = service.renew(HMAC, HOUR)
    service.cache.refresh()
    _, key = service.signing.generate_hmac(CALLER, ("m", HMAC), b"message")
    assert 2 == key.version
    assert "VALID" == service.verdict(new)


@both_databases
def test_an_old_key_never_outlives_its_time_whatever_is_renewed_after(service: Service, clock: Clock) -> None:
    first = service.create()
    second = service.renew(HMAC, HOUR)
    clock.forward(HOUR / 2)
    service.renew(HMAC, 30 * 24 * HOUR)
    service.renew()
    clock.forward(HOUR / 2 - MICROSECOND)
    assert ["VALID", "VALID"] == [service.verdict(s) for s in (first, second)]
    clock.forward(MICROSECOND)
    assert ["INVALID", "VALID"] == [service.verdict(s) for s in (first, second)]


def test_revoking_ends_retiring_keys_too(service: Service, database: Database) -> None:
    old = service.create()
    service.renew(HMAC, HOUR)
    service.revoke()
    assert "NO_LIVE_KEY" == service.verdict(old, HMAC)
    assert 0 == database.count("credential_key")


@both_databases
def test_maintenance_erases_what_has_expired_and_says_so(service: Service, database: Database, clock: Clock) -> None:
    service.create(SECOND_HMAC)
    service.renew(SECOND_HMAC, HOUR + MICROSECOND)
    service.create()
    service.renew(HMAC, HOUR)
    service.verify(service.renew(HMAC, HOUR))
    service.usage.flush()
    clock.forward(HOUR - MICROSECOND)
    assert 0 == service.maintenance.expire()
    clock.forward(MICROSECOND)
    before = database.count("audit_event")
    assert (2, 0) == (service.maintenance.expire(), service.maintenance.expire())
    left = {(row["slot"], row["version"]) for row in database.rows("credential_key")}
    assert {(HMAC, 3), (SECOND_HMAC, 1), (SECOND_HMAC, 2)} == left
    events = sorted(database.rows("audit_event"), key=lambda row: int(row["sequence"]))[before:]
    told = {(row["principal"], row["method"], row["resource"], row["version"], row["outcome"]) for row in events}
    name = "merchants/m/credentials/primary-hmac-key"
    assert {("keysvc", "expire", name, 1, "OK"), ("keysvc", "expire", name, 2, "OK")} == told


def test_more_keys_than_a_round_erases_are_erased_in_the_rounds_after_it(
    service: Service, database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a fleet's overlaps, which end together, keep nothing else from its turn."""
    monkeypatch.setattr("keysvc.service.maintenance.EXPIRE_AT_ONCE", 2)
    service.create()
    for _ in range(4):
        service.renew(HMAC, HOUR)
    clock.forward(HOUR)
    left = []
    for second in range(EXPIRE_EVERY + 1, EXPIRE_EVERY + 5):
        service.maintenance._round(second)
        left.append(database.count("credential_key"))
    assert [3, 1, 1, 1] == left


def test_five_keys_may_retire_at_once_and_a_sixth_is_refused(service: Service, clock: Clock) -> None:
    secrets = [service.create()] + [service.renew(HMAC, HOUR) for _ in range(5)]
    with pytest.raises(TooManyRetiring):
        service.renew(HMAC, HOUR)
    assert ["VALID"] * 6 == [service.verdict(s) for s in secrets]
    # Without an overlap it may be renewed, and the five keep their time.
    service.renew()
    assert ["VALID"] * 5 + ["INVALID"] == [service.verdict(s) for s in secrets]
    clock.forward(HOUR)
    service.renew(HMAC, HOUR)  # those that have expired count no more, erased or not


def test_views_show_retiring_keys_while_they_live(service: Service, clock: Clock) -> None:
    name = CredentialName("m", HMAC)
    service.create()
    service.renew(HMAC, HOUR)
    assert [(1, clock.time + HOUR)] == [(k.version, k.expire_time) for k in service.viewing.get(name).retiring]
    clock.forward(HOUR)
    assert () == service.viewing.get(name).retiring
