"""Reads over the credentials of many merchants: those that are due, and their numbers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, case, func, literal, select, tuple_

from keysvc.model.fleet import DueSlot, FleetSummary, FleetTimes, SlotSummary
from keysvc.model.records import SlotState
from keysvc.model.slots import Slot
from keysvc.store.queries import KEY, MERCHANT, SLOT, Theirs, are_theirs, readable
from keysvc.store.uses import USE

_ACTIVE = SLOT.c.state == SlotState.ACTIVE
_DUE = tuple(SLOT.c[name] for name in DueSlot._fields)


@readable
def due(connection: Connection, after: DueSlot | None, limit: int, before: datetime, theirs: Theirs) -> list[DueSlot]:
    """Those with a date up to `before`, the most overdue first, from the one after `after`."""
    query = select(*_DUE).where(_ACTIVE, SLOT.c.rotate_before <= before, *are_theirs(SLOT.c.merchant_id, theirs))
    if after is not None:
        values = (literal(value, column.type) for column, value in zip(_DUE, after, strict=True))
        query = query.where(tuple_(*_DUE) > tuple_(*values))
    rows = connection.execute(query.order_by(*_DUE).limit(limit))
    return [DueSlot(row.rotate_before, row.merchant_id, Slot(row.slot)) for row in rows]


def due_counts(connection: Connection, now: datetime, soon: datetime) -> tuple[int, int]:
    """How many are past their date, and how many will be by then: in one look at those that have one."""
    past = func.coalesce(_count_of(SLOT.c.rotate_before <= now), 0)
    query = select(past, func.count()).select_from(SLOT).where(_ACTIVE, SLOT.c.rotate_before <= soon)
    overdue, due = connection.execute(query).one()
    return overdue, due


def retiring(connection: Connection, now: datetime) -> int:
    """How many keys verify until their overlap ends."""
    return connection.execute(select(func.count()).select_from(KEY).where(KEY.c.expire_time > now)).scalar_one()


@readable
def summary(connection: Connection, times: FleetTimes, theirs: Theirs) -> FleetSummary:
    merchants = select(func.count()).select_from(MERCHANT).where(*are_theirs(MERCHANT.c.merchant_id, theirs))
    slots = _slots(connection, times, theirs)
    for slot, (keys, used) in _retiring_keys(connection, times, theirs).items():
        slots[slot] = replace(slots[slot], retiring_keys=keys, retiring_keys_used=used)
    return FleetSummary(connection.execute(merchants).scalar_one(), dict(slots))


def _slots(connection: Connection, times: FleetTimes, theirs: Theirs) -> dict[Slot, SlotSummary]:
    past = SLOT.c.rotate_before <= times.now
    soon = (SLOT.c.rotate_before > times.now) & (SLOT.c.rotate_before <= times.due_before)
    query = (
        select(SLOT.c.slot, SLOT.c.state, func.count(), _count_of(past), _count_of(soon))
        .where(*are_theirs(SLOT.c.merchant_id, theirs))
        .group_by(SLOT.c.slot, SLOT.c.state)
    )
    found: dict[Slot, SlotSummary] = defaultdict(SlotSummary)
    for slot, state, count, overdue_count, due_count in connection.execute(query):
        if state == SlotState.ACTIVE:
            found[Slot(slot)] = replace(found[Slot(slot)], active=count, overdue=overdue_count, due=due_count)
        else:
            found[Slot(slot)] = replace(found[Slot(slot)], inactive=count)
    return found


def _retiring_keys(connection: Connection, times: FleetTimes, theirs: Theirs) -> dict[Slot, tuple[int, int]]:
    used = (
        select(USE.c.calls)
        .where(USE.c.merchant_id == KEY.c.merchant_id, USE.c.fingerprint == KEY.c.fingerprint)
        .where(USE.c.last_used_time > times.used_since)
        .exists()
    )
    query = (
        select(KEY.c.slot, func.count(), _count_of(used))
        .where(KEY.c.expire_time > times.now, *are_theirs(KEY.c.merchant_id, theirs))
        .group_by(KEY.c.slot)
    )
    return {Slot(slot): (keys, in_use) for slot, keys, in_use in connection.execute(query)}


def _count_of(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))
