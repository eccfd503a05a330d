"""Secrets that travel under RSA-OAEP: delivered to a recipient's key, and imported under the token's."""

from __future__ import annotations

import secrets

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from support.asking import BEARER_SLOTS, ENCRYPTION_SLOTS, HMAC_SLOTS, ask, refused, slot_of, verify_key, verify_mac
from support.outside import decrypt, mac_of, new_rsa, pem_of, seal, unseal
from support.server import Client, Refusal

from keysvc.v1.credential_pb2 import Credential, Secret

FORMATS = ("HEX", "BASE64", "WHSEC", "TEXT", "HEX_UPPER_32")
TAKEN = [
    *((slot, secret_format) for slot in (*HMAC_SLOTS, *BEARER_SLOTS) for secret_format in FORMATS),
    *((slot, secret_format) for slot in ENCRYPTION_SLOTS for secret_format in ("HEX", "BASE64", "TEXT")),
]
ALGORITHMS = {"HMAC_SHA256": 32, "HMAC_SHA384": 48, "HMAC_SHA512": 64, "HMAC_SHA1": 20}


def open_sealed(secret: Secret, rsa_key: RSAPrivateKey, secret_format: str) -> bytes:
    assert (Credential.SecretFormat.Value(secret_format), "RSA-OAEP", "sealed") == (
        secret.format,
        secret.mechanism,
        secret.WhichOneof("payload"),
    )
    return unseal(rsa_key, secret.sealed)


def assert_works_with(client: Client, name: str, opened: bytes) -> None:
    """A bearer secret is sealed as its text, any other as the key's bytes."""
    slot = name.rpartition("/")[2]
    if slot in BEARER_SLOTS:
        assert "VALID" == verify_key(client, name, opened.decode())
    elif slot in HMAC_SLOTS:
        assert mac_of(opened, b"message") == ask(client, "GenerateHmac", name=name, message=b"message").mac
    else:
        ciphertext = ask(client, "Encrypt", name=name, plaintext=b"plain").ciphertext
        assert b"plain" == decrypt(opened, name, ciphertext, b"")


@pytest.mark.parametrize(("slot", "secret_format"), TAKEN)
def test_a_secret_is_delivered_sealed_at_create_and_at_renew(
    client: Client, merchant: str, rsa_key: RSAPrivateKey, slot: str, secret_format: str
) -> None:
    name = slot_of(merchant, slot)
    fields = {"name": name, "recipient_public_key": pem_of(rsa_key)}
    made = ask(client, "CreateCredential", secret_format=secret_format, **fields)
    first = open_sealed(made.secret, rsa_key, secret_format)
    assert_works_with(client, name, first)
    renewed = ask(client, "RenewCredential", **fields)
    second = open_sealed(renewed.secret, rsa_key, secret_format)
    assert_works_with(client, name, second)
    assert first != second


@pytest.mark.parametrize("algorithm", ["HMAC_SHA384", "HMAC_SHA512"])
def test_longer_keys_are_sealed_whole(client: Client, merchant: str, rsa_key: RSAPrivateKey, algorithm: str) -> None:
    name = slot_of(merchant, "primary-hmac-key")
    made = ask(client, "CreateCredential", name=name, hmac_algorithm=algorithm, recipient_public_key=pem_of(rsa_key))
    key = open_sealed(made.secret, rsa_key, "HEX")
    assert ALGORITHMS[algorithm] == len(key)
    assert mac_of(key, b"m", algorithm) == ask(client, "GenerateHmac", name=name, message=b"m").mac


def test_an_api_password_is_sealed_as_the_32_characters_that_a_caller_presents(
    client: Client, merchant: str, rsa_key: RSAPrivateKey
) -> None:
    made = ask(
        client,
        "CreateCredential",
        name=slot_of(merchant, "api-password"),
        recipient_public_key=pem_of(rsa_key),
    )
    assert 32 == len(bytes.fromhex(open_sealed(made.secret, rsa_key, "HEX_UPPER_32").decode())) * 2


def test_the_import_key_is_rsa_of_full_strength_and_always_the_same(client: Client) -> None:
    told = ask(client, "GetImportKey")
    assert "RSA-OAEP" == told.mechanism
    key = load_pem_public_key(told.public_key.encode())
    assert isinstance(key, RSAPublicKey)
    assert 3072 == key.key_size
    assert told == ask(client, "GetImportKey")


@pytest.mark.parametrize(("algorithm", "size"), ALGORITHMS.items())
@pytest.mark.parametrize("longer", [0, 1, 30])
def test_a_sealed_hmac_key_is_imported(client: Client, merchant: str, algorithm: str, size: int, longer: int) -> None:
    name = slot_of(merchant, "primary-hmac-key")
    key = secrets.token_bytes(size + longer)
    sealed = seal(ask(client, "GetImportKey").public_key, key)
    told = ask(client, "ImportCredential", name=name, hmac_algorithm=algorithm, sealed_secret=sealed).credential
    assert (1, algorithm) == (told.version, Credential.HmacAlgorithm.Name(told.hmac_algorithm))
    assert "VALID" == verify_mac(client, name, b"message", mac_of(key, b"message", algorithm))


@pytest.mark.parametrize("size", [65, 66, 71, 72, 100, 128, 131, 200])
def test_a_sealed_key_longer_than_the_hashs_block_works_or_is_refused(client: Client, merchant: str, size: int) -> None:
    """HMAC hashes such a key first, so one byte of padding more would make it another key."""
    name, key = slot_of(merchant, "primary-hmac-key"), secrets.token_bytes(size)
    sealed = seal(ask(client, "GetImportKey").public_key, key)
    try:
        ask(client, "ImportCredential", name=name, sealed_secret=sealed)
    except grpc.RpcError as error:
        told = Refusal(error).fields
    else:
        told = [verify_mac(client, name, b"message", mac_of(key, b"message"))]
    assert told in (["VALID"], ["sealed_secret"])


@pytest.mark.parametrize("slot", ENCRYPTION_SLOTS)
def test_a_sealed_encryption_key_is_imported(client: Client, merchant: str, slot: str) -> None:
    name, key = slot_of(merchant, slot), secrets.token_bytes(32)
    ask(client, "ImportCredential", name=name, sealed_secret=seal(ask(client, "GetImportKey").public_key, key))
    assert_works_with(client, name, key)


@pytest.mark.parametrize(
    ("slot", "size"),
    [("primary-hmac-key", 31), ("primary-hmac-key", 8), ("encryption-password", 16), ("encryption-password", 33)],
)
def test_a_sealed_key_that_the_token_cannot_use_is_refused_saying_so(
    client: Client, merchant: str, slot: str, size: int
) -> None:
    sealed = seal(ask(client, "GetImportKey").public_key, secrets.token_bytes(size))
    told = refused(client, "ImportCredential", name=slot_of(merchant, slot), sealed_secret=sealed)
    assert ("INVALID_FIELD", ["sealed_secret"]) == (told.reason, told.fields)
    assert "32 bytes" in told.message


@pytest.mark.parametrize("slot", BEARER_SLOTS)
def test_a_bearer_secret_is_not_imported_sealed(client: Client, merchant: str, slot: str) -> None:
    sealed = seal(ask(client, "GetImportKey").public_key, b"0123456789ABCDEF0123456789ABCDEF")
    told = refused(client, "ImportCredential", name=slot_of(merchant, slot), sealed_secret=sealed)
    assert ("INVALID_FIELD", ["sealed_secret"]) == (told.reason, told.fields)


def test_what_is_not_sealed_under_the_import_key_is_refused(
    client: Client, merchant: str, rsa_key: RSAPrivateKey
) -> None:
    name = slot_of(merchant, "primary-hmac-key")
    right = seal(ask(client, "GetImportKey").public_key, bytes(range(32)))
    wrong = [seal(pem_of(new_rsa(3072)), bytes(32)), seal(pem_of(rsa_key), bytes(32)), right[:-1], right + b"\0", b"x"]
    for sealed in (*wrong, bytes(384), b"\xff" * 384):
        told = refused(client, "ImportCredential", name=name, sealed_secret=sealed)
        assert ("INVALID_FIELD", ["sealed_secret"]) == (told.reason, told.fields)
    ask(client, "ImportCredential", name=name, sealed_secret=right)
