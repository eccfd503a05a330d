"""The check of the whole audit record: whatever somebody else does to its rows is found, and the first event named."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from keysvc.model.audit import SIGN_EVERY, ChainEnd, event_hash, head_bytes
from keysvc.model.errors import HsmUnavailable
from keysvc.model.hsm_keys import Purpose
from keysvc.service import audit_check
from keysvc.service.audit import AuditSigner
from keysvc.service.audit_check import ChainCheck, Report
from keysvc.store.audit_log import EventFilter
from service.chain import (
    EVENTS,
    UNSIGNED,
    check,
    event_at,
    found,
    place,
    rewrite_from,
    to_another,
    truncate,
    write,
)
from service.parts import Clock, Service, both_databases


@pytest.fixture
def written(service: Service, clock: Clock) -> Service:
    """A record that is signed twice, and goes on."""
    write(service, clock, EVENTS)
    return service


@both_databases
def test_a_record_that_nobody_touched_is_right(written: Service) -> None:
    report = check(written)
    events = written.store.audit_events(0, EVENTS, EventFilter())
    assert (written.store.audit_end(), 12) == (report.end, report.unsigned)
    assert (events[0].event.time, events[-1].event.time) == (report.first_time, report.last_time)
    assert written.store.last_audit_head() == report.signed


def test_a_record_without_events_is_right(service: Service) -> None:
    assert Report(ChainEnd(), None, None, None) == check(service)


def test_progress_is_told_a_page_at_a_time(written: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_check, "PAGE", 100)
    made = ChainCheck(written.store, AuditSigner(written.token), [])
    assert (EVENTS, [100, 200, EVENTS]) == (made.total, list(made.run()))


def test_the_check_writes_nothing(written: Service) -> None:
    tables = ("audit_event", "audit_tail", "audit_head", "epoch", "change", "token_binding")
    before = [written.database.rows(table) for table in tables]
    check(written)
    assert before == [written.database.rows(table) for table in tables]


def test_events_that_are_added_during_the_check_do_not_disturb_it(written: Service, clock: Clock) -> None:
    made = ChainCheck(written.store, AuditSigner(written.token), [])
    write(written, clock, SIGN_EVERY)
    for _ in made.run():
        write(written, clock, 1)
    assert EVENTS == made.report().end.sequence


EDITS = {
    "a field": ("UPDATE audit_event SET resource = 'merchants/other' WHERE sequence = {n}", "{n} was edited"),
    "the outcome": ("UPDATE audit_event SET outcome = 'REFUSED' WHERE sequence = {n}", "{n} was edited"),
    "a number": ("UPDATE audit_event SET version = version + 1 WHERE sequence = {n}", "{n} was edited"),
    "the hash": (f"UPDATE audit_event SET hash = '{'a' * 64}' WHERE sequence = {{n}}", "{n} was edited"),
    "the hash before": (
        f"UPDATE audit_event SET previous_hash = '{'a' * 64}' WHERE sequence = {{n}}",
        "{n} was edited",
    ),
    "removed": ("DELETE FROM audit_event WHERE sequence = {n}", "{n} is missing: the next that is there is event {m}"),
    "several removed": (
        "DELETE FROM audit_event WHERE sequence BETWEEN {n} AND {n} + 3",
        "{n} is missing",
    ),
    "moved away": ("UPDATE audit_event SET sequence = 5000 WHERE sequence = {n}", "{n} is missing"),
}


@both_databases
@pytest.mark.parametrize("sequence", [1, 2, SIGN_EVERY, UNSIGNED])
@pytest.mark.parametrize("what", EDITS)
def test_an_event_that_was_touched_is_named(written: Service, what: str, sequence: int) -> None:
    statement, told = EDITS[what]
    assert 0 < written.database.execute(statement.format(n=sequence))
    assert f"Audit event {told.format(n=sequence, m=sequence + 1)}" in found(written)


@both_databases
def test_two_events_that_were_swapped_are_named(written: Service) -> None:
    for statement in (
        "sequence = -1 WHERE sequence = 7",
        "sequence = 7 WHERE sequence = 30",
        "sequence = 30 WHERE sequence = -1",
    ):
        written.database.execute(f"UPDATE audit_event SET {statement}")
    assert "Audit event 7 is not in its place: what stands there was event 30" == found(written)


@both_databases
@pytest.mark.parametrize("removed", [1, 12, 13, EVENTS])
def test_a_truncated_end_is_named(written: Service, removed: int) -> None:
    written.database.execute(f"DELETE FROM audit_event WHERE sequence > {EVENTS - removed}")
    assert f"Audit event {EVENTS - removed + 1} is missing" in found(written)


@pytest.mark.parametrize("kept", [0, 3, 2 * SIGN_EVERY - 1])
def test_a_truncated_end_with_its_row_moved_back_is_told_by_the_signatures(written: Service, kept: int) -> None:
    """The first missing event is named, though nothing but a signature tells of it."""
    truncate(written, kept)
    assert f"Audit event {kept + 1} is missing: event 200 was signed" in found(written)


def test_a_truncation_that_no_signature_tells_of_needs_a_head_from_elsewhere(written: Service) -> None:
    noted = written.store.audit_end()
    truncate(written, UNSIGNED)
    assert UNSIGNED == check(written).end.sequence
    assert f"Audit event {UNSIGNED + 1} is missing: event {EVENTS} is noted by --head" in found(written, noted)


ENDS = {
    "further": ("sequence = sequence + 1", f"Audit event {EVENTS + 1} is missing"),
    "back": ("sequence = sequence - 1", f"Audit event {EVENTS - 1} is not the one with which"),
    "another hash": (f"hash = '{'a' * 64}'", f"Audit event {EVENTS} is not the one with which"),
    "negative": ("sequence = -1", "noted to end with event -1"),
}


@both_databases
@pytest.mark.parametrize("what", ENDS)
def test_a_note_of_the_end_that_was_edited_is_told(written: Service, what: str) -> None:
    edit, told = ENDS[what]
    written.database.execute(f"UPDATE audit_tail SET {edit}")
    assert told in found(written)


@both_databases
@pytest.mark.parametrize("sequence", [EVENTS + 1, EVENTS + 90, 0, -3])
def test_an_event_outside_the_chain_is_named(written: Service, sequence: int) -> None:
    row = written.database.rows("audit_event", "sequence = 5")[0]
    written.database.insert("audit_event", row | {"sequence": sequence})
    assert f"Audit event {sequence} has no place in the chain" in found(written)


@both_databases
@pytest.mark.parametrize("sequence", [1, 5, SIGN_EVERY])
def test_a_rewritten_chain_is_told_by_the_first_signature_after_it(written: Service, sequence: int) -> None:
    rewrite_from(written, sequence, to_another)
    assert "Audit event 100 is not the one that was signed: some of the events 1 to 100 were rewritten" == found(
        written
    )


def test_a_rewriting_between_two_signatures_is_told_by_the_second(written: Service) -> None:
    rewrite_from(written, SIGN_EVERY + 1, to_another)
    assert "Audit event 200 is not the one that was signed: some of the events 101 to 200" in found(written)


def test_a_rewriting_since_the_last_signature_needs_a_head_from_elsewhere(written: Service) -> None:
    """The limit of what is signed: it is documented."""
    before, noted = place(written, UNSIGNED - 1), place(written, UNSIGNED)
    rewrite_from(written, UNSIGNED, to_another)
    assert 12 == check(written, before).unsigned
    assert f"Audit event {UNSIGNED} is not the one of --head: some of the events 201 to {UNSIGNED}" in found(
        written, before, noted
    )


def test_an_event_alone_that_was_rehashed_is_told_by_the_next(written: Service) -> None:
    event = event_at(written, 5)
    digest = event_hash(5, to_another(event.event), event.previous_hash)
    written.database.execute(
        f"UPDATE audit_event SET resource = 'merchants/other', hash = '{digest}' WHERE sequence = 5"
    )
    assert "Audit event 6 does not follow event 5: one of them was rewritten" == found(written)


HEADS = {
    "the signature": ("signature = {zeros}", "signature over audit event 100 is wrong"),
    "a signature cut short": ("signature = {short}", "signature over audit event 100 is wrong"),
    "the generation": ("generation = 2", "signature over audit event 100 is wrong"),
    "the hash": (f"hash = '{'a' * 64}'", "signature over audit event 100 is wrong"),
    "the place": ("sequence = 99", "signature over audit event 99 is wrong"),
    "beyond the end": ("sequence = 5000", "signature over audit event 200 is wrong"),
    "before the beginning": ("sequence = 0", "signature over audit event 0, which cannot be"),
}


@both_databases
@pytest.mark.parametrize("what", HEADS)
def test_a_signature_that_was_touched_is_told(written: Service, what: str) -> None:
    edit, told = HEADS[what]
    zeros, short = (
        ("zeroblob(32)", "x'00'") if written.database.is_sqlite else ("decode(repeat('00', 32), 'hex')", "''")
    )
    written.database.execute(f"UPDATE audit_head SET {edit.format(zeros=zeros, short=short)} WHERE sequence = 100")
    assert told in found(written)


def test_a_signature_of_a_rewritten_chain_cannot_be_made_without_the_token(written: Service) -> None:
    """The attacker puts the new hash beside the old signature."""
    rewrite_from(written, 5, to_another)
    for sequence in (100, 200):
        digest = place(written, sequence).hash
        written.database.execute(f"UPDATE audit_head SET hash = '{digest}' WHERE sequence = {sequence}")
    assert "The signature over audit event 100 is wrong" in found(written)


def test_a_signature_by_another_key_of_the_token_is_wrong(written: Service) -> None:
    head = written.store.audit_heads()[0]
    other = written.token.keyed_digest(Purpose.ROW, 1, head_bytes(head.sequence, head.hash, b""))
    row = written.database.rows("audit_head", "sequence = 100")[0]
    written.database.put_back("audit_head", row | {"signature": other})
    assert "The signature over audit event 100 is wrong" in found(written)


def test_signatures_taken_out_before_another_are_told_by_it(written: Service) -> None:
    """The next one holds the signature before it."""
    rewrite_from(written, 5, to_another)
    written.database.execute("DELETE FROM audit_head WHERE sequence = 100")
    assert "The signature over audit event 200 is wrong" in found(written)


@both_databases
@pytest.mark.parametrize(
    ("edited", "kept", "told"), [(150, 100, "101 to 212"), (5, 0, "1 to 212")], ids=["some", "all"]
)
def test_the_newest_signatures_taken_out_are_told(written: Service, edited: int, kept: int, told: str) -> None:
    """Though whoever rewrote what they covered computed all hashes and the end anew."""
    rewrite_from(written, edited, to_another)
    written.database.execute(f"DELETE FROM audit_head WHERE sequence > {kept}")
    assert f"Signatures are missing: the audit events {told} have none" in found(written)


def out_of_reach(service: Service, clock: Clock, count: int) -> None:
    """Events that the token is not there to sign."""

    def unreachable(*_: object) -> bytes:
        raise HsmUnavailable("The token does not answer")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(service.token, "keyed_digest", unreachable)
        write(service, clock, count)


def test_events_without_signatures_between_two_are_told(service: Service, clock: Clock) -> None:
    """A token that was away looks the same; who knows of it has the check go on without."""
    write(service, clock, SIGN_EVERY)
    out_of_reach(service, clock, SIGN_EVERY)
    write(service, clock, SIGN_EVERY)
    assert "the audit events 101 to 299 have none" in found(service)
    allowing = ChainCheck(service.store, AuditSigner(service.token), [])
    list(allowing.run())
    assert (3 * SIGN_EVERY, 0) == (allowing.report().end.sequence, allowing.report().unsigned)


def test_signatures_may_be_as_far_apart_as_they_are_made(service: Service, clock: Clock) -> None:
    write(service, clock, 2 * SIGN_EVERY)
    out_of_reach(service, clock, SIGN_EVERY)
    assert SIGN_EVERY == check(service).unsigned


def test_events_before_the_first_signature_need_none(service: Service, clock: Clock) -> None:
    """Those that were moved in from an older schema."""
    out_of_reach(service, clock, 2 * SIGN_EVERY + 5)
    with service.store.change() as change:
        change.sign_audit(clock())
    assert 0 == check(service).unsigned


def test_a_signature_that_is_made_during_the_check_is_not_missing(
    written: Service, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the reading of the signatures and that of the end."""
    end = written.store.audit_end

    def later() -> ChainEnd:
        write(written, clock, 2 * SIGN_EVERY)
        return end()

    monkeypatch.setattr(written.store, "audit_end", later)
    assert EVENTS + 2 * SIGN_EVERY == check(written).end.sequence


def test_the_earlier_of_two_wrong_events_is_named(written: Service) -> None:
    for sequence in (150, 40):
        written.database.execute(f"UPDATE audit_event SET reason = 'x' WHERE sequence = {sequence}")
    assert "Audit event 40 was edited" in found(written)


def test_noted_heads_that_the_chain_holds_are_right(written: Service) -> None:
    noted = [ChainEnd(), *(place(written, sequence) for sequence in (1, 1, 77, EVENTS))]
    assert EVENTS == check(written, *noted).end.sequence


@pytest.mark.parametrize("sequence", [0, 1, 77, EVENTS])
def test_a_noted_head_that_the_chain_does_not_hold_is_told(written: Service, sequence: int) -> None:
    assert f"Audit event {sequence} is not the one of --head" in found(written, ChainEnd(sequence, "a" * 64))


def test_the_token_out_of_reach_is_no_verdict(written: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object) -> bytes:
        raise HsmUnavailable("The token does not answer")

    monkeypatch.setattr(written.token, "keyed_digest", unreachable)
    with pytest.raises(HsmUnavailable):
        check(written)


def test_an_older_generation_of_the_audit_key_still_verifies(written: Service) -> None:
    """Each signature is checked by the key that made it."""
    asked: list[int] = []
    signer = AuditSigner(written.token)
    keyed = written.token.keyed_digest

    def noting(purpose: Purpose, generation: int, data: bytes) -> bytes:
        asked.append(generation)
        return keyed(purpose, generation, data)

    head = written.store.audit_heads()[0]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(written.token, "keyed_digest", noting)
        answers = [signer.made(replace(head, generation=generation)) for generation in (1, 2, 0)]
    assert ([True, False, False], [1, 2, 0]) == (answers, asked)


def test_every_event_of_a_chain_of_pages_is_counted(
    service: Service, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chains that end at, before and after a page's end."""
    monkeypatch.setattr(audit_check, "PAGE", 10)
    for count in itertools.accumulate((9, 1, 1, 9)):
        write(service, clock, count - service.store.audit_end().sequence)
        assert count == check(service).end.sequence
