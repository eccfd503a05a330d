"""HsmKeyService over the wire: who may ask for another token key, who may agree, and what is shown of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.asking import ask
from support.principals import Principals
from support.server import Client, refusal

PURPOSES = ["WRAPPING", "ROW", "DIGEST", "AUDIT"]


@pytest.fixture(scope="module")
def other(principals: Principals) -> Client:
    """Another administrator."""
    return principals.make("ADMIN")[1]


@pytest.fixture
def asked(client: Client) -> Iterator[Any]:
    """What the first administrator asked for; withdrawn at the end."""
    key = ask(client, "RequestHsmKey", purpose="ROW")
    yield key
    if key.name in names(client):
        ask(client, "WithdrawHsmKey", name=key.name)


def names(client: Client) -> list[str]:
    return [key.name for key in ask(client, "ListHsmKeys").keys]


def state(key: Any) -> str:
    return str(type(key).State.Name(key.state))


def test_the_first_generation_of_each_purpose_is_current(client: Client) -> None:
    keys = ask(client, "ListHsmKeys").keys
    assert [(f"hsmKeys/{purpose.lower()}-1", "CURRENT") for purpose in PURPOSES] == [(k.name, state(k)) for k in keys]
    assert {("", "", 0)} == {(key.requester, key.approver, key.rows) for key in keys}


def test_one_asks_and_another_agrees(client: Client, other: Client, asked: Any) -> None:
    assert ("hsmKeys/row-2", 2, "REQUESTED") == (asked.name, asked.generation, state(asked))
    approved = ask(other, "ApproveHsmKey", name=asked.name, etag=asked.etag)
    assert ("APPROVED", "principals/admin") == (state(approved), approved.requester)
    assert approved.approver not in ("", approved.requester)
    assert approved.request_time.seconds <= approved.approve_time.seconds
    assert approved in ask(client, "ListHsmKeys").keys


def test_nobody_agrees_with_itself(client: Client, asked: Any) -> None:
    told = refusal(lambda: ask(client, "ApproveHsmKey", name=asked.name))
    assert "PERMISSION_DENIED" == told.reason
    assert "another administrator" in told.message


def test_it_is_asked_for_once(other: Client, asked: Any) -> None:
    told = refusal(lambda: ask(other, "RequestHsmKey", purpose="ROW"))
    assert ("HSM_KEY_PENDING", asked.name) == (told.reason, told.info.metadata["resource"])


def test_what_is_approved_is_not_approved_again(client: Client, other: Client, asked: Any) -> None:
    ask(other, "ApproveHsmKey", name=asked.name)
    assert "HSM_KEY_STATE" == refusal(lambda: ask(other, "ApproveHsmKey", name=asked.name)).reason


def test_an_etag_of_before_agrees_to_nothing(other: Client, asked: Any) -> None:
    assert "ETAG_MISMATCH" == refusal(lambda: ask(other, "ApproveHsmKey", name=asked.name, etag="99")).reason


def test_a_request_id_asks_once(client: Client, asked: Any) -> None:
    ask(client, "WithdrawHsmKey", name=asked.name, request_id="withdrawn-once")
    told = refusal(lambda: ask(client, "WithdrawHsmKey", name=asked.name, request_id="withdrawn-once"))
    assert "REQUEST_ALREADY_DONE" == told.reason
    assert asked.name not in names(client)


@pytest.mark.parametrize(
    ("method", "fields", "reason"),
    [
        ("RequestHsmKey", {}, "INVALID_FIELD"),
        ("RequestHsmKey", {"purpose": 99}, "INVALID_FIELD"),
        ("RequestHsmKey", {"purpose": "ROW", "request_id": "no id!"}, "INVALID_FIELD"),
        ("ApproveHsmKey", {}, "INVALID_FIELD"),
        ("ApproveHsmKey", {"name": "hsmKeys/other-2"}, "INVALID_FIELD"),
        ("ApproveHsmKey", {"name": "hsmKeys/row-7"}, "NOT_FOUND"),
        ("WithdrawHsmKey", {"name": "hsmKeys/row-1"}, "NOT_FOUND"),
        ("WithdrawHsmKey", {"name": "row-1"}, "INVALID_FIELD"),
    ],
)
def test_what_is_wrong_is_told(client: Client, method: str, fields: dict[str, Any], reason: str) -> None:
    assert reason == refusal(lambda: ask(client, method, **fields)).reason
