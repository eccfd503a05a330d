"""What is due, and the fleet's numbers: against counts that are made here from the same rows."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Connection, event
from support.databases import Database

from keysvc.model.errors import StoreUnavailable
from keysvc.model.fleet import DueSlot, FleetTimes, SlotSummary
from keysvc.model.principals import PrincipalKind
from keysvc.model.records import KeyRecord, MerchantRecord, SlotRecord, SlotState
from keysvc.model.slots import Slot
from keysvc.model.uses import TEN_MINUTES, Tally, Use, Uses, step_of
from keysvc.store.queries import Owner, Theirs
from keysvc.store.store import Store
from store.records import NOON, a_key, a_merchant, a_slot

DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)
PSP, ACQUIRER = Owner(PrincipalKind.PSP, "PSP_1"), Owner(PrincipalKind.ACQUIRER, "ACQ_1")
OWNED: list[Theirs] = [None, PSP, ACQUIRER, ("m-1", "m-3"), (), ("nobody",)]


@dataclass
class Fleet:
    """What was written."""

    merchants: dict[str, MerchantRecord] = field(default_factory=dict)
    slots: list[SlotRecord] = field(default_factory=list)
    keys: list[KeyRecord] = field(default_factory=list)
    uses: Uses = field(default_factory=dict)

    def write(self, store: Store) -> None:
        with store.change() as change:
            for merchant in self.merchants.values():
                change.add_merchant(merchant)
            for slot in self.slots:
                change.add_slot(slot)
            for key in self.keys:
                change.add_key(key)
        store.add_uses(self.uses)

    def is_of(self, merchant_id: str, theirs: Theirs) -> bool:
        if isinstance(theirs, Owner):
            merchant = self.merchants[merchant_id]
            named = merchant.psp if theirs.kind is PrincipalKind.PSP else merchant.acquirer
            return named == theirs.principal_id
        return theirs is None or merchant_id in theirs

    def due(self, before: datetime, theirs: Theirs = None) -> list[DueSlot]:
        return sorted(
            DueSlot(slot.rotate_before, slot.merchant_id, slot.slot)
            for slot in self.slots
            if slot.rotate_before is not None and slot.rotate_before <= before
            and slot.state is SlotState.ACTIVE and self.is_of(slot.merchant_id, theirs)
        )  # fmt: skip

    def summary(self, times: FleetTimes, theirs: Theirs) -> dict[Slot, SlotSummary]:
        found: dict[Slot, SlotSummary] = {}
        for slot in (slot for slot in self.slots if self.is_of(slot.merchant_id, theirs)):
            now = found.get(slot.slot, SlotSummary())
            if slot.state is SlotState.INACTIVE:
                found[slot.slot] = replace(now, inactive=now.inactive + 1)
                continue
            date = slot.rotate_before
            overdue = date is not None and date <= times.now
            due = date is not None and times.now < date <= times.due_before
            found[slot.slot] = replace(now, active=now.active + 1, overdue=now.overdue + overdue, due=now.due + due)
        for key in (key for key in self.keys if self.is_of(key.merchant_id, theirs)):
            if key.expire_time is None or key.expire_time <= times.now:
                continue
            now = found[key.slot]
            used = any(
                use[:2] == (key.merchant_id, key.fingerprint) and tally.last_used_time > times.used_since
                for use, tally in self.uses.items()
            )
            found[key.slot] = replace(
                now, retiring_keys=now.retiring_keys + 1, retiring_keys_used=now.retiring_keys_used + used
            )
        return found


def random_fleet(seed: int, merchants: int = 8) -> Fleet:
    """Few different times, a microsecond apart among them, so that equal ones and borders are there."""
    chosen, fleet = random.Random(seed), Fleet()
    times = [
        NOON + offset for offset in (timedelta(), MICROSECOND, -MICROSECOND, DAY, DAY + MICROSECOND, -DAY, 9 * DAY)
    ]
    for number in range(merchants):
        name = f"m-{number}"
        psp, acquirer = chosen.choice([None, "PSP_1", "PSP_2"]), chosen.choice([None, "ACQ_1"])
        fleet.merchants[name] = replace(a_merchant(name), psp=psp, acquirer=acquirer)
        for slot in chosen.sample(list(Slot), chosen.randint(0, 7)):
            _fill(fleet, chosen, replace(a_slot(slot, 6, name), rotate_before=chosen.choice([None, *times])), times)
    return fleet


def _fill(fleet: Fleet, chosen: random.Random, slot: SlotRecord, times: list[datetime]) -> None:
    if chosen.random() < 0.25:
        # No slot that holds no key has a date; were one to have it, it would not be due.
        fleet.slots.append(replace(slot, state=SlotState.INACTIVE, revoke_time=NOON))
        return
    fleet.slots.append(slot)
    for version in range(6, 6 - chosen.randint(1, 4), -1):
        fingerprint = f"{slot.slot}-{version}"
        expire_time = None if version == 6 else chosen.choice(times)
        key = replace(a_key(slot.slot, version, slot.merchant_id), fingerprint=fingerprint, expire_time=expire_time)
        fleet.keys.append(key)
        for caller in chosen.sample(["", "shop", "billing"], chosen.randint(0, 3)):
            used = chosen.choice(times)
            fleet.uses[Use(slot.merchant_id, fingerprint, caller, TEN_MINUTES, step_of(used))] = Tally(2, used)


@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_due_is_listed_the_most_overdue_first(store: Store, seed: int) -> None:
    fleet = random_fleet(seed)
    fleet.write(store)
    for before in (NOON - DAY, NOON, NOON + MICROSECOND, NOON + 10 * DAY):
        for theirs in OWNED:
            expected = fleet.due(before, theirs)
            assert expected == store.due(None, 1000, before, theirs)
            assert expected[:3] == store.due(None, 3, before, theirs)
    assert fleet.due(NOON + 10 * DAY)


@pytest.mark.parametrize("size", [1, 4])
def test_pages_hold_every_due_slot_once_across_equal_dates(store: Store, size: int) -> None:
    fleet = random_fleet(3)
    fleet.write(store)
    before = NOON + 10 * DAY
    for theirs in (None, PSP, ("m-1", "m-3")):
        found, after = list[DueSlot](), None
        while page := store.due(after, size, before, theirs):
            found += page
            after = DueSlot.parse(str(page[-1]))
        assert fleet.due(before, theirs) == found


def test_a_page_starts_after_a_slot_that_is_due_no_more(store: Store) -> None:
    fleet = random_fleet(4)
    fleet.write(store)
    everything = fleet.due(NOON + 10 * DAY)
    gone = everything[2]._replace(rotate_before=everything[2].rotate_before - MICROSECOND)
    assert [one for one in everything if one > gone] == store.due(gone, 1000, NOON + 10 * DAY, None)


def test_a_date_that_passes_is_due_from_its_microsecond_on(store: Store) -> None:
    fleet = Fleet({"m": a_merchant()}, [replace(a_slot(), rotate_before=NOON)], [a_key()])
    fleet.write(store)
    for offset, listed in ((-MICROSECOND, 0), (timedelta(), 1), (MICROSECOND, 1)):
        elsewhere = (NOON + offset).astimezone(timezone(timedelta(hours=5, minutes=45)))
        for before in (NOON + offset, elsewhere):
            assert (listed, listed) == (len(store.due(None, 9, before, None)), store.due_counts(before, before)[1])
    assert [DueSlot(NOON, "m", Slot.PRIMARY_HMAC_KEY)] == store.due(None, 9, datetime.max.replace(tzinfo=UTC), None)


@pytest.mark.parametrize("seed", [5, 6, 7])
def test_a_summary_is_what_counting_the_rows_gives(store: Store, seed: int) -> None:
    fleet = random_fleet(seed)
    fleet.write(store)
    for times in (
        FleetTimes(NOON, NOON + DAY, NOON - DAY),
        FleetTimes(NOON + MICROSECOND, NOON + MICROSECOND, NOON),
        FleetTimes(NOON - 5 * DAY, NOON + 30 * DAY, NOON - 30 * DAY),
    ):
        for theirs in OWNED:
            found = store.summary(times, theirs)
            assert sum(fleet.is_of(name, theirs) for name in fleet.merchants) == found.merchants
            assert fleet.summary(times, theirs) == found.slots
        everything = fleet.summary(times, None).values()
        overdue, due = sum(slot.overdue for slot in everything), sum(slot.due for slot in everything)
        assert (overdue, overdue + due) == store.due_counts(times.now, times.due_before)
        assert sum(slot.retiring_keys for slot in everything) == store.retiring(times.now)


def test_an_empty_fleet_has_no_numbers(store: Store) -> None:
    found = store.summary(FleetTimes(NOON, NOON, NOON), None)
    assert (0, {}, (0, 0), 0, []) == (
        found.merchants, found.slots, store.due_counts(NOON, NOON), store.retiring(NOON), store.due(None, 9, NOON, None)
    )  # fmt: skip


def test_what_counts_every_row_may_take_longer_than_what_a_verification_reads(store: Store, database: Database) -> None:
    if not database.is_sqlite:

        def slowly(connection: Connection) -> float:
            return float(connection.exec_driver_sql("SELECT 1 FROM pg_sleep(1.3)").scalar_one())

        assert 1 == store._count(slowly)
        with pytest.raises(StoreUnavailable):
            store._read(slowly)


@pytest.mark.parametrize("after", [None, DueSlot(NOON - DAY / 6, "m-100", Slot.API_PASSWORD)])
def test_what_is_due_is_found_by_its_index(store: Store, database: Database, after: DueSlot | None) -> None:
    """Of many slots few have a date, and of these a page is read in the order of the index: nothing is sorted."""
    fleet = Fleet()
    for number in range(400):
        name = f"m-{number}"
        fleet.merchants[name] = a_merchant(name)
        for slot in Slot:
            due = NOON - number * timedelta(minutes=1) if number % 50 == 0 and slot is Slot.API_PASSWORD else None
            fleet.slots.append(replace(a_slot(slot, merchant_id=name), rotate_before=due))
    fleet.write(store)
    database.execute("ANALYZE credential")
    plan = "\n".join(_plan_of_due(store, database, after))
    assert "ix_credential_rotate_before" in plan
    assert not any(word in plan for word in ("SCAN credential", "TEMP B-TREE", "Seq Scan", "Sort")), plan


def _plan_of_due(store: Store, database: Database, after: DueSlot | None) -> Iterator[str]:
    """The plan of the very statement that the store sends, with its values."""
    sent: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_rest: object) -> None:
        sent.append((statement, parameters))

    event.listen(store._engine, "before_cursor_execute", note)
    store.due(after, 50, NOON, None)
    event.remove(store._engine, "before_cursor_execute", note)
    ((statement, parameters),) = sent
    how = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN "
    with store._engine.connect() as connection:
        for row in connection.exec_driver_sql(how + statement, parameters):
            yield str(row[-1])
