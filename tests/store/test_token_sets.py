"""A merchant's tokens are one row, written and read as one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from support.databases import Database

from keysvc.model.errors import Integrity
from keysvc.model.records import MerchantToken, TokenSetRecord
from keysvc.store.store import Store
from store.records import NOON, a_merchant, a_token_set

_TOKEN = (
    '[{"token_id": "t", "digest": "00", "generation": 1, "fingerprint": "0", "create_time": "%s", "expire_time": null}]'
)
_LOCAL_TIME = _TOKEN % "2026-03-29T12:00:00"
_OFFSET_TIME = _TOKEN % "9999-12-31T23:59:59-12:00"
EVERY_BYTE = bytes(range(256))
TIMES = [
    None,
    NOON + timedelta(microseconds=1),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 30, 23, 59, 59, 999_999, tzinfo=UTC),
]


@pytest.fixture(autouse=True)
def merchants(store: Store) -> None:
    with store.change() as change:
        for merchant_id in ("m", "n"):
            change.add_merchant(a_merchant(merchant_id))


def put(store: Store, *records: TokenSetRecord) -> None:
    with store.change() as change:
        for record in records:
            change.put_tokens(record)


def found(store: Store, merchant_id: str = "m") -> TokenSetRecord | None:
    holdings = store.holdings(merchant_id)
    assert holdings is not None
    return holdings.tokens


def test_a_merchant_without_tokens_has_no_set(store: Store) -> None:
    assert found(store) is None


def test_as_many_tokens_as_a_merchant_may_have_come_back_as_they_were(store: Store) -> None:
    tokens = tuple(
        MerchantToken(
            f"{'aZ09_-'[i % 6]}{'x' * 62}{i % 10}", f"{i:02x}" * 32, i + 1, f"{i:016x}",
            NOON + timedelta(microseconds=i), TIMES[i % len(TIMES)],
        )
        for i in range(20)
    )  # fmt: skip
    record = replace(a_token_set(), tokens=tokens, revision=2**31 - 1, mac=EVERY_BYTE, mac_generation=7)
    put(store, record)
    assert record == found(store)
    assert {UTC} == {each.create_time.tzinfo for each in tokens}


def test_an_empty_set_is_no_missing_one(store: Store) -> None:
    record = replace(a_token_set(), tokens=())
    put(store, record)
    assert record == found(store)


def test_a_put_set_replaces_every_field_of_that_merchants_alone(store: Store) -> None:
    after = TokenSetRecord(
        merchant_id="m", tokens=a_token_set().tokens[1:], revision=3, mac=EVERY_BYTE, mac_generation=2
    )
    put(store, a_token_set(), a_token_set("n"), after)
    assert (after, a_token_set("n")) == (found(store), found(store, "n"))


def test_deleting_a_set_leaves_the_others(store: Store, database: Database) -> None:
    put(store, a_token_set(), a_token_set("n"))
    with store.change() as change:
        change.delete_tokens("m")
    assert (None, a_token_set("n")) == (found(store), found(store, "n"))
    assert 1 == database.count("merchant_token_set")


def test_a_change_that_fails_leaves_the_set_that_was_there(store: Store) -> None:
    put(store, a_token_set())
    with pytest.raises(Integrity):
        put(store, replace(a_token_set(), tokens=(), revision=3), a_token_set("nobody"))
    assert a_token_set() == found(store)


def test_a_set_of_no_merchant_is_refused_by_the_database(store: Store) -> None:
    with pytest.raises(Integrity):
        put(store, a_token_set("nobody"))


@pytest.mark.parametrize("text", ["", "tokens", "{}", "[1]", '[{"token_id": "t"}]', "null", _LOCAL_TIME, _OFFSET_TIME])
def test_tokens_that_keysvc_never_writes_are_read_as_none_which_their_mac_denies(
    store: Store, database: Database, text: str
) -> None:
    put(store, a_token_set())
    database.execute(f"UPDATE merchant_token_set SET tokens = '{text}'".replace(":", r"\:"))
    assert replace(a_token_set(), tokens=()) == found(store)
