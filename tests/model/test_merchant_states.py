"""Which state a merchant may move to: created waiting, active and suspended in turn, terminated for good."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from keysvc.model.errors import MerchantNotActive
from keysvc.model.merchants import check_move, require_active
from keysvc.model.records import MerchantRecord, MerchantState

WAITING, ACTIVE = MerchantState.WAITING_ACTIVATION, MerchantState.ACTIVE
SUSPENDED, TERMINATED = MerchantState.SUSPENDED, MerchantState.TERMINATED

ALLOWED = {
    (WAITING, ACTIVE),
    (ACTIVE, SUSPENDED),
    (SUSPENDED, ACTIVE),
    (WAITING, TERMINATED),
    (ACTIVE, TERMINATED),
    (SUSPENDED, TERMINATED),
}
REFUSED = [
    (before, after)
    for before in MerchantState
    for after in MerchantState
    if before is not after and (before, after) not in ALLOWED
]


def merchant(state: MerchantState) -> MerchantRecord:
    time = datetime(2026, 7, 1, tzinfo=UTC)
    return MerchantRecord(
        merchant_id="m-1", display_name="", psp=None, acquirer=None, state=state,
        create_time=time, update_time=time, revision=1,
    )  # fmt: skip


@pytest.mark.parametrize(("before", "after"), sorted(ALLOWED))
def test_a_move_that_is_allowed(before: MerchantState, after: MerchantState) -> None:
    check_move(merchant(before), after)


@pytest.mark.parametrize(("before", "after"), REFUSED)
def test_a_move_that_is_refused(before: MerchantState, after: MerchantState) -> None:
    with pytest.raises(MerchantNotActive) as refused:
        check_move(merchant(before), after)
    assert f"m-1 is {before} and cannot become {after}" in refused.value.message
    assert {"state": before} == refused.value.metadata


def test_nothing_leads_out_of_terminated_or_back_to_waiting() -> None:
    assert {(TERMINATED, state) for state in MerchantState if state is not TERMINATED} <= set(REFUSED)
    assert {(state, WAITING) for state in MerchantState if state is not WAITING} <= set(REFUSED)


def test_an_active_merchant_may_do_what_active_ones_may() -> None:
    require_active(merchant(ACTIVE))


@pytest.mark.parametrize("state", [WAITING, SUSPENDED, TERMINATED])
def test_any_other_merchant_is_refused_in_the_words_of_the_platform(state: MerchantState) -> None:
    with pytest.raises(MerchantNotActive, match="Merchant not in 'ACTIVE' state") as refused:
        require_active(merchant(state))
    assert state in refused.value.message
