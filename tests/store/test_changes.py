"""One change is one transaction: all of it or nothing, one after another, and never an update lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from support.databases import Database

from keysvc.model.errors import Integrity
from keysvc.model.slots import Slot
from keysvc.model.uses import EVER, Tally
from keysvc.store.changes import Change
from keysvc.store.store import Store
from store.records import A_USE, NOON, a_key, a_merchant, a_principal, a_slot, a_token_set, add_filled_slot, an_event

THREADS = 8
TIMES = 10


class _Interrupted(Exception):
    """What a service raises in the middle of a change."""


def _write_everything(change: Change) -> None:
    change.add_merchant(a_merchant())
    add_filled_slot(change)
    change.add_principal(a_principal())
    change.put_tokens(a_token_set())
    change.audit(an_event())
    change.remember_request("admin", "r-1", "merchants/m", 1, NOON)


def _state(database: Database) -> dict[str, int]:
    tables = (
        "merchant", "credential", "credential_key", "merchant_token_set", "principal", "audit_event", "request",
        "change",
    )  # fmt: skip
    return {table: database.count(table) for table in tables} | {
        "epoch": database.rows("epoch")[0]["value"],
        "audit_end": database.rows("audit_tail")[0]["sequence"],
    }


def test_a_change_commits_rows_audit_request_and_epoch_together(store: Store, database: Database) -> None:
    with store.change() as change:
        _write_everything(change)
    assert {
        "merchant": 1, "credential": 1, "credential_key": 1, "merchant_token_set": 1, "principal": 1, "audit_event": 1,
        "request": 1, "change": 5, "epoch": 5, "audit_end": 1,
    } == _state(database)  # fmt: skip


def test_an_exception_undoes_rows_audit_request_and_epoch(store: Store, database: Database) -> None:
    before = _state(database)

    def interrupted() -> None:
        with store.change() as change:
            _write_everything(change)
            raise _Interrupted

    with pytest.raises(_Interrupted):
        interrupted()
    assert before == _state(database)


def test_a_row_that_contradicts_what_stands_undoes_the_whole_change(store: Store, database: Database) -> None:
    with store.change() as change:
        change.add_merchant(a_merchant("there"))
    before = _state(database)

    def contradicted() -> None:
        with store.change() as change:
            _write_everything(change)
            change.add_merchant(a_merchant("there"))

    with pytest.raises(Integrity):
        contradicted()
    assert before == _state(database)
    with store.change() as change:
        _write_everything(change)


def test_revoking_erases_a_key_and_its_uses_in_the_same_change(store: Store, database: Database) -> None:
    """All of them, whoever used it and when; and those of no other key, of this merchant or another."""
    other = A_USE._replace(fingerprint="other")
    elsewhere = A_USE._replace(merchant_id="n")
    with store.change() as change:
        _write_everything(change)
        change.add_slot(a_slot(Slot.API_PASSWORD))
        change.add_key(replace(a_key(Slot.API_PASSWORD), fingerprint="other"))
    ended = [A_USE, A_USE._replace(principal=""), A_USE._replace(step=EVER, since=0)]
    store.add_uses(dict.fromkeys([*ended, other, elsewhere], Tally(1, NOON)))
    with store.change() as change:
        assert 1 == change.delete_keys("m", Slot.PRIMARY_HMAC_KEY, [1])
        assert {other: Tally(1, NOON)} == change.uses("m")
    assert [Slot.API_PASSWORD] == [row["slot"] for row in database.rows("credential_key")]
    assert [{other}, {elsewhere}] == [set(store.uses(merchant_id)) for merchant_id in ("m", "n")]


def test_the_uses_of_a_secret_that_stands_in_two_slots_stay_until_both_have_ended(store: Store) -> None:
    """It was moved by a swap, and imported once more where it came from: both keys have one fingerprint."""
    with store.change() as change:
        _write_everything(change)
        add_filled_slot(change, Slot.SECONDARY_HMAC_KEY)
    store.add_uses({A_USE: Tally(1, NOON)})
    with store.change() as change:
        change.delete_keys("m", Slot.PRIMARY_HMAC_KEY, [1])
    assert {A_USE: Tally(1, NOON)} == store.uses("m")
    with store.change() as change:
        change.delete_keys("m", Slot.SECONDARY_HMAC_KEY, [1])
    assert {} == store.uses("m")


def test_a_key_taken_out_of_its_slot_keeps_its_uses(store: Store) -> None:
    with store.change() as change:
        _write_everything(change)
        change.add_slot(a_slot(Slot.SECONDARY_HMAC_KEY))
        change.add_slot(a_slot(merchant_id="m", slot=Slot.API_PASSWORD))
    store.add_uses({A_USE: Tally(1, NOON)})
    moved = replace(a_key(Slot.SECONDARY_HMAC_KEY), made_in=Slot.PRIMARY_HMAC_KEY)
    with store.change() as change:
        change.take_key(a_key())
        change.add_key(moved)
    holdings = store.holdings("m")
    assert holdings is not None
    assert ({Slot.SECONDARY_HMAC_KEY: [moved]}, {A_USE}) == (holdings.keys, set(store.uses("m")))


def test_deleting_keys_spares_the_versions_not_named(store: Store) -> None:
    with store.change() as change:
        change.add_merchant(a_merchant())
        change.add_slot(a_slot(version=3))
        for version in (1, 2):
            change.add_key(replace(a_key(version=version), expire_time=NOON))
        change.add_key(a_key(version=3))
        change.delete_keys("m", Slot.PRIMARY_HMAC_KEY, [1, 7])
        change.delete_keys("m", Slot.PRIMARY_HMAC_KEY, [])
    holdings = store.holdings("m")
    assert holdings is not None
    assert [3, 2] == [key.version for key in holdings.keys[Slot.PRIMARY_HMAC_KEY]]


@pytest.mark.parametrize("same_process", [True, False])
def test_a_second_change_waits_for_the_first(store: Store, database: Database, *, same_process: bool) -> None:
    other = store if same_process else database.store()
    order = []
    waiting = threading.Event()

    def second() -> None:
        waiting.set()
        with other.change() as change:
            order.append("second")
            assert change.merchant("m") == a_merchant()

    with store.change() as change:
        thread = threading.Thread(target=second)
        thread.start()
        waiting.wait(5)
        thread.join(0.2)
        order.append("first")
        change.add_merchant(a_merchant())
    thread.join(5)
    assert ["first", "second"] == order


def test_no_update_is_lost(store: Store, database: Database) -> None:
    """Each change reads a version and writes the next; two processes, several threads each."""
    with store.change() as change:
        change.add_merchant(a_merchant())
        change.add_slot(a_slot())
    stores = [store, database.store()]

    def increment(number: int) -> None:
        for _ in range(TIMES):
            with stores[number % 2].change() as change:
                holdings = change.holdings("m")
                assert holdings is not None
                change.put_slot(a_slot(version=holdings.slots[Slot.PRIMARY_HMAC_KEY].version + 1))

    _in_threads(increment)
    holdings = store.holdings("m")
    assert holdings is not None
    assert 1 + THREADS * TIMES == holdings.slots[Slot.PRIMARY_HMAC_KEY].version


def test_the_audit_sequence_has_no_gaps_and_the_order_of_the_commits(store: Store, database: Database) -> None:
    """Every change counts the epoch once, and notes it in its event: both rise together. Every third one fails."""
    with store.change() as change:
        change.add_merchant(a_merchant())

    def write(number: int) -> None:
        for turn in range(TIMES):
            try:
                with store.change() as change:
                    merchant = change.merchant("m")
                    assert merchant is not None
                    change.put_merchant(replace(merchant, revision=merchant.revision + 1))
                    change.audit(replace(an_event(), version=merchant.revision + 1))
                    if (number + turn) % 3 == 0:
                        raise _Interrupted
            except _Interrupted:
                continue

    _in_threads(write)
    rows = sorted(database.rows("audit_event"), key=lambda row: int(row["sequence"]))
    committed = sum((number + turn) % 3 != 0 for number in range(THREADS) for turn in range(TIMES))
    assert list(range(1, committed + 1)) == [row["sequence"] for row in rows]
    assert list(range(2, committed + 2)) == [row["version"] for row in rows]


def test_a_done_request_is_known_to_its_caller_alone(store: Store) -> None:
    with store.change() as change:
        change.remember_request("admin", "r-1", "merchants/m/credentials/api-password", 3, NOON)
        change.remember_request("other", "r-1", "merchants/n", 0, NOON)
    with store.change() as change:
        assert ("merchants/m/credentials/api-password", 3) == change.done_request("admin", "r-1")
        assert ("merchants/n", 0) == change.done_request("other", "r-1")
        assert (None, None) == (change.done_request("admin", "r-2"), change.done_request("third", "r-1"))


def test_a_request_is_never_noted_twice(store: Store) -> None:
    def note() -> None:
        with store.change() as change:
            change.remember_request("admin", "r-1", "merchants/m", 1, NOON)

    note()
    with pytest.raises(Integrity):
        note()


def test_requests_are_forgotten_when_they_are_older_than_asked(store: Store) -> None:
    with store.change() as change:
        change.remember_request("admin", "old", "merchants/m", 1, NOON - timedelta(microseconds=1))
        change.remember_request("admin", "kept", "merchants/m", 1, NOON)
    store.forget_before(NOON + timedelta(days=1), NOON, 10)
    with store.change() as change:
        assert (None, ("merchants/m", 1)) == (change.done_request("admin", "old"), change.done_request("admin", "kept"))


def test_more_than_is_forgotten_at_once_is_forgotten_to_the_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keysvc.store.tidying.AT_ONCE", 2)
    with store.change() as change:
        change.add_merchant(a_merchant())
        for number in range(5):
            change.remember_request("admin", f"r-{number}", "merchants/m", 1, NOON)
    store.forget_before(NOON, NOON + timedelta(days=1), 10)
    with store.change() as change:
        assert [None] * 5 == [change.done_request("admin", f"r-{number}") for number in range(5)]


def _in_threads(work: Callable[[int], None]) -> None:
    """Runs it in all threads at once; raises what any of them raised."""
    failed: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - told to the test's own thread
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [] == failed
