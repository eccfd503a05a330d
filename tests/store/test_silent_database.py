"""A database that takes everything in and says nothing: no call waits long, few wait at all, and it is found again."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import pytest
from sqlalchemy import text
from support.databases import Database, unsigned
from support.postgres import Postgres
from support.standby import PORT, Node, new_node
from support.waiting import until

from keysvc.model.errors import StoreUnavailable
from keysvc.store import schema
from keysvc.store.engine import open_engine
from keysvc.store.store import Store
from store.records import a_merchant
from store.test_outages import CALLS, SOON

CALLERS = 32
AT_ONCE = 0.2
FOUND_SECONDS = 3.0
LOCK_SECONDS = 4.0
"""How long a replica that hangs in a change may hold up the others."""


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with new_node() as made:
        made.make()
        made.start()
        made.query("CREATE DATABASE keysvc")
        yield made


@pytest.fixture
def store(node: Node) -> Iterator[Store]:
    engine = open_engine(_url(node))
    schema.upgrade(engine)
    made = Store(engine, unsigned)
    yield made
    made.close()


def _url(node: Node) -> str:
    return f"postgresql://postgres@/keysvc?host={node.directory}&port={PORT}"


@contextmanager
def hanging(node: Node) -> Iterator[None]:
    node.hang()
    try:
        yield
    finally:
        node.go_on()


def _told(call: Callable[[], object]) -> float:
    """Seconds until it was refused."""
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        call()
    return time.monotonic() - began


def _answers(store: Store) -> bool:
    try:
        store.epoch.read(lambda _epoch: None)
    except StoreUnavailable:
        return False
    return True


def test_of_many_calls_only_the_first_wait(node: Node, store: Store) -> None:
    before = threading.active_count()
    assert _answers(store)
    with ThreadPoolExecutor(CALLERS) as callers, hanging(node):
        first = list(callers.map(_told, [lambda: store.epoch.read(lambda _epoch: None)] * CALLERS))
        assert AT_ONCE < max(first) < SOON
        for name in CALLS:
            assert _told(partial(CALLS[name], store)) < AT_ONCE, name
    began = time.monotonic()
    until(lambda: _answers(store))
    assert time.monotonic() - began < FOUND_SECONDS
    for call in (CALLS["merchant"], CALLS["change"]):
        call(store)
    until(lambda: threading.active_count() <= before)


@pytest.mark.parametrize("name", ["merchant", "change"])
def test_whichever_call_meets_it_first_is_told_in_time(node: Node, store: Store, name: str) -> None:
    """Its connection was well a moment before."""
    assert _answers(store)
    CALLS[name](store)
    with hanging(node):
        assert AT_ONCE < _told(lambda: CALLS[name](store)) < SOON
        assert _told(lambda: store.epoch.read(lambda _epoch: None)) < AT_ONCE
    until(lambda: _answers(store))


def test_a_server_that_takes_connections_and_says_nothing(postgres: Postgres) -> None:
    """Also one of several: the others named in the URL are asked in time."""
    silent = socket.create_server(("127.0.0.1", 0))
    place = f"127.0.0.1:{silent.getsockname()[1]}"
    store = Store(open_engine(f"postgresql://postgres@{place}/keysvc"), unsigned)
    assert _told(lambda: store.epoch.read(lambda _epoch: None)) < SOON
    store.close()
    url, _, well = postgres.new_database().partition("?host=")
    engine = open_engine(f"{url}?host={place}&host={well}:{PORT}")
    began = time.monotonic()
    with engine.connect() as connection:
        assert 1 == connection.execute(text("SELECT 1")).scalar_one()
    assert time.monotonic() - began < SOON
    engine.dispose()
    silent.close()


def test_a_statement_that_is_only_slow_is_ended_and_costs_no_connection(node: Node, store: Store) -> None:
    assert _answers(store)
    began = time.monotonic()
    with pytest.raises(StoreUnavailable), store._connected() as connection:
        connection.execute(text("SELECT pg_sleep(10)"))
    assert time.monotonic() - began < SOON
    assert _told_nothing(store)
    assert [] == node.query("SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(10)'")


def _told_nothing(store: Store) -> bool:
    """Whether the next call is answered, without having been looked for."""
    return store.merchant("m") is None


def test_what_runs_beside_the_calls_has_longer(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def slow(connection: object) -> bool:
        connection.execute(text("SELECT pg_sleep(1.3)"))  # type: ignore[attr-defined]
        ran.append(True)
        return False

    store._until_done(slow)
    assert [True] == ran
    with store._connected() as connection:  # and its connection is as all others again
        assert "1100ms" == connection.execute(text("SHOW statement_timeout")).scalar_one()
        assert 1.2 == connection.connection.dbapi_connection.patience  # type: ignore[union-attr]


def test_a_replica_that_hangs_in_a_change_holds_up_the_others_for_seconds_only(node: Node, store: Store) -> None:
    """And what it had not committed is undone, and told so when it goes on."""
    other = Store(open_engine(_url(node)), unsigned)
    held: list[float] = []

    def hang_amid_a_change() -> None:
        with store.change() as change:
            change.add_merchant(a_merchant("undone"))
            began = time.monotonic()
            until(lambda: _changes(other))
            held.append(time.monotonic() - began)

    with pytest.raises(StoreUnavailable):
        hang_amid_a_change()
    assert 1.0 < held[0] < LOCK_SECONDS  # and it did hold it up, or the test is about nothing
    assert (None, "stays") == (store.merchant("undone"), other.merchant("stays").merchant_id)  # type: ignore[union-attr]
    other.close()


def _changes(store: Store) -> bool:
    began = time.monotonic()
    try:
        with store.change() as change:
            change.add_merchant(a_merchant("stays"))
    except StoreUnavailable:
        assert time.monotonic() - began < SOON
        return False
    return True


def test_connections_to_a_server_of_before_are_not_used_after_the_epochs_has_moved(postgres_database: Database) -> None:
    """Where the epoch is read of a new primary, nothing may be read of the old one, which may go on for a while."""
    store = postgres_database.store()
    assert _answers(store)
    old = _servers(store)
    postgres_database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND query = 'SELECT value FROM epoch'"
    )
    assert _answers(store)
    assert set() == old & _servers(store)


def _servers(store: Store) -> set[int]:
    """The server's processes that two connections of the pool lead to."""
    with store._connected() as one, store._connected() as other:
        return {each.execute(text("SELECT pg_backend_pid()")).scalar_one() for each in (one, other)}


@pytest.fixture
def postgres_database(request: pytest.FixtureRequest) -> Iterator[Database]:
    database = request.getfixturevalue("postgres_databases").new()
    yield database
    database.close()
