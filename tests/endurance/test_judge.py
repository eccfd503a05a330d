"""The judge of the stress test sees what is wrong, and only that. Times are small whole numbers."""

from __future__ import annotations

import time

import pytest

from endurance.history import CREATE, RENEW, REVOKE, Changed, Event, Refused, Signed, Verified
from endurance.judge import Judge
from endurance.keys import Answer, Key
from endurance.recorder import SteadyClock
from endurance.spans import Span

MERCHANT = "merchants/m"
PRIMARY = f"{MERCHANT}/credentials/primary-hmac-key"
SECONDARY = f"{MERCHANT}/credentials/secondary-hmac-key"
FIRST, SECOND = Key(PRIMARY, 1, "aa"), Key(PRIMARY, 2, "bb")
OTHER = Key(SECONDARY, 1, "cc")
OVERLAP_ENDS = Span(100, 100)

CREATED = Changed(Span(10, 20), CREATE, FIRST)
RENEWED = Changed(Span(40, 50), RENEW, SECOND)
RENEWED_WITH_OVERLAP = Changed(Span(40, 50), RENEW, SECOND, OVERLAP_ENDS)
REVOKED = Changed(Span(40, 50), REVOKE, FIRST)
SECONDARY_CREATED = Changed(Span(10, 20), CREATE, OTHER)


def verified(begin: float, end: float, result: str, *, key: Key | None = FIRST, retiring: bool = False) -> Verified:
    matched = (key.credential, key.version) if key and result == "VALID" else ("", 0)
    keys = (key,) if key else ()
    return Verified(Span(begin, end), PRIMARY, "primary-hmac-key", keys, Answer(result, *matched, retiring))


def signed(begin: float, end: float, by: Key, name: str = PRIMARY, mac: bytes | None = None) -> Signed:
    return Signed(Span(begin, end), name, b"message", mac or by.mac(b"message"), by.place)


def refused(begin: float, end: float, reason: str, method: str = RENEW) -> Refused:
    return Refused(Span(begin, end), PRIMARY, "primary-hmac-key", method, reason)


@pytest.mark.parametrize(
    "history",
    [
        pytest.param([CREATED, RENEWED, verified(21, 39, "VALID")], id="accepted while it lived"),
        pytest.param([CREATED, RENEWED, verified(41, 60, "VALID")], id="accepted by a call that began before it ended"),
        pytest.param([CREATED, RENEWED, verified(21, 41, "INVALID")], id="refused by a call that ended after it did"),
        pytest.param([CREATED, RENEWED, verified(51, 60, "INVALID")], id="refused after it ended"),
        pytest.param([CREATED, REVOKED, verified(51, 60, "NO_LIVE_KEY")], id="no live key after a revoke"),
        pytest.param(
            [CREATED, RENEWED_WITH_OVERLAP, verified(51, 60, "VALID", retiring=True)], id="accepted in its overlap"
        ),
        pytest.param([CREATED, RENEWED_WITH_OVERLAP, verified(99, 110, "INVALID")], id="refused as its overlap ended"),
        pytest.param(
            [CREATED, Changed(Span(40, 150), RENEW, SECOND, OVERLAP_ENDS), verified(110, 140, "VALID")],
            id="accepted after its overlap ended, while it was being renewed",
        ),
        pytest.param([CREATED, verified(21, 22, "INVALID", key=None)], id="forgery refused"),
        pytest.param([CREATED, signed(21, 22, FIRST)], id="signed"),
        pytest.param([SECONDARY_CREATED, signed(21, 22, OTHER, MERCHANT)], id="signed by the secondary alone"),
        pytest.param([CREATED, REVOKED, refused(41, 60, "SLOT_EMPTY")], id="refused when revoked"),
        pytest.param([CREATED, refused(12, 15, "SLOT_OCCUPIED", CREATE)], id="refused when created"),
    ],
)
def test_a_possible_history_has_no_fault(history: list[Event]) -> None:
    assert [] == Judge(history).faults()


@pytest.mark.parametrize(
    ("fault", "history"),
    [
        ("a key that had ended was accepted", [CREATED, RENEWED, verified(51, 60, "VALID", retiring=True)]),
        ("a key that had ended was accepted", [CREATED, REVOKED, verified(51, 60, "VALID", retiring=True)]),
        (
            "a key that had ended was accepted",
            [CREATED, RENEWED_WITH_OVERLAP, verified(101, 110, "VALID", retiring=True)],
        ),
        ("a live key was refused", [CREATED, RENEWED, verified(21, 39, "INVALID")]),
        ("a live key was refused", [CREATED, RENEWED_WITH_OVERLAP, verified(51, 60, "INVALID")]),
        ("there was a live key", [CREATED, verified(21, 39, "NO_LIVE_KEY", key=None)]),
        ("there was no live key", [CREATED, REVOKED, verified(51, 60, "INVALID")]),
        ("the merchant was active", [CREATED, verified(12, 39, "MERCHANT_NOT_ACTIVE")]),
        ("no such answer is right here", [CREATED, verified(12, 39, "STALE_TIMESTAMP")]),
        ("a forged MAC or key was accepted", [CREATED, verified(21, 39, "VALID", key=None)]),
        ("the slot's current key is said to be retiring", [CREATED, verified(21, 39, "VALID", retiring=True)]),
        ("a retiring key is said to be current", [CREATED, RENEWED_WITH_OVERLAP, verified(51, 60, "VALID")]),
        ("the MAC is wrong", [CREATED, signed(21, 22, FIRST, mac=b"another")]),
        ("a key signed that was not current", [CREATED, RENEWED_WITH_OVERLAP, signed(51, 60, FIRST)]),
        ("there never was such a key", [CREATED, signed(21, 22, SECOND)]),
        (
            "the secondary key signed while there was a primary",
            [CREATED, SECONDARY_CREATED, signed(21, 22, OTHER, MERCHANT)],
        ),
        ("SLOT_EMPTY was not so", [CREATED, RENEWED, refused(51, 60, "SLOT_EMPTY")]),
        ("SLOT_OCCUPIED was not so", [CREATED, REVOKED, refused(51, 60, "SLOT_OCCUPIED", CREATE)]),
        ("nothing here is a reason to refuse", [CREATED, refused(51, 60, "INTERNAL")]),
        ("nothing here is a reason to refuse", [refused(51, 60, "SLOT_EMPTY", "VerifyHmac")]),
    ],
)
def test_an_impossible_answer_is_a_fault(fault: str, history: list[Event]) -> None:
    assert [fault] == [found.partition(":")[0] for found in Judge(history).faults()]


@pytest.mark.parametrize(
    "history",
    [
        pytest.param([CREATED, CREATED], id="a version given out twice"),
        pytest.param([Changed(Span(1, 2), CREATE, SECOND)], id="a version skipped"),
        pytest.param([CREATED, REVOKED, REVOKED], id="a key revoked twice"),
        pytest.param([CREATED, REVOKED, RENEWED], id="a renewal of a revoked key"),
        pytest.param([CREATED, Changed(Span(1, 2), RENEW, SECOND)], id="a renewal before the key that it renews"),
    ],
)
def test_changes_that_cannot_follow_each_other_are_a_fault(history: list[Event]) -> None:
    assert 1 == len(Judge(history).faults())


def test_a_history_whose_clock_was_set_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, now = SteadyClock(), time.time_ns
    assert not clock.was_set()
    monkeypatch.setattr(time, "time_ns", lambda: now() - 1_000_000_000)
    assert clock.was_set()
