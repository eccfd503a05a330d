"""The counts of keys' uses: what replicas add at once adds up, and folding moves calls and loses none."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

from support.databases import Database

from keysvc.model.uses import EVER, HOUR, TEN_MINUTES, Tally, Use, Uses, step_of
from keysvc.store import uses
from keysvc.store.store import Store
from keysvc.store.tidying import AT_ONCE
from store.records import A_USE, NOON, a_key, a_merchant, add_filled_slot

MICROSECOND = timedelta(microseconds=1)
DAY = timedelta(days=1)
LOADED = DAY + timedelta(hours=3)


def test_calls_add_up_and_a_last_use_moves_forward_and_never_back(store: Store) -> None:
    total = 0
    for calls, microseconds, latest in [(3, 5, 5), (1, 4, 5), (2, 5, 5), (7, 6, 6), (1, 0, 6)]:
        total += calls
        store.add_uses({A_USE: Tally(calls, NOON + microseconds * MICROSECOND)})
        assert {A_USE: Tally(total, NOON + latest * MICROSECOND)} == store.uses("m")


def test_a_batch_adds_to_each_of_its_rows_by_itself(store: Store) -> None:
    one, other, third = A_USE, A_USE._replace(principal="other"), A_USE._replace(fingerprint="third")
    store.add_uses({one: Tally(1, NOON), other: Tally(2, NOON)})
    store.add_uses({third: Tally(4, NOON), other: Tally(3, NOON + MICROSECOND), one: Tally(1, NOON - MICROSECOND)})
    expected = {one: Tally(2, NOON), other: Tally(5, NOON + MICROSECOND), third: Tally(4, NOON)}
    assert expected == store.uses("m")


def test_an_empty_batch_asks_nothing_of_the_database(store: Store, database: Database) -> None:
    with database.second_writer() as writer:
        writer.exec_driver_sql("UPDATE epoch SET value = value + 1")
        store.add_uses({})
    assert 0 == database.count("credential_use")


def test_more_calls_than_32_bits_count(store: Store) -> None:
    store.add_uses({A_USE: Tally(2**32, NOON)})
    store.add_uses({A_USE: Tally(2**32, NOON)})
    assert {A_USE: Tally(2**33, NOON)} == store.uses("m")


def test_replicas_that_add_to_the_same_rows_in_another_order_add_up_and_do_not_deadlock(
    store: Store, database: Database
) -> None:
    rows = [A_USE._replace(merchant_id=f"m-{number % 7}", fingerprint=f"{number:03}") for number in range(200)]
    turns = 6

    def add(replica: Store, order: list[Use]) -> None:
        for turn in range(turns):
            replica.add_uses(dict.fromkeys(order, Tally(1, NOON + turn * MICROSECOND)))

    _at_once(lambda: add(store, rows), lambda: add(database.store(), rows[::-1]))
    found = {use: tally for number in range(7) for use, tally in store.uses(f"m-{number}").items()}
    assert dict.fromkeys(rows, Tally(2 * turns, NOON + (turns - 1) * MICROSECOND)) == found


def test_steps_that_are_past_are_folded_and_others_stay(store: Store) -> None:
    """By the time that has passed since: of ten minutes into hours, of hours into one count."""
    fresh, hour_old, day_old = (_use(NOON - age) for age in (timedelta(), timedelta(hours=4), timedelta(hours=28)))
    for use in (fresh, hour_old, day_old):
        store.add_uses({use: Tally(2, NOON)})
    store.add_uses({day_old._replace(since=day_old.since + TEN_MINUTES): Tally(3, NOON + MICROSECOND)})
    store.fold_uses(NOON)
    ever = day_old._replace(step=EVER, since=0)
    expected = {
        fresh: Tally(2, NOON),
        hour_old._replace(step=HOUR, since=hour_old.since - hour_old.since % HOUR): Tally(2, NOON),
        ever: Tally(5, NOON + MICROSECOND),
    }
    assert expected == store.uses("m")
    store.fold_uses(NOON)
    assert expected == store.uses("m")


def test_what_is_folded_joins_what_was_folded_before(store: Store) -> None:
    old = _use(NOON - timedelta(hours=30))
    for calls in (1, 2, 4):
        store.add_uses({old: Tally(calls, NOON)})
        store.fold_uses(NOON)
    assert {old._replace(step=EVER, since=0): Tally(7, NOON)} == store.uses("m")


def test_more_than_is_folded_at_once_is_folded_to_the_end(store: Store) -> None:
    count = AT_ONCE + 500
    many = {_use(NOON - DAY)._replace(fingerprint=f"{number}"): Tally(1, NOON) for number in range(count)}
    store.add_uses(many)
    store.fold_uses(NOON)
    found = store.uses("m")
    assert (count, {HOUR}) == (len(found), {use.step for use in found})
    assert count == sum(tally.calls for tally in found.values())


def test_replicas_that_fold_while_others_add_lose_nothing_and_count_nothing_twice(
    store: Store, database: Database
) -> None:
    """What is added late is of steps that are being folded: a replica could not write for a while."""
    added: list[Uses] = []

    def add(replica: Store, seed: int) -> None:
        chosen = random.Random(seed)
        for _ in range(25):
            batch = {_random_use(chosen): Tally(chosen.randint(1, 9), NOON) for _ in range(30)}
            replica.add_uses(batch)
            added.append(batch)

    def fold(replica: Store) -> None:
        for hours in range(12):
            replica.fold_uses(NOON + timedelta(hours=hours * 3))

    replicas = [store, *(database.store() for _ in range(3))]
    _at_once(
        lambda: add(replicas[0], 1), lambda: add(replicas[1], 2), lambda: fold(replicas[2]), lambda: fold(replicas[3])
    )
    store.fold_uses(NOON + 3 * DAY)
    expected: Counter[tuple[str, str, str]] = Counter()
    for batch in added:
        for use, tally in batch.items():
            expected[use[:3]] += tally.calls
    found = [item for number in range(3) for item in store.uses(f"m-{number}").items()]
    assert dict(expected) == {use[:3]: tally.calls for use, tally in found}
    assert {(EVER, 0)} == {use[3:] for use, _ in found}


def test_a_fold_that_fails_midway_changes_nothing(store: Store, database: Database) -> None:
    old = {_use(NOON - DAY)._replace(principal=f"{number}"): Tally(number, NOON) for number in range(1, 9)}
    store.add_uses(old)
    broken = database.store()
    try:
        with broken._writing() as connection:
            assert uses.fold(connection, TEN_MINUTES, NOON) is False
            raise KeyError
    except KeyError:
        pass
    assert old == store.uses("m")


def test_the_uses_of_keys_that_ended_are_forgotten_in_time(store: Store) -> None:
    """A use is written down after its key has ended where both happen within one batch."""
    with store.change() as change:
        change.add_merchant(a_merchant())
        add_filled_slot(change)
    kept = {A_USE: Tally(1, NOON), A_USE._replace(step=EVER, since=0): Tally(1, NOON)}
    ended = {A_USE._replace(fingerprint="ended"): Tally(1, NOON)}
    elsewhere = {A_USE._replace(merchant_id="n"): Tally(1, NOON)}
    assert a_key().fingerprint == A_USE.fingerprint
    store.add_uses({**kept, **ended, **elsewhere})
    store.forget_uses()
    assert (kept, {}) == (store.uses("m"), store.uses("n"))


def _use(time: datetime) -> Use:
    return A_USE._replace(since=step_of(time))


def _random_use(chosen: random.Random) -> Use:
    age = LOADED * chosen.random()
    return Use(f"m-{chosen.randrange(3)}", f"{chosen.randrange(3)}", "admin", TEN_MINUTES, step_of(NOON - age))


def _at_once(*works: Callable[[], None]) -> None:
    """Runs each in a thread of its own; raises what any of them raised."""
    failed: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - told to the test's own thread
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [] == failed
