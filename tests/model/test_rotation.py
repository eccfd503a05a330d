"""Where a rotation stands and what is safe next, in every situation of a pair."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from keysvc.model.rotation import Action, Rotation, Stage, Standing
from keysvc.model.slots import PAIRS, Kind, Slot
from keysvc.model.uses import LATE, Calls

NOW = datetime(2026, 3, 29, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)
HMAC, BEARER = Kind.HMAC_KEY, Kind.BEARER_SECRET
QUIET = NOW - DAY - LATE
"""A use at this time is just long enough ago."""


def key(slot: Slot, version: int, age: int, used: datetime | None = None, *, retiring: bool = False) -> Standing:
    """Made so many days ago."""
    calls = Calls(0, 0, 3, used) if used else Calls()
    callers = (("shop", calls),) if used else ()
    may_sign = slot in (Slot.PRIMARY_HMAC_KEY, Slot.SECONDARY_HMAC_KEY)
    return Standing(slot, version, may_sign, NOW - age * DAY, NOW + DAY if retiring else None, calls, callers)


def rotation(kind: Kind, keys: list[Standing], unused_for: timedelta = DAY) -> Rotation:
    return Rotation(kind, keys, unused_for, NOW)


@dataclass(frozen=True)
class Situation:
    """By label of a key (p or s for the current keys, a digit for a retiring one): what is there, and what is said."""

    keys: str
    newer: str
    stage: Stage
    old: str
    signer: str
    steps: list[str]
    """Action and label; CREATE with its slot's label, SWAP alone."""


SITUATIONS = [
    Situation("", "", Stage.NO_KEY, "", "", ["CREATE p"]),
    Situation("p", "p", Stage.SINGLE, "", "p", ["CREATE s"]),
    Situation("s", "s", Stage.SINGLE, "", "s", ["CREATE p"]),
    Situation("ps", "s", Stage.MOVING, "p", "p", ["SWAP"]),
    Situation("ps", "p", Stage.RETIRING, "s", "p", ["REVOKE s"]),
    Situation("p1", "p", Stage.RETIRING, "1", "p", ["CREATE s", "REVOKE 1"]),
    Situation("s2", "s", Stage.RETIRING, "2", "s", ["CREATE p", "REVOKE 2"]),
    Situation("p1s", "s", Stage.MOVING, "p1", "p", ["SWAP", "REVOKE 1"]),
    Situation("p1s2", "p", Stage.RETIRING, "1s2", "p", ["REVOKE 1", "REVOKE s", "REVOKE 2"]),
    Situation("ps2", "s", Stage.MOVING, "p2", "p", ["SWAP", "REVOKE 2"]),
]


@pytest.mark.parametrize("kind", [HMAC, BEARER])
@pytest.mark.parametrize("used", [None, QUIET, QUIET + MICROSECOND])
@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: f"{situation.keys}-newer-{situation.newer}")
def test_every_situation(situation: Situation, kind: Kind, used: datetime | None) -> None:
    """With all keys never used, quiet for just long enough, and used a microsecond too late."""
    primary, secondary = PAIRS[kind]
    ages = {"p": 1 if situation.newer == "p" else 9, "s": 1 if situation.newer == "s" else 9, "1": 20, "2": 20}
    places = {"p": (primary, 5), "s": (secondary, 7), "1": (primary, 4), "2": (secondary, 6)}
    keys = {one: key(*places[one], ages[one], used, retiring=one.isdigit()) for one in situation.keys}
    told = rotation(kind, list(keys.values()))

    assert situation.stage is told.stage
    assert set(situation.old) == {one for one, standing in keys.items() if told.is_old(standing)}
    signer = situation.signer if kind is HMAC else ""
    assert set(signer) == {one for one, standing in keys.items() if told.signs(standing)}
    quiet = used is None or used <= QUIET
    assert (set(situation.old) if quiet else set()) == {one for one, k in keys.items() if told.can_be_revoked(k)}

    labels = {(slot, version if one.isdigit() else 0): one for one, (slot, version) in places.items()}
    steps = [
        f"{step.action} {labels[step.slot, step.version]}" if step.slot else str(step.action) for step in told.steps()
    ]
    assert situation.steps == steps
    safe = {
        Action.REVOKE: quiet,
        Action.SWAP: kind is BEARER or used is not None,
        Action.CREATE: kind is BEARER or situation.keys[:1] != "s",
    }
    assert [safe[step.action] for step in told.steps()] == [step.safe for step in told.steps()]
    assert all(step.reason for step in told.steps())


@pytest.mark.parametrize(
    ("ago", "revocable"),
    [
        (DAY + LATE + MICROSECOND, True),
        (DAY + LATE, True),
        (DAY + LATE - MICROSECOND, False),
        (DAY, False),
        (timedelta(), False),
        (-DAY, False),
    ],
)
def test_a_use_may_be_known_two_seconds_late(ago: timedelta, *, revocable: bool) -> None:
    """The last is by a clock that is ahead."""
    old = key(Slot.SECONDARY_HMAC_KEY, 1, 9, NOW - ago)
    told = rotation(HMAC, [key(Slot.PRIMARY_HMAC_KEY, 1, 1), old])
    assert revocable is told.can_be_revoked(old)
    assert [revocable] == [step.safe for step in told.steps()]


def test_with_no_quiet_time_the_two_seconds_stay() -> None:
    new = key(Slot.PRIMARY_HMAC_KEY, 1, 1)
    for ago, revocable in ((LATE, True), (LATE - MICROSECOND, False)):
        old = key(Slot.SECONDARY_HMAC_KEY, 1, 9, NOW - ago)
        assert revocable is rotation(HMAC, [new, old], timedelta()).can_be_revoked(old)


def test_the_key_that_stays_is_never_told_to_be_revocable() -> None:
    """Not used by anybody, and yet the only one, or the newer one."""
    alone = key(Slot.PRIMARY_HMAC_KEY, 1, 9)
    assert not rotation(HMAC, [alone]).can_be_revoked(alone)
    newer = key(Slot.SECONDARY_HMAC_KEY, 1, 1)
    assert not rotation(HMAC, [alone, newer]).can_be_revoked(newer)


def test_a_step_that_is_not_safe_names_three_callers_and_the_number_of_others() -> None:
    calls = Calls(1, 1, 1, NOW)
    callers = tuple((name, calls) for name in ("billing", "", "shop", "fourth", "fifth"))
    old = Standing(Slot.SECONDARY_HMAC_KEY, 3, True, NOW - DAY, None, calls, callers)
    (step,) = rotation(HMAC, [key(Slot.PRIMARY_HMAC_KEY, 4, 0), old]).steps()
    named = "by principals/billing, a caller not known, principals/shop and 2 more: move them first"
    assert f"Last used at 2026-03-29T12:00:00+00:00, {named}" == step.reason
    assert (Slot.SECONDARY_HMAC_KEY, 0, False) == (step.slot, step.version, step.safe)


def test_a_step_that_is_safe_says_for_how_long_nobody_used_the_key() -> None:
    old = key(Slot.SECONDARY_HMAC_KEY, 3, 9, QUIET)
    (step,) = rotation(HMAC, [key(Slot.PRIMARY_HMAC_KEY, 4, 0), old]).steps()
    assert step.reason.startswith("Nobody has used it for 1 day")


def test_a_primary_that_only_verifies_signs_nothing() -> None:
    """An imported SHA-1 key."""
    imported = replace(key(Slot.PRIMARY_HMAC_KEY, 1, 2), may_sign=False)
    newer = key(Slot.SECONDARY_HMAC_KEY, 1, 1)
    told = rotation(HMAC, [imported, newer])
    assert [False, False] == [told.signs(imported), told.signs(newer)]


def test_a_slot_is_not_safe_to_revoke_while_a_retiring_key_in_it_is_used() -> None:
    """Revoking the slot ends both; revoking the retiring one alone ends only that."""
    new, old = key(Slot.PRIMARY_HMAC_KEY, 4, 0), key(Slot.SECONDARY_HMAC_KEY, 2, 2)
    for used in (None, NOW):
        retiring = key(Slot.SECONDARY_HMAC_KEY, 1, 3, used, retiring=True)
        told = rotation(HMAC, [new, old, retiring])
        assert [used is None] * 2 == [told.can_be_revoked(old), told.can_be_revoked(retiring)]
    in_use, unused = key(Slot.SECONDARY_HMAC_KEY, 2, 2, NOW), key(Slot.SECONDARY_HMAC_KEY, 1, 3, retiring=True)
    told = rotation(HMAC, [new, in_use, unused])
    assert [False, True] == [told.can_be_revoked(in_use), told.can_be_revoked(unused)]


def test_a_reason_names_only_who_used_it_of_late() -> None:
    gone, here = Calls(0, 0, 9, QUIET), Calls(1, 1, 1, NOW)
    old = replace(key(Slot.SECONDARY_HMAC_KEY, 3, 1), calls=here, callers=(("here", here), ("gone", gone)))
    (step,) = rotation(HMAC, [key(Slot.PRIMARY_HMAC_KEY, 4, 0), old]).steps()
    assert step.reason.endswith("by principals/here: move them first")


def test_a_swap_to_a_key_that_only_verifies_is_not_safe() -> None:
    """Whoever asks for a signature by the merchant's name would be refused."""
    newer = replace(key(Slot.SECONDARY_HMAC_KEY, 1, 1, NOW), may_sign=False)
    (step,) = rotation(HMAC, [key(Slot.PRIMARY_HMAC_KEY, 1, 2, NOW), newer]).steps()
    assert (Action.SWAP, False) == (step.action, step.safe)
    assert "only verifies" in step.reason
