"""Last uses: written in batches by every replica, and never moved back."""

from __future__ import annotations

import threading
from datetime import timedelta

from support.databases import Database

from keysvc.model.errors import KeysvcError
from keysvc.model.slots import Slot
from keysvc.store.store import Store
from store.records import NOON, a_merchant, add_filled_slot

SLOT = Slot.PRIMARY_HMAC_KEY
MICROSECOND = timedelta(microseconds=1)


def test_a_last_use_moves_forward_and_never_back(store: Store) -> None:
    for microseconds, expected in [(5, 5), (4, 5), (5, 5), (6, 6), (0, 6)]:
        store.write_usage({("m", SLOT, 1): NOON + microseconds * MICROSECOND})
        assert [NOON + expected * MICROSECOND] == [use.last_used_time for use in store.usage("m")]


def test_a_batch_moves_each_of_its_keys_by_itself(store: Store) -> None:
    store.write_usage({("m", SLOT, 1): NOON, ("m", SLOT, 2): NOON})
    store.write_usage(
        {
            ("m", SLOT, 1): NOON - MICROSECOND,
            ("m", SLOT, 2): NOON + MICROSECOND,
            ("m", SLOT, 3): NOON,
            ("m", Slot.API_PASSWORD, 1): NOON,
        }
    )
    found = {(use.slot, use.version): use.last_used_time - NOON for use in store.usage("m")}
    none = timedelta(0)
    assert {(SLOT, 1): none, (SLOT, 2): MICROSECOND, (SLOT, 3): none, (Slot.API_PASSWORD, 1): none} == found


def test_an_empty_batch_asks_nothing_of_the_database(store: Store, database: Database) -> None:
    with database.second_writer() as writer:
        writer.exec_driver_sql("UPDATE epoch SET value = value + 1")
        store.write_usage({})
    assert 0 == database.count("credential_usage")


def test_replicas_that_write_the_same_keys_in_another_order_do_not_deadlock(store: Store, database: Database) -> None:
    keys = [(f"m-{number:03}", SLOT, 1) for number in range(300)]
    failed: list[KeysvcError] = []

    def write(replica: Store, order: list[tuple[str, Slot, int]]) -> None:
        try:
            for turn in range(5):
                replica.write_usage(dict.fromkeys(order, NOON + turn * MICROSECOND))
        except KeysvcError as error:
            failed.append(error)

    replicas = [
        threading.Thread(target=write, args=(store, keys)),
        threading.Thread(target=write, args=(database.store(), keys[::-1])),
    ]
    for replica in replicas:
        replica.start()
    for replica in replicas:
        replica.join(30)
    assert [] == failed
    assert 300 == database.count("credential_usage")


def test_the_last_uses_of_keys_that_ended_are_forgotten_in_time(store: Store) -> None:
    """A use is written down after its key has ended where both happen within one batch."""
    with store.change() as change:
        change.add_merchant(a_merchant())
        add_filled_slot(change)
    store.write_usage({("m", SLOT, 1): NOON, ("m", SLOT, 9): NOON})
    store.forget_before(NOON, NOON, 10)
    assert [1] == [used.version for used in store.usage("m")]
