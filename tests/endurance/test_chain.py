"""The check of the chain finds what it is there to find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from endurance.chain import Chain, Event, chain_faults
from keysvc.model.audit import FIRST_HASH, AuditRecord, event_hash

_START = datetime(2026, 5, 1, tzinfo=UTC)


def test_a_whole_chain_has_no_faults() -> None:
    assert [] == list(chain_faults(_chain(5)))


@pytest.mark.parametrize(
    "break_it",
    [
        lambda events: [*events[:2], *events[3:]],
        lambda events: [events[0], events[2], events[1], *events[3:]],
        lambda events: [events[0], replace(events[1], record=replace(events[1].record, resource="other")), *events[2:]],
        lambda events: events[:-1],
        lambda events: events[1:],
    ],
    ids=["removed", "swapped", "edited", "truncated", "begun later"],
)
def test_a_broken_chain_has_faults(break_it: Callable[[list[Event]], list[Event]]) -> None:
    whole = _chain(5)
    assert [] != list(chain_faults(replace(whole, events=break_it(whole.events))))


def test_a_signature_over_what_is_not_there_is_a_fault() -> None:
    whole = _chain(5)
    assert [] != list(chain_faults(replace(whole, heads=[(3, whole.events[0].hash)])))


def _chain(length: int) -> Chain:
    events: list[Event] = []
    before = FIRST_HASH
    for sequence in range(1, length + 1):
        record = AuditRecord(
            time=_START + timedelta(seconds=sequence), principal="principals/admin", method="/s/M",
            resource=f"merchants/m-{sequence}", version=0, outcome="OK", reason="", request_id="", peer="",
        )  # fmt: skip
        events.append(Event(sequence, record, before, event_hash(sequence, record, before)))
        before = events[-1].hash
    return Chain(events, (length, before), [(2, events[1].hash)])
