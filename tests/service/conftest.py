"""A service for each test: wired as `keysvc.cli.wiring` does, over a database of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.databases import Database
from support.softhsm import Tokens

from keysvc.hsm.connection import TokenConfig
from keysvc.hsm.token import Token
from service.parts import Clock, Service


@pytest.fixture(scope="session")
def token_config(tokens: Tokens) -> TokenConfig:
    """One token for all tests here: its keys take the longest to make, and no test changes them."""
    return tokens.with_keys()


@pytest.fixture(scope="module")
def token(tokens: Tokens, token_config: TokenConfig) -> Iterator[Token]:
    """Open for one file of tests: those of other folders reset the module under it."""
    opened = tokens.open(token_config)
    yield opened
    opened.close()


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """SQLite, but for tests that are run on both (see `both_databases`)."""
    if getattr(request, "param", "sqlite") == "sqlite":
        made = request.getfixturevalue("sqlite_databases").new(tmp_path)
    else:
        made = request.getfixturevalue("postgres_databases").new()
    yield made
    made.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def service(database: Database, token: Token, clock: Clock) -> Iterator[Service]:
    made = Service(database, token, clock)
    yield made
    made.close()
