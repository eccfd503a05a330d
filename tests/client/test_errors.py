"""What a call ends with that was not answered, and what a closed client says."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from client.either import EITHER, Open
from client.scripted import VERIFY, Refused, Scripted, status_of
from keysvc.client import AsyncClient, Basic, Batching, CallFailed, Client
from keysvc.v1 import credential_service_pb2 as pb


def test_an_error_tells_all_that_the_server_said(opened: Open, script: Scripted) -> None:
    def refused(_: Any) -> Any:
        raise Refused(status_of(grpc.StatusCode.RESOURCE_EXHAUSTED, "Too much at once", "OVERLOADED", 1.5))

    script.answers[VERIFY] = refused
    with opened(script.address) as client, pytest.raises(CallFailed, match=r"^Too much at once$") as failed:
        client.verify_hmac("m", b"a", b"a")
    error = failed.value
    assert ("RESOURCE_EXHAUSTED", "OVERLOADED", 1.5) == (error.code, error.reason, error.retry_after)
    assert ("Too much at once", {"callers": "principals/a"}) == (error.message, error.metadata)


def test_an_error_without_details_has_a_code_and_a_message(opened: Open, script: Scripted) -> None:
    script.refuse(VERIFY, grpc.StatusCode.INTERNAL, "a proxy's words")
    with opened(script.address) as client, pytest.raises(CallFailed) as failed:
        client.verify_hmac("m", b"a", b"a")
    error = failed.value
    assert ("INTERNAL", "a proxy's words", "", {}, None) == (
        error.code,
        error.message,
        error.reason,
        error.metadata,
        error.retry_after,
    )


def test_keysvcs_own_refusals_have_their_reasons(keysvc: Any) -> None:
    with pytest.raises(CallFailed) as failed:
        keysvc.verify_hmac("merchants/a b", b"a", b"a")
    assert ("INVALID_ARGUMENT", "INVALID_FIELD") == (failed.value.code, failed.value.reason)


def test_a_wrong_password_is_told(opened: Open, keysvc: Any, server: Any) -> None:
    with opened(server.address, Basic.of("admin", "wrong")) as client, pytest.raises(CallFailed) as failed:
        client.verify_hmac("merchants/m", b"a", b"a")
    assert "UNAUTHENTICATED" == failed.value.reason


@pytest.mark.parametrize("batching", [None, Batching()])
def test_a_closed_client_says_so(opened: Open, script: Scripted, batching: Batching | None) -> None:
    with opened(script.address, batching=batching) as client:
        client.close()
        with pytest.raises(CallFailed, match="This client was closed: make another one") as failed:
            client.verify_hmac("m", b"a", b"a")
        client.close()
    assert "CANCELLED" == failed.value.code


def test_an_asyncio_client_is_made_where_its_loop_runs(script: Scripted) -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        AsyncClient(script.address)


def test_a_method_that_is_not_in_the_contract_is_told(opened: Open, script: Scripted) -> None:
    with opened(script.address) as client, pytest.raises(ValueError, match="no method MerchantService/Delete"):
        client.call("MerchantService/Delete", {})


def test_another_methods_request_is_told(opened: Open, script: Scripted) -> None:
    with (
        opened(script.address) as client,
        pytest.raises(TypeError, match="VerifyHmac takes a VerifyHmacRequest, not a GetCredentialRequest"),
    ):
        client.call(VERIFY, pb.GetCredentialRequest())


@pytest.mark.parametrize("address", ["keysvc.example:50051", "10.0.0.1:50051", "dns:///keysvc", "localhost.example:1"])
def test_no_secret_crosses_a_network_in_clear(address: str) -> None:
    with pytest.raises(ValueError, match="not on loopback, so it needs TLS"):
        Client(address, Basic.of("admin", "secret"))


@pytest.mark.parametrize(
    "address", ["localhost:1", "127.0.0.1:1", "[::1]:1", "ipv6:[::1]:1", "unix:/tmp/x", "dns:///localhost:1"]
)
def test_loopback_needs_no_tls(address: str) -> None:
    Client(address, Basic.of("admin", "secret")).close()


def test_both_clients_have_the_same_methods() -> None:
    """Those of `with` are named otherwise."""
    names = [{name for name in vars(each) if not name.startswith("_")} for each in (Client, AsyncClient)]
    assert names[0] == names[1]
    assert 2 == len(EITHER)
