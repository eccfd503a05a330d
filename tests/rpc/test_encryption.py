"""Encrypt and Decrypt: AES-256-GCM bound to the slot, the version and the caller's additional data."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from support.asking import BEARER_SLOTS, ENCRYPTION_SLOTS, HMAC_SLOTS, ask, refused, slot_of
from support.outside import decrypt, key_of
from support.server import Client

HOUR = Duration(seconds=3600)
every_slot = pytest.mark.parametrize("slot", ENCRYPTION_SLOTS)


@pytest.fixture
def name(client: Client, merchant: str) -> str:
    """A slot that holds a key."""
    made = slot_of(merchant, "webhook-encryption-key")
    ask(client, "CreateCredential", name=made)
    return made


def encrypt(client: Client, name: str, plaintext: bytes = b"plain", additional_data: bytes = b"") -> bytes:
    told = ask(client, "Encrypt", name=name, plaintext=plaintext, additional_data=additional_data)
    return bytes(told.ciphertext)


@every_slot
@pytest.mark.parametrize("plaintext", [b"", b"x", b"a payload " * 1000])
def test_what_was_encrypted_decrypts_here_and_outside_with_the_shown_key(
    client: Client, merchant: str, slot: str, plaintext: bytes
) -> None:
    name = slot_of(merchant, slot)
    key = key_of(ask(client, "CreateCredential", name=name).secret.value, "HEX")
    made = ask(client, "Encrypt", name=name, plaintext=plaintext, additional_data=b"order 1")
    told = ask(client, "Decrypt", name=name, ciphertext=made.ciphertext, additional_data=b"order 1")
    assert (plaintext, 1, 1) == (told.plaintext, told.version, made.version)
    assert plaintext == decrypt(key, name, made.ciphertext, b"order 1")


def test_the_same_plaintext_never_makes_the_same_ciphertext(client: Client, name: str) -> None:
    made = {encrypt(client, name) for _ in range(20)}
    assert 20 == len({ciphertext[5:17] for ciphertext in made})


@pytest.mark.parametrize("other", [b"", b"order 2", b"order 1 "])
def test_other_additional_data_does_not_decrypt(client: Client, name: str, other: bytes) -> None:
    ciphertext = encrypt(client, name, additional_data=b"order 1")
    told = refused(client, "Decrypt", name=name, ciphertext=ciphertext, additional_data=other)
    assert "DECRYPT_FAILED" == told.reason


def test_a_ciphertext_of_another_slot_or_merchant_does_not_decrypt(
    client: Client, merchant: str, other_merchant: str
) -> None:
    """All three slots hold the same key in the same version, so that it is the binding to the name that refuses."""
    names = [slot_of(merchant, slot) for slot in ENCRYPTION_SLOTS] + [slot_of(other_merchant, ENCRYPTION_SLOTS[0])]
    for name in names:
        ask(client, "ImportCredential", name=name, secret="07" * 32)
    ciphertext = encrypt(client, names[0])
    assert b"plain" == ask(client, "Decrypt", name=names[0], ciphertext=ciphertext).plaintext
    told = [refused(client, "Decrypt", name=name, ciphertext=ciphertext).reason for name in names[1:]]
    assert ["DECRYPT_FAILED", "DECRYPT_FAILED"] == told


@pytest.mark.parametrize("position", [0, 1, 4, 5, 16, 17, -17, -16, -1])
def test_a_ciphertext_with_one_bit_changed_anywhere_does_not_decrypt(client: Client, name: str, position: int) -> None:
    changed = bytearray(encrypt(client, name))
    changed[position] ^= 1
    assert "DECRYPT_FAILED" == refused(client, "Decrypt", name=name, ciphertext=bytes(changed)).reason


@pytest.mark.parametrize("garbage", [b"", b"\x01", b"\x01" * 32, b"\x01\0\0\0\x01" + bytes(28), bytes(1000)])
def test_garbage_does_not_decrypt(client: Client, name: str, garbage: bytes) -> None:
    told = refused(client, "Decrypt", name=name, ciphertext=garbage)
    assert "DECRYPT_FAILED" == told.reason
    assert b"plain" == ask(client, "Decrypt", name=name, ciphertext=encrypt(client, name)).plaintext


def test_every_truncation_is_refused(client: Client, name: str) -> None:
    whole = encrypt(client, name)
    told = {refused(client, "Decrypt", name=name, ciphertext=whole[:size]).reason for size in range(len(whole))}
    assert {"DECRYPT_FAILED"} == told


def test_an_old_version_decrypts_for_as_long_as_its_overlap(client: Client, name: str) -> None:
    old = encrypt(client, name)
    ask(client, "RenewCredential", name=name, previous_ttl=HOUR)
    new = encrypt(client, name)
    told = [ask(client, "Decrypt", name=name, ciphertext=each) for each in (old, new)]
    assert [(b"plain", 1), (b"plain", 2)] == [(each.plaintext, each.version) for each in told]
    ask(client, "RenewCredential", name=name)
    assert b"plain" == ask(client, "Decrypt", name=name, ciphertext=old).plaintext
    assert "DECRYPT_FAILED" == refused(client, "Decrypt", name=name, ciphertext=new).reason


def test_a_revoked_slot_neither_encrypts_nor_decrypts_even_after_it_is_filled_again(client: Client, name: str) -> None:
    old = encrypt(client, name)
    ask(client, "RevokeCredential", name=name)
    assert "SLOT_EMPTY" == refused(client, "Encrypt", name=name, plaintext=b"x").reason
    assert "SLOT_EMPTY" == refused(client, "Decrypt", name=name, ciphertext=old).reason
    ask(client, "CreateCredential", name=name)
    assert "DECRYPT_FAILED" == refused(client, "Decrypt", name=name, ciphertext=old).reason


@pytest.mark.parametrize("slot", [*HMAC_SLOTS, *BEARER_SLOTS])
def test_slots_of_another_kind_neither_encrypt_nor_decrypt(client: Client, merchant: str, slot: str) -> None:
    ask(client, "CreateCredential", name=slot_of(merchant, slot))
    told = [refused(client, method, name=slot_of(merchant, slot)).reason for method in ("Encrypt", "Decrypt")]
    assert ["WRONG_KIND", "WRONG_KIND"] == told
