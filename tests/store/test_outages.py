"""A database out of reach: told as such, soon, and forgotten when it is back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.databases import Database, SqliteDatabases, unsigned
from support.outages import StoppablePostgres, stoppable_postgres

from keysvc.model.errors import KeysvcError, StoreUnavailable
from keysvc.model.fleet import FleetTimes
from keysvc.model.principals import PrincipalKind
from keysvc.model.uses import Tally
from keysvc.store import schema
from keysvc.store.audit_log import EventFilter
from keysvc.store.engine import open_engine
from keysvc.store.queries import Owner
from keysvc.store.store import Store
from store.records import A_USE, NOON, a_merchant

SOON = 2.0
"""Seconds within which a call that cannot be answered is told so."""
SEEN = 3
"""Calls that may find a connection of before the outage."""


def _change(store: Store) -> None:
    with store.change() as change:
        change.merchant("m")


CALLS: dict[str, Callable[[Store], object]] = {
    "merchant": lambda store: store.merchant("m"),
    "merchants": lambda store: store.merchants(None, 10),
    "holdings": lambda store: store.holdings("m"),
    "owned_merchant": lambda store: store.owned_merchant(Owner(PrincipalKind.PSP, "PSP_42"), "m"),
    "principal": lambda store: store.principal("admin"),
    "principal_of": lambda store: store.principal_of("spiffe://example.org/a"),
    "principals": lambda store: store.principals(None, 10),
    "use_jwt": lambda store: store.use_jwt("admin", bytes(32), NOON),
    "audit_events": lambda store: store.audit_events(0, 10, EventFilter()),
    "audit_end": lambda store: store.audit_end(),
    "audit_heads": lambda store: store.audit_heads(),
    "last_audit_head": lambda store: store.last_audit_head(),
    "uses": lambda store: store.uses("m"),
    "due": lambda store: store.due(None, 10, NOON, None),
    "due_counts": lambda store: store.due_counts(NOON, NOON),
    "retiring": lambda store: store.retiring(NOON),
    "summary": lambda store: store.summary(FleetTimes(NOON, NOON, NOON), None),
    "change": _change,
    "epoch": lambda store: store.epoch.read(lambda _epoch: None),
    "changes": lambda store: store.epoch.changes(0, 1),
    "add_uses": lambda store: store.add_uses({A_USE: Tally(1, NOON)}),
    "fold_uses": lambda store: store.fold_uses(NOON),
    "expired_keys": lambda store: store.expired_keys(NOON, 9),
    "forget_uses": lambda store: store.forget_uses(),
    "forget_before": lambda store: store.forget_before(NOON, NOON, 1),
    "bindings": lambda store: store.bindings(),
    "bind": lambda store: store.bind({("row", 1): b""}),
}


@pytest.fixture
def stoppable() -> Iterator[StoppablePostgres]:
    with stoppable_postgres() as server:
        yield server


def test_a_stopped_postgresql_is_told_by_every_call_and_found_again(stoppable: StoppablePostgres) -> None:
    engine = open_engine(stoppable.new_database())
    schema.upgrade(engine)
    store = Store(engine, unsigned)
    with store.change() as change:
        change.add_merchant(a_merchant())
    for call in CALLS.values():
        call(store)
    stoppable.stop()
    for name, call in CALLS.items():
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            call(store)
        assert time.monotonic() - began < SOON, name
    stoppable.start()
    assert a_merchant() == _when_back(lambda: store.merchant("m"))
    seen: list[int] = []
    _when_back(lambda: store.epoch.read(seen.append))
    _change(store)
    store.close()


@pytest.mark.parametrize("name", ["epoch", "merchant", "change"])
def test_cut_connections_fail_one_call_at_most(postgres_store: Store, postgres_database: Database, name: str) -> None:
    """The first call that finds its connection broken knows that all of before the cut are. The epoch is read again."""
    for call in CALLS.values():
        call(postgres_store)
    with postgres_store.change(), postgres_store._connected(), postgres_store._connected():
        pass  # so that the pool holds three
    _cut_all(postgres_database)
    failures = 0
    for _ in range(5):
        try:
            CALLS[name](postgres_store)
        except StoreUnavailable:
            failures += 1
    assert failures <= (0 if name == "epoch" else 1)


def test_the_reader_sees_what_was_committed_while_it_was_cut(
    postgres_store: Store, postgres_database: Database
) -> None:
    seen: list[int] = []
    postgres_store.epoch.read(seen.append)
    postgres_database.execute("UPDATE epoch SET value = 7")
    _cut_all(postgres_database)
    _when_back(lambda: postgres_store.epoch.read(seen.append))
    assert [7] == seen


def test_a_sqlite_file_in_a_directory_that_is_gone(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'gone' / 'keysvc.db'}")
    store = Store(engine, unsigned)
    for name, call in CALLS.items():
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            call(store)
        assert time.monotonic() - began < SOON, name
    store.close()


def test_a_change_that_cannot_have_the_lock_is_told_so(
    tmp_path: Path, sqlite_databases: SqliteDatabases, postgres_database: Database
) -> None:
    """Another program holds the lock and does not let go: calls must not pile up behind it for ever."""
    sqlite_database = sqlite_databases.new(tmp_path)
    told: dict[str, str] = {}

    def change(name: str, store: Store) -> None:
        try:
            _change(store)
        except StoreUnavailable as error:
            told[name] = error.reason

    # Both at once, since each takes seconds.
    with sqlite_database.second_writer() as one, postgres_database.second_writer() as other:
        threads = []
        for name, writer, database in (("sqlite", one, sqlite_database), ("postgresql", other, postgres_database)):
            writer.exec_driver_sql("UPDATE epoch SET value = value + 1")
            threads.append(threading.Thread(target=change, args=(name, database.store())))
            threads[-1].start()
        deadline = time.monotonic() + SOON
        for thread in threads:
            thread.join(max(0, deadline - time.monotonic()))
        in_time = dict(told)
    for thread in threads:
        thread.join(SOON)
    sqlite_database.close()
    assert {"sqlite": "STORE_UNAVAILABLE", "postgresql": "STORE_UNAVAILABLE"} == in_time


def test_a_file_that_is_no_database_is_told_in_our_words(tmp_path: Path) -> None:
    file = tmp_path / "keysvc.db"
    file.write_text("this is no database\n" * 400)
    engine = open_engine(f"sqlite:///{file}")
    for open_it in (schema.upgrade, schema.require_newest):
        with pytest.raises(KeysvcError):
            open_it(engine)
    engine.dispose()


@pytest.fixture
def postgres_database(request: pytest.FixtureRequest) -> Iterator[Database]:
    database = request.getfixturevalue("postgres_databases").new()
    yield database
    database.close()


@pytest.fixture
def postgres_store(postgres_database: Database) -> Store:
    return postgres_database.store()


def _cut_all(database: Database) -> None:
    with database.second_writer() as writer:
        writer.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def _when_back(call: Callable[[], object]) -> object:
    """The answer, once the connections of before the outage are used up."""
    for _ in range(SEEN):
        try:
            return call()
        except StoreUnavailable:
            continue
    return call()
