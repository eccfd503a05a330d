"""Three replicas under faults: no call is accepted after its key's end, and none refused while its key is live.

And with each of the ways in which that could be broken, the judge finds it out.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.outages import stoppable_postgres

from endurance import broken, callers
from endurance.conftest import Sizes
from endurance.faults import Faults, Lengths
from endurance.history import Changed, Event, Moved, Refused, Stayed, Verified
from endurance.judge import Judge
from endurance.recorder import SteadyClock
from endurance.trio import Trio

MERCHANTS = 2
ENOUGH = 50
BROKEN_SECONDS = 2.0
RUNS = 10
SOUND_RUNS = 4
RECOVERY = 5.0
"""Seconds after a fault in which a question may still go unanswered."""
ACCEPTED, USED = "a key that had ended was accepted", "a key was used while the merchant was not active"
OUTDATED = "a retiring key is said to be current"
REFUSED, LET_IN = "a live key was refused", "a caller was let in with a password that had ended"


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    """The tests start what they need of it."""
    with stoppable_postgres() as postgres:
        made = Trio(tmp_path_factory.mktemp("trio"), postgres)
        try:
            yield made
        finally:
            made.kill()


@pytest.mark.long
def test_a_cache_that_is_kept_past_the_epoch_is_found_out(trio: Trio, tmp_path: Path) -> None:
    trio.start(broken.environment(broken.KEPT_CACHE, tmp_path / "broken"))
    _assert_found_out(trio, "kept", {REFUSED}, {LET_IN})


@pytest.mark.long
def test_an_epoch_that_was_read_before_the_call_arrived_is_found_out(trio: Trio, tmp_path: Path) -> None:
    trio.start(broken.environment(broken.EARLY_READ, tmp_path / "broken"))
    _assert_found_out(trio, "early", {ACCEPTED, USED, LET_IN, OUTDATED})


@pytest.mark.long
def test_changes_that_do_not_count_the_epoch_are_found_out(trio: Trio) -> None:
    trio.start()
    for table in broken.UNCOUNTED:
        trio.database.execute(f"ALTER TABLE {table} DISABLE TRIGGER count_change")
    try:
        _assert_found_out(trio, "uncounted", {USED}, {LET_IN})
    finally:
        for table in broken.UNCOUNTED:
            trio.database.execute(f"ALTER TABLE {table} ENABLE TRIGGER count_change")


@pytest.mark.timeout(1800)
def test_three_replicas_tell_one_truth_whatever_goes_wrong(trio: Trio, sizes: Sizes) -> None:
    """In one run, or in more where the machine is so busy that one proves too little."""
    trio.start()
    for number in range(SOUND_RUNS):
        lacking = _lacking_in_a_sound_run(trio, sizes, f"sound-{number}")
        if not lacking:
            break
    assert [0, 0, 0] == trio.stop()
    assert [] == lacking


def _lacking_in_a_sound_run(trio: Trio, sizes: Sizes, prefix: str) -> list[str]:
    """A run under faults, with no fault found. What it should have met and did not, for it to prove anything."""
    lengths = Lengths(10.0, 10.0, 30.0) if sizes.soak else Lengths(0.5, 0.5, 1.5)
    faults, clock, merchants = Faults(trio, random.Random(1), lengths), SteadyClock(), _merchants(trio, prefix)
    with ThreadPoolExecutor(1) as pool:
        running, end = pool.submit(trio.run, merchants, sizes.replicas_seconds), time.monotonic()
        faults.each_once()
        faults.until(end + sizes.replicas_seconds - lengths.replica)
        run = running.result()
    assert not clock.was_set()
    found = trio.settled(run)
    judge, seen = Judge(found.events), Counter(map(_sort_of, found.events))
    rightful, late, late_callers = judge.rightful(), judge.late(), callers.late(found.events)
    print(f"{len(run.history)} calls, {rightful} rightful, {late} of an ended key, {late_callers} of an ended password")
    print(f"{len(found.unanswered)} unanswered, of them {found.unknown} changes, of those {found.done} done;"
          f" {dict(faults.done)}; {dict(seen)}")  # fmt: skip
    assert [] == found.faults
    assert [] == judge.faults()
    assert [] == [call for call in found.unanswered if _is_question(call) and not faults.touch(call.span, RECOVERY)]
    met = {
        "each of the faults": len(faults.done) == 5,
        "changes without an answer": found.unknown > 0,
        "an answer that was lost of a change that was done": found.done > 0 or not sizes.soak,
        "enough calls of each kind": min(rightful, late, len(found.unanswered)) >= ENOUGH,
        "callers with an ended password": late_callers > 0,
        "all sorts of calls": set(seen) >= _ALL_SORTS,
    }
    return [what for what, is_met in met.items() if not is_met]


def _merchants(trio: Trio, prefix: str) -> list[str]:
    with trio.clients() as clients:
        return [clients[0].active_merchant(f"{prefix}-{number}") for number in range(MERCHANTS)]


def _is_question(call: Refused) -> bool:
    """Changes wait for each other, on a busy machine in vain; and some of their clients are in a hurry."""
    return call.method.startswith(("Verify", "BatchVerify", "Generate", "Sign"))


def _assert_found_out(trio: Trio, prefix: str, *wanted: set[str]) -> None:
    """The judge says one of each of these of runs without faults: of the first, unless the machine is busy."""
    said = Counter[str]()
    for number in range(RUNS):
        found = trio.settled(trio.run(_merchants(trio, f"{prefix}-{number}"), BROKEN_SECONDS))
        assert [] == found.faults
        said.update(fault.partition(":")[0] for fault in Judge(found.events).faults())
        print(f"{len(found.events)} calls: {dict(said)}")
        if all(said.keys() & sentences for sentences in wanted):
            return
    raise AssertionError(f"the judge says no more than {dict(said)}")


def _sort_of(event: Event) -> str:
    match event:
        case Verified():
            return event.answer.result
        case Changed():
            return event.method
        case Moved() | Stayed():
            return "activated" if event.active else "suspended"
        case Refused():
            return event.reason
        case _:
            return type(event).__name__


_ALL_SORTS = {
    "VALID", "INVALID", "MERCHANT_NOT_ACTIVE", "Signed", "SignedByAll", "activated", "suspended", "Entered", "Disabled",
    "CreateCredential", "RenewCredential", "RevokeCredential", "SwapCredentials",
}  # fmt: skip
