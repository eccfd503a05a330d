"""Every method of the clients, on a `keysvc dev`: what is asked arrives, and what is answered has its form."""

from __future__ import annotations

import hmac
import inspect
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.asking import slot_of

from client.either import Open
from keysvc.client import Basic, CallFailed, Client, Kind, Result, Scheme, Verdict, text_of
from keysvc.client.results import verdict_of
from keysvc.v1.credential_service_pb2 import VerifyHmacResponse
from keysvc.v1.webhook_pb2 import VerifyWebhookResponse, WebhookScheme

MESSAGE = b"order 1"


@pytest.fixture
def key(keysvc: Any, merchant: str) -> bytes:
    """The primary HMAC key of the merchant."""
    return bytes.fromhex(keysvc.create_credential(slot_of(merchant, "primary-hmac-key")).value)


def test_a_mac_is_made_and_verified(keysvc: Any, merchant: str, key: bytes) -> None:
    mac = keysvc.generate_hmac(merchant, MESSAGE)
    assert hmac.digest(key, MESSAGE, "sha256") == mac
    told = keysvc.verify_hmac(merchant, MESSAGE, mac)
    assert Verdict(Result.VALID, slot_of(merchant, "primary-hmac-key"), 1) == told
    assert Verdict(Result.INVALID) == keysvc.verify_hmac(merchant, MESSAGE, mac[:-1])


@pytest.mark.parametrize("result", Result)
def test_only_valid_is_true(result: Result) -> None:
    assert (result is Result.VALID) is bool(Verdict(result))


def test_an_api_key_is_verified_and_a_retiring_one_told(keysvc: Any, merchant: str) -> None:
    name = slot_of(merchant, "primary-rest-api-key")
    old = keysvc.create_credential(name).value
    keysvc.renew_credential(name, previous_ttl=timedelta(minutes=10))
    assert Verdict(Result.VALID, name, 1, retiring=True) == keysvc.verify_api_key(merchant, old)
    assert not keysvc.verify_api_key(merchant, "another")


def test_options_arrive(keysvc: Any, merchant: str) -> None:
    name, once = slot_of(merchant, "primary-hmac-key"), uuid.uuid4().hex
    made = keysvc.create_credential(name, hmac_algorithm="HMAC_SHA512", secret_format="WHSEC", request_id=once)
    assert (True, "WHSEC") == (made.value.startswith("whsec_"), made.format)
    assert ("HMAC_SHA512", 1) == (text_of(made.credential, "hmac_algorithm"), made.credential.version)
    with pytest.raises(CallFailed) as failed:
        keysvc.create_credential(name, request_id=once)
    assert ("REQUEST_ALREADY_DONE", "1") == (failed.value.reason, failed.value.metadata["version"])


def test_a_revoked_credential_is_inactive(keysvc: Any, merchant: str, key: bytes) -> None:
    told = keysvc.revoke_credential(slot_of(merchant, "primary-hmac-key"), etag="1")
    assert "INACTIVE" == text_of(told, "state")
    assert Result.NO_LIVE_KEY == keysvc.verify_hmac(merchant, MESSAGE, b"mac").result


def test_all_pages_of_a_list_are_one_iterator(keysvc: Any, merchant: str) -> None:
    names = [each.name for each in keysvc.list_credentials(merchant, page_size=3)]
    assert 7 == len(names)
    assert sorted(names) == names


def test_any_rpc_is_called_by_its_name(keysvc: Any, merchant: str) -> None:
    told = keysvc.call("MerchantService/GetMerchant", {"name": merchant})
    assert (merchant, "ACTIVE") == (told.name, text_of(told, "state"))


def test_all_calls_share_one_connection(opened: Open, server: Any, credentials: Any, merchant: str) -> None:
    """gRPC names a connection by its own port, and tells it in the peer of the audit record."""
    with opened(server.address, Basic.from_file(credentials)) as client:
        for slot in ("primary-hmac-key", "secondary-hmac-key", "api-password"):
            client.create_credential(slot_of(merchant, slot))
        events = client.call("AuditService/ListAuditEvents", {"parent": merchant}).events
    peers = [event.peer for event in events if event.method.endswith("CreateCredential")]
    assert (3, 1) == (len(peers), len(set(peers)))


def test_a_rotation_is_told_and_carried_out(keysvc: Any, merchant: str, key: bytes) -> None:
    keysvc.create_credential(slot_of(merchant, "secondary-hmac-key"))
    rotation = keysvc.get_rotation(merchant, Kind.HMAC_KEY, unused_for=timedelta(hours=1))
    assert ("MOVING", "SWAP") == (text_of(rotation, "stage"), text_of(rotation.steps[0], "action"))
    assert 2 == len(rotation.keys)
    swapped = keysvc.swap_credentials(merchant, Kind.HMAC_KEY, etag=rotation.etag)
    assert slot_of(merchant, "primary-hmac-key") == swapped.primary.name
    assert "RETIRING" == text_of(keysvc.get_rotation(merchant, Kind.HMAC_KEY), "stage")
    with pytest.raises(CallFailed) as failed:
        keysvc.swap_credentials(merchant, Kind.HMAC_KEY, etag=rotation.etag)
    assert "ETAG_MISMATCH" == failed.value.reason


def test_a_key_in_use_is_not_revoked(keysvc: Any, merchant: str, key: bytes) -> None:
    keysvc.generate_hmac(merchant, MESSAGE)
    with pytest.raises(CallFailed) as failed:
        keysvc.revoke_credential(
            slot_of(merchant, "primary-hmac-key"), unused_for=timedelta(days=1), validate_only=True
        )
    assert ("STILL_IN_USE", "principals/admin") == (failed.value.reason, failed.value.metadata["callers"])


def test_what_is_due_is_listed_and_counted(keysvc: Any, merchant: str) -> None:
    name = slot_of(merchant, "api-password")
    keysvc.create_credential(name, rotate_before=datetime.now(UTC) + timedelta(days=3))
    assert [name] == [each.name for each in keysvc.list_credentials(merchant, due_within=timedelta(days=4))]
    assert [] == list(keysvc.list_credentials(merchant, due_within=timedelta(days=2)))
    summary = keysvc.summarize_credentials(merchant, due_within=timedelta(days=4))
    assert {"api-password": 1} == {slot.slot: slot.due for slot in summary.slots if slot.due}


def test_schemes_and_results_are_those_of_the_contract() -> None:
    assert set(WebhookScheme.keys()) - {"WEBHOOK_SCHEME_UNSPECIFIED"} == set(Scheme)
    told = {*VerifyHmacResponse.Result.keys(), *VerifyWebhookResponse.Result.keys()}
    assert told - {"RESULT_UNSPECIFIED"} == set(Result) - {Result.UNKNOWN}


def test_a_result_of_a_newer_server_is_not_valid() -> None:
    answer = VerifyHmacResponse.FromString(b"\x08\x63")  # result = 99
    assert Verdict(Result.UNKNOWN) == verdict_of(answer)


def test_every_public_method_takes_a_timeout() -> None:
    methods = [method for name, method in vars(Client).items() if not name.startswith("_") and name != "close"]
    assert {"timeout"} == {"timeout" if "timeout" in inspect.signature(each).parameters else each for each in methods}
