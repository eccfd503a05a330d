"""The epoch counts every committed change that an answer may depend on, whoever made it, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from support.databases import Database

from keysvc.model.slots import Slot
from keysvc.model.uses import Tally
from keysvc.store.changes import Change
from keysvc.store.store import Store
from store.records import A_USE, NOON, a_key, a_merchant, a_principal, a_slot, a_token_set, add_filled_slot, an_event

SLOT = Slot.PRIMARY_HMAC_KEY

CHANGES: list[tuple[str, Callable[[Change], object], str]] = [
    ("a merchant added", lambda change: change.add_merchant(a_merchant("new")), "merchants/new"),
    ("a merchant put", lambda change: change.put_merchant(a_merchant()), "merchants/m"),
    ("a slot added", lambda change: change.add_slot(a_slot(Slot.API_PASSWORD)), "merchants/m"),
    ("a slot put", lambda change: change.put_slot(a_slot()), "merchants/m"),
    ("a key added", lambda change: change.add_key(replace(a_key(version=2), expire_time=NOON)), "merchants/m"),
    ("a key put", lambda change: change.put_key(a_key()), "merchants/m"),
    ("a key deleted", lambda change: change.delete_keys("m", SLOT, [1]), "merchants/m"),
    ("a key taken", lambda change: change.take_key(a_key(version=2)), "merchants/m"),
    ("tokens put", lambda change: change.put_tokens(a_token_set("bare")), "merchants/bare"),
    ("tokens deleted", lambda change: change.delete_tokens("bare"), "merchants/bare"),
    ("a principal added", lambda change: change.add_principal(a_principal("new")), "principals/new"),
    ("a principal put", lambda change: change.put_principal(a_principal()), "principals/admin"),
]

_ADD_MERCHANT = (
    "INSERT INTO merchant SELECT 'n', display_name, psp, acquirer, state, create_time, update_time, revision, mac,"
    " mac_generation FROM merchant WHERE merchant_id = 'm'"
)
SECOND_WRITES = [
    (_ADD_MERCHANT, ["merchants/n"]),
    ("UPDATE merchant SET state = 'SUSPENDED' WHERE merchant_id = 'm'", ["merchants/m"]),
    ("UPDATE credential SET fingerprint = 'edited'", ["merchants/m"]),
    ("UPDATE credential_key SET mac_generation = 2", ["merchants/m"]),
    ("DELETE FROM credential_key", ["merchants/m"]),
    ("UPDATE principal SET state = 'DISABLED'", ["principals/admin"]),
    ("UPDATE merchant SET merchant_id = 'moved' WHERE merchant_id = 'bare'", ["merchants/bare", "merchants/moved"]),
    ("UPDATE principal SET principal_id = 'moved'", ["principals/admin", "principals/moved"]),
    ("DELETE FROM merchant WHERE merchant_id = 'moved'", ["merchants/moved"]),
    ("DELETE FROM principal", ["principals/moved"]),
]


def _audit_and_request(store: Store) -> None:
    with store.change() as change:
        change.audit(an_event())
        change.remember_request("admin", "r-1", "merchants/m", 1, NOON)


def _sign(store: Store) -> None:
    with store.change() as change:
        change.sign_audit(NOON)


def _reads(store: Store) -> None:
    store.holdings("m")
    store.merchants(None, 9)
    store.principal("admin")
    store.principal_of("spiffe://example.org/a")
    store.principals(None, 9)
    store.audit_end()


UNCOUNTED: list[tuple[str, Callable[[Store], object]]] = [
    ("uses", lambda store: store.add_uses({A_USE: Tally(1, NOON)})),
    ("folding uses", lambda store: store.fold_uses(NOON + timedelta(days=1))),
    ("a binding", lambda store: store.bind({("row", 1): b"check"})),
    ("forgetting", lambda store: store.forget_before(NOON, NOON, 1000)),
    ("audit and request", _audit_and_request),
    ("a signature", _sign),
    ("a used JWT", lambda store: store.use_jwt("admin", bytes(32), NOON)),
    ("reads", _reads),
]


@pytest.fixture(autouse=True)
def filled(store: Store) -> None:
    """One merchant with one key, one without, and one principal."""
    with store.change() as change:
        change.add_merchant(a_merchant())
        add_filled_slot(change)
        change.add_principal(a_principal())
        change.add_merchant(a_merchant("bare"))


def test_every_change_counts_and_is_named(store: Store) -> None:
    for label, work, subject in CHANGES:
        before = _epoch(store)
        with store.change() as change:
            work(change)
        assert (label, before + 1) == (label, _epoch(store))
        assert [subject] == store.epoch.changes(before, before + 1), label


def test_a_second_writer_counts_too(store: Store, database: Database) -> None:
    for statement, subjects in SECOND_WRITES:
        before = _epoch(store)
        assert 1 == database.execute(statement), statement
        assert (statement, before + len(subjects)) == (statement, _epoch(store))
        assert subjects == sorted(store.epoch.changes(before, _epoch(store)) or []), statement


def test_tokens_put_in_the_place_of_others_name_their_merchant_alone(store: Store) -> None:
    with store.change() as change:
        for merchant_id in ("m", "bare"):
            change.put_tokens(a_token_set(merchant_id))
    before = _epoch(store)
    with store.change() as change:
        change.put_tokens(a_token_set("bare"))
        change.put_tokens(a_token_set("bare"))
    assert {"merchants/bare"} == set(store.epoch.changes(before, _epoch(store)) or [])


def test_deleting_tokens_that_are_not_there_does_not_count(store: Store) -> None:
    before = _epoch(store)
    with store.change() as change:
        change.delete_tokens("bare")
    assert before == _epoch(store)


def test_a_second_writer_of_tokens_counts_too(store: Store, database: Database) -> None:
    with store.change() as change:
        change.put_tokens(a_token_set())
    for statement, subjects in [
        ("UPDATE merchant_token_set SET tokens = '[]'", ["merchants/m"]),
        ("UPDATE merchant_token_set SET merchant_id = 'bare'", ["merchants/bare", "merchants/m"]),
        ("DELETE FROM merchant_token_set", ["merchants/bare"]),
    ]:
        before = _epoch(store)
        database.execute(statement)
        assert subjects == sorted(store.epoch.changes(before, _epoch(store)) or []), statement


def test_a_key_moved_to_another_merchant_names_both(store: Store, database: Database) -> None:
    with store.change() as change:
        change.add_slot(a_slot(merchant_id="bare"))
    before = _epoch(store)
    database.execute("UPDATE credential_key SET merchant_id = 'bare'")
    assert ["merchants/bare", "merchants/m"] == sorted(store.epoch.changes(before, _epoch(store)) or [])


def test_one_statement_counts_every_row(store: Store, database: Database) -> None:
    before = _epoch(store)
    database.execute("UPDATE merchant SET revision = revision + 1")
    assert ["merchants/bare", "merchants/m"] == sorted(store.epoch.changes(before, _epoch(store)) or [])


@pytest.mark.parametrize("table", ["credential_key", "merchant_token_set"])
def test_a_truncation_counts_and_leaves_what_changed_unknown(store: Store, database: Database, table: str) -> None:
    """PostgreSQL's alone: SQLite deletes row by row."""
    with store.change() as change:
        change.put_tokens(a_token_set())
    before = _epoch(store)
    database.execute(f"DELETE FROM {table}" if database.is_sqlite else f"TRUNCATE {table}")
    assert before < _epoch(store)
    known = store.epoch.changes(before, _epoch(store))
    assert (["merchants/m"] if database.is_sqlite else None) == known


def test_what_no_answer_depends_on_does_not_count(store: Store) -> None:
    before = _epoch(store)
    for label, work in UNCOUNTED:
        work(store)
        assert (label, before) == (label, _epoch(store))


def test_a_change_that_was_undone_does_not_count(store: Store) -> None:
    before = _epoch(store)

    def undone() -> None:
        with store.change() as change:
            change.put_merchant(a_merchant())
            raise KeyError

    with pytest.raises(KeyError):
        undone()
    assert (before, []) == (_epoch(store), store.epoch.changes(before, before))


def test_an_uncommitted_change_is_not_seen(store: Store, database: Database) -> None:
    other = database.store()
    seen: list[int] = []
    store.epoch.read(seen.append)
    with other.change() as change:
        change.put_merchant(a_merchant())
        store.epoch.read(seen.append)
    store.epoch.read(seen.append)
    assert [5, 6] == seen


def test_changes_are_those_after_the_first_up_to_the_last(store: Store) -> None:
    assert ["merchants/m"] * 3 + ["principals/admin", "merchants/bare"] == store.epoch.changes(0, 5)
    assert ["merchants/m", "principals/admin"] == store.epoch.changes(2, 4)
    assert [] == store.epoch.changes(5, 5)


def test_changes_that_were_pruned_are_not_known(store: Store) -> None:
    for kept, known in [(9, {0, 1, 2, 3, 4}), (2, {3, 4}), (1, {4}), (0, set[int]())]:
        store.forget_before(NOON, NOON, kept)
        assert known == {after for after in range(5) if store.epoch.changes(after, 5) is not None}
        assert [] == store.epoch.changes(5, 5)


def test_changes_are_not_known_when_the_epoch_went_back(store: Store) -> None:
    """A database restored from a copy: nothing that is remembered may be relied on."""
    assert store.epoch.changes(9, 5) is None


def _epoch(store: Store) -> int:
    """The epoch as a process that has never read it finds it."""
    with store._engine.connect() as connection:
        in_autocommit = connection.execution_options(isolation_level="AUTOCOMMIT")
        return int(in_autocommit.exec_driver_sql("SELECT value FROM epoch").scalar_one())
