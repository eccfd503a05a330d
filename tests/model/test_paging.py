"""Page sizes and page tokens: a token goes on with its own list, and with no other."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keysvc.model import paging
from keysvc.model.errors import InvalidField

LIST = "ListMerchants"
IDS = st.text("abcxyzABCXYZ0189_-", min_size=1, max_size=64)


@given(st.text(), IDS)
def test_a_token_goes_on_where_its_page_ended(list_name: str, last_id: str) -> None:
    token = paging.encode_page_token(list_name, last_id)
    assert token.isascii()
    assert last_id == paging.decode_page_token(list_name, token)


def test_no_token_is_the_beginning() -> None:
    assert paging.decode_page_token(LIST, "") is None


@given(st.text(), st.text(), IDS)
def test_a_token_of_another_list_is_refused(one: str, other: str, last_id: str) -> None:
    token = paging.encode_page_token(one, last_id)
    if one != other:
        refused(token, other)


@given(IDS, st.data())
def test_an_altered_token_is_refused(last_id: str, data: st.DataObject) -> None:
    raw = bytearray(base64.urlsafe_b64decode(paging.encode_page_token(LIST, last_id)))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    refused(base64.urlsafe_b64encode(raw).decode())


@given(st.text(min_size=1))
def test_any_other_text_is_refused(text: str) -> None:
    refused(text)


@pytest.mark.parametrize("token", ["=", "AAAA", "A", "\ud800", "%%%%", "AAAAAAAAAAA=", "é" * 16], ids=ascii)
def test_a_token_of_nobody_is_refused(token: str) -> None:
    refused(token)


def refused(token: str, list_name: str = LIST) -> None:
    with pytest.raises(InvalidField) as refusal:
        paging.decode_page_token(list_name, token)
    assert "page_token" == refusal.value.field


@pytest.mark.parametrize(
    ("requested", "size"),
    [(0, 50), (1, 1), (50, 50), (999, 999), (1000, 1000), (1001, 1000), (2**31 - 1, 1000)],
)
def test_a_page_is_as_large_as_asked_up_to_the_limit(requested: int, size: int) -> None:
    assert size == paging.page_size(requested, default=50, maximum=1000)


@pytest.mark.parametrize("requested", [-1, -(2**31)])
def test_a_negative_page_size_is_refused(requested: int) -> None:
    with pytest.raises(InvalidField) as refusal:
        paging.page_size(requested, default=50, maximum=1000)
    assert "page_size" == refusal.value.field
