"""GenerateHmac and VerifyHmac: algorithms, which key signs, which keys verify, and what a wrong MAC is answered."""

from __future__ import annotations

import secrets

import pytest
from support.asking import BEARER_SLOTS, ENCRYPTION_SLOTS, ask, refused, result_of, slot_of, verify_mac
from support.outside import key_of, mac_of
from support.server import Client

from keysvc.v1.credential_pb2 import Credential

MESSAGE = b"order 1"
SIZES = {"HMAC_SHA256": 32, "HMAC_SHA384": 48, "HMAC_SHA512": 64}


def primary(merchant: str) -> str:
    return slot_of(merchant, "primary-hmac-key")


def secondary(merchant: str) -> str:
    return slot_of(merchant, "secondary-hmac-key")


def create(client: Client, name: str) -> bytes:
    """Fills the slot; returns the key."""
    return key_of(ask(client, "CreateCredential", name=name).secret.value, "HEX")


@pytest.mark.parametrize(("algorithm", "size"), SIZES.items())
def test_a_key_is_made_for_its_algorithm_and_renewed_for_the_same(
    client: Client, merchant: str, algorithm: str, size: int
) -> None:
    made = ask(client, "CreateCredential", name=primary(merchant), hmac_algorithm=algorithm)
    renewed = ask(client, "RenewCredential", name=primary(merchant))
    for answer in (made, renewed):
        assert algorithm == Credential.HmacAlgorithm.Name(answer.credential.hmac_algorithm)
        assert size == len(key_of(answer.secret.value, "HEX"))
    mac = ask(client, "GenerateHmac", name=primary(merchant), message=MESSAGE).mac
    assert mac_of(key_of(renewed.secret.value, "HEX"), MESSAGE, algorithm) == mac


def test_the_algorithm_is_sha256_unless_said(client: Client, merchant: str) -> None:
    told = ask(client, "CreateCredential", name=primary(merchant)).credential
    assert Credential.HmacAlgorithm.HMAC_SHA256 == told.hmac_algorithm


def test_a_sha1_key_is_imported_to_verify_and_signs_only_once_renewed(client: Client, merchant: str) -> None:
    key = b"sixteen bytes or more"
    fields = {"hmac_algorithm": "HMAC_SHA1", "secret": key.decode(), "secret_format": "TEXT"}
    told = ask(client, "ImportCredential", name=primary(merchant), **fields).credential
    assert Credential.HmacAlgorithm.HMAC_SHA1 == told.hmac_algorithm
    assert "VALID" == verify_mac(client, primary(merchant), MESSAGE, mac_of(key, MESSAGE, "HMAC_SHA1"))
    assert "INVALID" == verify_mac(client, primary(merchant), MESSAGE, mac_of(key, MESSAGE, "HMAC_SHA256"))
    assert "WRONG_KIND" == refused(client, "GenerateHmac", name=primary(merchant), message=MESSAGE).reason
    assert "WRONG_KIND" == refused(client, "GenerateHmac", name=merchant, message=MESSAGE).reason
    renewed = ask(client, "RenewCredential", name=primary(merchant))
    assert Credential.HmacAlgorithm.HMAC_SHA256 == renewed.credential.hmac_algorithm
    mac = ask(client, "GenerateHmac", name=primary(merchant), message=MESSAGE).mac
    assert mac_of(key_of(renewed.secret.value, "TEXT"), MESSAGE) == mac


@pytest.mark.parametrize("algorithm", [*SIZES, "HMAC_SHA1"])
@pytest.mark.parametrize("size", [14, 20, 33, 64, 65, 100, 128, 131, 1024])
def test_an_imported_key_of_any_length_makes_the_same_macs_as_outside(
    client: Client, merchant: str, algorithm: str, size: int
) -> None:
    """Lengths about the hashes' blocks of 64 and 128 bytes: HMAC pads a shorter key and hashes a longer one."""
    key = secrets.token_bytes(size)
    ask(client, "ImportCredential", name=primary(merchant), hmac_algorithm=algorithm, secret=key.hex())
    assert "VALID" == verify_mac(client, merchant, MESSAGE, mac_of(key, MESSAGE, algorithm))


def test_a_sha1_key_is_never_created(client: Client, merchant: str) -> None:
    told = refused(client, "CreateCredential", name=primary(merchant), hmac_algorithm="HMAC_SHA1")
    assert ("INVALID_FIELD", ["hmac_algorithm"]) == (told.reason, told.fields)


def test_the_merchant_signs_with_its_primary_and_with_the_secondary_when_that_holds_none(
    client: Client, merchant: str
) -> None:
    second = create(client, secondary(merchant))
    by_second = ask(client, "GenerateHmac", name=merchant, message=MESSAGE)
    first = create(client, primary(merchant))
    by_first = ask(client, "GenerateHmac", name=merchant, message=MESSAGE)
    ask(client, "RevokeCredential", name=primary(merchant))
    by_second_again = ask(client, "GenerateHmac", name=merchant, message=MESSAGE)
    assert [mac_of(key, MESSAGE) for key in (second, first, second)] == [
        answer.mac for answer in (by_second, by_first, by_second_again)
    ]
    assert [secondary(merchant), primary(merchant), secondary(merchant)] == [
        answer.credential for answer in (by_second, by_first, by_second_again)
    ]


def test_the_answer_names_the_slot_and_version_that_signed(client: Client, merchant: str) -> None:
    create(client, primary(merchant))
    ask(client, "RenewCredential", name=primary(merchant))
    told = ask(client, "GenerateHmac", name=merchant, message=MESSAGE)
    assert (primary(merchant), 2) == (told.credential, told.version)


def test_in_a_double_run_the_merchant_verifies_with_both_keys_and_says_which(client: Client, merchant: str) -> None:
    keys = {name: create(client, name) for name in (primary(merchant), secondary(merchant))}
    ask(client, "RenewCredential", name=secondary(merchant))
    ask(client, "RevokeCredential", name=secondary(merchant))
    keys[secondary(merchant)] = create(client, secondary(merchant))
    for name, version in ((primary(merchant), 1), (secondary(merchant), 3)):
        told = ask(client, "VerifyHmac", name=merchant, message=MESSAGE, mac=mac_of(keys[name], MESSAGE))
        assert ("VALID", name, version, False) == (
            result_of(told),
            told.matched_credential,
            told.matched_version,
            told.retiring,
        )


def test_by_its_own_name_a_slot_verifies_with_its_own_key_only(client: Client, merchant: str) -> None:
    first, second = create(client, primary(merchant)), create(client, secondary(merchant))
    told = [
        verify_mac(client, name, MESSAGE, mac_of(key, MESSAGE))
        for name in (primary(merchant), secondary(merchant))
        for key in (first, second)
    ]
    assert ["VALID", "INVALID", "INVALID", "VALID"] == told


def test_an_invalid_answer_names_no_key(client: Client, merchant: str) -> None:
    create(client, primary(merchant))
    told = ask(client, "VerifyHmac", name=merchant, message=MESSAGE, mac=bytes(32))
    assert ("INVALID", "", 0) == (result_of(told), told.matched_credential, told.matched_version)


@pytest.mark.parametrize("size", [1, 2, 31, 33, 48, 64, 65, 100_000])
def test_a_mac_of_any_wrong_length_is_invalid_and_no_error(client: Client, merchant: str, size: int) -> None:
    mac = mac_of(create(client, primary(merchant)), MESSAGE)
    assert "INVALID" == verify_mac(client, merchant, MESSAGE, (mac * (size // len(mac) + 1))[:size])


def test_a_merchant_or_slot_without_a_key_verifies_nothing_and_signs_nothing(client: Client, merchant: str) -> None:
    for name in (merchant, primary(merchant)):
        assert "NO_LIVE_KEY" == verify_mac(client, name, MESSAGE, bytes(32))
        assert "SLOT_EMPTY" == refused(client, "GenerateHmac", name=name, message=MESSAGE).reason
    mac = mac_of(create(client, primary(merchant)), MESSAGE)
    ask(client, "RevokeCredential", name=primary(merchant))
    assert "NO_LIVE_KEY" == verify_mac(client, merchant, MESSAGE, mac)


def test_another_merchants_mac_is_invalid(client: Client, merchant: str, other_merchant: str) -> None:
    create(client, primary(merchant))
    mac = mac_of(create(client, primary(other_merchant)), MESSAGE)
    assert "INVALID" == verify_mac(client, merchant, MESSAGE, mac)


def test_an_empty_message_is_signed_and_verified(client: Client, merchant: str) -> None:
    key = create(client, primary(merchant))
    assert mac_of(key, b"") == ask(client, "GenerateHmac", name=merchant).mac
    assert "VALID" == verify_mac(client, merchant, b"", mac_of(key, b""))


@pytest.mark.parametrize("slot", [*BEARER_SLOTS, *ENCRYPTION_SLOTS])
def test_slots_of_another_kind_neither_sign_nor_verify(client: Client, merchant: str, slot: str) -> None:
    ask(client, "CreateCredential", name=slot_of(merchant, slot))
    told = [
        refused(client, "GenerateHmac", name=slot_of(merchant, slot)).reason,
        refused(client, "VerifyHmac", name=slot_of(merchant, slot), mac=b"mac").reason,
    ]
    assert ["WRONG_KIND", "WRONG_KIND"] == told
