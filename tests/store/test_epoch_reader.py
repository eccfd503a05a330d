"""A call relies on no read of the epoch that began before it arrived, and shares one that began after."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from support.databases import Database

from keysvc.model.errors import StoreUnavailable
from keysvc.store.epoch import EpochReader
from keysvc.store.store import Store
from store.gated import WAIT, GatedReader, Waiter, Waiters
from store.records import a_merchant

ARRIVE = 0.2
"""Seconds that started threads are given to come to the reader's lock."""


@pytest.fixture
def reader(database: Database) -> Iterator[GatedReader]:
    gated = GatedReader(database.engine())
    yield gated
    gated.close()


@pytest.fixture
def move(store: Store) -> Callable[[], None]:
    """Commits a change, so that the epoch is one more."""
    numbers = iter(range(1000))

    def change_something() -> None:
        with store.change() as change:
            change.add_merchant(a_merchant(f"m-{next(numbers)}"))

    return change_something


def test_a_call_relies_on_no_read_that_began_before_it_arrived(reader: GatedReader, move: Callable[[], None]) -> None:
    seen: list[int] = []
    first = Waiter(reader, seen)
    first.start()
    assert 0 == reader.begun.get(timeout=WAIT)
    move()  # after the first read, and before the second call
    second = Waiter(reader, seen)
    second.start()
    time.sleep(ARRIVE)
    reader.let_pass()
    assert 1 == reader.begun.get(timeout=WAIT)
    assert (None, True) == (second.saw, second.is_alive())
    reader.let_pass()
    first.join(WAIT)
    second.join(WAIT)
    assert (2, 1, [1]) == (reader.reads, second.saw, seen)


def test_fifty_calls_that_wait_together_share_one_read(reader: GatedReader, move: Callable[[], None]) -> None:
    seen: list[int] = []
    with Waiters(reader, seen, 1):
        reader.begun.get(timeout=WAIT)
        move()
        with Waiters(reader, seen, 50) as waiters:
            time.sleep(ARRIVE)
            reader.let_pass(20)
    assert [1] * 50 == [waiter.saw for waiter in waiters.all]
    assert reader.reads <= 5  # two, and a few more where the machine was slow to start threads


def test_a_ticket_taken_before_a_read_is_served_by_it(reader: GatedReader) -> None:
    """A call takes its ticket when it arrives, and may wait for a thread before it asks."""
    ticket = reader.arrival()
    reader.let_pass()
    reader.read(lambda _epoch: None)
    reader.read(lambda _epoch: None, ticket)
    assert 1 == reader.reads


def test_a_ticket_taken_during_a_read_is_not_served_by_it(reader: GatedReader, move: Callable[[], None]) -> None:
    seen: list[int] = []
    with Waiters(reader, seen, 1):
        reader.begun.get(timeout=WAIT)
        move()
        ticket = reader.arrival()
        reader.let_pass(2)
    reader.read(seen.append, ticket)
    assert (2, [1]) == (reader.reads, seen)


def test_a_failed_read_does_not_count_as_seen(reader: GatedReader, move: Callable[[], None]) -> None:
    """Of the calls that wait for the read that fails, one is told so; the others read again."""
    seen: list[int] = []
    with Waiters(reader, seen, 1):
        reader.begun.get(timeout=WAIT)
        move()
        with Waiters(reader, seen, 8) as waiters:
            time.sleep(ARRIVE)
            reader.let_pass()
            reader.begun.get(timeout=WAIT)
            reader.let_fail()
            reader.let_pass(20)
    failed = [waiter for waiter in waiters.all if waiter.failed]
    assert (1, {1}) == (len(failed), {waiter.saw for waiter in waiters.all if not waiter.failed})


def test_an_epoch_counts_as_seen_only_when_what_changed_was_dropped(
    database: Database, move: Callable[[], None]
) -> None:
    reader = EpochReader(database.engine())
    move()

    def fail(_epoch: int) -> None:
        raise StoreUnavailable("what changed could not be read")

    ticket = reader.arrival()
    with pytest.raises(StoreUnavailable):
        reader.read(fail)
    seen: list[int] = []
    reader.read(seen.append, ticket)
    assert [1] == seen
    reader.close()


def test_nobody_is_answered_while_what_changed_is_being_dropped(reader: GatedReader, move: Callable[[], None]) -> None:
    move()
    waiter = Waiter(reader, [1])
    answered_meanwhile = []

    def drop(_epoch: int) -> None:
        waiter.start()
        waiter.join(ARRIVE)
        answered_meanwhile.append(waiter.saw)

    reader.let_pass(9)
    reader.read(drop)
    waiter.join(WAIT)
    assert ([None], 1) == (answered_meanwhile, waiter.saw)


def test_moved_is_called_only_when_the_epoch_moved(database: Database, move: Callable[[], None]) -> None:
    reader = EpochReader(database.engine())
    seen: list[int] = []
    for _ in range(2):
        reader.read(seen.append)
    move()
    move()
    for _ in range(2):
        reader.read(seen.append)
    move()
    reader.read(seen.append)
    reader.close()
    assert [2, 3] == seen


def test_an_epoch_that_went_back_is_refused_for_good(
    database: Database, store: Store, move: Callable[[], None]
) -> None:
    """An older database was put there, or a standby took over that had lost commits: revoked keys stand in it."""
    seen: list[int] = []
    move()
    move()
    store.epoch.read(seen.append)
    for value in (1, 2, 9):
        database.execute(f"UPDATE epoch SET value = {value}")
        with pytest.raises(StoreUnavailable, match="epoch 1 after 2"):
            store.epoch.read(seen.append)
        with pytest.raises(StoreUnavailable, match="older"):
            store.merchant("m-0")
        with pytest.raises(StoreUnavailable, match="older"):
            move()
    assert [2] == seen
    database.store().epoch.read(seen.append)
    assert [2, 9] == seen


def test_a_change_finds_out_by_itself_that_the_epoch_went_back(
    database: Database, store: Store, move: Callable[[], None]
) -> None:
    """The database may be replaced between a call's look at the epoch and its change."""
    move()
    move()
    store.epoch.read(lambda _epoch: None)
    database.execute("UPDATE epoch SET value = 1")
    with pytest.raises(StoreUnavailable, match="epoch 1 after 2"):
        move()
    assert 2 == database.count("merchant")


def test_every_call_sees_what_was_committed_before_it_arrived(store: Store, move: Callable[[], None]) -> None:
    """Under load, without gates: each change is followed by a call that must know of it."""
    seen = [0]

    with Waiters(store.epoch, seen, 0) as others:
        for number in range(1, 31):
            move()
            load = [Waiter(store.epoch, seen) for _ in range(3)]
            for waiter in load:
                waiter.start()
            store.epoch.read(seen.append)
            assert number == seen[-1]
            others.all += load
    assert sorted(seen) == seen
