"""Revoking: what a quiet time refuses and names, and ending one retiring key while the slot's others live on."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy.exc import IntegrityError
from support.databases import Database

from keysvc.model.errors import EtagMismatch, Integrity, InvalidField, SlotEmpty, StillInUse
from keysvc.model.names import CredentialName
from keysvc.model.uses import LATE
from keysvc.service.calls import Request
from service.parts import (
    API_KEY,
    CALLER,
    HMAC,
    MESSAGE,
    NONE,
    SECOND_HMAC,
    Clock,
    Service,
    both_databases,
    mac_by,
    outcome,
)

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)
NAME = "merchants/m/credentials/primary-hmac-key"


@pytest.fixture(autouse=True)
def secret(service: Service) -> str:
    service.add_merchant()
    return service.create()


@both_databases
@pytest.mark.parametrize("flushed", [False, True])
def test_a_slot_in_use_is_not_revoked_before_its_quiet_time(
    service: Service, secret: str, clock: Clock, *, flushed: bool
) -> None:
    """The quiet time and two seconds: so late may another replica's use be known. Up to then it errs to still used."""
    service.verify(secret)
    if flushed:
        service.usage.flush()
    before = _written(service)
    clock.forward(HOUR)
    for forward in (NONE, timedelta(seconds=1.9), LATE - timedelta(seconds=1.9) - MICROSECOND):
        clock.forward(forward)
        for validate_only in (True, False):
            with pytest.raises(StillInUse):
                service.revoke(HMAC, HOUR, validate_only=validate_only)
    assert before == _written(service)
    clock.forward(MICROSECOND)
    service.revoke(HMAC, HOUR)
    assert "NO_LIVE_KEY" == service.verdict(secret)


def test_a_use_on_another_replica_counts_once_it_was_written(service: Service, secret: str, clock: Clock) -> None:
    other = service.replica()
    other.verify(secret)
    other.usage.flush()
    clock.forward(HOUR - MICROSECOND)
    with pytest.raises(StillInUse):
        service.revoke(HMAC, HOUR)


def test_a_refusal_names_the_callers_and_the_last_use(service: Service, secret: str, clock: Clock) -> None:
    for caller in ("early", "late", "early"):
        _use(service, secret, caller)
        clock.forward(timedelta(minutes=1))
    last = clock.time - timedelta(minutes=1)
    refusal = _refused(service, HOUR)
    assert "principals/early,principals/late" == refusal.metadata["callers"]
    assert last == datetime.fromisoformat(refusal.metadata["last_used_time"])
    told = f"{NAME} was last used at 2026-05-01T12:02:00+00:00, by principals/early, principals/late: move its clients"
    assert refusal.message.startswith(told)


def test_a_refusal_names_ten_callers_at_most_the_latest_first(service: Service, secret: str, clock: Clock) -> None:
    for number in range(13):
        _use(service, secret, f"c-{number}")
        clock.forward(MICROSECOND)
    refusal = _refused(service, HOUR)
    assert ",".join(f"principals/c-{number}" for number in range(12, 2, -1)) == refusal.metadata["callers"]
    assert "principals/c-3 and 3 more: move" in refusal.message


def test_a_refusal_names_only_those_who_used_it_within_the_quiet_time(
    service: Service, secret: str, clock: Clock
) -> None:
    _use(service, secret, "moved")
    clock.forward(2 * HOUR)
    _use(service, secret, "here")
    assert "principals/here" == _refused(service, HOUR).metadata["callers"]
    assert "principals/here,principals/moved" == _refused(service, DAY).metadata["callers"]


def test_a_use_of_before_callers_were_counted_refuses_and_names_nobody(
    service: Service, database: Database, secret: str
) -> None:
    service.verify(secret)
    service.usage.flush()
    database.execute("UPDATE credential_use SET principal = '', step = 0, since = 0")
    refusal = _refused(service, HOUR)
    assert "" == refusal.metadata["callers"]
    assert ", by a caller not known: move" in refusal.message


def test_a_use_of_a_retiring_key_counts(service: Service, secret: str, clock: Clock) -> None:
    service.renew(HMAC, 2 * HOUR)
    service.verify(secret)
    clock.forward(HOUR - MICROSECOND)
    with pytest.raises(StillInUse):
        service.revoke(HMAC, HOUR)


def test_a_slot_never_used_or_used_under_another_name_is_quiet(service: Service) -> None:
    service.create(SECOND_HMAC)
    service.sign(SECOND_HMAC)
    service.revoke(HMAC, HOUR)


def test_a_key_created_after_revocation_does_not_inherit_uses(service: Service, secret: str, clock: Clock) -> None:
    service.verify(secret)
    service.revoke()
    service.usage.flush()
    service.create()
    clock.forward(MICROSECOND)
    service.revoke(HMAC, HOUR)


def test_without_a_quiet_time_a_slot_in_use_is_revoked(service: Service, secret: str) -> None:
    service.verify(secret)
    service.revoke()
    assert "NO_LIVE_KEY" == service.verdict(secret)


@pytest.mark.parametrize("unused_for", [-MICROSECOND, timedelta(days=3650, microseconds=1)])
def test_a_quiet_time_out_of_range_is_refused(service: Service, unused_for: timedelta) -> None:
    service.renew(HMAC, HOUR)
    with pytest.raises(InvalidField):
        service.revoke(HMAC, unused_for)
    with pytest.raises(InvalidField):
        service.revoke_retiring(1, HMAC, unused_for)


@both_databases
def test_validate_only_changes_nothing(service: Service, secret: str) -> None:
    service.renew(HMAC, HOUR)
    before = _written(service)
    service.revoke(validate_only=True)
    service.revoke_retiring(1, validate_only=True)
    assert before == _written(service)
    assert "VALID" == service.verdict(secret)


@both_databases
def test_one_retiring_key_ends_and_the_others_live_on(service: Service, secret: str) -> None:
    second = service.renew(HMAC, HOUR)
    third = service.renew(HMAC, HOUR)
    fourth = service.renew(HMAC, HOUR)
    view = service.revoke_retiring(2)
    assert [3, 1] == [key.version for key in view.retiring]
    verdicts = [service.verdict(one, HMAC) for one in (secret, second, third, fourth)]
    assert ["VALID", "INVALID", "VALID", "VALID"] == verdicts
    assert [4, 3, 1] == [key.version for key in service.holdings().keys[HMAC]]
    assert 2 == [row for row in service.database.rows("audit_event") if row["outcome"] == "OK"][-1]["version"]


def test_ending_a_retiring_key_changes_the_etag_and_asks_for_it(service: Service) -> None:
    service.renew(HMAC, HOUR)
    stale = Request(CALLER, CredentialName("m", HMAC), etag="1")
    with pytest.raises(EtagMismatch):
        service.revocation.revoke_retiring(stale, 1, NONE, validate_only=False)
    service.revocation.revoke_retiring(
        Request(CALLER, CredentialName("m", HMAC), etag="2"), 1, NONE, validate_only=False
    )
    assert 3 == service.holdings().slots[HMAC].revision


def test_a_retiring_key_in_use_is_not_ended_and_others_uses_do_not_count(
    service: Service, secret: str, clock: Clock
) -> None:
    second = service.renew(HMAC, DAY)
    third = service.renew(HMAC, DAY)
    for used in (second, third):
        service.verify(used, HMAC)
    clock.forward(HOUR)
    service.revoke_retiring(1, HMAC, HOUR)
    with pytest.raises(StillInUse):
        service.revoke_retiring(2, HMAC, HOUR)
    clock.forward(LATE)
    service.revoke_retiring(2, HMAC, HOUR)
    assert ["INVALID", "INVALID", "VALID"] == [service.verdict(one, HMAC) for one in (secret, second, third)]


def test_ending_a_retiring_key_erases_its_uses_alone(service: Service, secret: str) -> None:
    second = service.renew(HMAC, HOUR)
    for used in (secret, second):
        service.verify(used, HMAC)
    service.usage.flush()
    service.revoke_retiring(1)
    assert {service.holdings().slots[HMAC].fingerprint} == {use.fingerprint for use in service.usage.of("m")}


def test_the_current_key_is_not_ended_by_its_version(service: Service, secret: str) -> None:
    service.renew(HMAC, HOUR)
    for validate_only in (True, False):
        with pytest.raises(InvalidField) as refused:
            service.revoke_retiring(2, validate_only=validate_only)
        assert "version" == refused.value.field
    assert "VALID" == service.verdict(secret)


def test_a_version_that_is_there_no_more_or_never_was_is_told_as_empty(service: Service, clock: Clock) -> None:
    service.renew(HMAC, HOUR)
    service.renew(HMAC, 2 * HOUR)
    service.revoke_retiring(2)
    clock.forward(HOUR)
    for version in (1, 2, 9, -1):  # ended by the clock, by a revocation, and never there
        with pytest.raises(SlotEmpty):
            service.revoke_retiring(version)
    service.create(SECOND_HMAC)
    service.revoke(SECOND_HMAC)
    for slot in (SECOND_HMAC, API_KEY):
        with pytest.raises(SlotEmpty):
            service.revoke_retiring(1, slot)


@both_databases
def test_the_row_of_a_key_that_was_ended_alone_is_refused_when_it_is_put_back(
    service: Service, database: Database, secret: str
) -> None:
    """With it the whole slot: its rows contradict each other. Revoking gets rid of it."""
    new = service.renew(HMAC, HOUR)
    row = service.row("credential_key", "version = 1")
    service.revoke_retiring(1)
    database.put_back("credential_key", row)
    assert ["Integrity"] * 2 == [service.verdict(one, HMAC) for one in (secret, new)]
    assert "Integrity" == outcome(lambda: service.sign(HMAC))
    with pytest.raises(Integrity):
        service.revoke_retiring(1)
    database.execute("DELETE FROM credential_key WHERE version = 1")
    assert ["INVALID", "VALID"] == [service.verdict(one, HMAC) for one in (secret, new)]


def test_the_slots_row_of_before_a_key_was_ended_alone_is_no_way_back(
    service: Service, database: Database, secret: str
) -> None:
    """It names the ended key, but the key is gone: with its row alone nothing more verifies than before."""
    service.renew(HMAC, HOUR)
    slot, key = service.row("credential", "true"), service.row("credential_key", "version = 1")
    service.revoke_retiring(1)
    database.put_back("credential", slot)
    assert "INVALID" == service.verdict(secret, HMAC)
    database.put_back("credential_key", {**key, "version": 7})
    assert "Integrity" == service.verdict(secret, HMAC)


def test_an_altered_slot_does_not_have_one_key_ended_but_all(service: Service, database: Database, secret: str) -> None:
    service.renew(HMAC, HOUR)
    database.execute("UPDATE credential_key SET fingerprint = '00' WHERE version = 1")
    with pytest.raises(Integrity):
        service.revoke_retiring(1)
    with pytest.raises(IntegrityError):
        database.execute("UPDATE credential_key SET expire_time = NULL")
    service.revoke()
    assert "NO_LIVE_KEY" == service.verdict(secret)


def _use(service: Service, secret: str, caller: str) -> None:
    service.cache.refresh()
    service.verification.verify_hmac(CALLER._replace(principal=caller), ("m", None), MESSAGE, mac_by(secret))


def _refused(service: Service, unused_for: timedelta) -> StillInUse:
    with pytest.raises(StillInUse) as refused:
        service.revoke(HMAC, unused_for)
    return refused.value


def _written(service: Service) -> list[object]:
    tables = ("credential", "credential_key", "audit_event", "request", "epoch", "credential_use")
    return [sorted(map(str, service.database.rows(table))) for table in tables]


def test_one_secret_that_retires_twice_in_a_slot_can_be_ended_once(service: Service, secret: str) -> None:
    """Moved away by a swap, imported again, renewed, moved back and renewed: both go by one fingerprint."""
    service.create(SECOND_HMAC)
    service.swap()
    service.revoke(HMAC)
    request = Request(CALLER, CredentialName("m", HMAC))
    service.lifecycle.adopt(request, None, None, secret, allow_weak=False)
    service.renew(HMAC, HOUR)
    service.swap()
    service.renew(HMAC, DAY)
    retiring = service.viewing.get(request.name).retiring
    assert 1 == len({key.fingerprint for key in retiring}) < len(retiring)
    service.revoke_retiring(retiring[1].version)
    assert "VALID" == service.verdict(secret, HMAC)
    service.revoke_retiring(retiring[0].version)
    assert "INVALID" == service.verdict(secret, HMAC)
