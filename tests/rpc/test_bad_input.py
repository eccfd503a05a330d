"""Fields that are wrong: INVALID_ARGUMENT naming the field, nothing changed, and the service goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from google.protobuf.duration_pb2 import Duration
from support.asking import BEARER_SLOTS, ENCRYPTION_SLOTS, HMAC_SLOTS, SLOTS, ask, refused, slot_of, verify_mac
from support.outside import mac_of, new_rsa, pem_of, text_of
from support.server import Client

HMAC = "primary-hmac-key"
DAY = 86400


@pytest.fixture(scope="module", autouse=True)
def still_serving(client: Client) -> Iterator[None]:
    yield
    assert ask(client, "ListMerchants", page_size=1) is not None


def assert_names_field(client: Client, method: str, field: str, **fields: Any) -> str:
    told = refused(client, method, **fields)
    assert (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", [field]) == (told.code, told.reason, told.fields)
    return told.message


UNDECODABLE = [
    ("HEX", ""), ("HEX", "0" * 31), ("HEX", "0g" * 16), ("HEX", "0x" + "0a" * 16), ("HEX", " " + "0a" * 16),
    ("HEX", "0a" * 16 + "\n"), ("HEX", "\N{FULLWIDTH DIGIT ONE}" * 32),
    ("BASE64", ""), ("BASE64", "AAAA" * 8 + "A"), ("BASE64", "AAAA" * 8 + "AA"), ("BASE64", "AAAA" * 8 + "=AAA"),
    ("BASE64", "_-_-" * 8), ("BASE64", "AAAA" * 8 + "\n"), ("BASE64", "é" * 32),
    ("WHSEC", ""), ("WHSEC", "whsec_"), ("WHSEC", "AAAA" * 8), ("WHSEC", "WHSEC_" + "AAAA" * 8),
    ("WHSEC", "whsec_" + "AAAA" * 8 + "A"), ("WHSEC", "whsec_whsec_" + "AAAA" * 8),
    ("TEXT", ""),
    ("HEX_UPPER_32", ""), ("HEX_UPPER_32", "0a" * 16), ("HEX_UPPER_32", "0A" * 15), ("HEX_UPPER_32", "0A" * 17),
    ("HEX_UPPER_32", "0G" * 16), ("HEX_UPPER_32", "0A" * 16 + "\n"),
]  # fmt: skip


@pytest.mark.parametrize(("secret_format", "text"), UNDECODABLE)
def test_a_secret_that_does_not_decode_is_refused_and_not_quoted(
    client: Client, merchant: str, secret_format: str, text: str
) -> None:
    for slot in (HMAC, "api-password"):
        fields = {"name": slot_of(merchant, slot), "secret_format": secret_format, "secret": text}
        message = assert_names_field(client, "ImportCredential", "secret", **fields, allow_weak_key=True)
        assert len(text) < 16 or text not in message


@pytest.mark.parametrize("slot", [*HMAC_SLOTS, *BEARER_SLOTS])
@pytest.mark.parametrize("secret_format", ["HEX", "BASE64", "WHSEC", "TEXT"])
def test_a_short_secret_is_taken_only_where_weak_keys_are_allowed_and_a_very_short_one_never(
    client: Client, merchant: str, slot: str, secret_format: str
) -> None:
    fields: dict[str, Any] = {"name": slot_of(merchant, slot), "secret_format": secret_format}
    for size in (1, 7):
        text = text_of(b"k" * size, secret_format)
        assert_names_field(client, "ImportCredential", "secret", **fields, secret=text)
        assert_names_field(client, "ImportCredential", "secret", **fields, secret=text, allow_weak_key=True)
    for size, weak in ((8, True), (13, True), (14, False)):
        text = text_of(b"k" * size, secret_format)
        if weak:
            assert_names_field(client, "ImportCredential", "secret", **fields, secret=text)
        told = ask(client, "ImportCredential", **fields, secret=text, allow_weak_key=True).credential
        assert weak == told.weak_key == ask(client, "GetCredential", name=told.name).weak_key
        ask(client, "RevokeCredential", name=told.name)


def test_a_renewed_weak_key_is_weak_no_more(client: Client, merchant: str) -> None:
    name = slot_of(merchant, HMAC)
    ask(client, "ImportCredential", name=name, secret_format="TEXT", secret="mySecret", allow_weak_key=True)
    assert "VALID" == verify_mac(client, name, b"m", mac_of(b"mySecret", b"m"))
    assert not ask(client, "RenewCredential", name=name).credential.weak_key


@pytest.mark.parametrize("slot", ENCRYPTION_SLOTS)
@pytest.mark.parametrize("size", [8, 16, 24, 31, 33, 64])
def test_an_encryption_key_is_32_bytes_exactly(client: Client, merchant: str, slot: str, size: int) -> None:
    fields = {"name": slot_of(merchant, slot), "secret": "0a" * size}
    assert "32" in assert_names_field(client, "ImportCredential", "secret", **fields, allow_weak_key=True)


@pytest.mark.parametrize("size", [1025, 20_000])
@pytest.mark.parametrize("slot", SLOTS)
def test_a_secret_that_is_too_long_is_refused(client: Client, merchant: str, slot: str, size: int) -> None:
    fields = {"name": slot_of(merchant, slot), "secret": "s" * size, "secret_format": "TEXT"}
    assert_names_field(client, "ImportCredential", "secret", **fields)


def test_an_import_needs_a_payload_and_the_last_of_two_counts(client: Client, merchant: str) -> None:
    """protobuf drops all but the last field of a oneof before anyone can see it."""
    name = slot_of(merchant, HMAC)
    assert_names_field(client, "ImportCredential", "secret", name=name)
    both = {"name": name, "secret": "0a" * 32, "sealed_secret": b"not sealed"}
    assert_names_field(client, "ImportCredential", "sealed_secret", **both)
    for empty in ({"secret": ""}, {"sealed_secret": b""}):
        assert_names_field(client, "ImportCredential", next(iter(empty)), name=name, **empty)


def pem_of_other(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> str:
    public = key.public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def private_pem() -> str:
    return (
        new_rsa()
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )


def no_recipients() -> dict[str, str]:
    return {
        "RSA of 1024 bits": pem_of(new_rsa(1024)),
        "RSA of 2040 bits": pem_of(new_rsa(2040)),
        "an elliptic curve": pem_of_other(ec.generate_private_key(ec.SECP256R1())),
        "Ed25519": pem_of_other(ed25519.Ed25519PrivateKey.generate()),
        "a private key": private_pem(),
        "no PEM": "not a key",
        "an empty PEM": "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n",
        "half a PEM": pem_of(new_rsa())[:200],
        "beyond ASCII": "-----BEGIN PUBLIC KEY-----\nü\n-----END PUBLIC KEY-----\n",
        "a NUL": "\0",
        "too much": pem_of(new_rsa()) * 50,
    }


def test_what_is_no_rsa_key_of_2048_bits_is_no_recipient(client: Client, merchant: str) -> None:
    empty, full = slot_of(merchant, "api-password"), slot_of(merchant, HMAC)
    ask(client, "CreateCredential", name=full)
    for what, pem in no_recipients().items():
        for method, name in (("CreateCredential", empty), ("RenewCredential", full)):
            told = refused(client, method, name=name, recipient_public_key=pem)
            assert (what, "INVALID_FIELD", ["recipient_public_key"]) == (what, told.reason, told.fields)
    assert (0, 1) == (
        ask(client, "GetCredential", name=empty).version,
        ask(client, "GetCredential", name=full).version,
    )


@pytest.mark.parametrize("number", [6, 99, -1, 2**31 - 1, -(2**31)])
def test_a_number_that_names_no_format_or_algorithm_is_refused(client: Client, merchant: str, number: int) -> None:
    name, full = slot_of(merchant, HMAC), slot_of(merchant, "secondary-hmac-key")
    ask(client, "CreateCredential", name=full)
    for field in ("hmac_algorithm", "secret_format"):
        assert_names_field(client, "CreateCredential", field, name=name, **{field: number})
        assert_names_field(client, "ImportCredential", field, name=name, secret="0a" * 32, **{field: number})
    assert_names_field(client, "RenewCredential", "secret_format", name=full, secret_format=number)


@pytest.mark.parametrize("slot", [*BEARER_SLOTS, *ENCRYPTION_SLOTS])
def test_an_algorithm_is_for_hmac_keys(client: Client, merchant: str, slot: str) -> None:
    fields = {"name": slot_of(merchant, slot), "hmac_algorithm": "HMAC_SHA256"}
    assert_names_field(client, "CreateCredential", "hmac_algorithm", **fields)
    assert_names_field(client, "ImportCredential", "hmac_algorithm", **fields, secret="0a" * 32)


@pytest.mark.parametrize("slot", ENCRYPTION_SLOTS)
@pytest.mark.parametrize("secret_format", ["WHSEC", "HEX_UPPER_32"])
def test_a_format_that_cannot_write_a_slots_key_is_refused(
    client: Client, merchant: str, slot: str, secret_format: str
) -> None:
    fields = {"name": slot_of(merchant, slot), "secret_format": secret_format}
    assert_names_field(client, "CreateCredential", "secret_format", **fields)
    assert_names_field(client, "ImportCredential", "secret_format", **fields, secret="0A" * 16)


NO_OVERLAPS = {
    "negative": Duration(seconds=-1),
    "negative by a little": Duration(nanos=-1000),
    "over 30 days": Duration(seconds=30 * DAY + 1),
    "the longest that protobuf allows": Duration(seconds=315_576_000_000),
    "longer than protobuf allows": Duration(seconds=315_576_000_001),
    "the largest number": Duration(seconds=2**63 - 1),
    "the least number": Duration(seconds=-(2**63)),
    "nanoseconds beyond a second": Duration(seconds=1, nanos=2_000_000_000),
    "two signs": Duration(seconds=1, nanos=-1),
}


@pytest.mark.parametrize("duration", NO_OVERLAPS.values(), ids=list(NO_OVERLAPS))
def test_what_is_no_overlap_is_refused(client: Client, merchant: str, duration: Duration) -> None:
    name = slot_of(merchant, HMAC)
    ask(client, "CreateCredential", name=name)
    assert_names_field(client, "RenewCredential", "previous_ttl", name=name, previous_ttl=duration)
    assert 1 == ask(client, "GetCredential", name=name).version


@pytest.mark.parametrize("what", [what for what in NO_OVERLAPS if what != "over 30 days"])
def test_what_is_no_quiet_time_is_refused(client: Client, merchant: str, what: str) -> None:
    name = slot_of(merchant, HMAC)
    ask(client, "CreateCredential", name=name)
    assert_names_field(client, "RevokeCredential", "unused_for", name=name, unused_for=NO_OVERLAPS[what])
    assert 1 == ask(client, "GetCredential", name=name).version


@pytest.mark.parametrize("size", [-1, -1000, -(2**31)])
def test_a_negative_page_size_is_refused(client: Client, merchant: str, size: int) -> None:
    assert_names_field(client, "ListMerchants", "page_size", page_size=size)
    assert_names_field(client, "ListCredentials", "page_size", parent=merchant, page_size=size)


def test_a_page_token_of_another_list_is_refused(client: Client, merchant: str, other_merchant: str) -> None:
    slots = {"parent": merchant, "page_size": 2}
    credentials = ask(client, "ListCredentials", **slots).next_page_token
    merchants = ask(client, "ListMerchants", page_size=1).next_page_token
    assert "" not in (credentials, merchants)
    assert_names_field(client, "ListCredentials", "page_token", parent=other_merchant, page_token=credentials)
    assert_names_field(client, "ListCredentials", "page_token", parent=merchant, page_token=merchants)
    assert_names_field(client, "ListMerchants", "page_token", page_token=credentials)
    assert 5 == len(ask(client, "ListCredentials", parent=merchant, page_token=credentials).credentials)


@pytest.mark.parametrize("token", ["x", "====", "AAAA", "A" * 12, "\0", "ü", " ", "A" * 16_000, "A" * 100_000])
def test_a_page_token_that_nobody_gave_is_refused(client: Client, merchant: str, token: str) -> None:
    assert_names_field(client, "ListMerchants", "page_token", page_token=token)
    assert_names_field(client, "ListCredentials", "page_token", parent=merchant, page_token=token)


def test_a_verification_needs_something_to_verify(client: Client, merchant: str) -> None:
    """Also where there is no key to verify with, and where the merchant is not active."""
    for name in (merchant, slot_of(merchant, HMAC)):
        assert_names_field(client, "VerifyHmac", "mac", name=name, message=b"m")
    for name in (merchant, slot_of(merchant, "api-password")):
        assert_names_field(client, "VerifyApiKey", "api_key", name=name)
    ask(client, "SuspendMerchant", name=merchant)
    assert_names_field(client, "VerifyHmac", "mac", name=merchant, message=b"m")
    assert_names_field(client, "VerifyApiKey", "api_key", name=merchant)
