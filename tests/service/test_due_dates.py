"""When a key is due: set with it, met by what takes its place, and gone when it is revoked."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from keysvc.model.errors import EtagMismatch, Integrity, InvalidField, NotFound, SlotEmpty
from keysvc.model.names import CredentialName
from keysvc.model.records import MerchantState
from keysvc.model.slots import Kind, Slot
from keysvc.service.calls import Request
from keysvc.service.fleet import Fleet
from service.parts import API_KEY, CALLER, HMAC, NONE, SECOND_HMAC, Clock, Service, both_databases

DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture(autouse=True)
def merchant(service: Service) -> None:
    service.add_merchant()


@pytest.fixture
def due(clock: Clock) -> datetime:
    return clock.time + 90 * DAY + MICROSECOND


def date(service: Service, slot: Slot = HMAC) -> datetime | None:
    """As it stands in the slot, which is checked."""
    service.cache.refresh()
    assert service.cache.merchant("m")
    record = service.holdings().slots[slot]
    service.sealer.check_slot(record, service.holdings().keys.get(slot, []), str(slot))
    return record.rotate_before


def schedule(service: Service, time: datetime | None, slot: Slot = HMAC, etag: str = "") -> datetime | None:
    request = Request(CALLER, CredentialName("m", slot), etag=etag, rotate_before=time)
    record = service.lifecycle.schedule(request).record
    assert record is not None
    return record.rotate_before


@both_databases
def test_creating_sets_the_date_or_none(service: Service, due: datetime) -> None:
    service.create(rotate_before=due)
    service.create(SECOND_HMAC)
    assert (due, None) == (date(service), date(service, SECOND_HMAC))


def test_importing_sets_the_date_or_none(service: Service, due: datetime) -> None:
    for slot, time in ((HMAC, due), (SECOND_HMAC, None)):
        request = Request(CALLER, CredentialName("m", slot), rotate_before=time)
        view = service.lifecycle.adopt(request, None, None, "00" * 32, allow_weak=False)
        assert view.record is not None
        assert (time, time) == (view.record.rotate_before, date(service, slot))


@pytest.mark.parametrize("previous_ttl", [NONE, DAY])
def test_renewing_meets_the_date_of_the_old_key_and_may_set_another(
    service: Service, due: datetime, previous_ttl: timedelta
) -> None:
    service.create(rotate_before=due)
    service.renew(HMAC, previous_ttl, rotate_before=due + DAY)
    assert due + DAY == date(service)
    service.renew(HMAC, previous_ttl)
    assert date(service) is None


def test_scheduling_sets_moves_and_removes_the_date(service: Service, due: datetime) -> None:
    secret = service.create()
    for time in (due, due - DAY, None, due):
        assert (time, time) == (schedule(service, time), date(service))
    assert "VALID" == service.verdict(secret, HMAC)
    record = service.holdings().slots[HMAC]
    assert (1, 5, None) == (record.version, record.revision, record.renew_time)


def test_scheduling_is_recorded_and_asks_for_the_etag(service: Service, due: datetime) -> None:
    service.create()
    with pytest.raises(EtagMismatch):
        schedule(service, due, etag="7")
    schedule(service, due, etag="1")
    last = service.database.rows("audit_event")[-1]
    assert ("merchants/m/credentials/primary-hmac-key", 1, "OK") == (last["resource"], last["version"], last["outcome"])


def test_a_slot_without_a_key_has_no_date(service: Service, due: datetime) -> None:
    with pytest.raises(SlotEmpty):
        schedule(service, due)
    service.create(rotate_before=due)
    service.revoke()
    assert date(service) is None
    with pytest.raises(SlotEmpty):
        schedule(service, due)
    service.create()
    assert date(service) is None


def test_ending_a_retiring_key_leaves_the_date(service: Service, due: datetime) -> None:
    service.create()
    service.renew(HMAC, DAY, rotate_before=due)
    service.revoke_retiring(1)
    assert due == date(service)


def test_an_altered_slot_is_not_scheduled(service: Service, due: datetime) -> None:
    service.create()
    service.database.execute("UPDATE credential SET weak_key = true")
    with pytest.raises(Integrity):
        schedule(service, due)


def test_a_date_that_has_passed_ends_nothing(service: Service, due: datetime, clock: Clock) -> None:
    secret = service.create(rotate_before=due)
    clock.forward(100 * DAY)
    assert "VALID" == service.verdict(secret, HMAC)
    assert (1, 1) == service.store.due_counts(clock.time, clock.time)


def test_a_swap_takes_the_dates_along(service: Service, due: datetime) -> None:
    service.create(rotate_before=due)
    service.create(SECOND_HMAC)
    service.swap()
    assert (None, due) == (date(service), date(service, SECOND_HMAC))
    service.create(API_KEY, rotate_before=due)
    service.create(Slot.SECONDARY_REST_API_KEY, rotate_before=due + DAY)
    service.swap(Kind.BEARER_SECRET)
    assert (due + DAY, due) == (date(service, API_KEY), date(service, Slot.SECONDARY_REST_API_KEY))


def test_what_is_due_is_listed_with_its_credential(service: Service, due: datetime, clock: Clock) -> None:
    """By the due list of all merchants, and of one; revoked and suspended ones as the slots stand."""
    fleet = Fleet(service.store, service.viewing, clock)
    service.add_merchant("n")
    service.create(rotate_before=due)
    service.create(HMAC, "n", due - DAY)
    service.create(API_KEY, rotate_before=due - DAY)
    service.move(MerchantState.SUSPENDED, "n")

    def listed(merchant_id: str, within: timedelta, after: str | None = None, limit: int = 9) -> list[str]:
        found = fleet.due(CALLER, merchant_id, within, after, limit)
        assert [place.rotate_before for place, _ in found] == [
            view.record and view.record.rotate_before for _, view in found
        ]
        return [f"{view.name.merchant_id} {view.name.slot}" for _, view in found]

    everything = [f"m {API_KEY}", f"n {HMAC}", f"m {HMAC}"]
    assert everything == listed("-", 91 * DAY)
    assert everything[:2] == listed("-", 90 * DAY)
    assert [f"m {API_KEY}", f"m {HMAC}"] == listed("m", 91 * DAY)
    assert [] == listed("-", NONE)
    ((place, _),) = fleet.due(CALLER, "-", 91 * DAY, None, 1)
    assert everything[1:] == listed("-", 91 * DAY, str(place))
    with pytest.raises(NotFound):
        listed("nobody", DAY)
    for within in (-MICROSECOND, 3650 * DAY + MICROSECOND):
        with pytest.raises(InvalidField):
            listed("-", within)
    for after in ("", "x", "1 m no-slot"):
        with pytest.raises(InvalidField):
            listed("-", DAY, after)
    summary = fleet.summary(CALLER, "-", 90 * DAY, DAY)
    assert (2, 2, 1) == (summary.merchants, summary.slots[HMAC].active, summary.slots[HMAC].due)
