"""Reads: what they find, in which order, of one instant, and never behind a change."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import timedelta

import pytest
from support.databases import Database

from keysvc.model.records import Holdings
from keysvc.model.slots import Slot
from keysvc.model.uses import Tally
from keysvc.store.store import Store
from store.records import A_USE, NOON, a_key, a_merchant, a_principal, a_slot, a_token_set, add_filled_slot

SOON = 4.0
"""Seconds. Waiting for another transaction takes five; what does not wait is far quicker."""


def test_what_is_not_there_is_none(store: Store) -> None:
    assert (None, None, None) == (store.merchant("m"), store.holdings("m"), store.principal("admin"))
    assert ([], {}) == (store.merchants(None, 10), store.uses("m"))


def test_ids_differ_by_case(store: Store) -> None:
    with store.change() as change:
        change.add_merchant(a_merchant("Shop"))
        change.add_principal(a_principal("Admin"))
    assert (None, None) == (store.merchant("shop"), store.principal("admin"))


def test_pages_hold_every_merchant_once_in_the_order_of_their_ids(store: Store) -> None:
    ids = ["-", "0", "10", "9", "A", "B", "Z", "_", "a", "a-b", "a_b", "aa", "b", "z", "x" * 64]
    with store.change() as change:
        for merchant_id in reversed(ids):
            change.add_merchant(a_merchant(merchant_id))
    pages, after = [], None
    while page := store.merchants(after, 4):
        pages.append([merchant.merchant_id for merchant in page])
        after = pages[-1][-1]
    assert sorted(ids) == [merchant_id for page in pages for merchant_id in page]
    assert [4, 4, 4, 3] == [len(page) for page in pages]


def test_a_page_starts_after_an_id_that_is_there_no_more(store: Store) -> None:
    with store.change() as change:
        for merchant_id in ("a", "c"):
            change.add_merchant(a_merchant(merchant_id))
    assert [a_merchant("c")] == store.merchants("b", 10)


def test_holdings_of_a_merchant_without_slots(store: Store) -> None:
    with store.change() as change:
        change.add_merchant(a_merchant())
    assert Holdings(a_merchant(), {}, {}, None) == store.holdings("m")


def test_holdings_are_of_one_merchant_with_the_newest_key_first(store: Store) -> None:
    slot = Slot.PRIMARY_HMAC_KEY
    keys = [a_key(slot, 11), *(replace(a_key(slot, version), expire_time=NOON) for version in (10, 9, 2))]
    with store.change() as change:
        for merchant_id in ("m", "n"):
            change.add_merchant(a_merchant(merchant_id))
        add_filled_slot(change, merchant_id="n")
        add_filled_slot(change, Slot.API_PASSWORD)
        change.add_slot(a_slot(slot, 11))
        for key in sorted(keys, key=lambda key: key.version):
            change.add_key(key)
        for merchant_id in ("m", "n"):
            change.put_tokens(a_token_set(merchant_id))
    expected = Holdings(
        a_merchant(),
        {slot: a_slot(slot, 11), Slot.API_PASSWORD: a_slot(Slot.API_PASSWORD)},
        {slot: keys, Slot.API_PASSWORD: [a_key(Slot.API_PASSWORD)]},
        a_token_set(),
    )
    assert expected == store.holdings("m")


def test_holdings_hold_all_seven_slots(store: Store) -> None:
    with store.change() as change:
        change.add_merchant(a_merchant())
        for slot in Slot:
            add_filled_slot(change, slot)
    holdings = store.holdings("m")
    assert holdings is not None
    assert (set(Slot), set(Slot)) == (set(holdings.slots), set(holdings.keys))


def test_a_change_reads_what_it_has_written(store: Store) -> None:
    with store.change() as change:
        change.add_merchant(a_merchant())
        add_filled_slot(change)
        assert a_merchant() == change.merchant("m")
        found = change.holdings("m")
        assert found is not None
        assert {Slot.PRIMARY_HMAC_KEY: [a_key()]} == found.keys


def test_holdings_are_of_one_instant(store: Store) -> None:
    """A reader never sees a slot of one version with the key of another, or with none."""
    with store.change() as change:
        change.add_merchant(a_merchant())
        add_filled_slot(change)
    renewing = threading.Thread(target=_renew, args=(store, 60))
    renewing.start()
    seen = set()
    while renewing.is_alive():
        holdings = store.holdings("m")
        assert holdings is not None
        version = holdings.slots[Slot.PRIMARY_HMAC_KEY].version
        assert [version] == [key.version for key in holdings.keys[Slot.PRIMARY_HMAC_KEY]]
        seen.add(version)
    assert len(seen) > 1


def test_a_read_does_not_wait_for_a_change_and_sees_none_of_it(store: Store) -> None:
    with store.change() as change:
        change.add_merchant(a_merchant())
        add_filled_slot(change)
    before = store.holdings("m")
    with store.change() as change:
        change.put_merchant(replace(a_merchant(), display_name="After"))
        change.delete_keys("m", Slot.PRIMARY_HMAC_KEY, [1])
        change.add_principal(a_principal())
        began = time.monotonic()
        assert before == store.holdings("m")
        assert ([a_merchant()], None) == (store.merchants(None, 10), store.principal("admin"))
        assert {} == store.uses("m")
        assert (0, 0) == store.due_counts(NOON, NOON)
        assert time.monotonic() - began < SOON


def test_a_read_does_not_wait_for_another_process(store: Store, database: Database) -> None:
    with store.change() as change:
        change.add_merchant(a_merchant())
    began = time.monotonic()
    with database.second_writer() as writer:
        writer.exec_driver_sql("UPDATE merchant SET display_name = 'After'")
        assert a_merchant() == store.merchant("m")
        store.epoch.read(lambda _epoch: None)
        assert 1 == len(store.epoch.changes(0, 1) or [])
    assert time.monotonic() - began < SOON


def test_uses_are_of_one_merchant(store: Store) -> None:
    """Those of another key, caller or step of time beside each other."""
    mine = {
        A_USE: Tally(3, NOON),
        A_USE._replace(fingerprint="other"): Tally(1, NOON),
        A_USE._replace(principal=""): Tally(2, NOON - timedelta(seconds=1)),
        A_USE._replace(since=0): Tally(2**40, NOON),
    }
    others = {A_USE._replace(merchant_id="n"): Tally(1, NOON)}
    store.add_uses({**mine, **others})
    assert (mine, others, {}) == (store.uses("m"), store.uses("n"), store.uses("M"))


@pytest.mark.parametrize(("microseconds", "expired"), [(-1, []), (0, [1]), (1, [1])])
def test_a_key_is_expired_from_its_expire_time_on(store: Store, microseconds: int, expired: list[int]) -> None:
    with store.change() as change:
        change.add_merchant(a_merchant())
        change.add_slot(a_slot(version=2))
        change.add_key(replace(a_key(), expire_time=NOON))
        change.add_key(a_key(version=2))
    found = store.expired_keys(NOON + timedelta(microseconds=microseconds), 9)
    assert [("m", Slot.PRIMARY_HMAC_KEY, version) for version in expired] == found


def _renew(store: Store, times: int) -> None:
    for version in range(2, times + 2):
        with store.change() as change:
            change.put_slot(a_slot(version=version))
            change.delete_keys("m", Slot.PRIMARY_HMAC_KEY, [version - 1])
            change.add_key(a_key(version=version))
