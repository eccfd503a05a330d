"""How many failures a minute, of whom, and what is remembered of it."""

from __future__ import annotations

import pytest

from keysvc.model.errors import TooManyFailures
from keysvc.service.failures import FailureLimit

KEY, OTHER = ("1.2.3.4", "a"), ("1.2.3.4", "b")


class Seconds:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def limit(seconds: Seconds) -> FailureLimit:
    return FailureLimit("attempts", 3, seconds)


def refused(limit: FailureLimit, key: tuple[str, str] = KEY) -> bool:
    try:
        limit.check(key)
    except TooManyFailures:
        return True
    return False


def test_as_many_as_are_allowed_may_fail_and_then_none(limit: FailureLimit) -> None:
    found = []
    for _ in range(4):
        found.append(refused(limit))
        limit.failed(KEY)
    assert [False, False, False, True] == found
    assert not refused(limit, OTHER)
    assert 1 == limit.refused


def test_a_refusal_ends_when_the_oldest_failure_is_a_minute_ago(limit: FailureLimit, seconds: Seconds) -> None:
    for second in (0.0, 10.0, 20.0):
        seconds.now = 1000.0 + second
        limit.failed(KEY)
    found = []
    for second in (59.9, 60.0, 61.0):
        seconds.now = 1000.0 + second
        found.append(refused(limit))
    assert [True, False, False] == found
    limit.failed(KEY)
    assert refused(limit)


def test_no_more_is_remembered_than_the_last_minutes_failures(limit: FailureLimit, seconds: Seconds) -> None:
    """Strangers make up who they are: each name is a key of its own."""
    for number in range(10_000):
        seconds.now += 1
        limit.failed(("1.2.3.4", str(number)))
    assert 60 == len(limit)
