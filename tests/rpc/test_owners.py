"""What owners do with their rights: the API password end to end, and lists of merchants that show only their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from support.asking import ask, refused, slot_of, verify_key, verify_mac
from support.outside import key_of, mac_of
from support.principals import Principals, update
from support.server import Client

PASSWORD, HMAC = "api-password", "primary-hmac-key"
SECRET = "0A" * 16
Owned = Callable[..., tuple[Client, str]]


@pytest.fixture
def owned(client: Client, principals: Principals, merchant_ids: Callable[[], str]) -> Owned:
    """A principal of a kind with some rights, and an active merchant of its own."""

    def make(kind: str, *rights: str) -> tuple[Client, str]:
        merchant_id = merchant_ids()
        name = f"merchants/{merchant_id}"
        fields: dict[str, Any] = dict.fromkeys(rights, True)
        if kind in ("MERCHANT", "SERVICE"):
            fields["merchants"] = [name]
        principal_id, caller = principals.make(kind, **fields)
        owner = {kind.lower(): f"principals/{principal_id}"} if kind in ("PSP", "ACQUIRER") else {}
        ask(client, "CreateMerchant", merchant_id=merchant_id, merchant=owner)
        ask(client, "ActivateMerchant", name=name)
        return caller, name

    return make


@pytest.mark.parametrize("kind", ["PSP", "ACQUIRER"])
def test_a_psp_or_acquirer_with_remote_access_renews_the_api_password(client: Client, owned: Owned, kind: str) -> None:
    caller, merchant = owned(kind, "can_edit_credentials", "remote_access")
    name = slot_of(merchant, PASSWORD)
    first = ask(caller, "CreateCredential", name=name).secret.value
    second = ask(caller, "RenewCredential", name=name).secret.value
    assert ["INVALID", "VALID"] == [verify_key(client, name, secret) for secret in (first, second)]
    ask(caller, "RevokeCredential", name=name)
    ask(caller, "ImportCredential", name=name, secret=SECRET)
    assert "VALID" == verify_key(client, name, SECRET)


@pytest.mark.parametrize("kind", ["PSP", "ACQUIRER", "MERCHANT"])
def test_without_remote_access_the_api_password_can_only_be_revoked(client: Client, owned: Owned, kind: str) -> None:
    caller, merchant = owned(kind, "can_edit_credentials")
    name = slot_of(merchant, PASSWORD)
    for method, fields in (("CreateCredential", {}), ("ImportCredential", {"secret": SECRET})):
        assert "PERMISSION_DENIED" == refused(caller, method, name=name, **fields).reason
    secret = ask(client, "CreateCredential", name=name).secret.value
    assert "PERMISSION_DENIED" == refused(caller, "RenewCredential", name=name).reason
    assert "VALID" == verify_key(client, name, secret)
    ask(caller, "RevokeCredential", name=name)
    assert "NO_LIVE_KEY" == verify_key(client, name, secret)


@pytest.mark.parametrize("kind", ["PSP", "ACQUIRER", "MERCHANT"])
def test_owners_edit_every_other_slot_with_can_edit_credentials_alone(client: Client, owned: Owned, kind: str) -> None:
    caller, merchant = owned(kind, "can_edit_credentials")
    name = slot_of(merchant, HMAC)
    key = key_of(ask(caller, "CreateCredential", name=name).secret.value, "HEX")
    assert "VALID" == verify_mac(client, name, b"m", mac_of(key, b"m"))
    ask(caller, "RenewCredential", name=name)
    ask(caller, "RevokeCredential", name=name)
    assert 2 == ask(caller, "GetCredential", name=name).version


def test_a_service_verifies_and_signs_for_what_it_lists_alone(
    client: Client, owned: Owned, other_merchant: str
) -> None:
    caller, merchant = owned("SERVICE", "can_sign")
    for each in (merchant, other_merchant):
        ask(client, "CreateCredential", name=slot_of(each, HMAC))
    mac = ask(caller, "GenerateHmac", name=merchant, message=b"m").mac
    assert "VALID" == verify_mac(caller, merchant, b"m", mac)
    for method, fields in (("GenerateHmac", {}), ("VerifyHmac", {"mac": mac})):
        told = refused(caller, method, name=other_merchant, message=b"m", **fields)
        assert (grpc.StatusCode.PERMISSION_DENIED, "NOT_OWNER") == (told.code, told.reason)


def test_a_service_for_all_merchants_is_told_which_there_are(
    client: Client, principals: Principals, merchant: str
) -> None:
    _, caller = principals.make("SERVICE", merchants=["merchants/-"])
    ask(client, "CreateCredential", name=slot_of(merchant, HMAC))
    assert "INVALID" == verify_mac(caller, merchant, b"m", b"mac")
    assert "NOT_FOUND" == refused(caller, "VerifyHmac", name="merchants/nobody", message=b"m", mac=b"mac").reason


def test_a_list_that_names_a_merchant_to_come_holds_from_when_it_is_there(
    client: Client, principals: Principals, merchant_ids: Callable[[], str]
) -> None:
    merchant_id = merchant_ids()
    _, caller = principals.make("MERCHANT", merchants=[f"merchants/{merchant_id}"])
    assert [] == list(ask(caller, "ListMerchants").merchants)
    ask(client, "CreateMerchant", merchant_id=merchant_id)
    assert [f"merchants/{merchant_id}"] == [each.name for each in ask(caller, "ListMerchants").merchants]


def all_pages(client: Client, size: int) -> list[list[str]]:
    pages, token = [], ""
    while True:
        told = ask(client, "ListMerchants", page_size=size, page_token=token)
        pages.append([merchant.name for merchant in told.merchants])
        token = told.next_page_token
        if not token:
            return pages


@pytest.mark.parametrize("kind", ["PSP", "ACQUIRER", "MERCHANT"])
def test_owners_are_shown_their_own_merchants_page_by_page(
    client: Client, principals: Principals, merchant_ids: Callable[[], str], kind: str
) -> None:
    """With others' merchants between them, and those of a principal of the other kind that has a like role."""
    principal_id, caller = principals.make(kind)
    another = {"ACQUIRER": "psp", "PSP": "acquirer", "MERCHANT": "psp"}[kind]
    own = []
    for number in range(11):
        merchant_id = merchant_ids()
        mine = number % 2 == 0
        role = kind.lower() if mine else another
        owner = {} if role == "merchant" else {role: f"principals/{principal_id}"}
        ask(client, "CreateMerchant", merchant_id=merchant_id, merchant=owner)
        own += [f"merchants/{merchant_id}"] if mine else []
    if kind == "MERCHANT":
        update(client, principal_id, merchants=own)
    own = sorted(own)
    assert [own] == all_pages(caller, 0)
    assert [own] == all_pages(caller, 6)
    assert [own[:4], own[4:]] == all_pages(caller, 4)
    assert [own[:2], own[2:4], own[4:]] == all_pages(caller, 2)


def test_a_page_token_of_another_caller_shows_nothing_of_its_merchants(
    client: Client, owned: Owned, merchant_ids: Callable[[], str]
) -> None:
    caller, merchant = owned("PSP")
    ask(client, "CreateMerchant", merchant_id=merchant_ids())
    token = ask(client, "ListMerchants", page_size=1).next_page_token
    assert {each.name for each in ask(caller, "ListMerchants", page_token=token).merchants} <= {merchant}


def test_auditors_and_administrators_are_shown_all_merchants(
    client: Client, principals: Principals, merchant: str
) -> None:
    _, auditor = principals.make("AUDITOR")
    for caller in (client, auditor):
        assert merchant in [name for page in all_pages(caller, 1000) for name in page]


def test_a_service_lists_no_merchants(principals: Principals) -> None:
    _, caller = principals.make("SERVICE", merchants=["merchants/-"])
    assert "PERMISSION_DENIED" == refused(caller, "ListMerchants").reason


def test_a_merchant_may_have_a_psp_and_an_acquirer_and_both_own_it(
    client: Client, principals: Principals, merchant_ids: Callable[[], str]
) -> None:
    callers = {kind: principals.make(kind) for kind in ("PSP", "ACQUIRER")}
    owners = {kind.lower(): f"principals/{principal_id}" for kind, (principal_id, _) in callers.items()}
    name = ask(client, "CreateMerchant", merchant_id=merchant_ids(), merchant=owners).name
    for _, caller in callers.values():
        assert name == ask(caller, "GetMerchant", name=name).name


def test_a_psp_that_a_merchant_names_as_its_acquirer_does_not_own_it(
    client: Client, principals: Principals, merchant_ids: Callable[[], str]
) -> None:
    principal_id, caller = principals.make("PSP")
    owner = {"acquirer": f"principals/{principal_id}"}
    name = ask(client, "CreateMerchant", merchant_id=merchant_ids(), merchant=owner).name
    assert "NOT_OWNER" == refused(caller, "GetMerchant", name=name).reason
