"""The place in a list of due slots, as it stands in a page's token; and slots that were never filled."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keysvc.model.fleet import DueSlot, FleetSummary, SlotSummary
from keysvc.model.slots import Slot


@given(
    st.datetimes(timezones=st.just(UTC)),
    st.text("abcXYZ019_-.", min_size=1, max_size=64),
    st.sampled_from(Slot),
)
def test_a_place_in_the_list_is_read_back_to_the_microsecond(time: datetime, merchant_id: str, slot: Slot) -> None:
    place = DueSlot(time, merchant_id, slot)
    assert place == DueSlot.parse(str(place))


@pytest.mark.parametrize(
    "text",
    ["", " ", "1 m", "1 m api-password more", "x m api-password", "1 m no-slot", "1.5 m api-password",
     f"{10**30} m api-password", f"{-(10**30)} m api-password", f"{10**18} m api-password", f"{10**400} m api-password",
     "9" * 5000 + " m api-password", "nan m api-password"],
)  # fmt: skip
def test_what_is_no_place_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - every kind of it is turned into one refusal
        DueSlot.parse(text)


def test_places_are_in_the_order_of_time_then_merchant_then_slot() -> None:
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC)
    places = [
        DueSlot(early, "b", Slot.PRIMARY_HMAC_KEY), DueSlot(early, "b", Slot.SECONDARY_HMAC_KEY),
        DueSlot(early, "c", Slot.API_PASSWORD), DueSlot(late, "a", Slot.API_PASSWORD),
    ]  # fmt: skip
    assert places == sorted(set(places))


def test_slots_that_hold_no_key_and_never_did_are_the_rest() -> None:
    summary = FleetSummary(10, {Slot.API_PASSWORD: SlotSummary(active=3, inactive=2)})
    assert (5, 10) == (summary.empty(Slot.API_PASSWORD), summary.empty(Slot.PRIMARY_HMAC_KEY))
