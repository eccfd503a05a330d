"""An audit record to be touched by somebody else, and what the check says of it then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from keysvc.model.audit import SIGN_EVERY, AuditRecord, ChainedEvent, ChainEnd, event_hash
from keysvc.model.errors import Integrity
from keysvc.service.audit import AuditSigner
from keysvc.service.audit_check import ChainCheck, Report
from keysvc.service.calls import itself, record
from keysvc.store.audit_log import EventFilter
from service.parts import Clock, Service

EVENTS = 2 * SIGN_EVERY + 12
UNSIGNED = EVENTS - 12 + 5
"""An event after the last signature."""


def write(service: Service, clock: Clock, count: int) -> None:
    with service.store.change() as change:
        for number in range(count):
            clock.forward(timedelta(seconds=1))
            record(change, itself("test"), f"merchants/m-{number}", version=number, time=clock())


def check(service: Service, *noted: ChainEnd) -> Report:
    made = ChainCheck(service.store, AuditSigner(service.token), noted)
    for _ in made.run():
        pass
    made.require_signatures()
    return made.report()


def found(service: Service, *noted: ChainEnd) -> str:
    """What the check names."""
    with pytest.raises(Integrity) as told:
        check(service, *noted)
    assert 1 == len(told.value.message.splitlines())
    return told.value.message


def event_at(service: Service, sequence: int) -> ChainedEvent:
    (event,) = service.store.audit_events(sequence - 1, 1, EventFilter())
    return event


def place(service: Service, sequence: int) -> ChainEnd:
    return ChainEnd(sequence, event_at(service, sequence).hash)


def rewrite_from(service: Service, sequence: int, edit: Callable[[AuditRecord], AuditRecord]) -> None:
    """What somebody does who knows how the chain is made: an edit, and every hash after it anew."""
    events = service.store.audit_events(sequence - 1, EVENTS, EventFilter())
    previous = events[0].previous_hash
    with service.database.second_writer() as writer:
        for event in events:
            told = edit(event.event) if event.sequence == sequence else event.event
            digest = event_hash(event.sequence, told, previous)
            writer.exec_driver_sql(
                f"UPDATE audit_event SET resource = '{told.resource}', previous_hash = '{previous}', hash = '{digest}'"
                f" WHERE sequence = {event.sequence}"
            )
            previous = digest
        writer.exec_driver_sql(f"UPDATE audit_tail SET hash = '{previous}'")


def to_another(event: AuditRecord) -> AuditRecord:
    return replace(event, resource="merchants/other")


def truncate(service: Service, kept: int) -> None:
    """With the row that tells the end, so that nothing in the chain shows."""
    digest = event_at(service, kept).hash if kept else "0" * 64
    service.database.execute(f"DELETE FROM audit_event WHERE sequence > {kept}")
    service.database.execute(f"UPDATE audit_tail SET sequence = {kept}, hash = '{digest}'")
