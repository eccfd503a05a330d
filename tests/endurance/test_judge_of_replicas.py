"""The judge sees what is wrong with merchants that are suspended and callers who are disabled, and only that.

Times are small whole numbers.
"""

from __future__ import annotations

import math

import pytest

from endurance import callers
from endurance.callers import Disabled, Entered, PasswordSet
from endurance.history import CREATE, RENEW, REVOKE, Changed, Event, Moved, Refused, Signed, Stayed, Verified
from endurance.judge import Judge
from endurance.keys import Answer, Key
from endurance.spans import Span

MERCHANT = "merchants/m"
PRIMARY = f"{MERCHANT}/credentials/primary-hmac-key"
FIRST, SECOND = Key(PRIMARY, 1, "aa"), Key(PRIMARY, 2, "bb")
CREATED = Changed(Span(10, 20), CREATE, FIRST)
SUSPENDED: list[Event] = [CREATED, Moved(Span(40, 50), MERCHANT, False)]
RESUMED: list[Event] = [*SUSPENDED, Moved(Span(80, 90), MERCHANT, True)]

GUEST = [PasswordSet(Span(10, 20), "g", 0), PasswordSet(Span(40, 50), "g", 1), Disabled(Span(80, 90), "g")]
LEFT_ALONE = [GUEST[0], PasswordSet(Span(40, math.inf), "g", 1)]


def verified(begin: float, end: float, result: str, name: str = PRIMARY) -> Verified:
    answer = Answer(result, *FIRST.place) if result == "VALID" else Answer(result)
    return Verified(Span(begin, end), name, "primary-hmac-key", (FIRST,), answer)


def signed(begin: float, end: float) -> Signed:
    return Signed(Span(begin, end), MERCHANT, b"message", FIRST.mac(b"message"), FIRST.place)


def refused(begin: float, end: float, method: str, name: str = PRIMARY) -> Refused:
    return Refused(Span(begin, end), name, "primary-hmac-key", method, "MERCHANT_NOT_ACTIVE")


@pytest.mark.parametrize(
    "history",
    [
        pytest.param([*SUSPENDED, verified(21, 39, "VALID")], id="accepted while it was active"),
        pytest.param(
            [*SUSPENDED, verified(49, 60, "VALID")], id="accepted by a call that began before it was suspended"
        ),
        pytest.param(
            [*SUSPENDED, verified(30, 41, "MERCHANT_NOT_ACTIVE")], id="refused by a call that ended after that"
        ),
        pytest.param([*SUSPENDED, verified(51, 60, "MERCHANT_NOT_ACTIVE", MERCHANT)], id="refused while suspended"),
        pytest.param([*RESUMED, verified(51, 81, "VALID")], id="accepted as it was made active again"),
        pytest.param([*RESUMED, verified(91, 99, "VALID")], id="accepted after"),
        pytest.param([*RESUMED, verified(89, 99, "MERCHANT_NOT_ACTIVE")], id="refused by a call that began before"),
        pytest.param([*SUSPENDED, refused(51, 60, "GenerateHmac", MERCHANT)], id="signs nothing"),
        pytest.param([*SUSPENDED, refused(51, 60, RENEW)], id="nothing is renewed"),
        pytest.param([*SUSPENDED, Changed(Span(51, 60), REVOKE, FIRST)], id="a key is revoked"),
        pytest.param([*SUSPENDED, Changed(Span(49, 60), RENEW, SECOND)], id="renewed before it was suspended"),
        pytest.param([*SUSPENDED, Stayed(Span(51, 60), MERCHANT, False)], id="suspended again"),
        pytest.param(
            [*SUSPENDED, Moved(Span(60, 70), MERCHANT, False), verified(51, 59, "MERCHANT_NOT_ACTIVE")],
            id="moved to where it was",
        ),
        pytest.param([*GUEST, Entered(Span(21, 39), "g", 0, True)], id="let in"),
        pytest.param(
            [*GUEST, Entered(Span(49, 60), "g", 0, True)], id="let in by a call that began before the renewal"
        ),
        pytest.param([*GUEST, Entered(Span(30, 41), "g", 0, False)], id="not let in by a call that ended after it"),
        pytest.param([*GUEST, Entered(Span(91, 99), "g", 1, False)], id="disabled"),
        pytest.param(
            [*LEFT_ALONE, Entered(Span(91, 99), "g", 0, True)], id="let in where nobody was told of the renewal"
        ),
        pytest.param([*LEFT_ALONE, Entered(Span(91, 99), "g", 0, False)], id="not let in where nobody was told of it"),
    ],
)
def test_a_possible_history_has_no_fault(history: list[Event]) -> None:
    assert [] == Judge(history).faults()


@pytest.mark.parametrize(
    ("fault", "history"),
    [
        ("a key was used while the merchant was not active", [*SUSPENDED, verified(51, 60, "VALID")]),
        ("a key was used while the merchant was not active", [*RESUMED, verified(51, 79, "VALID")]),
        ("a key was used while the merchant was not active", [*SUSPENDED, signed(51, 60)]),
        (
            "a key was used while the merchant was not active",
            [*SUSPENDED, Moved(Span(60, 70), MERCHANT, False), verified(55, 65, "VALID")],
        ),
        ("the merchant was not active", [*SUSPENDED, verified(51, 60, "INVALID")]),
        ("the merchant was active", [*SUSPENDED, verified(21, 39, "MERCHANT_NOT_ACTIVE")]),
        ("the merchant was active", [*RESUMED, verified(91, 99, "MERCHANT_NOT_ACTIVE")]),
        ("a live key was refused", [*RESUMED, verified(91, 99, "INVALID")]),
        ("MERCHANT_NOT_ACTIVE was not so", [*SUSPENDED, refused(21, 39, RENEW)]),
        ("nothing here is a reason to refuse", [*SUSPENDED, refused(51, 60, REVOKE)]),
        ("a key was made while the merchant was not active", [*SUSPENDED, Changed(Span(51, 60), RENEW, SECOND)]),
        ("a merchant was not moved, and was not there already", [*SUSPENDED, Stayed(Span(51, 60), MERCHANT, True)]),
        ("a caller was let in with a password that had ended", [*GUEST, Entered(Span(51, 60), "g", 0, True)]),
        ("a caller was let in with a password that had ended", [*GUEST, Entered(Span(91, 99), "g", 1, True)]),
        ("a caller was not let in", [*GUEST, Entered(Span(21, 39), "g", 0, False)]),
        ("a caller was not let in", [*GUEST, Entered(Span(51, 79), "g", 1, False)]),
        ("a caller was not let in", [*LEFT_ALONE, Entered(Span(21, 39), "g", 0, False)]),
    ],
)
def test_an_impossible_answer_is_a_fault(fault: str, history: list[Event]) -> None:
    assert fault in [found.partition(":")[0] for found in Judge(history).faults()]


def test_what_is_rightful_and_what_is_late_follows_the_merchant_and_the_caller() -> None:
    judge = Judge(
        [*RESUMED, verified(21, 39, "VALID"), verified(51, 60, "MERCHANT_NOT_ACTIVE"), verified(35, 45, "VALID")]
    )
    assert (1, 1) == (judge.rightful(), judge.late())
    assert 1 == callers.late([*GUEST, Entered(Span(49, 60), "g", 0, True), Entered(Span(51, 60), "g", 0, False)])


def test_another_merchant_is_active_all_the_time() -> None:
    elsewhere = Refused(Span(51, 60), "merchants/other", "primary-hmac-key", RENEW, "MERCHANT_NOT_ACTIVE")
    assert 1 == len(Judge([*SUSPENDED, elsewhere]).faults())
