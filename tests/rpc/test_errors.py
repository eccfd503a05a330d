"""The contract's table of errors, each row as a caller meets it: code, reason, details and a message.

The rows that need something broken stand in test_outages.py and test_integrity.py; those of
rights, limits and principals in tests of their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from support.asking import ask, refused, request, slot_of
from support.server import Client, Refusal, refusal

import keysvc.cli.wiring  # noqa: F401 - every layer is loaded, with the errors of its own
from keysvc.model import errors
from keysvc.model.errors import KeysvcError
from keysvc.rpc.errors import CODES

Code = grpc.StatusCode
HMAC = "primary-hmac-key"
LATE = timedelta(seconds=2)

TABLE = {
    "UNAUTHENTICATED": Code.UNAUTHENTICATED,
    "PERMISSION_DENIED": Code.PERMISSION_DENIED,
    "NOT_OWNER": Code.PERMISSION_DENIED,
    "INVALID_FIELD": Code.INVALID_ARGUMENT,
    "NOT_FOUND": Code.NOT_FOUND,
    "SLOT_OCCUPIED": Code.ALREADY_EXISTS,
    "SLOT_EMPTY": Code.FAILED_PRECONDITION,
    "WRONG_KIND": Code.FAILED_PRECONDITION,
    "MERCHANT_NOT_ACTIVE": Code.FAILED_PRECONDITION,
    "STILL_IN_USE": Code.FAILED_PRECONDITION,
    "ETAG_MISMATCH": Code.ABORTED,
    "REQUEST_ALREADY_DONE": Code.ALREADY_EXISTS,
    "HSM_UNAVAILABLE": Code.UNAVAILABLE,
    "STORE_UNAVAILABLE": Code.UNAVAILABLE,
    "DECRYPT_FAILED": Code.INVALID_ARGUMENT,
    "LAST_ADMIN": Code.FAILED_PRECONDITION,
    "OVERLOADED": Code.RESOURCE_EXHAUSTED,
    "TOO_MANY_FAILURES": Code.RESOURCE_EXHAUSTED,
    "INTEGRITY": Code.DATA_LOSS,
}
"""The contract's rows, written down from it."""
ADDED = {
    "ALREADY_EXISTS": Code.ALREADY_EXISTS,
    "TOO_MANY_RETIRING": Code.FAILED_PRECONDITION,
    "TOO_MANY_TOKENS": Code.FAILED_PRECONDITION,
    "HSM_KEY_PENDING": Code.ALREADY_EXISTS,
    "HSM_KEY_STATE": Code.FAILED_PRECONDITION,
    "TOKEN_LACKS": Code.FAILED_PRECONDITION,
    "DEADLINE_EXCEEDED": Code.DEADLINE_EXCEEDED,
}
"""Rows that the .proto files add."""


def all_errors(cls: type[KeysvcError] = KeysvcError) -> list[type[KeysvcError]]:
    return [found for sub in cls.__subclasses__() for found in (sub, *all_errors(sub))]


def test_every_error_that_may_reach_the_wire_has_the_code_of_the_contract() -> None:
    reaching = [cls for cls in all_errors() if not issubclass(cls, errors.Misconfigured)]
    found = {cls.reason: next(CODES[base] for base in cls.__mro__ if base in CODES) for cls in reaching}
    assert {**TABLE, **ADDED} == found


def unauthenticated(client: Client, _merchant: str) -> Refusal:
    nobody: Any = (("x-nothing", "here"),)
    return refusal(lambda: client.call("GetMerchant", request("GetMerchant", name="merchants/m"), metadata=nobody))


def invalid_field(client: Client, _merchant: str) -> Refusal:
    return refused(client, "GetMerchant", name="not a name")


def not_found(client: Client, _merchant: str) -> Refusal:
    return refused(client, "GetMerchant", name="merchants/nobody")


def slot_occupied(client: Client, merchant: str) -> Refusal:
    ask(client, "CreateCredential", name=slot_of(merchant, HMAC))
    return refused(client, "CreateCredential", name=slot_of(merchant, HMAC))


def slot_empty(client: Client, merchant: str) -> Refusal:
    return refused(client, "RenewCredential", name=slot_of(merchant, HMAC))


def wrong_kind(client: Client, merchant: str) -> Refusal:
    return refused(client, "Encrypt", name=slot_of(merchant, HMAC))


def merchant_not_active(client: Client, merchant: str) -> Refusal:
    ask(client, "SuspendMerchant", name=merchant)
    return refused(client, "CreateCredential", name=slot_of(merchant, HMAC))


def still_in_use(client: Client, merchant: str) -> Refusal:
    ask(client, "CreateCredential", name=slot_of(merchant, HMAC))
    ask(client, "GenerateHmac", name=merchant)
    return refused(client, "RevokeCredential", name=slot_of(merchant, HMAC), unused_for=Duration(seconds=60))


def etag_mismatch(client: Client, merchant: str) -> Refusal:
    stale = ask(client, "CreateCredential", name=slot_of(merchant, HMAC)).credential.etag
    ask(client, "RenewCredential", name=slot_of(merchant, HMAC), etag=stale)
    return refused(client, "RenewCredential", name=slot_of(merchant, HMAC), etag=stale)


def request_already_done(client: Client, merchant: str) -> Refusal:
    fields = {"name": slot_of(merchant, HMAC), "request_id": merchant.replace("/", "-")}
    ask(client, "CreateCredential", **fields)
    return refused(client, "CreateCredential", **fields)


def decrypt_failed(client: Client, merchant: str) -> Refusal:
    name = slot_of(merchant, "encryption-password")
    ask(client, "CreateCredential", name=name)
    return refused(client, "Decrypt", name=name, ciphertext=b"no ciphertext")


def already_exists(client: Client, merchant: str) -> Refusal:
    return refused(client, "CreateMerchant", merchant_id=merchant.removeprefix("merchants/"))


ROWS: list[Callable[[Client, str], Refusal]] = [
    unauthenticated, invalid_field, not_found, slot_occupied, slot_empty, wrong_kind, merchant_not_active,
    still_in_use, etag_mismatch, request_already_done, decrypt_failed, already_exists,
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.__name__)
def test_a_row_of_the_table_arrives_as_the_contract_says(
    client: Client, merchant: str, row: Callable[[Client, str], Refusal]
) -> None:
    told = row(client, merchant)
    reason = row.__name__.upper()
    assert ({**TABLE, **ADDED}[reason], reason, "keysvc") == (told.code, told.reason, told.info.domain)
    assert len(told.message) > 15
    assert (reason == "INVALID_FIELD") == (told.bad_request is not None)
    assert told.retry is None


def test_a_bad_field_is_named_and_described_in_its_own_detail(client: Client) -> None:
    told = refused(client, "GetMerchant", name="not a name")
    [violation] = told.bad_request.field_violations
    assert ("name", "name") == (violation.field, told.info.metadata["field"])
    assert violation.description in told.message


@pytest.mark.parametrize("row", [slot_occupied, slot_empty, etag_mismatch, still_in_use, decrypt_failed])
def test_what_was_refused_is_named_in_the_metadata(
    client: Client, merchant: str, row: Callable[[Client, str], Refusal]
) -> None:
    assert row(client, merchant).info.metadata["resource"].startswith(f"{merchant}/credentials/")


def test_a_revoke_is_refused_for_as_long_as_a_key_of_the_slot_was_used(client: Client, merchant: str) -> None:
    """Also where it is the retiring key that is used, whose clients are just those to be moved; and two seconds longer
    than was asked, since so late may a use be known."""
    name = slot_of(merchant, "api-password")
    old = ask(client, "CreateCredential", name=name).secret.value
    ask(client, "RevokeCredential", name=name, unused_for=Duration(seconds=3600), validate_only=True)
    ask(client, "RenewCredential", name=name, previous_ttl=Duration(seconds=3600))
    ask(client, "VerifyApiKey", name=name, api_key=old)
    for fields in ({}, {"validate_only": True}):
        told = refused(client, "RevokeCredential", name=name, unused_for=Duration(seconds=3600), **fields)
        assert "STILL_IN_USE" == told.reason
        assert told.info.metadata["last_used_time"] != ""
    assert "STILL_IN_USE" == refused(client, "RevokeCredential", name=name, unused_for=Duration(nanos=1000)).reason
    time.sleep(LATE.total_seconds() + 0.05)
    ask(client, "RevokeCredential", name=name, unused_for=Duration(nanos=1000))
