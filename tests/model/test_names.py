"""Resource names: what is one, what is none, and that the refusal names the field."""

from __future__ import annotations

import string
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keysvc.model import names
from keysvc.model.errors import InvalidField
from keysvc.model.names import CredentialName, TokenName
from keysvc.model.slots import Slot

IDS = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=64)
PARTS = ["merchants", "credentials", "tokens", "m-1", "M-1", "api-password", "", " "]
NO_IDS = ["", "a" * 65, "a b", "a/b", "a.b", "é", "\u0661", "a\n", "\n", "a\0", "a%2Fb", "merchants/a"]


@given(IDS)
def test_an_id_reads_back_from_its_name(resource_id: str) -> None:
    assert resource_id == names.check_id(resource_id, "merchant_id")
    assert resource_id == names.parse_merchant(names.merchant_name(resource_id))
    assert resource_id == names.parse_principal(names.principal_name(resource_id), "name")


@given(IDS, st.sampled_from(Slot))
def test_a_slot_reads_back_from_its_name(merchant_id: str, slot: Slot) -> None:
    name = CredentialName(merchant_id, slot)
    assert f"merchants/{merchant_id}/credentials/{slot.value}" == str(name)
    assert name == names.parse_credential(str(name))
    assert (merchant_id, slot) == names.parse_merchant_or_credential(str(name))
    assert (merchant_id, None) == names.parse_merchant_or_credential(names.merchant_name(merchant_id))


@given(IDS, IDS)
def test_a_token_reads_back_from_its_name(merchant_id: str, token_id: str) -> None:
    name = TokenName(merchant_id, token_id)
    assert f"merchants/{merchant_id}/tokens/{token_id}" == str(name) == f"{names.tokens_name(merchant_id)}/{token_id}"
    assert name == names.parse_token(str(name))
    assert (merchant_id, token_id) == names.parse_merchant_or_token(str(name))
    assert (merchant_id, None) == names.parse_merchant_or_token(names.merchant_name(merchant_id))


@given(st.lists(st.sampled_from(PARTS) | st.text(max_size=5), max_size=6).map("/".join))
def test_a_text_is_refused_or_is_the_one_name_of_what_it_names(text: str) -> None:
    """Two names of one thing would be two of everything that goes by name: owners, digests, audit rows."""
    for parse, render in (
        (names.parse_merchant, names.merchant_name),
        (names.parse_credential, str),
        (names.parse_token, str),
    ):
        with suppress(InvalidField):
            assert text == render(parse(text))  # type: ignore[arg-type]


@pytest.mark.parametrize("text", NO_IDS, ids=ascii)
def test_no_id(text: str) -> None:
    refusals: list[Callable[[], object]] = [
        lambda: names.check_id(text, "field"),
        lambda: names.parse_merchant(f"merchants/{text}", "field"),
        lambda: names.parse_principal(f"principals/{text}", "field"),
        lambda: names.parse_credential(f"merchants/{text}/credentials/api-password", "field"),
        lambda: names.parse_merchant_or_credential(f"merchants/{text}", "field"),
        lambda: names.parse_token(f"merchants/{text}/tokens/t", "field"),
        lambda: names.parse_token(f"merchants/m/tokens/{text}", "field"),
        lambda: names.parse_merchant_or_token(f"merchants/{text}", "field"),
    ]
    for refusal in refusals:
        with pytest.raises(InvalidField) as refused:
            refusal()
        assert "field" == refused.value.field


@pytest.mark.parametrize(
    "text",
    [
        "merchants",
        "merchants/",
        "Merchants/m",
        "/merchants/m",
        "principals/m",
        "merchants/m/",
        "merchants/m/credentials",
        "m",
    ],
)
def test_no_merchant(text: str) -> None:
    with pytest.raises(InvalidField):
        names.parse_merchant(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "merchants/m",
        "merchants/m/credentials/",
        "merchants/m/credentials/no-such-slot",
        "merchants/m/credentials/API-PASSWORD",
        "merchants/m/credentials/api-password/",
        "merchants/m/credentials/api-password\n",
        "merchants/m/keys/api-password",
        "principals/m/credentials/api-password",
    ],
)
def test_no_credential(text: str) -> None:
    with pytest.raises(InvalidField) as refused:
        names.parse_credential(text)
    assert "name" == refused.value.field


@pytest.mark.parametrize(
    "text",
    [
        "",
        "merchants/m",
        "merchants/m/tokens",
        "merchants/m/tokens/",
        "merchants/m/tokens/t/",
        "merchants/m/tokens/t\n",
        "merchants/m/tokens/t/u",
        "merchants//tokens/t",
        "merchants/m/credentials/api-password",
        "principals/m/tokens/t",
    ],
)
def test_no_token(text: str) -> None:
    with pytest.raises(InvalidField) as refused:
        names.parse_token(text)
    assert "name" == refused.value.field


def test_a_token_or_its_merchant_is_named_and_nothing_else() -> None:
    for text in ("", "merchants", "merchants/m/", "merchants/m/tokens", "merchants/m/credentials/api-password"):
        with pytest.raises(InvalidField):
            names.parse_merchant_or_token(text)


def test_an_unknown_slot_is_answered_with_the_slots_there_are() -> None:
    with pytest.raises(InvalidField) as refused:
        names.parse_credential("merchants/m/credentials/no-such-slot")
    assert all(slot.value in refused.value.problem for slot in Slot)
