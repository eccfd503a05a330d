"""Callers that are no administrators: every rpc is denied to them, reflection is not."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from support.add_principal import add_principals
from support.methods import PATHS, REFLECTION, call_raw, refused_raw
from support.server import Client, DevServer

KINDS = ("PSP", "ACQUIRER", "MERCHANT", "SERVICE", "AUDITOR")
PASSWORD = "0123456789ABCDEF0123456789ABCDEF"


@pytest.fixture(scope="module")
def others(server: DevServer) -> Iterator[dict[str, Client]]:
    """A client for a principal of each kind but ADMIN."""
    add_principals(server.home, *(f"other-{kind}:{kind}:{PASSWORD}" for kind in KINDS))
    clients = {kind: server.client(f"other-{kind}:{PASSWORD}") for kind in KINDS}
    yield clients
    for client in clients.values():
        client.close()


@pytest.mark.parametrize("path", PATHS)
def test_only_an_administrator_may_call(others: dict[str, Client], path: str) -> None:
    """Not even a request that cannot be read is looked at."""
    for client in others.values():
        for raw in (b"", b"\xff"):
            told = refused_raw(client, path, raw)
            assert (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED") == (told.code, told.reason)


def test_anybody_known_may_ask_for_reflection(others: dict[str, Client]) -> None:
    for client in others.values():
        assert 1 == len(call_raw(client, REFLECTION, b"\x3a\x01*"))


def test_a_method_that_does_not_exist_is_unimplemented(client: Client) -> None:
    told = refused_raw(client, "/keysvc.v1.CredentialService/ShowSecret", b"")
    assert grpc.StatusCode.UNIMPLEMENTED == told.code
