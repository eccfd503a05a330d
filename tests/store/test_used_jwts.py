"""A JWT is used once: whatever process asks, at the same instant or after."""

from __future__ import annotations

import hashlib
import threading
from datetime import timedelta

import pytest
from support.databases import Database

from keysvc.store.store import Store
from store.records import NOON

ONE = hashlib.sha256(b"one").digest()
OTHER = hashlib.sha256(b"other").digest()
THREADS = 8
ROUNDS = 12


def test_a_second_use_is_refused(store: Store) -> None:
    assert [True, False, False] == [store.use_jwt("billing", ONE, NOON) for _ in range(3)]


def test_a_second_use_is_refused_in_another_process(store: Store, database: Database) -> None:
    other = database.store()
    assert [True, False, False] == [at.use_jwt("billing", ONE, NOON) for at in (store, other, database.store())]
    assert [True, False] == [at.use_jwt("billing", OTHER, NOON) for at in (other, store)]


def test_a_second_use_with_another_time_is_refused_and_changes_nothing(store: Store, database: Database) -> None:
    store.use_jwt("billing", ONE, NOON)
    before = database.rows("used_jwt")
    assert not store.use_jwt("billing", ONE, NOON + timedelta(minutes=10))
    assert before == database.rows("used_jwt")


def test_the_same_jti_of_two_principals_is_of_two_jwts(store: Store) -> None:
    assert [True, True, False] == [store.use_jwt(who, ONE, NOON) for who in ("billing", "Billing", "billing")]


def test_of_many_uses_at_once_one_is_the_first(store: Store, database: Database) -> None:
    """Two processes, several threads each, all let go together; and each of many JWTs has one winner."""
    stores = [store, database.store()]
    together = threading.Barrier(THREADS)
    won: list[int] = []
    failed: list[BaseException] = []

    def use(number: int) -> None:
        try:
            for turn in range(ROUNDS):
                together.wait(30)
                if stores[number % 2].use_jwt("billing", turn.to_bytes(32), NOON):
                    won.append(turn)
        except BaseException as error:  # noqa: BLE001 - told to the test's own thread
            failed.append(error)
            together.abort()

    threads = [threading.Thread(target=use, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert ([], list(range(ROUNDS))) == (failed, sorted(won))


@pytest.mark.parametrize(("microseconds", "kept"), [(-1, True), (0, True), (1, False)])
def test_a_use_is_remembered_until_after_its_expire_time(store: Store, microseconds: int, kept: bool) -> None:
    store.use_jwt("billing", ONE, NOON)
    store.forget_before(NOON + timedelta(microseconds=microseconds), NOON, 10)
    assert kept is not store.use_jwt("billing", ONE, NOON)


def test_forgetting_spares_jwts_that_still_live(store: Store) -> None:
    store.use_jwt("billing", ONE, NOON)
    store.use_jwt("billing", OTHER, NOON + timedelta(minutes=10))
    store.forget_before(NOON + timedelta(minutes=5), NOON + timedelta(days=1), 10)
    assert (True, False) == (store.use_jwt("billing", ONE, NOON), store.use_jwt("billing", OTHER, NOON))
