"""What became of a change that nobody was told of is found in the audit record. Times are small whole numbers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from support.asking import request

from endurance.history import ACTIVATE, CREATE, RENEW, REVOKE, SUSPEND, SWAP, Changed, Event, Moved, Refused, Stayed
from endurance.keys import Key
from endurance.settled import Recorded, Settled, settled
from endurance.spans import Span

MERCHANT = "merchants/m"
PRIMARY, SECONDARY = (f"{MERCHANT}/credentials/{slot}" for slot in ("primary-hmac-key", "secondary-hmac-key"))
FIRST = Key(PRIMARY, 1, "aa")
CREATED = Changed(Span(10, 20), CREATE, FIRST, request_id="one")
READ_AT = 1_000


def unanswered(begin: float, end: float, method: str, reason: str = "STORE_UNAVAILABLE", **fields: Any) -> Refused:
    return Refused(Span(begin, end), fields["name"], "", method, reason, request=request(method, **fields))


def recorded(sequence: int, time: int, method: str, resource: str, version: int, request_id: str = "") -> Recorded:
    return Recorded(sequence, time, method, (resource, version), request_id)


ON_RECORD = recorded(1, 15, CREATE, PRIMARY, 1, "one")


def after(*events: Event, record: list[Recorded]) -> Settled:
    return settled([CREATED, *events], [ON_RECORD, *record], READ_AT)


def test_a_change_that_is_on_record_was_done_between_its_begin_and_what_stands_after_it() -> None:
    lost = unanswered(30, 35, RENEW, name=PRIMARY, request_id="two")
    revoked = Changed(Span(60, 70), REVOKE, Key(PRIMARY, 2), request_id="three")
    record = [recorded(2, 33, RENEW, PRIMARY, 2, "two"), recorded(3, 65, REVOKE, PRIMARY, 2, "three")]
    found = after(lost, revoked, record=record)
    done = Changed(Span(30, 70), RENEW, Key(PRIMARY, 2), request_id="two")
    assert [CREATED, done, revoked] == found.events
    assert ([], [lost], 1, 1) == (found.faults, found.unanswered, found.unknown, found.done)


def test_a_change_that_is_not_on_record_was_not_done() -> None:
    found = after(unanswered(30, 35, RENEW, name=PRIMARY, request_id="two"), record=[])
    assert ([CREATED], [], 1, 0) == (found.events, found.faults, found.unknown, found.done)


def test_the_last_change_was_done_by_the_time_that_the_record_was_read() -> None:
    found = after(
        unanswered(30, 35, REVOKE, name=PRIMARY, request_id="two"), record=[recorded(2, 33, REVOKE, PRIMARY, 1, "two")]
    )
    assert Changed(Span(30, READ_AT), REVOKE, Key(PRIMARY, 1), request_id="two") == found.events[-1]


def test_an_overlap_that_nobody_was_told_of_is_known_within_bounds() -> None:
    lost = unanswered(30, 35, RENEW, name=PRIMARY, request_id="two", previous_ttl={"nanos": 100})
    found = after(lost, record=[recorded(2, 33, RENEW, PRIMARY, 2, "two")])
    assert isinstance(renewed := found.events[-1], Changed)
    assert Span(130, 133) == renewed.previous_ends


def test_a_swap_that_nobody_was_told_of_changed_both_slots() -> None:
    lost = unanswered(30, 35, SWAP, name=MERCHANT, request_id="two")
    found = after(lost, record=[recorded(2, 33, SWAP, PRIMARY, 2, "two"), recorded(3, 33, SWAP, SECONDARY, 5)])
    span = Span(30, READ_AT)
    assert [
        Changed(span, SWAP, Key(PRIMARY, 2), source=(SECONDARY, 4), request_id="two"),
        Changed(span, SWAP, Key(SECONDARY, 5), source=(PRIMARY, 1), request_id="two"),
    ] == found.events[1:]


def test_answers_are_held_against_the_order_of_the_record() -> None:
    merchants = ["merchants/l", "merchants/m", "merchants/n"]
    told = [Span(30, 90), Span(50, 60), Span(45, 95)]
    asked = [Moved(span, name, False) for span, name in zip(told, merchants, strict=True)]
    record = [recorded(2 + number, 55, SUSPEND, name, 0) for number, name in enumerate(merchants)]
    found = after(*asked[::-1], record=record)
    spans = [Span(30, 60), Span(50, 60), Span(50, 95)]
    assert [Moved(span, name, False) for span, name in zip(spans, merchants, strict=True)] == found.events[1:]


def test_a_move_that_nobody_was_told_of_is_on_record_and_one_that_changed_nothing_is_not() -> None:
    lost, repeated = unanswered(30, 35, SUSPEND, name=MERCHANT), Moved(Span(50, 60), MERCHANT, False)
    found = after(lost, repeated, record=[recorded(2, 40, SUSPEND, MERCHANT, 0)])
    assert [Moved(Span(40, READ_AT), MERCHANT, False), Stayed(Span(50, 60), MERCHANT, False)] == found.events[1:]
    assert 1 == found.unknown


def test_a_move_that_was_done_later_is_not_the_one_that_was_answered() -> None:
    lost, repeated = unanswered(30, 35, SUSPEND, name=MERCHANT), Moved(Span(50, 60), MERCHANT, False)
    found = after(lost, repeated, record=[recorded(2, 70, SUSPEND, MERCHANT, 0)])
    assert [Moved(Span(70, READ_AT), MERCHANT, False), Stayed(Span(50, 60), MERCHANT, False)] == found.events[1:]


def test_a_question_without_an_answer_says_nothing() -> None:
    lost = unanswered(30, 35, "VerifyHmac", "DEADLINE_EXCEEDED", name=PRIMARY)
    assert ([CREATED], 0, [lost]) == ((found := after(lost, record=[])).events, found.unknown, found.unanswered)


@pytest.mark.parametrize(
    ("fault", "events", "record"),
    [
        ("a change was answered and is not on record", [CREATED], []),
        (
            "a change was refused and is on record",
            [unanswered(30, 35, CREATE, "SLOT_OCCUPIED", name=PRIMARY, request_id="one")],
            [ON_RECORD],
        ),
        ("nobody asked for Recorded(sequence=1", [unanswered(30, 35, ACTIVATE, name=MERCHANT)], [ON_RECORD]),
    ],
)
def test_a_record_that_contradicts_the_answers_is_a_fault(
    fault: str, events: list[Event], record: list[Recorded]
) -> None:
    assert settled(events, record, READ_AT).faults[0].startswith(fault)


def test_a_row_of_the_audit_record_is_read_to_the_microsecond() -> None:
    row = {
        "sequence": 7, "time": datetime(1970, 1, 1, 0, 0, 2, 3, UTC),
        "method": "/keysvc.v1.CredentialService/RenewCredential", "resource": PRIMARY, "version": 4, "request_id": "r",
    }  # fmt: skip
    assert recorded(7, 2_000_003_000, RENEW, PRIMARY, 4, "r") == Recorded.of(row)
