"""Fixtures that more than one folder of tests uses. Everything they hand out is real."""

from __future__ import annotations

import gc
import itertools
import os
from collections.abc import Callable, Generator, Iterator

import pytest
from hypothesis import settings
from support import opencryptoki, softhsm
from support.databases import PostgresDatabases, SqliteDatabases
from support.postgres import Postgres, running_postgres
from support.server import Client, DevServer
from support.softhsm import Tokens

from keysvc.hsm.module import Module

# How long an example takes says how busy the machine is.
settings.register_profile("keysvc", deadline=None)
settings.load_profile("keysvc")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="only what takes too long for the fast suite")
    parser.addoption("--token", choices=("softhsm", "opencryptoki"), default="softhsm", help="the token to test with")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "any_token: tests that hold for any token, run once with each")
    config.addinivalue_line("markers", "softhsm: among those, tests of what openCryptoki lacks or does otherwise")
    config.addinivalue_line("markers", "long: tests that `make test-long` runs, apart from the fast suite")
    config.addinivalue_line("markers", "opencryptoki: tests that need openCryptoki")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Those of the token at hand, `tokens/test_second_token.py` runs those of the second; and the long ones or the
    others, but for whoever names a test."""
    is_wanted = _holds_with_opencryptoki if config.getoption("--token") == "opencryptoki" else _holds_with_softhsm
    wanted = [item for item in items if is_wanted(item)]
    if os.environ.get("KEYSVC_SOAK") != "1" and not any("::" in argument for argument in config.args):
        is_long = config.getoption("--long")
        wanted = [item for item in wanted if (item.get_closest_marker("long") is not None) == is_long]
    unwanted = set(items) - set(wanted)
    if unwanted:
        config.hook.pytest_deselected(items=list(unwanted))
        items[:] = wanted


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is there when all tests are collected stays to the end, and is not looked through again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def _holds_with_softhsm(item: pytest.Item) -> bool:
    return item.get_closest_marker("opencryptoki") is None


def _holds_with_opencryptoki(item: pytest.Item) -> bool:
    if item.get_closest_marker("softhsm") is not None:
        return False
    return any(item.get_closest_marker(name) is not None for name in ("any_token", "opencryptoki"))


@pytest.fixture(scope="session")
def tokens(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    """The token's module in this process."""
    if request.config.getoption("--token") == "opencryptoki":
        return opencryptoki.tokens()
    directory = softhsm.configure(tmp_path_factory.mktemp("softhsm"))
    return Tokens(Module(softhsm.MODULE_PATH), directory)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def sqlite_databases(tmp_path_factory: pytest.TempPathFactory) -> SqliteDatabases:
    return SqliteDatabases(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session")
def postgres_databases(postgres: Postgres) -> PostgresDatabases:
    return PostgresDatabases(postgres)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """One `keysvc dev` for all tests that only call it. Tests take merchants of their own."""
    running = DevServer(tmp_path_factory.mktemp("shared") / "home").start()
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="session")
def client(server: DevServer) -> Iterator[Client]:
    with server.client() as made:
        yield made


@pytest.fixture(scope="session")
def merchant_ids() -> Callable[[], str]:
    """Ids that no other test of the session uses."""
    numbers = itertools.count(1)
    return lambda: f"m-{next(numbers)}"


@pytest.fixture
def merchant(client: Client, merchant_ids: Callable[[], str]) -> str:
    """The name of an active merchant that belongs to this test alone."""
    return client.active_merchant(merchant_ids())
