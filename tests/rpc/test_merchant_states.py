"""What a merchant's state does to its credentials: only an ACTIVE one's work; they can always be viewed and revoked."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import grpc
import pytest
from support.asking import SLOTS, ask, refused, slot_of, verify_key, verify_mac
from support.outside import key_of, mac_of
from support.server import Client, DevServer

from keysvc.v1.credential_pb2 import Credential

MESSAGE = b"order 1"


@dataclass(frozen=True)
class Filled:
    """A merchant with a key of each kind, and what was made with them."""

    name: str
    mac: bytes
    api_key: str
    ciphertext: bytes

    @property
    def hmac(self) -> str:
        return slot_of(self.name, "primary-hmac-key")

    @property
    def rest(self) -> str:
        return slot_of(self.name, "primary-rest-api-key")

    @property
    def encryption(self) -> str:
        return slot_of(self.name, "encryption-password")

    @property
    def empty(self) -> str:
        return slot_of(self.name, "secondary-hmac-key")


@pytest.fixture
def filled(client: Client, merchant: str) -> Filled:
    key = key_of(ask(client, "CreateCredential", name=slot_of(merchant, "primary-hmac-key")).secret.value, "HEX")
    api_key = ask(client, "CreateCredential", name=slot_of(merchant, "primary-rest-api-key")).secret.value
    encryption = slot_of(merchant, "encryption-password")
    ask(client, "CreateCredential", name=encryption)
    ciphertext = ask(client, "Encrypt", name=encryption, plaintext=b"plain").ciphertext
    return Filled(merchant, mac_of(key, MESSAGE), api_key, ciphertext)


@contextmanager
def rows_of(server: DevServer) -> Iterator[sqlite3.Cursor]:
    with closing(sqlite3.connect(server.database)) as connection, closing(connection.cursor()) as cursor:
        yield cursor


def results(client: Client, filled: Filled) -> set[str]:
    """What every right MAC and API key of the merchant is answered now."""
    macs = {verify_mac(client, name, MESSAGE, filled.mac) for name in (filled.name, filled.hmac)}
    return macs | {verify_key(client, name, filled.api_key) for name in (filled.name, filled.rest)}


@pytest.mark.parametrize("method", ["SuspendMerchant", "TerminateMerchant"])
def test_nothing_verifies_from_the_instant_that_the_merchant_is_not_active(
    client: Client, filled: Filled, method: str
) -> None:
    assert {"VALID"} == results(client, filled)
    ask(client, method, name=filled.name)
    assert {"MERCHANT_NOT_ACTIVE"} == results(client, filled)
    assert "MERCHANT_NOT_ACTIVE" == verify_mac(client, filled.empty, MESSAGE, b"any")


@pytest.mark.parametrize("method", ["SuspendMerchant", "TerminateMerchant"])
def test_no_key_of_an_inactive_merchant_can_be_made_or_used(client: Client, filled: Filled, method: str) -> None:
    ask(client, method, name=filled.name)
    told = [
        refused(client, "CreateCredential", name=filled.empty),
        refused(client, "RenewCredential", name=filled.hmac),
        refused(client, "ImportCredential", name=filled.empty, secret="0f" * 32),
        refused(client, "GenerateHmac", name=filled.name, message=MESSAGE),
        refused(client, "GenerateHmac", name=filled.hmac, message=MESSAGE),
        refused(client, "Encrypt", name=filled.encryption, plaintext=b"x"),
        refused(client, "Decrypt", name=filled.encryption, ciphertext=filled.ciphertext),
    ]
    assert {(grpc.StatusCode.FAILED_PRECONDITION, "MERCHANT_NOT_ACTIVE")} == {(each.code, each.reason) for each in told}


def test_a_waiting_merchant_takes_no_keys_and_verifies_nothing(client: Client, merchant_ids: Callable[[], str]) -> None:
    name = ask(client, "CreateMerchant", merchant_id=merchant_ids()).name
    slot = slot_of(name, "primary-hmac-key")
    assert "MERCHANT_NOT_ACTIVE" == refused(client, "CreateCredential", name=slot).reason
    assert "MERCHANT_NOT_ACTIVE" == refused(client, "ImportCredential", name=slot, secret="0f" * 32).reason
    assert "MERCHANT_NOT_ACTIVE" == verify_mac(client, name, MESSAGE, b"any")
    assert len(SLOTS) == len(ask(client, "ListCredentials", parent=name).credentials)


def test_a_suspended_merchants_keys_can_be_viewed_and_revoked(client: Client, filled: Filled) -> None:
    before = ask(client, "GetCredential", name=filled.hmac)
    ask(client, "SuspendMerchant", name=filled.name)
    assert before == ask(client, "GetCredential", name=filled.hmac)
    assert len(SLOTS) == len(ask(client, "ListCredentials", parent=filled.name).credentials)
    ask(client, "RevokeCredential", name=filled.hmac)
    ask(client, "ActivateMerchant", name=filled.name)
    assert "NO_LIVE_KEY" == verify_mac(client, filled.name, MESSAGE, filled.mac)
    assert "VALID" == verify_key(client, filled.name, filled.api_key)


def test_activating_again_brings_the_same_keys_back(client: Client, filled: Filled) -> None:
    ask(client, "SuspendMerchant", name=filled.name)
    assert {"MERCHANT_NOT_ACTIVE"} == results(client, filled)
    ask(client, "ActivateMerchant", name=filled.name)
    assert {"VALID"} == results(client, filled)
    told = ask(client, "Decrypt", name=filled.encryption, ciphertext=filled.ciphertext)
    assert b"plain" == told.plaintext


def test_terminating_destroys_every_key_for_good(server: DevServer, client: Client, filled: Filled) -> None:
    merchant_id = filled.name.removeprefix("merchants/")
    ask(client, "RevokeCredential", name=filled.rest)
    ask(client, "TerminateMerchant", name=filled.name)
    listed = ask(client, "ListCredentials", parent=filled.name).credentials
    states = {c.name.rpartition("/")[2]: Credential.State.Name(c.state) for c in listed}
    once_filled = ("primary-hmac-key", "primary-rest-api-key", "encryption-password")
    assert {**dict.fromkeys(SLOTS, "EMPTY"), **dict.fromkeys(once_filled, "INACTIVE")} == states
    with rows_of(server) as rows:
        assert [(0,)] == rows.execute(
            "SELECT count(*) FROM credential_key WHERE merchant_id = ?", (merchant_id,)
        ).fetchall()
    assert "MERCHANT_NOT_ACTIVE" == refused(client, "ActivateMerchant", name=filled.name).reason
    assert "SLOT_EMPTY" == refused(client, "RevokeCredential", name=filled.hmac).reason
