"""Fixtures of the tests over the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from support.outside import new_rsa
from support.principals import Principals
from support.server import Client, DevServer


@pytest.fixture
def other_merchant(client: Client, merchant_ids: Callable[[], str]) -> str:
    """A second active merchant."""
    return client.active_merchant(merchant_ids())


@pytest.fixture(scope="module")
def principals(request: pytest.FixtureRequest, server: DevServer, client: Client) -> Iterator[Principals]:
    """Makes principals of the shared server."""
    made = Principals(server, client, request.module.__name__.rpartition(".")[2].removeprefix("test_"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def rsa_key() -> RSAPrivateKey:
    """A recipient's key of the least length that is taken."""
    return new_rsa(2048)
