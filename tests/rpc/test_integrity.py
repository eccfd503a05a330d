"""Rows that somebody else wrote: DATA_LOSS, never used, told in the audit record, and got rid of by revoking."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from support.asking import ask, refused, request, result_of, slot_of, verify_key, verify_mac
from support.outside import key_of, mac_of
from support.principals import create
from support.server import Client, DevServer, refusal

Edit = Callable[..., list[Any]]

MESSAGE = b"order 1"
SLOT = "primary-hmac-key"
EDITS = {
    "another algorithm": "UPDATE credential_key SET hmac_algorithm = 'HMAC_SHA512' WHERE merchant_id = :m",
    "the wrapped key": "UPDATE credential_key SET material = zeroblob(40) WHERE merchant_id = :m",
    "no end": "UPDATE credential_key SET expire_time = '2999-01-01' WHERE merchant_id = :m AND version = 1",
    "another generation": "UPDATE credential_key SET generation = 2 WHERE merchant_id = :m",
    "another row key": "UPDATE credential_key SET mac_generation = 2 WHERE merchant_id = :m",
    "another MAC": "UPDATE credential_key SET mac = zeroblob(32) WHERE merchant_id = :m",
    "another version": "UPDATE credential_key SET version = version + 7 WHERE merchant_id = :m",
    "the slot's version": "UPDATE credential SET version = 9, revision = 9 WHERE merchant_id = :m",
    "the slot's fingerprint": "UPDATE credential SET fingerprint = '0123456789abcdef' WHERE merchant_id = :m",
    "the slot's key taken away": "DELETE FROM credential_key WHERE merchant_id = :m AND expire_time IS NULL",
    "the merchant's state": "UPDATE merchant SET state = 'SUSPENDED' WHERE merchant_id = :m",
}


@pytest.fixture
def edit(server: DevServer) -> Edit:
    """Reads and writes the database behind the service's back; returns the rows."""

    def execute(statement: str, *values: Any, **named: Any) -> list[Any]:
        with closing(sqlite3.connect(server.database, timeout=10)) as connection, connection:
            return connection.execute(statement, named or values).fetchall()

    return execute


def id_of(merchant: str) -> str:
    return merchant.removeprefix("merchants/")


def fill(client: Client, merchant: str) -> list[bytes]:
    """Creates and renews with an overlap; returns MACs that are both right."""
    name = slot_of(merchant, SLOT)
    first = ask(client, "CreateCredential", name=name).secret.value
    second = ask(client, "RenewCredential", name=name, previous_ttl=Duration(seconds=600)).secret.value
    macs = [mac_of(key_of(text, "HEX"), MESSAGE) for text in (first, second)]
    assert ["VALID", "VALID"] == [verify_mac(client, merchant, MESSAGE, mac) for mac in macs]
    return macs


def assert_unused(client: Client, merchant: str, mac: bytes) -> None:
    webhook = {"scheme": "GITHUB", "headers": {"x-hub-signature-256": f"sha256={mac.hex()}"}, "body": MESSAGE}
    for name in (merchant, slot_of(merchant, SLOT)):
        for method, fields in (
            ("VerifyHmac", {"mac": mac, "message": MESSAGE}),
            ("GenerateHmac", {"message": MESSAGE}),
            ("VerifyWebhook", webhook),
            ("SignWebhook", {"scheme": "GITHUB", "body": MESSAGE}),
            ("SignWebhook", {"scheme": "STRIPE", "body": MESSAGE}),
        ):
            told = refused(client, method, name=name, **fields)
            assert (grpc.StatusCode.DATA_LOSS, "INTEGRITY") == (told.code, told.reason)
            assert merchant in told.info.metadata["resource"]
        item = {"name": name, "message": MESSAGE, "mac": mac}
        assert {grpc.StatusCode.DATA_LOSS.value[0]} == {
            each.error.code for each in ask(client, "BatchVerifyHmac", requests=[item, item]).results
        }


@pytest.mark.parametrize("what", EDITS)
def test_an_edited_row_is_never_used(client: Client, merchant: str, edit: Edit, what: str) -> None:
    macs = fill(client, merchant)
    edit(EDITS[what], m=id_of(merchant))
    for mac in macs:
        assert_unused(client, merchant, mac)
    for method in ("RenewCredential", "ScheduleRotation"):
        assert "INTEGRITY" == refused(client, method, name=slot_of(merchant, SLOT)).reason
    assert "INTEGRITY" == refused(client, "SwapCredentials", name=merchant, kind="HMAC_KEY").reason
    assert "INTEGRITY" == refused(client, "RevokeCredential", name=slot_of(merchant, SLOT), version=1).reason


def test_a_key_copied_over_another_merchants_is_never_used(
    client: Client, merchant: str, other_merchant: str, edit: Edit
) -> None:
    """Even the whole row, its MAC along with it."""
    theirs, mine = fill(client, merchant), fill(client, other_merchant)
    edit(
        "UPDATE credential_key SET (material, generation, mac, mac_generation, create_time) ="
        " (SELECT material, generation, mac, mac_generation, create_time FROM credential_key AS source"
        " WHERE source.merchant_id = :source AND source.version = credential_key.version) WHERE merchant_id = :m",
        source=id_of(merchant),
        m=id_of(other_merchant),
    )
    for mac in (*theirs, *mine):
        assert_unused(client, other_merchant, mac)
    assert ["VALID", "VALID"] == [verify_mac(client, merchant, MESSAGE, mac) for mac in theirs]


def test_a_key_put_back_after_it_was_revoked_is_never_used(client: Client, merchant: str, edit: Edit) -> None:
    macs = fill(client, merchant)
    [*kept] = edit("SELECT * FROM credential_key WHERE merchant_id = :m", m=id_of(merchant))
    ask(client, "RevokeCredential", name=slot_of(merchant, SLOT))
    for row in kept:
        edit(f"INSERT INTO credential_key VALUES ({', '.join('?' * len(row))})", *row)
    for mac in macs:
        assert_unused(client, merchant, mac)


def test_one_altered_slot_does_not_stop_the_others(client: Client, merchant: str, edit: Edit) -> None:
    name = slot_of(merchant, "secondary-hmac-key")
    mac = mac_of(key_of(ask(client, "CreateCredential", name=name).secret.value, "HEX"), MESSAGE)
    api_key = ask(client, "CreateCredential", name=slot_of(merchant, "primary-rest-api-key")).secret.value
    macs = fill(client, merchant)
    edit(EDITS["another MAC"] + " AND slot = 'primary-hmac-key'", m=id_of(merchant))
    altered = refused(client, "VerifyHmac", name=slot_of(merchant, SLOT), message=MESSAGE, mac=macs[0])
    assert "INTEGRITY" == altered.reason
    told = ask(client, "VerifyHmac", name=merchant, message=MESSAGE, mac=mac)
    assert ("VALID", name) == (result_of(told), told.matched_credential)
    assert "VALID" == verify_key(client, merchant, api_key)
    wrong = refused(client, "VerifyHmac", name=merchant, message=MESSAGE, mac=b"wrong")
    assert "INTEGRITY" == wrong.reason


def test_revoking_gets_rid_of_an_altered_key(client: Client, merchant: str, edit: Edit) -> None:
    macs = fill(client, merchant)
    edit(EDITS["another MAC"], m=id_of(merchant))
    assert_unused(client, merchant, macs[0])
    ask(client, "RevokeCredential", name=slot_of(merchant, SLOT))
    assert "NO_LIVE_KEY" == verify_mac(client, merchant, MESSAGE, macs[0])
    assert "VALID" == verify_mac(client, merchant, MESSAGE, fill_again(client, merchant))


def fill_again(client: Client, merchant: str) -> bytes:
    made = ask(client, "CreateCredential", name=slot_of(merchant, SLOT))
    return mac_of(key_of(made.secret.value, "HEX"), MESSAGE)


def test_a_principal_that_was_made_more_is_not_let_in(server: DevServer, client: Client, edit: Edit) -> None:
    password = create(client, "climber", "PSP")
    edit("UPDATE principal SET kind = 'ADMIN' WHERE principal_id = 'climber'")
    with server.client(f"climber:{password}") as climber:
        told = refusal(lambda: climber.call("ListMerchants", request("ListMerchants")))
    assert (grpc.StatusCode.DATA_LOSS, "INTEGRITY") == (told.code, told.reason)


def test_an_altered_row_is_told_in_the_audit_record(client: Client, merchant: str, edit: Edit) -> None:
    macs = fill(client, merchant)
    edit(EDITS["another MAC"], m=id_of(merchant))
    assert_unused(client, merchant, macs[0])
    query = "SELECT outcome, reason FROM audit_event WHERE resource = ? AND method = ''"
    deadline = time.monotonic() + 10
    while not (found := edit(query, slot_of(merchant, SLOT))) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [("REFUSED", "INTEGRITY")] == found
