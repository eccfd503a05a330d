"""A database for each test, migrated and empty, on both kinds in turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.databases import Database

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
