"""A database for each test, migrated and empty, on both kinds in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.databases import Database
from support.postgres import Postgres

from keysvc.store.store import Store


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        made = request.getfixturevalue("sqlite_databases").new(tmp_path)
    else:
        made = request.getfixturevalue("postgres_databases").new()
    yield made
    made.close()


@pytest.fixture
def store(database: Database) -> Store:
    return database.store()


@pytest.fixture(params=["sqlite", "postgresql"])
def new_empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Database]]:
    """Makes databases with nothing in them."""
    made: list[Database] = []

    def make() -> Database:
        if request.param == "sqlite":
            made.append(Database(f"sqlite:///{tmp_path / str(len(made))}.db"))
        else:
            server: Postgres = request.getfixturevalue("postgres")
            made.append(Database(server.new_database()))
        return made[-1]

    yield make
    for database in made:
        database.close()
