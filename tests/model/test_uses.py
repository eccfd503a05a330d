"""Uses in steps of time: folding loses no call, and a window is told a little too large and never too small."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keysvc.model.uses import (
    EVER,
    FINE_FOR,
    HOUR,
    HOURLY_FOR,
    TEN_MINUTES,
    Calls,
    Tally,
    Use,
    Uses,
    add,
    callers_of,
    calls_of,
    folded,
    last_uses,
    step_of,
)

NOON = datetime(2026, 3, 29, 12, 0, 0, 123457, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
MICROSECOND = timedelta(microseconds=1)
ONE_HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def use_at(time: datetime, fingerprint: str = "f", principal: str = "p") -> Use:
    return Use("m", fingerprint, principal, TEN_MINUTES, step_of(time))


def noted(*times: datetime) -> Uses:
    found: Uses = {}
    for time in times:
        add(found, use_at(time), Tally(1, time))
    return found


def folded_all(found: Uses, now: datetime) -> Uses:
    """As the store does it: each step by itself."""
    longer: Uses = {}
    for use, tally in found.items():
        add(longer, folded(use, now), tally)
    return longer


@pytest.mark.parametrize(
    ("time", "began"),
    [
        (datetime(2026, 3, 29, 12, 0, tzinfo=UTC), (12, 0)),
        (datetime(2026, 3, 29, 12, 9, 59, 999_999, tzinfo=UTC), (12, 0)),
        (datetime(2026, 3, 29, 12, 10, tzinfo=UTC), (12, 10)),
        (datetime(2026, 3, 29, 0, 0, 0, 1, tzinfo=UTC), (0, 0)),
    ],
)
def test_a_step_begins_at_each_ten_minutes(time: datetime, began: tuple[int, int]) -> None:
    assert datetime(2026, 3, 29, *began, tzinfo=UTC).timestamp() == step_of(time)


def test_two_tallies_add_up_to_the_later_time() -> None:
    later, earlier = Tally(2, NOON), Tally(3, NOON - DAY)
    assert Tally(5, NOON) == later + earlier == earlier + later


def test_a_tally_adds_to_nothing_else() -> None:
    with pytest.raises(TypeError):
        Tally(1, NOON) + tuple("a plain tuple would be joined")


def test_a_step_is_folded_once_its_whole_hour_has_been_past_for_long_enough() -> None:
    """All ten minutes of an hour are, or none; to the second."""
    hour = datetime(2026, 3, 29, 9, tzinfo=UTC)
    into = Use("m", "f", "p", HOUR, int(hour.timestamp()))
    end = hour + ONE_HOUR + FINE_FOR
    for minutes in range(0, 60, 10):
        use = use_at(hour + minutes * MINUTE)
        assert (use, into) == (folded(use, end - MICROSECOND), folded(use, end))


def test_an_hour_is_folded_into_all_that_was_before() -> None:
    hour = datetime(2026, 3, 29, 9, tzinfo=UTC)
    use = Use("m", "f", "p", HOUR, int(hour.timestamp()))
    end = hour + ONE_HOUR + HOURLY_FOR
    assert (use, Use("m", "f", "p", EVER, 0)) == (folded(use, end - MICROSECOND), folded(use, end))


def test_all_that_was_before_stays_so() -> None:
    ever = Use("m", "f", "p", EVER, 0)
    assert ever == folded(ever, NOON + 1000 * DAY)


def test_calls_of_a_key_never_used() -> None:
    assert Calls(0, 0, 0, None) == calls_of([], NOON)


def test_calls_are_told_by_hour_day_and_in_all() -> None:
    found = noted(NOON, NOON - 59 * MINUTE, NOON - 2 * ONE_HOUR, NOON - 23 * ONE_HOUR, NOON - 30 * ONE_HOUR)
    add(found, Use("m", "f", "p", EVER, 0), Tally(100, NOON - 90 * DAY))
    assert Calls(2, 4, 105, NOON) == calls_of(found.items(), NOON)


def test_a_last_use_of_before_callers_were_counted_counts_in_no_window() -> None:
    """Where only its time is known it stands in the count of all before, though it may be a minute ago."""
    ever = {Use("m", "f", "", EVER, 0): Tally(1, NOON - MINUTE)}
    assert Calls(0, 0, 1, NOON - MINUTE) == calls_of(ever.items(), NOON)


AGES = st.one_of(
    st.timedeltas(min_value=timedelta(), max_value=40 * ONE_HOUR),
    st.timedeltas(min_value=45 * MINUTE, max_value=75 * MINUTE),
    st.timedeltas(min_value=DAY - 75 * MINUTE, max_value=DAY + 75 * MINUTE),
)
"""Many at the borders of what is told."""


@given(st.lists(AGES, max_size=30))
def test_a_window_is_never_too_small_and_at_most_one_step_too_large(ages: list[timedelta]) -> None:
    calls = calls_of(noted(*(NOON - age for age in ages)).items(), NOON)
    for told, window in ((calls.last_hour, ONE_HOUR), (calls.last_day, DAY)):
        assert sum(age < window for age in ages) <= told
        assert told <= sum(age <= window + timedelta(seconds=TEN_MINUTES) for age in ages)
    assert (len(ages), min(ages, default=None)) == (calls.total, calls.last_used_time and NOON - calls.last_used_time)


@given(st.lists(AGES, max_size=30))
def test_a_day_told_by_whole_hours_is_never_too_small_and_at_most_an_hour_too_large(ages: list[timedelta]) -> None:
    uses = noted(*(NOON - age for age in ages))
    hours: Uses = {}
    for use, tally in uses.items():
        add(hours, use._replace(step=HOUR, since=use.since - use.since % HOUR), tally)
    told = calls_of(hours.items(), NOON).last_day
    assert sum(age < DAY for age in ages) <= told <= sum(age <= DAY + ONE_HOUR for age in ages)


@pytest.mark.parametrize(("step", "window"), [(TEN_MINUTES, ONE_HOUR), (TEN_MINUTES, DAY), (HOUR, DAY)])
def test_a_step_counts_until_all_of_it_lies_outside_the_window(step: int, window: timedelta) -> None:
    since = int(NOON.timestamp()) // HOUR * HOUR
    uses = {Use("m", "f", "p", step, since): Tally(1, NOON)}
    out = datetime.fromtimestamp(since + step, UTC) + window
    for now, counted in ((out - MICROSECOND, 1), (out, 0)):
        calls = calls_of(uses.items(), now)
        assert counted == (calls.last_hour if window == ONE_HOUR else calls.last_day)


@given(
    st.lists(
        st.tuples(st.timedeltas(min_value=timedelta(), max_value=3 * ONE_HOUR), st.integers(0, 5), st.booleans()),
        max_size=40,
    )
)
def test_any_sequence_of_notes_and_folds_keeps_every_call(steps: list[tuple[timedelta, int, bool]]) -> None:
    """A clock that goes on, some calls at each time, and now and then a fold, once or twice at once."""
    now, found, times = NOON, Uses(), list[datetime]()
    for forward, calls, twice in steps:
        now += forward
        for _ in range(calls):
            times.append(now)
            add(found, use_at(now), Tally(1, now))
        found = folded_all(found, now)
        if twice:
            found = folded_all(found, now)
        told = calls_of(found.items(), now)
        ages = [now - time for time in times]
        assert (len(times), max(times, default=None)) == (told.total, told.last_used_time)
        assert sum(age < ONE_HOUR for age in ages) <= told.last_hour
        assert told.last_hour <= sum(age <= ONE_HOUR + timedelta(seconds=TEN_MINUTES) for age in ages)
        assert sum(age < DAY for age in ages) <= told.last_day
        assert told.last_day <= sum(age <= DAY + timedelta(seconds=HOUR) for age in ages)


def test_the_last_use_of_each_key_whoever_used_it_and_when() -> None:
    found: Uses = {
        use_at(NOON, "one", "a"): Tally(1, NOON),
        use_at(NOON, "one", "b"): Tally(1, NOON + MICROSECOND),
        Use("m", "one", "", EVER, 0): Tally(9, NOON - DAY),
        Use("m", "other", "a", EVER, 0): Tally(9, NOON - DAY),
    }
    assert {"one": NOON + MICROSECOND, "other": NOON - DAY} == last_uses(found)
    assert {} == last_uses({})


def test_callers_of_some_keys_the_last_to_use_one_first() -> None:
    found: Uses = {
        use_at(NOON, "one", "early"): Tally(1, NOON - MINUTE),
        use_at(NOON, "one", "late"): Tally(2, NOON),
        Use("m", "one", "late", EVER, 0): Tally(5, NOON - DAY),
        use_at(NOON, "two", "early"): Tally(3, NOON - 2 * MINUTE),
        Use("m", "one", "", EVER, 0): Tally(4, NOON - DAY),
        use_at(NOON, "third", "late"): Tally(1, NOON + DAY),
    }
    expected = [
        ("late", Calls(2, 2, 7, NOON)), ("early", Calls(4, 4, 4, NOON - MINUTE)), ("", Calls(0, 0, 4, NOON - DAY)),
    ]  # fmt: skip
    assert expected == callers_of(found, {"one", "two"}, NOON)
    assert [] == callers_of(found, set(), NOON)
