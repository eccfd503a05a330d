"""Rows of the audit record that hold anything at all: the check names them, and ends with no traceback."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support.databases import Database, Row

from keysvc.model.errors import StoreUnavailable
from service.chain import EVENTS, UNSIGNED, check, found, write
from service.parts import Clock, Service, both_databases


@pytest.fixture
def written(service: Service, clock: Clock) -> Service:
    """A record that is signed twice, and goes on."""
    write(service, clock, EVENTS)
    return service


UNREADABLE = {
    "a time that is none": "time = 'no time'",
    "a time of another type": "time = 5",
    "bytes for a text": "peer = x'00ff'",
    "text that is not UTF-8": "peer = CAST(x'ff' AS TEXT)",
    "text for a number": "version = 'three'",
    "bytes for a hash": "hash = x'00'",
    "bytes for the hash before": "previous_hash = x'00'",
}


@pytest.mark.parametrize("sequence", [1, 5, UNSIGNED])
@pytest.mark.parametrize("what", UNREADABLE)
def test_a_row_of_values_that_no_one_writes_is_named(written: Service, what: str, sequence: int) -> None:
    """SQLite holds any value in any column."""
    written.database.execute(f"UPDATE audit_event SET {UNREADABLE[what]} WHERE sequence = {sequence}")
    assert f"audit event {sequence} " in found(written).lower()


def test_a_time_that_postgresql_alone_can_hold_is_named(
    request: pytest.FixtureRequest, token: Any, clock: Clock
) -> None:
    database: Database = request.getfixturevalue("postgres_databases").new()
    service = Service(database, token, clock)
    try:
        write(service, clock, 10)
        database.execute("UPDATE audit_event SET time = 'infinity' WHERE sequence = 5")
        assert "audit event 5 cannot be read" in found(service)
    finally:
        service.close()
        database.close()


def test_what_is_wrong_before_an_unreadable_event_is_named_first(written: Service) -> None:
    written.database.execute("UPDATE audit_event SET time = 'no time' WHERE sequence = 40")
    written.database.execute("UPDATE audit_event SET reason = 'x' WHERE sequence = 38")
    assert "Audit event 38 was edited" in found(written)


@pytest.mark.parametrize("value", ["'five'", "5.5", "x'05'"])
def test_a_place_that_is_no_whole_number_is_told(written: Service, value: str) -> None:
    written.database.execute(f"UPDATE audit_event SET sequence = {value} WHERE sequence = 5")
    assert "Audit event 5 is missing" in found(written) or "has no place" in found(written)


@pytest.mark.parametrize(
    "edit", ["time = 'x'", "hash = x'00'", "signature = 'text'", "generation = 'x'", "sequence = 'x'"]
)
def test_a_signature_row_of_values_that_no_one_writes_is_told(written: Service, edit: str) -> None:
    written.database.execute(f"UPDATE audit_head SET {edit} WHERE sequence = 100")
    assert "signature" in found(written)


def test_an_end_that_is_no_number_stops_changes_and_the_check(written: Service, clock: Clock) -> None:
    written.database.execute("UPDATE audit_tail SET sequence = 'x'")
    for step in (lambda: write(written, clock, 1), lambda: check(written)):
        with pytest.raises(StoreUnavailable, match="lost the row that tells its end"):
            step()


_COLUMNS = ("time", "principal", "method", "resource", "version", "outcome", "reason", "request_id", "peer",
            "previous_hash", "hash")  # fmt: skip
_START = datetime(2026, 5, 1, 12, tzinfo=UTC)
_EDITED: dict[str, st.SearchStrategy[Any]] = {
    "time": st.integers(10**9, 10**15).map(lambda later: str(_START + timedelta(microseconds=later)).partition("+")[0]),
    "version": st.integers(-(2**31), 2**31 - 1),
}
_TEXTS = st.text(st.characters(exclude_characters="\x00", codec="utf-8"), max_size=70)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sequence=st.integers(1, EVENTS),
    edit=st.sampled_from(_COLUMNS).flatmap(lambda name: st.tuples(st.just(name), _EDITED.get(name, _TEXTS))),
)
@both_databases
def test_any_edit_of_one_field_of_any_event_is_found_at_that_event(
    request: pytest.FixtureRequest, service: Service, clock: Clock, sequence: int, edit: tuple[str, Any]
) -> None:
    if not service.store.audit_end().sequence:
        write(service, clock, EVENTS)
    (before,) = service.database.rows("audit_event", f"sequence = {sequence}")
    after: Row = before | {edit[0]: edit[1]}
    assume(before[edit[0]] != edit[1])
    service.database.put_back("audit_event", after)
    try:
        assert f"Audit event {sequence} was edited" in found(service)
    finally:
        service.database.put_back("audit_event", before)
