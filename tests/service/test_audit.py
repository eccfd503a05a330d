"""The audit record in use: what is recorded of starts and inits, signed by the minute, logged, and watched."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.databases import Row
from support.waiting import until

from keysvc.cli.first_admin import ensure_admin
from keysvc.model.audit import SIGN_EVERY, ChainEnd
from keysvc.model.errors import HsmUnavailable, Integrity, StoreUnavailable
from keysvc.service.audit import AuditReader, AuditSigner, AuditWatch, json_line, note_start
from keysvc.service.audit_check import ChainCheck
from keysvc.service.calls import itself, record
from keysvc.store.audit_log import EventFilter
from service.chain import EVENTS, UNSIGNED, check, event_at, place, rewrite_from, to_another, truncate, write
from service.parts import Clock, Service, both_databases


@pytest.fixture
def watch(service: Service, clock: Clock) -> AuditWatch:
    return AuditWatch(service.store, service.signer, clock)


def events(service: Service) -> list[Row]:
    return sorted(service.database.rows("audit_event"), key=lambda row: int(row["sequence"]))


def told(service: Service) -> list[tuple[str, ...]]:
    columns = ("principal", "method", "resource", "outcome", "reason", "request_id", "peer")
    return [tuple(str(row[name]) for name in columns) for row in events(service)]


def logged(event: str, *steps: Callable[[], object]) -> list[dict[str, Any]]:
    """The lines of this event that the steps log, one after another."""
    with capture_logs() as lines:
        for step in steps:
            step()
    return [dict(line) for line in lines if line["event"] == event]


def test_a_start_is_one_event_of_the_service_itself(service: Service, clock: Clock) -> None:
    note_start(service.store, clock)
    assert [("keysvc", "start", "", "OK", "", "", "")] == told(service)


def test_what_cannot_be_recorded_does_not_start(service: Service, clock: Clock) -> None:
    service.database.execute("ALTER TABLE audit_event RENAME TO away")
    with pytest.raises(StoreUnavailable):
        note_start(service.store, clock)


def test_a_first_init_is_one_event_that_names_what_it_made(service: Service, tmp_path: Path) -> None:
    ensure_admin(service.admins, tmp_path / "admin")
    service.admins.note_run()
    assert [("keysvc", "init", "principals/admin", "OK", "", "", "")] == told(service)


def test_an_init_that_finds_nothing_missing_is_one_event_too(service: Service, tmp_path: Path) -> None:
    ensure_admin(service.admins, tmp_path / "admin")
    again = service.replica().admins
    assert not ensure_admin(again, tmp_path / "admin")
    again.note_run()
    assert [("init", "principals/admin"), ("init", "")] == [row[1:3] for row in told(service)]


def test_the_end_is_signed_when_there_is_something_to_sign(service: Service, watch: AuditWatch, clock: Clock) -> None:
    watch.sign()
    assert None is service.store.last_audit_head()
    write(service, clock, 3)
    watch.sign()
    head = service.store.last_audit_head()
    assert head is not None
    assert (place(service, 3), clock()) == (ChainEnd(head.sequence, head.hash), head.time)
    assert AuditSigner(service.token).made(head)
    before = service.database.rows("audit_head")
    clock.forward(timedelta(minutes=1))
    watch.sign()
    assert before == service.database.rows("audit_head")


def test_each_signature_is_logged_once(service: Service, watch: AuditWatch, clock: Clock) -> None:
    """Those made in changes, and those by the minute."""
    write(service, clock, 2 * SIGN_EVERY + 1)
    watch.look()
    write(service, clock, 2 * SIGN_EVERY)
    lines = logged("audit.signed", watch.look, watch.look, watch.sign, watch.look)
    assert [300, 400, 401] == [line["sequence"] for line in lines]
    assert [event_at(service, line["sequence"]).hash for line in lines] == [line["hash"] for line in lines]
    assert {("info", 1)} == {(line["log_level"], line["generation"]) for line in lines}


def test_the_newest_signature_of_an_earlier_process_is_logged_again(
    service: Service, watch: AuditWatch, clock: Clock
) -> None:
    """That process may have died between the commit and its line."""
    write(service, clock, 2 * SIGN_EVERY)
    assert [2 * SIGN_EVERY] == [line["sequence"] for line in logged("audit.signed", watch.look)]


def test_what_is_logged_is_an_anchor(service: Service, watch: AuditWatch, clock: Clock) -> None:
    """It tells of a truncation that takes the signatures with it."""
    write(service, clock, 5)
    (line,) = logged("audit.signed", watch.sign)
    service.database.execute("DELETE FROM audit_head")
    truncate(service, 4)
    noted = ChainEnd(line["sequence"], line["hash"])
    with pytest.raises(Integrity, match="Audit event 5 is missing"):
        list(ChainCheck(service.store, AuditSigner(service.token), [noted]).run())


def put_another_end(service: Service, clock: Clock) -> None:
    """So that it ends further on than before."""
    truncate(service, UNSIGNED)
    clock.forward(timedelta(hours=1))
    write(service, clock, EVENTS - UNSIGNED + 5)


GOES_BACK: dict[str, Callable[[Service, Clock], None]] = {
    "truncated": lambda service, _clock: truncate(service, UNSIGNED),
    "emptied": lambda service, _clock: truncate(service, 0),
    "truncated, and grown since": put_another_end,
    "the last event rewritten": lambda service, _clock: rewrite_from(service, EVENTS, to_another),
    "an early event rewritten": lambda service, _clock: rewrite_from(service, 2, to_another),
}


@pytest.mark.parametrize("what", GOES_BACK)
def test_a_chain_that_went_back_is_told_by_each_look(
    service: Service, watch: AuditWatch, clock: Clock, what: str
) -> None:
    write(service, clock, EVENTS)
    seen = service.store.audit_end()
    assert [] == logged("audit.went_back", watch.look)
    GOES_BACK[what](service, clock)
    lines = logged("audit.went_back", watch.look, watch.sign)
    expected = {
        "reason": "the event that was the last is gone, or another",
        "seen": EVENTS, "seen_hash": seen.hash, "found": service.store.audit_end().sequence,
    }  # fmt: skip
    assert 2 * [{"event": "audit.went_back", "log_level": "error", **expected}] == lines


def without_the_last(service: Service) -> None:
    service.database.execute("DELETE FROM audit_head WHERE sequence = 200")


def without_the_first(service: Service) -> None:
    service.database.execute("DELETE FROM audit_head WHERE sequence = 100")


def with_another(service: Service) -> None:
    """At an event after it."""
    row = service.database.rows("audit_head", "sequence = 200")[0]
    digest = place(service, UNSIGNED).hash
    service.database.insert("audit_head", row | {"sequence": UNSIGNED, "hash": digest})


def signed_sequences(service: Service) -> list[int]:
    return sorted(int(row["sequence"]) for row in service.database.rows("audit_head"))


@both_databases
@pytest.mark.parametrize("harm", [without_the_last, without_the_first, with_another])
def test_nothing_is_signed_once_the_newest_signature_is_gone_or_wrong(
    service: Service, watch: AuditWatch, clock: Clock, harm: Callable[[Service], None]
) -> None:
    """Not by the minute, and not at a hundredth event."""
    write(service, clock, EVENTS)
    watch.look()
    harm(service)
    left = signed_sequences(service)
    write(service, clock, SIGN_EVERY)
    lines = logged("audit.went_back", watch.sign)
    assert ["the newest signature is gone, or wrong"] == [line["reason"] for line in lines]
    write(service, clock, SIGN_EVERY)
    assert left == signed_sequences(service)


def test_a_rewritten_end_is_not_signed_at_a_hundredth_event(service: Service, watch: AuditWatch, clock: Clock) -> None:
    """The newest signature is right, but the watch has told of what came after it."""
    write(service, clock, EVENTS)
    watch.look()
    rewrite_from(service, EVENTS, to_another)
    watch.look()
    write(service, clock, SIGN_EVERY)
    assert [100, 200] == signed_sequences(service)


def test_a_signature_over_another_event_is_not_signed_after(service: Service, clock: Clock) -> None:
    """The first look of a process: the signature is right, and the record was rewritten before it."""
    write(service, clock, EVENTS)
    rewrite_from(service, 150, to_another)
    new = service.replica()
    first = AuditWatch(new.store, new.signer, clock)
    (line,) = logged("audit.went_back", first.sign)
    assert "the event that was signed last is gone, or another" == line["reason"]
    assert [100, 200] == signed_sequences(service)


def test_signatures_of_other_replicas_are_signed_after(service: Service, watch: AuditWatch, clock: Clock) -> None:
    other = service.replica()
    theirs = AuditWatch(other.store, other.signer, clock)
    for _ in range(3):
        write(service, clock, SIGN_EVERY - 30)
        assert [] == logged("audit.went_back", watch.sign)
        write(other, clock, SIGN_EVERY)
        assert [] == logged("audit.went_back", theirs.sign)
    write(service, clock, SIGN_EVERY)
    assert [70, 100, 170, 200, 240, 300, 340, 400, 410, 500, 510, 600] == signed_sequences(service)
    check(service)


def test_what_was_seen_and_is_put_back_is_signed_again(service: Service, watch: AuditWatch, clock: Clock) -> None:
    write(service, clock, EVENTS)
    watch.look()
    (row,) = service.database.rows("audit_head", "sequence = 200")
    without_the_last(service)
    watch.sign()
    service.database.insert("audit_head", row)
    watch.sign()
    assert [100, 200, EVENTS] == signed_sequences(service)


def test_a_signature_that_was_undone_with_its_change_is_not_missed(
    service: Service, watch: AuditWatch, clock: Clock
) -> None:
    write(service, clock, SIGN_EVERY - 1)
    watch.look()

    def undone() -> None:
        with service.store.change() as change:
            record(change, itself("test"), "", time=clock())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        undone()
    write(service, clock, 1)
    assert [] == logged("audit.went_back", watch.sign)
    assert [SIGN_EVERY] == signed_sequences(service)


def test_a_chain_that_grows_is_not_told(service: Service, watch: AuditWatch, clock: Clock) -> None:
    for _ in range(3):
        write(service, clock, 40)
        assert [] == logged("audit.went_back", watch.look)


def test_maintenance_signs_when_it_stops(service: Service, clock: Clock) -> None:
    service.maintenance.start()
    write(service, clock, 3)
    lines = logged("audit.signed", service.maintenance.stop)
    assert 3 == lines[-1]["sequence"]
    assert [3] == [row["sequence"] for row in service.database.rows("audit_head", "sequence = 3")]


def test_maintenance_signs_at_once_when_it_starts(service: Service, clock: Clock) -> None:
    write(service, clock, 1)
    service.maintenance.start()
    until(lambda: len(service.store.audit_heads()) == 1)
    service.maintenance.stop()


def test_maintenance_signs_once_a_minute(service: Service, clock: Clock) -> None:
    write(service, clock, 1)
    signed: list[int] = []
    for second in range(1, 122):
        service.maintenance._round(second)
        if len(service.store.audit_heads()) > len(signed):
            signed.append(second)
            write(service, clock, 1)
    assert [60, 120] == signed


def test_a_token_out_of_reach_postpones_the_signature_alone(
    service: Service, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object) -> bytes:
        raise HsmUnavailable("The token does not answer")

    write(service, clock, 1)
    with monkeypatch.context() as patched:
        patched.setattr(service.token, "keyed_digest", unreachable)
        lines = logged("maintenance.postponed", lambda: service.maintenance._round(60))
    assert ["The token does not answer"] == [line["reason"] for line in lines]
    assert [] == service.store.audit_heads()
    service.maintenance._round(120)
    assert [1] == [head.sequence for head in service.store.audit_heads()]


def test_a_record_that_cannot_be_signed_does_not_end_maintenance(service: Service, clock: Clock) -> None:
    write(service, clock, 1)
    service.database.execute("ALTER TABLE audit_head RENAME TO away")
    assert logged("maintenance.postponed", lambda: service.maintenance._round(60))
    service.database.execute("ALTER TABLE away RENAME TO audit_head")
    service.maintenance._round(120)
    assert [1] == [head.sequence for head in service.store.audit_heads()]


def test_the_head_is_the_end_and_the_newest_signature(service: Service, clock: Clock) -> None:
    reader = AuditReader(service.store)
    assert (ChainEnd(), None) == reader.head()
    write(service, clock, EVENTS)
    end, signed = reader.head()
    assert signed is not None
    assert (place(service, EVENTS), 2 * SIGN_EVERY) == (end, signed.sequence)


def test_all_events_come_in_pages(service: Service, clock: Clock) -> None:
    write(service, clock, 25)
    pages = [[event.sequence for event in page] for page in AuditReader(service.store).pages(3, 10)]
    assert [list(range(4, 14)), list(range(14, 24)), [24, 25]] == pages


def test_a_line_has_the_fields_of_the_wire(service: Service, clock: Clock) -> None:
    write(service, clock, 2)
    chained = event_at(service, 2)
    assert {
        "sequence": 2, "time": "2026-05-01T12:00:02.123457+00:00", "principal": "keysvc", "method": "test",
        "resource": "merchants/m-1", "version": 1, "outcome": "OK", "reason": "", "request_id": "", "peer": "",
        "previous_hash": event_at(service, 1).hash, "hash": chained.hash,
    } == json.loads(json_line(chained))  # fmt: skip


def test_a_row_that_is_no_line_is_named(service: Service, clock: Clock) -> None:
    write(service, clock, 2)
    service.database.execute("UPDATE audit_event SET peer = x'00' WHERE sequence = 2")
    (event,) = service.store.audit_events(1, 1, EventFilter())
    with pytest.raises(Integrity, match="Audit event 2 was altered"):
        json_line(event)
