"""Published HMAC vectors through ImportCredential and VerifyHmac, each also computed with `cryptography`.

RFC 4231 and RFC 2202 come from the files of the PyPI package cryptography-vectors (HMAC/rfc-*.txt),
what those leave out from the .toml files here, which name their sources.
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cryptography_vectors
import pytest
from support.asking import ask, refused, slot_of, verify_mac
from support.outside import mac_of
from support.server import Client

HERE = Path(__file__).parent
RFC_FILES = {
    "HMAC_SHA256": "rfc-4231-sha256.txt",
    "HMAC_SHA384": "rfc-4231-sha384.txt",
    "HMAC_SHA512": "rfc-4231-sha512.txt",
    "HMAC_SHA1": "rfc-2202-sha1.txt",
}
SHORTEST_KEY = 8


@dataclass(frozen=True)
class Vector:
    """One published MAC."""

    algorithm: str
    key: bytes
    message: bytes
    mac: bytes

    def __str__(self) -> str:
        return f"{self.algorithm}-{len(self.key)}-byte-key-{hashlib.sha256(self.key + self.message).hexdigest()[:6]}"


def rfc_vectors(algorithm: str) -> list[Vector]:
    """Reads `Key = …`, `Msg = …`, `MD = …`, in this order, all hexadecimal."""
    with cryptography_vectors.open_vector_file(f"HMAC/{RFC_FILES[algorithm]}", "r") as file:
        lines = [line.partition(" = ") for line in file.read().splitlines()]
    values = [bytes.fromhex(value) for key, _, value in lines if key in ("Key", "Msg", "MD")]
    return [Vector(algorithm, *values[start : start + 3]) for start in range(0, len(values), 3)]


def load(name: str) -> dict[str, Any]:
    return tomllib.loads((HERE / name).read_text())


RFC_VECTORS = [vector for algorithm in RFC_FILES for vector in rfc_vectors(algorithm)]
LONG_ENOUGH = [vector for vector in RFC_VECTORS if len(vector.key) >= SHORTEST_KEY]
TOO_SHORT = [vector for vector in RFC_VECTORS if len(vector.key) < SHORTEST_KEY]
TRUNCATED = load("rfc4231_truncated.toml")
COMPUTOP = load("computop.toml")


def import_key(client: Client, merchant: str, vector: Vector) -> str:
    name = slot_of(merchant, "primary-hmac-key")
    ask(client, "ImportCredential", name=name, hmac_algorithm=vector.algorithm, secret=vector.key.hex())
    return name


def test_the_files_hold_what_the_rfcs_publish() -> None:
    """Six whole cases of RFC 4231 by hash, and seven of RFC 2202; one of each has a key of 4 bytes."""
    assert [6, 6, 6, 7] == [len(rfc_vectors(algorithm)) for algorithm in RFC_FILES]
    assert [b"Jefe"] * 4 == [vector.key for vector in TOO_SHORT]
    assert {20, 25, 80, 131} == {len(vector.key) for vector in LONG_ENOUGH}


@pytest.mark.parametrize("vector", LONG_ENOUGH, ids=str)
def test_a_published_mac_is_valid(client: Client, merchant: str, vector: Vector) -> None:
    name = import_key(client, merchant, vector)
    assert vector.mac == mac_of(vector.key, vector.message, vector.algorithm)
    assert "VALID" == verify_mac(client, name, vector.message, vector.mac)
    assert "VALID" == verify_mac(client, merchant, vector.message, vector.mac)


@pytest.mark.parametrize("vector", [v for v in LONG_ENOUGH if v.algorithm != "HMAC_SHA1"], ids=str)
def test_a_published_mac_is_generated(client: Client, merchant: str, vector: Vector) -> None:
    name = import_key(client, merchant, vector)
    assert vector.mac == ask(client, "GenerateHmac", name=name, message=vector.message).mac


@pytest.mark.parametrize("vector", LONG_ENOUGH, ids=str)
def test_a_published_mac_with_a_bit_changed_or_a_byte_more_is_invalid(
    client: Client, merchant: str, vector: Vector
) -> None:
    name = import_key(client, merchant, vector)
    changed = bytes([vector.mac[0] ^ 1, *vector.mac[1:]])
    told = {verify_mac(client, name, vector.message, mac) for mac in (changed, vector.mac + b"\0", vector.mac[:-1])}
    assert {"INVALID"} == told
    assert "INVALID" == verify_mac(client, name, vector.message + b"\0", vector.mac)


@pytest.mark.parametrize("vector", TOO_SHORT, ids=str)
@pytest.mark.parametrize("allow_weak_key", [False, True])
def test_a_key_of_4_bytes_is_refused(client: Client, merchant: str, vector: Vector, allow_weak_key: bool) -> None:
    fields = {"hmac_algorithm": vector.algorithm, "secret": vector.key.hex(), "allow_weak_key": allow_weak_key}
    told = refused(client, "ImportCredential", name=slot_of(merchant, "primary-hmac-key"), **fields)
    assert ("INVALID_FIELD", ["secret"]) == (told.reason, told.fields)


@pytest.mark.parametrize("algorithm", TRUNCATED["macs"])
def test_a_truncated_mac_is_invalid_and_the_whole_one_valid(client: Client, merchant: str, algorithm: str) -> None:
    key, message = bytes.fromhex(TRUNCATED["key"]), bytes.fromhex(TRUNCATED["message"])
    truncated = bytes.fromhex(TRUNCATED["macs"][algorithm])
    whole = mac_of(key, message, algorithm)
    assert whole.startswith(truncated)
    name = import_key(client, merchant, Vector(algorithm, key, message, whole))
    assert ["INVALID", "VALID"] == [verify_mac(client, name, message, mac) for mac in (truncated, whole)]


def test_computops_published_request_is_valid_with_its_weak_password(client: Client, merchant: str) -> None:
    name, message = slot_of(merchant, "primary-hmac-key"), COMPUTOP["message"].encode()
    fields = {"name": name, "secret": COMPUTOP["password"], "secret_format": "TEXT"}
    assert ["secret"] == refused(client, "ImportCredential", **fields).fields
    assert ask(client, "ImportCredential", **fields, allow_weak_key=True).credential.weak_key
    mac = bytes.fromhex(COMPUTOP["mac"])
    assert mac == mac_of(COMPUTOP["password"].encode(), message)
    assert "VALID" == verify_mac(client, merchant, message, mac)
    ask(client, "RenewCredential", name=name)
    assert "INVALID" == verify_mac(client, merchant, message, mac)
