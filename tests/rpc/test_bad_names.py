"""Names that are none: every rpc and field that takes one says INVALID_ARGUMENT and which field."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from support.asking import ask, refused, slot_of
from support.server import Client

TAKE_CREDENTIAL = (
    "CreateCredential", "RenewCredential", "RevokeCredential", "GetCredential", "ScheduleRotation", "Encrypt",
    "Decrypt",
)  # fmt: skip
TAKE_MERCHANT = (
    "GetMerchant", "ActivateMerchant", "SuspendMerchant", "TerminateMerchant", "GetRotation", "SwapCredentials",
)  # fmt: skip
LIST_MERCHANTS_OWN = ("ListCredentials", "SummarizeCredentials")
TAKE_EITHER: dict[str, dict[str, Any]] = {
    "GenerateHmac": {},
    "VerifyHmac": {"mac": b"mac"},
    "VerifyApiKey": {"api_key": "key"},
    "SignWebhook": {"scheme": "GITHUB"},
    "VerifyWebhook": {"scheme": "GITHUB"},
}
LONG = "x" * 100_000
NO_NAMES = {
    "nothing": "",
    "a space": " ",
    "a slash": "/",
    "another collection": "principals/m",
    "another collection with a slot": "principals/m/credentials/api-password",
    "no id": "merchants/",
    "no id with a slot": "merchants//credentials/api-password",
    "a slash before": "/merchants/m",
    "a slash after": "merchants/m/",
    "capitals": "Merchants/m",
    "65 characters": f"merchants/{'x' * 65}",
    "65 characters with a slot": f"merchants/{'x' * 65}/credentials/api-password",
    "far too long": f"merchants/{LONG}",
    "far too long with a slot": f"merchants/{LONG}/credentials/api-password",
    "nothing but length": LONG,
    "nothing but slashes": "/" * 10_000,
    "a letter beyond ASCII": "merchants/mü",
    "a digit beyond ASCII": "merchants/m\N{ARABIC-INDIC DIGIT ONE}",
    "a letter beyond ASCII with a slot": "merchants/mü/credentials/api-password",
    "an emoji": "merchants/\N{KEY}",
    "a line feed after": "merchants/m\n",
    "a line feed after the slot": "merchants/m/credentials/api-password\n",
    "a NUL": "merchants/m\0",
    "a NUL with a slot": "merchants/m\0/credentials/api-password",
    "a space within": "merchants/m m",
    "an escaped letter": "merchants/%6d",
    "the way up": "merchants/../credentials/api-password",
    "a quote": "merchants/m'--",
    "no slot": "merchants/m/credentials",
    "an empty slot": "merchants/m/credentials/",
    "an unknown slot": "merchants/m/credentials/tertiary-hmac-key",
    "a slot in capitals": "merchants/m/credentials/API-PASSWORD",
    "a slot's number": "merchants/m/credentials/1",
    "a slot and more": "merchants/m/credentials/api-password/versions/1",
    "another child": "merchants/m/keys/api-password",
}
MERCHANT = "merchants/m"
CREDENTIAL = "merchants/m/credentials/api-password"
all_of = pytest.mark.parametrize("name", NO_NAMES.values(), ids=list(NO_NAMES))


@pytest.fixture(scope="module", autouse=True)
def still_serving(client: Client) -> Iterator[None]:
    yield
    assert ask(client, "ListMerchants", page_size=1) is not None


def assert_names_field(client: Client, method: str, field: str, **fields: Any) -> None:
    told = refused(client, method, **fields)
    assert (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", [field]) == (told.code, told.reason, told.fields)
    assert len(told.message) < 500


@all_of
def test_what_is_no_credential_is_no_credential_for_any_rpc(client: Client, name: str) -> None:
    for method in TAKE_CREDENTIAL:
        assert_names_field(client, method, "name", name=name)
    assert_names_field(client, "ImportCredential", "name", name=name, secret="0A" * 16)


@all_of
def test_what_is_no_merchant_is_no_merchant_for_any_rpc(client: Client, name: str) -> None:
    for method in TAKE_MERCHANT:
        assert_names_field(client, method, "name", name=name)
    for method in LIST_MERCHANTS_OWN:
        assert_names_field(client, method, "parent", parent=name)


@all_of
def test_what_is_neither_is_neither_for_any_rpc(client: Client, name: str) -> None:
    for method, fields in TAKE_EITHER.items():
        assert_names_field(client, method, "name", name=name, **fields)
    [told] = ask(client, "BatchVerifyHmac", requests=[{"name": name, "mac": b"mac"}]).results
    assert grpc.StatusCode.INVALID_ARGUMENT.value[0] == told.error.code


def test_a_merchant_is_no_credential_and_a_credential_no_merchant(client: Client) -> None:
    for method in TAKE_CREDENTIAL:
        assert_names_field(client, method, "name", name=MERCHANT)
    for method in TAKE_MERCHANT:
        assert_names_field(client, method, "name", name=CREDENTIAL)
    for method in LIST_MERCHANTS_OWN:
        assert_names_field(client, method, "parent", parent=CREDENTIAL)


@pytest.mark.parametrize(
    "merchant_id", ["", " ", "a b", "x" * 65, LONG, "mü", "\N{KEY}", "m\n", "m\0", "a/b", "a.b", "a:b", "merchants/m"]
)
def test_what_is_no_id_makes_no_merchant(client: Client, merchant_id: str) -> None:
    assert_names_field(client, "CreateMerchant", "merchant_id", merchant_id=merchant_id)


@pytest.mark.parametrize("field", ["psp", "acquirer"])
@pytest.mark.parametrize(
    "name", ["PSP_42", "principals/", "principals/a/b", "merchants/m", "principals/ü", f"principals/{'x' * 65}"]
)
def test_an_owner_must_be_a_principals_name(
    client: Client, merchant_ids: Callable[[], str], field: str, name: str
) -> None:
    merchant_id = merchant_ids()
    fields = {"merchant_id": merchant_id, "merchant": {field: name}}
    assert_names_field(client, "CreateMerchant", f"merchant.{field}", **fields)
    assert "NOT_FOUND" == refused(client, "GetMerchant", name=f"merchants/{merchant_id}").reason


@pytest.mark.parametrize(
    "display_name", ["x" * 201, "x" * 20_000, "a\nb", "a\0b", "\x1b[31m", "\N{RIGHT-TO-LEFT OVERRIDE}"]
)
def test_a_display_name_is_short_and_prints(client: Client, merchant_ids: Callable[[], str], display_name: str) -> None:
    fields = {"merchant_id": merchant_ids(), "merchant": {"display_name": display_name}}
    assert_names_field(client, "CreateMerchant", "merchant.display_name", **fields)


def test_a_merchant_may_name_itself_and_nobody_else(client: Client, merchant_ids: Callable[[], str]) -> None:
    merchant_id = merchant_ids()
    fields = {"merchant_id": merchant_id, "merchant": {"name": "merchants/another"}}
    assert_names_field(client, "CreateMerchant", "merchant.name", **fields)
    name = f"merchants/{merchant_id}"
    assert name == ask(client, "CreateMerchant", merchant_id=merchant_id, merchant={"name": name}).name


@pytest.mark.parametrize("request_id", [" ", "a b", "x" * 65, LONG, "ü", "a\n", "a\0", "a/b", "{uuid}"])
def test_a_request_id_is_an_id(client: Client, merchant: str, request_id: str) -> None:
    name = slot_of(merchant, "api-password")
    assert_names_field(client, "CreateCredential", "request_id", name=name, request_id=request_id)
    assert_names_field(client, "RenewCredential", "request_id", name=name, request_id=request_id)
    assert_names_field(client, "RevokeCredential", "request_id", name=name, request_id=request_id)
    assert_names_field(client, "ScheduleRotation", "request_id", name=name, request_id=request_id)
    fields = {"name": merchant, "kind": "HMAC_KEY", "request_id": request_id}
    assert_names_field(client, "SwapCredentials", "request_id", **fields)
    fields = {"name": name, "secret": "0A" * 16, "request_id": request_id}
    assert_names_field(client, "ImportCredential", "request_id", **fields)
    assert 0 == ask(client, "GetCredential", name=name).version
