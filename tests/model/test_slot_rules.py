"""The seven slots, against the two platforms' pages."""

from __future__ import annotations

import hashlib

import pytest

from keysvc.model.slots import FORMATS, PAIRS, RULES, HmacAlgorithm, Kind, SecretFormat, Slot

# slot id, kind and default format: Axepta Online "Key management" for the first five, Scan to Pay for the last two.
# A merchant's HMAC key is shown as hexadecimal digits; the API password is "a 32-character upper-case hex string".
PUBLISHED = {
    "encryption-password": (Kind.ENCRYPTION_KEY, SecretFormat.HEX),
    "primary-hmac-key": (Kind.HMAC_KEY, SecretFormat.HEX),
    "primary-rest-api-key": (Kind.BEARER_SECRET, SecretFormat.TEXT),
    "secondary-hmac-key": (Kind.HMAC_KEY, SecretFormat.HEX),
    "secondary-rest-api-key": (Kind.BEARER_SECRET, SecretFormat.TEXT),
    "api-password": (Kind.BEARER_SECRET, SecretFormat.HEX_UPPER_32),
    "webhook-encryption-key": (Kind.ENCRYPTION_KEY, SecretFormat.HEX),
}


def test_the_slots_are_the_published_ones() -> None:
    assert PUBLISHED == {slot.value: (rule.kind, rule.default_format) for slot, rule in RULES.items()}
    assert list(PUBLISHED) == [slot.value for slot in Slot]


def test_a_merchants_name_stands_for_its_double_run_primary_first() -> None:
    """The API password is in no pair: it is only tried by its own name."""
    assert PAIRS == {
        Kind.HMAC_KEY: (Slot.PRIMARY_HMAC_KEY, Slot.SECONDARY_HMAC_KEY),
        Kind.BEARER_SECRET: (Slot.PRIMARY_REST_API_KEY, Slot.SECONDARY_REST_API_KEY),
    }


@pytest.mark.parametrize("slot", Slot)
def test_a_slot_may_hold_what_it_makes_by_itself(slot: Slot) -> None:
    assert RULES[slot].default_format in FORMATS[RULES[slot].kind]


def test_an_encryption_key_has_a_format_that_can_be_32_bytes() -> None:
    assert SecretFormat.HEX_UPPER_32 not in FORMATS[Kind.ENCRYPTION_KEY]
    assert set(FORMATS) == set(Kind)


@pytest.mark.parametrize("algorithm", HmacAlgorithm)
def test_a_mac_is_as_long_as_its_hash(algorithm: HmacAlgorithm) -> None:
    assert hashlib.new(algorithm.removeprefix("HMAC_")).digest_size == algorithm.size


def test_sha1_is_for_verifying_alone() -> None:
    assert [HmacAlgorithm.HMAC_SHA1] == [algorithm for algorithm in HmacAlgorithm if not algorithm.may_sign]
