"""Many threads in the token at once, in a process of its own, which a crash would end."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

Scenario = Callable[..., dict[str, Any]]

SECONDS = os.environ.get("KEYSVC_TEST_THREAD_SECONDS", "3")
"""Set it to 60 or more to look for what happens rarely."""


def test_every_mac_of_every_thread_is_right(scenario: Scenario) -> None:
    """Eight threads, forty keys, a cache of eight and four worker sessions: everybody waits for everything."""
    found = scenario("threads.py", "work", SECONDS)
    assert {"wrong": 0, "unavailable": 0} == {name: found[name] for name in ("wrong", "unavailable")}
    assert found["right"] > 100
    assert found["held"] <= 8


def test_a_reset_that_all_threads_meet_at_once_costs_no_answer(scenario: Scenario) -> None:
    found = scenario("threads.py", "resets", "20")
    assert {"right": 8 * 20, "wrong": 0, "unavailable": 0} == found


def test_closing_under_load_lets_calls_finish_and_refuses_the_rest(scenario: Scenario) -> None:
    found = scenario("threads.py", "close", "0.3")
    assert 0 == found["wrong"]
    assert found["right"] > 0
    assert found["unavailable"] >= 8, "every thread was told in the end"
