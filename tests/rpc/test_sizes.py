"""How large a request may be, and bytes that are no request: named, refused, and the service goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from support.asking import ask, refused, request, slot_of, verify_mac
from support.methods import METHODS, PATHS, REFLECTION, call_raw, refused_raw
from support.outside import decrypt, key_of, mac_of
from support.server import Client, DevServer

MIB = 1024 * 1024
HMAC = "primary-hmac-key"
ENCRYPTION = "encryption-password"


@pytest.fixture(scope="module", autouse=True)
def still_serving(client: Client) -> Iterator[None]:
    yield
    assert ask(client, "ListMerchants", page_size=1) is not None


def create(client: Client, name: str) -> bytes:
    return key_of(ask(client, "CreateCredential", name=name).secret.value, "HEX")


def assert_names_field(client: Client, method: str, field: str, **fields: Any) -> None:
    told = refused(client, method, **fields)
    assert (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", [field]) == (told.code, told.reason, told.fields)


def test_a_message_of_4_mib_is_signed_and_verified_and_one_byte_more_is_not(client: Client, merchant: str) -> None:
    key = create(client, slot_of(merchant, HMAC))
    message = b"m" * (4 * MIB)
    mac = mac_of(key, message)
    assert mac == ask(client, "GenerateHmac", name=merchant, message=message).mac
    assert "VALID" == verify_mac(client, merchant, message, mac)
    for size in (4 * MIB + 1, 5_000_000, 5 * MIB):
        assert_names_field(client, "GenerateHmac", "message", name=merchant, message=bytes(size))
        assert_names_field(client, "VerifyHmac", "message", name=merchant, message=bytes(size), mac=mac)


def test_a_plaintext_of_4_mib_goes_there_and_back_and_one_byte_more_does_not(client: Client, merchant: str) -> None:
    name = slot_of(merchant, ENCRYPTION)
    key = create(client, name)
    fields = {"name": name, "additional_data": bytes(64 * 1024)}
    plaintext = b"p" * (4 * MIB)
    ciphertext = ask(client, "Encrypt", plaintext=plaintext, **fields).ciphertext
    assert plaintext == decrypt(key, name, ciphertext, bytes(64 * 1024))
    assert plaintext == ask(client, "Decrypt", ciphertext=ciphertext, **fields).plaintext
    assert_names_field(client, "Encrypt", "plaintext", plaintext=plaintext + b"p", **fields)
    assert_names_field(client, "Decrypt", "ciphertext", ciphertext=ciphertext + b"c", **fields)


def test_additional_data_is_at_most_64_kib(client: Client, merchant: str) -> None:
    name = slot_of(merchant, ENCRYPTION)
    create(client, name)
    fields = {"name": name, "additional_data": bytes(64 * 1024 + 1)}
    assert_names_field(client, "Encrypt", "additional_data", **fields)
    assert_names_field(client, "Decrypt", "additional_data", **fields)


def test_texts_have_an_end(client: Client, merchant: str) -> None:
    name = slot_of(merchant, HMAC)
    long = "x" * 5_000_000
    assert_names_field(client, "CreateCredential", "recipient_public_key", name=name, recipient_public_key=long)
    assert_names_field(client, "ImportCredential", "secret", name=name, secret=long)
    assert_names_field(client, "ImportCredential", "sealed_secret", name=name, sealed_secret=long.encode())
    assert_names_field(client, "ListMerchants", "page_token", page_token=long)
    assert_names_field(client, "GetMerchant", "name", name=long)


def test_a_mac_of_five_megabytes_is_just_wrong(client: Client, merchant: str) -> None:
    create(client, slot_of(merchant, HMAC))
    assert "INVALID" == verify_mac(client, merchant, b"m", bytes(5_000_000))


def test_a_request_far_beyond_every_field_is_cut_off(client: Client, merchant: str) -> None:
    """gRPC itself does, before a handler could say more."""
    told = refused(client, "GenerateHmac", name=merchant, message=bytes(9 * MIB))
    assert grpc.StatusCode.RESOURCE_EXHAUSTED == told.code


NO_MESSAGES = {
    "a tag cut off": b"\xff",
    "a tag alone": b"\x0a",
    "a length cut off": b"\x0a\xff",
    "a length beyond the end": b"\x0a\x05abc",
    "a group that never began": b"\x0c" * 10,
    "groups that never end": b"\x0b" * 1000,
}
NOT_UTF8 = b"\x0a\x02\xc3\x28"
no_message = pytest.mark.parametrize("raw", NO_MESSAGES.values(), ids=list(NO_MESSAGES))


@no_message
@pytest.mark.parametrize("path", PATHS)
def test_bytes_that_are_no_message_are_refused_by_every_rpc(client: Client, path: str, raw: bytes) -> None:
    told = refused_raw(client, path, raw)
    assert (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", ["request"]) == (told.code, told.reason, told.fields)


def first_is_text(path: str) -> bool:
    first = METHODS[path].input_type.fields_by_number.get(1)
    return first is not None and first.type == FieldDescriptor.TYPE_STRING


@pytest.mark.parametrize("path", [path for path in PATHS if first_is_text(path)])
def test_a_text_that_is_not_utf8_is_refused_by_every_rpc_that_begins_with_one(client: Client, path: str) -> None:
    told = refused_raw(client, path, NOT_UTF8)
    assert (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", ["request"]) == (told.code, told.reason, told.fields)


def test_bytes_that_are_no_message_end_a_reflection_stream_and_the_server_still_drains(tmp_path: Path) -> None:
    """grpcio forgets to end a stream whose message it could not read, and then waits for it for ever."""
    server = DevServer(tmp_path / "home").start()
    try:
        with server.client() as client:
            told = [refused_raw(client, REFLECTION, raw) for raw in NO_MESSAGES.values()]
            assert 1 == len(call_raw(client, REFLECTION, b"\x3a\x01*"))
        assert 0 == server.stop()
    finally:
        server.kill()
    assert {(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")} == {(each.code, each.reason) for each in told}


def test_unknown_fields_are_skipped(client: Client, merchant: str) -> None:
    """So that an older service answers a newer client (protobuf's rule)."""
    known = request("GetMerchant", name=merchant).SerializeToString()
    assert len(call_raw(client, "/keysvc.v1.MerchantService/GetMerchant", known + b"\xfa\x3f\x03new")) > 0
