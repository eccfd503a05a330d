"""Every secret format of every slot, shown and imported: the text is the key, as the contract says it is."""

from __future__ import annotations

import re
import secrets

import pytest
from support.asking import BEARER_SLOTS, ENCRYPTION_SLOTS, HMAC_SLOTS, SLOTS, ask, slot_of, verify_key, verify_mac
from support.outside import decrypt, key_of, mac_of, text_of
from support.server import Client

from keysvc.v1.credential_pb2 import Credential

FORMATS = ("HEX", "BASE64", "WHSEC", "TEXT", "HEX_UPPER_32")
AES_FORMATS = ("HEX", "BASE64", "TEXT")
TAKEN = [
    *((slot, secret_format) for slot in (*HMAC_SLOTS, *BEARER_SLOTS) for secret_format in FORMATS),
    *((slot, secret_format) for slot in ENCRYPTION_SLOTS for secret_format in AES_FORMATS),
]
DEFAULTS = {
    **dict.fromkeys((*HMAC_SLOTS, *ENCRYPTION_SLOTS), "HEX"),
    **dict.fromkeys(BEARER_SLOTS, "TEXT"),
    "api-password": "HEX_UPPER_32",
}
PATTERNS = {
    "HEX": "^([0-9a-f]{2})+$",
    "BASE64": "^[A-Za-z0-9+/]+=*$",
    "WHSEC": "^whsec_[A-Za-z0-9+/]+=*$",
    "TEXT": "^[!-~]+$",
    "HEX_UPPER_32": "^[0-9A-F]{32}$",
}


def assert_works_with(client: Client, name: str, text: str, secret_format: str) -> None:
    """The slot's key is the one that `text` stands for: what is done outside with it agrees."""
    slot = name.rpartition("/")[2]
    if slot in BEARER_SLOTS:
        assert "VALID" == verify_key(client, name, text)
        return
    key = key_of(text, secret_format)
    if slot in HMAC_SLOTS:
        assert mac_of(key, b"message") == ask(client, "GenerateHmac", name=name, message=b"message").mac
        assert "VALID" == verify_mac(client, name, b"another", mac_of(key, b"another"))
        return
    ciphertext = ask(client, "Encrypt", name=name, plaintext=b"plain", additional_data=b"more").ciphertext
    assert b"plain" == decrypt(key, name, ciphertext, b"more")


def new_key(slot: str, secret_format: str) -> bytes:
    if slot in ENCRYPTION_SLOTS:
        return secrets.token_hex(16).encode()
    size = 8 if secret_format == "HEX_UPPER_32" else 11
    return secrets.token_hex(size).encode()


@pytest.mark.parametrize(("slot", "secret_format"), TAKEN)
def test_a_created_secret_is_shown_in_the_format_asked_for_and_is_the_key(
    client: Client, merchant: str, slot: str, secret_format: str
) -> None:
    name = slot_of(merchant, slot)
    made = ask(client, "CreateCredential", name=name, secret_format=secret_format)
    number = Credential.SecretFormat.Value(secret_format)
    assert (number, number) == (made.secret.format, made.credential.secret_format)
    assert re.search(PATTERNS[secret_format], made.secret.value)
    assert_works_with(client, name, made.secret.value, secret_format)


@pytest.mark.parametrize(("slot", "secret_format"), TAKEN)
def test_an_imported_secret_is_read_in_the_format_said(
    client: Client, merchant: str, slot: str, secret_format: str
) -> None:
    name = slot_of(merchant, slot)
    text = text_of(new_key(slot, secret_format), secret_format)
    told = ask(client, "ImportCredential", name=name, secret=text, secret_format=secret_format).credential
    assert (1, Credential.SecretFormat.Value(secret_format), False) == (
        told.version,
        told.secret_format,
        told.weak_key,
    )
    assert_works_with(client, name, text, secret_format)


@pytest.mark.parametrize("slot", SLOTS)
def test_a_slot_has_a_default_format_and_a_key_of_full_strength(client: Client, merchant: str, slot: str) -> None:
    made = ask(client, "CreateCredential", name=slot_of(merchant, slot))
    assert DEFAULTS[slot] == Credential.SecretFormat.Name(made.secret.format)
    assert re.search(PATTERNS[DEFAULTS[slot]], made.secret.value)
    # TEXT spends a character on 6 bits.
    bits = len(made.secret.value) * (6 if DEFAULTS[slot] == "TEXT" else 4)
    assert (128 if slot == "api-password" else 256) <= bits


def test_renew_keeps_the_format_unless_another_is_asked_for(client: Client, merchant: str) -> None:
    name = slot_of(merchant, "primary-hmac-key")
    ask(client, "CreateCredential", name=name, secret_format="BASE64")
    kept = ask(client, "RenewCredential", name=name)
    assert_works_with(client, name, kept.secret.value, "BASE64")
    changed = ask(client, "RenewCredential", name=name, secret_format="WHSEC")
    assert ["BASE64", "WHSEC"] == [Credential.SecretFormat.Name(each.secret.format) for each in (kept, changed)]
    assert_works_with(client, name, changed.secret.value, "WHSEC")


def test_a_text_key_may_hold_any_characters(client: Client, merchant: str) -> None:
    name = slot_of(merchant, "primary-hmac-key")
    text = "clé sécrète, 鍵, \N{KEY} and a tab\t"
    ask(client, "ImportCredential", name=name, secret=text, secret_format="TEXT")
    assert_works_with(client, name, text, "TEXT")


@pytest.mark.parametrize("text", ["0A" * 16, "0a" * 16])
def test_hex_is_read_in_either_case(client: Client, merchant: str, text: str) -> None:
    name = slot_of(merchant, "primary-hmac-key")
    ask(client, "ImportCredential", name=name, secret=text, secret_format="HEX")
    assert_works_with(client, name, text, "HEX")
