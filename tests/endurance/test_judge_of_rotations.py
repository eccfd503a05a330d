"""The judge follows a key through swaps, and sees what is wrong with it there. Times are small whole numbers."""

from __future__ import annotations

import pytest

from endurance.counted import used
from endurance.history import (
    CREATE,
    RENEW,
    REVOKE,
    REVOKE_ONE,
    SWAP,
    Changed,
    Event,
    Refused,
    Signed,
    SignedByAll,
    Verified,
)
from endurance.judge import Judge
from endurance.keys import Answer, Key, Place
from endurance.spans import Span

MERCHANT = "merchants/m"
PRIMARY, SECONDARY = (f"{MERCHANT}/credentials/{slot}" for slot in ("primary-hmac-key", "secondary-hmac-key"))
OLD, NEW, THIRD = Key(PRIMARY, 1, "aa"), Key(SECONDARY, 1, "bb"), Key(PRIMARY, 3, "cc")
OLD_SWAPPED, NEW_SWAPPED = Key(SECONDARY, 2), Key(PRIMARY, 2)
"""Where they stand after the swap."""

MADE = [Changed(Span(10, 20), CREATE, OLD), Changed(Span(10, 20), CREATE, NEW)]
SWAPPED = [
    *MADE,
    Changed(Span(40, 50), SWAP, NEW_SWAPPED, source=NEW.place),
    Changed(Span(40, 50), SWAP, OLD_SWAPPED, source=OLD.place),
]
REVOKED = [*SWAPPED, Changed(Span(60, 70), REVOKE, OLD_SWAPPED)]
RENEWED = [*SWAPPED, Changed(Span(60, 70), RENEW, THIRD, previous_ends=Span(200, 200))]
RETIRED_REVOKED = [*RENEWED, Changed(Span(80, 90), REVOKE_ONE, NEW_SWAPPED)]


def accepted(begin: float, end: float, key: Key, at: Key, name: str = MERCHANT, *, retiring: bool = False) -> Verified:
    """`at` is where the answer says that it stood."""
    answer = Answer("VALID", *at.place, retiring)
    return Verified(Span(begin, end), name, "primary-hmac-key", (key,), answer)


def invalid(begin: float, end: float, *keys: Key, name: str = MERCHANT, result: str = "INVALID") -> Verified:
    return Verified(Span(begin, end), name, "primary-hmac-key", keys, Answer(result))


def signed(begin: float, end: float, by: Key, signer: Place) -> Signed:
    return Signed(Span(begin, end), MERCHANT, b"message", by.mac(b"message"), signer)


def signed_by_all(begin: float, end: float, *by: tuple[Key, Key], name: str = MERCHANT) -> SignedByAll:
    """Each by a key, and where it stands."""
    macs, signers = tuple(key.mac(b"message") for key, _ in by), tuple(at.place for _, at in by)
    return SignedByAll(Span(begin, end), name, b"message", macs, signers)


def refused(begin: float, end: float, method: str, reason: str, name: str = PRIMARY, version: int = 0) -> Refused:
    return Refused(Span(begin, end), name, "primary-hmac-key", method, reason, version)


@pytest.mark.parametrize(
    "history",
    [
        pytest.param([*SWAPPED, accepted(51, 60, OLD, OLD_SWAPPED)], id="accepted where the swap put it"),
        pytest.param([*SWAPPED, accepted(41, 49, OLD, OLD)], id="accepted where it stood before, during the swap"),
        pytest.param([*SWAPPED, invalid(51, 60, OLD, name=PRIMARY)], id="refused where it stood before"),
        pytest.param([*SWAPPED, invalid(41, 49, OLD, name=SECONDARY)], id="refused there during the swap"),
        pytest.param([*REVOKED, invalid(71, 80, OLD)], id="refused after the revoke of where it stands"),
        pytest.param([*REVOKED, accepted(71, 80, NEW, NEW_SWAPPED)], id="the other key outlives that"),
        pytest.param(
            [*RENEWED, accepted(71, 199, NEW, NEW_SWAPPED, retiring=True)], id="retires where the swap had put it"
        ),
        pytest.param([*RETIRED_REVOKED, invalid(91, 95, NEW)], id="refused after the revoke of it alone"),
        pytest.param(
            [*RETIRED_REVOKED, accepted(91, 95, THIRD, THIRD)], id="the slot's current key outlives the other's revoke"
        ),
        pytest.param([*SWAPPED, signed(51, 60, NEW, NEW_SWAPPED.place)], id="signed by the new primary"),
        pytest.param([*SWAPPED, signed_by_all(51, 60, (NEW, NEW_SWAPPED), (OLD, OLD_SWAPPED))], id="signed by both"),
        pytest.param([*SWAPPED, signed_by_all(41, 49, (OLD, OLD), (NEW, NEW))], id="signed by both, as they stood"),
        pytest.param([*REVOKED, invalid(71, 80, OLD, OLD_SWAPPED)], id="signatures of one ended key"),
        pytest.param([*REVOKED, refused(61, 80, SWAP, "SLOT_EMPTY", MERCHANT)], id="one slot of the pair is empty"),
        pytest.param([*RETIRED_REVOKED, refused(91, 95, REVOKE_ONE, "SLOT_EMPTY", version=2)], id="it ended before"),
        pytest.param([*RENEWED, refused(150, 201, REVOKE_ONE, "SLOT_EMPTY", version=2)], id="its overlap ended"),
    ],
)
def test_a_possible_rotation_has_no_fault(history: list[Event]) -> None:
    assert [] == Judge(history).faults()


@pytest.mark.parametrize(
    ("fault", "history"),
    [
        ("a live key was refused", [*SWAPPED, invalid(35, 55, OLD)]),
        ("a live key was refused", [*SWAPPED, invalid(51, 60, OLD, name=SECONDARY)]),
        ("a live key was refused", [*SWAPPED, invalid(21, 39, OLD, name=PRIMARY)]),
        ("a live key was refused", [*REVOKED, invalid(71, 80, OLD_SWAPPED, NEW_SWAPPED)]),
        ("a live key was refused", [*RENEWED, invalid(71, 199, NEW)]),
        ("a live key was refused", [*RETIRED_REVOKED, invalid(91, 95, THIRD)]),
        ("there was a live key", [*SWAPPED, invalid(35, 55, name=PRIMARY, result="NO_LIVE_KEY")]),
        ("there was a live key", [*SWAPPED, invalid(35, 55, result="NO_LIVE_KEY")]),
        ("a key matched where it did not stand", [*SWAPPED, accepted(51, 60, OLD, OLD)]),
        ("a key matched where it did not stand", [*SWAPPED, accepted(21, 39, OLD, OLD_SWAPPED)]),
        ("a key matched in a slot that was not asked", [*SWAPPED, accepted(51, 60, OLD, OLD_SWAPPED, PRIMARY)]),
        ("another key is said to have matched", [*SWAPPED, accepted(51, 60, OLD, NEW_SWAPPED)]),
        ("another key is said to have matched", [*SWAPPED, accepted(51, 60, OLD, THIRD)]),
        ("a key that had ended was accepted", [*REVOKED, accepted(71, 80, OLD, OLD_SWAPPED)]),
        ("a key that had ended was accepted", [*RENEWED, accepted(201, 210, NEW, NEW_SWAPPED, retiring=True)]),
        ("a key that had ended was accepted", [*RETIRED_REVOKED, accepted(91, 95, NEW, NEW_SWAPPED, retiring=True)]),
        ("a retiring key is said to be current", [*RENEWED, accepted(71, 80, NEW, NEW_SWAPPED)]),
        (
            "the slot's current key is said to be retiring",
            [*SWAPPED, accepted(51, 60, NEW, NEW_SWAPPED, retiring=True)],
        ),
        ("a key signed that was not current", [*SWAPPED, signed(51, 60, OLD, OLD.place)]),
        ("the secondary key signed while there was a primary", [*SWAPPED, signed(51, 60, OLD, OLD_SWAPPED.place)]),
        ("the secondary key signed while there was a primary", [*SWAPPED, signed(45, 60, OLD, OLD_SWAPPED.place)]),
        ("the MAC is wrong", [*SWAPPED, signed(51, 60, OLD, NEW_SWAPPED.place)]),
        ("a live key did not sign", [*SWAPPED, signed_by_all(51, 60, (NEW, NEW_SWAPPED))]),
        ("a live key did not sign", [*RENEWED, signed_by_all(71, 80, (THIRD, THIRD), name=PRIMARY)]),
        (
            "a key signed that was not live there",
            [*REVOKED, signed_by_all(71, 80, (NEW, NEW_SWAPPED), (OLD, OLD_SWAPPED))],
        ),
        (
            "the secondary key signed while there was a primary",
            [*SWAPPED, signed_by_all(51, 60, (OLD, OLD_SWAPPED), (NEW, NEW_SWAPPED))],
        ),
        ("there are not as many MACs as signers", [*SWAPPED, SignedByAll(Span(51, 60), MERCHANT, b"", (), ())]),
        ("SLOT_EMPTY was not so", [*SWAPPED, refused(35, 55, SWAP, "SLOT_EMPTY", MERCHANT)]),
        ("SLOT_EMPTY was not so", [*SWAPPED, refused(35, 55, "GenerateHmac", "SLOT_EMPTY", MERCHANT)]),
        ("SLOT_EMPTY was not so", [*RENEWED, refused(71, 80, REVOKE_ONE, "SLOT_EMPTY", version=2)]),
        ("nothing here is a reason to refuse", [*SWAPPED, refused(35, 55, "BatchVerifyHmac", "SLOT_EMPTY")]),
        ("nothing here is a reason to refuse", [*SWAPPED, refused(35, 55, SWAP, "ETAG_MISMATCH", MERCHANT)]),
    ],
)
def test_an_impossible_answer_in_a_rotation_is_a_fault(fault: str, history: list[Event]) -> None:
    assert [fault] == [found.partition(":")[0] for found in Judge(history).faults()]


@pytest.mark.parametrize(
    "history",
    [
        pytest.param([*MADE[:1], *SWAPPED[2:]], id="a swap with a slot that held no key"),
        pytest.param([*RETIRED_REVOKED, RETIRED_REVOKED[-1]], id="a retiring key revoked twice"),
    ],
)
def test_swaps_and_revokes_that_cannot_be_are_a_fault(history: list[Event]) -> None:
    assert Judge(history).faults()


def test_uses_are_counted_by_key_wherever_it_stood() -> None:
    history: list[Event] = [
        *SWAPPED,
        accepted(21, 30, OLD, OLD),
        accepted(51, 60, OLD, OLD_SWAPPED),
        invalid(51, 60, NEW, name=SECONDARY),
        signed(51, 60, NEW, NEW_SWAPPED.place),
        signed_by_all(51, 60, (NEW, NEW_SWAPPED), (OLD, OLD_SWAPPED)),
    ]
    assert {OLD.place: 2, NEW.place: 2} == used(history)


def test_the_judge_tells_how_many_calls_were_rightful_and_how_many_came_late() -> None:
    judge = Judge([*REVOKED, accepted(35, 55, OLD, OLD), accepted(65, 67, OLD, OLD_SWAPPED), invalid(71, 80, OLD)])
    assert (1, 1) == (judge.rightful(), judge.late())
