"""VerifyApiKey: the merchant's name means its two REST API keys, a slot's name that slot alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf.duration_pb2 import Duration
from support.asking import BEARER_SLOTS, ENCRYPTION_SLOTS, HMAC_SLOTS, ask, refused, result_of, slot_of, verify_key
from support.server import Client

REST_SLOTS = ("primary-rest-api-key", "secondary-rest-api-key")


def create(client: Client, merchant: str, slot: str) -> str:
    return str(ask(client, "CreateCredential", name=slot_of(merchant, slot)).secret.value)


@pytest.fixture
def secrets(client: Client, merchant: str) -> dict[str, str]:
    """All three bearer secrets of the merchant, by slot."""
    return {slot: create(client, merchant, slot) for slot in BEARER_SLOTS}


@pytest.mark.parametrize("slot", REST_SLOTS)
def test_by_the_merchants_name_both_rest_keys_are_right(
    client: Client, merchant: str, secrets: dict[str, str], slot: str
) -> None:
    told = ask(client, "VerifyApiKey", name=merchant, api_key=secrets[slot])
    assert ("VALID", slot_of(merchant, slot), 1, False) == (
        result_of(told),
        told.matched_credential,
        told.matched_version,
        told.retiring,
    )


def test_by_the_merchants_name_the_api_password_is_never_tried(
    client: Client, merchant: str, secrets: dict[str, str]
) -> None:
    assert "INVALID" == verify_key(client, merchant, secrets["api-password"])
    assert "VALID" == verify_key(client, slot_of(merchant, "api-password"), secrets["api-password"])


def test_a_merchant_with_an_api_password_alone_has_no_live_rest_key(client: Client, merchant: str) -> None:
    assert "NO_LIVE_KEY" == verify_key(client, merchant, create(client, merchant, "api-password"))


@pytest.mark.parametrize("slot", BEARER_SLOTS)
def test_by_its_own_name_a_slot_takes_its_own_secret_only(
    client: Client, merchant: str, secrets: dict[str, str], slot: str
) -> None:
    told = {other: verify_key(client, slot_of(merchant, slot), secrets[other]) for other in BEARER_SLOTS}
    assert {other: "VALID" if other == slot else "INVALID" for other in BEARER_SLOTS} == told


def test_another_merchants_secret_is_invalid(
    client: Client, secrets: dict[str, str], merchant: str, other_merchant: str
) -> None:
    create(client, other_merchant, "primary-rest-api-key")
    assert "INVALID" == verify_key(client, other_merchant, secrets["primary-rest-api-key"])


def test_the_same_secret_imported_for_two_merchants_is_known_for_each(
    client: Client, merchant: str, other_merchant: str
) -> None:
    for owner in (merchant, other_merchant):
        ask(client, "ImportCredential", name=slot_of(owner, "primary-rest-api-key"), secret="the same for both")
    told = [
        ask(client, "VerifyApiKey", name=owner, api_key="the same for both") for owner in (merchant, other_merchant)
    ]
    assert [slot_of(owner, "primary-rest-api-key") for owner in (merchant, other_merchant)] == [
        each.matched_credential for each in told
    ]


@pytest.mark.parametrize("change", [str.lower, str.swapcase, lambda text: text[:-1], lambda text: text + " "])
def test_a_secret_that_is_nearly_right_is_invalid(client: Client, merchant: str, change: Callable[[str], str]) -> None:
    name = slot_of(merchant, "api-password")
    ask(client, "ImportCredential", name=name, secret="0123456789ABCDEF0123456789ABCDEF")
    nearly = change("0123456789ABCDEF0123456789ABCDEF")
    assert "INVALID" == verify_key(client, name, nearly)


def test_renewing_the_api_password_stops_the_old_one_the_instant_it_returns(
    client: Client, merchant: str, secrets: dict[str, str]
) -> None:
    name = slot_of(merchant, "api-password")
    new = ask(client, "RenewCredential", name=name).secret.value
    assert ["INVALID", "VALID"] == [verify_key(client, name, text) for text in (secrets["api-password"], new)]


def test_a_revoked_secret_is_refused_at_once(client: Client, merchant: str, secrets: dict[str, str]) -> None:
    for slot in BEARER_SLOTS:
        ask(client, "RevokeCredential", name=slot_of(merchant, slot))
        assert "NO_LIVE_KEY" == verify_key(client, slot_of(merchant, slot), secrets[slot])
    assert "NO_LIVE_KEY" == verify_key(client, merchant, secrets["primary-rest-api-key"])


def test_a_retiring_rest_key_is_valid_and_told_to_retire(
    client: Client, merchant: str, secrets: dict[str, str]
) -> None:
    name = slot_of(merchant, "primary-rest-api-key")
    ask(client, "RenewCredential", name=name, previous_ttl=Duration(seconds=600))
    told = ask(client, "VerifyApiKey", name=merchant, api_key=secrets["primary-rest-api-key"])
    assert ("VALID", name, 1, True) == (
        result_of(told),
        told.matched_credential,
        told.matched_version,
        told.retiring,
    )


@pytest.mark.parametrize("slot", [*HMAC_SLOTS, *ENCRYPTION_SLOTS])
def test_a_key_of_another_kind_is_no_api_key(client: Client, merchant: str, slot: str) -> None:
    text = create(client, merchant, slot)
    assert "WRONG_KIND" == refused(client, "VerifyApiKey", name=slot_of(merchant, slot), api_key=text).reason
    assert "NO_LIVE_KEY" == verify_key(client, merchant, text)
