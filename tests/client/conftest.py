"""Fixtures of the client's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.server import DevServer

from client.either import EITHER, Open
from client.scripted import Scripted, scripted
from keysvc.client import Basic


@pytest.fixture(params=EITHER, ids=["sync", "asyncio"])
def opened(request: pytest.FixtureRequest) -> Open:
    """Makes a client: the test runs once with Client, and once with AsyncClient."""
    made: Open = request.param
    return made


@pytest.fixture
def script() -> Iterator[Scripted]:
    with scripted() as running:
        yield running


@pytest.fixture
def credentials(server: DevServer) -> Path:
    """Where `keysvc dev` wrote the administrator's."""
    return server.home / "admin-credentials"


@pytest.fixture
def keysvc(opened: Open, server: DevServer, credentials: Path) -> Iterator[Any]:
    """A client of the shared `keysvc dev`, sync or asyncio, as the administrator."""
    with opened(server.address, Basic.from_file(credentials), timeout=20.0) as made:
        yield made
