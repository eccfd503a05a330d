"""The database's disk is full: changes are refused wholly, what is there is read, and all goes on with more room."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from support.databases import Database, SqliteDatabases
from support.full_disk import SmallDisk, small_disk
from support.standby import PORT, Node

from keysvc.model.errors import StoreUnavailable
from keysvc.store import schema
from store.records import a_merchant, an_event

MEGABYTES = {"sqlite": 4, "postgresql": 90}
MOST = 2000
"""Changes at most until there is no room for another: a page takes a few dozen."""
REFUSED = 3


@pytest.fixture(params=list(MEGABYTES))
def site(request: pytest.FixtureRequest) -> Iterator[tuple[SmallDisk, Database]]:
    with small_disk(MEGABYTES[request.param]) as disk, _database(request, disk) as database:
        yield disk, database


@contextmanager
def _database(request: pytest.FixtureRequest, disk: SmallDisk) -> Iterator[Database]:
    if request.param == "sqlite":
        sqlite: SqliteDatabases = request.getfixturevalue("sqlite_databases")
        database = sqlite.new(disk.path)
        yield database
        database.close()
        return
    node = Node(disk.path / "pg")
    node.directory.mkdir()
    shutil.chown(node.directory, "postgres", "postgres")
    try:
        node.make()
        node.start()
        node.query("CREATE DATABASE keysvc")
        database = Database(f"postgresql://postgres@/keysvc?host={node.directory}&port={PORT}")
        schema.upgrade(database.engine())
        yield database
        database.close()
    finally:
        node.close()


def test_a_full_disk_refuses_changes_and_nothing_else(site: tuple[SmallDisk, Database]) -> None:
    disk, database = site
    store, numbers = database.store(), itertools.count()

    def change() -> None:
        with store.change() as change:
            name = f"m-{next(numbers)}"
            change.add_merchant(a_merchant(name))
            change.audit(an_event(name))

    change()
    with disk.full():
        made = 1 + _made_until_refused(change)
        store.epoch.read(lambda _epoch: None)
        assert a_merchant("m-0") == store.merchant("m-0")
    change()
    assert (made + 1, made + 1) == (database.count("merchant"), database.count("audit_event"))


def _made_until_refused(change: Callable[[], None]) -> int:
    """How many found room. One that is undone may leave room for another."""
    made = refused = 0
    while refused < REFUSED:
        assert made < MOST, "the disk is not full"
        try:
            change()
            made += 1
        except StoreUnavailable:
            refused += 1
    return made
