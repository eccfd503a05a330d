"""request_id and etag: nothing is done twice, and nothing is changed that the caller has not seen."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.asking import HMAC_SLOTS, ask, refused, slot_of, verify_key, verify_mac
from support.outside import key_of, mac_of
from support.principals import create
from support.server import Client, DevServer, Refusal

THREADS = 8
HMAC = "primary-hmac-key"
CHANGES: dict[str, dict[str, Any]] = {
    "CreateCredential": {},
    "ImportCredential": {"secret": "0a" * 32},
    "RenewCredential": {},
    "RevokeCredential": {},
}
every_change = pytest.mark.parametrize("method", CHANGES)


def new_id() -> str:
    return secrets.token_urlsafe(24)


def prepared(client: Client, merchant: str, method: str) -> dict[str, Any]:
    """The fields of a change that would go through, with a request_id."""
    name = slot_of(merchant, HMAC)
    if method in ("RenewCredential", "RevokeCredential"):
        ask(client, "CreateCredential", name=name)
    return {"name": name, "request_id": new_id(), **CHANGES[method]}


def assert_done_before(told: Refusal, name: str, version: int) -> None:
    assert (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ALREADY_DONE") == (told.code, told.reason)
    assert {"resource": name, "version": str(version)} == dict(told.info.metadata)


def at_once(call: Callable[[], Any]) -> list[Any]:
    """From all threads; each answer, or the refusal."""

    def attempt(_: int) -> Any:
        try:
            return call()
        except grpc.RpcError as error:
            return Refusal(error)

    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(attempt, range(THREADS)))


def reasons(outcomes: list[Any]) -> Counter[str]:
    return Counter(outcome.reason if isinstance(outcome, Refusal) else "done" for outcome in outcomes)


@every_change
def test_a_repeated_request_changes_nothing_and_says_what_it_did(client: Client, merchant: str, method: str) -> None:
    fields = prepared(client, merchant, method)
    told = ask(client, method, **fields).credential
    assert_done_before(refused(client, method, **fields), told.name, told.version)
    assert told == ask(client, "GetCredential", name=told.name)


@every_change
def test_a_request_id_is_done_whatever_else_comes_with_it_again(client: Client, merchant: str, method: str) -> None:
    """It names the request, so another method or slot under it is a caller's mistake and never carried out."""
    fields = prepared(client, merchant, method)
    told = ask(client, method, **fields).credential
    other = slot_of(merchant, "api-password")
    again = refused(client, "CreateCredential", name=other, request_id=fields["request_id"])
    assert_done_before(again, told.name, told.version)
    assert 0 == ask(client, "GetCredential", name=other).version


@every_change
def test_the_same_request_from_many_threads_is_done_once(client: Client, merchant: str, method: str) -> None:
    fields = prepared(client, merchant, method)
    before = ask(client, "GetCredential", name=fields["name"]).version
    outcomes = at_once(lambda: ask(client, method, **fields))
    assert {"done": 1, "REQUEST_ALREADY_DONE": THREADS - 1} == reasons(outcomes)
    expected = before if method == "RevokeCredential" else before + 1
    assert expected == ask(client, "GetCredential", name=fields["name"]).version


def test_a_request_id_is_its_callers_own(server: DevServer, client: Client, merchant: str) -> None:
    password = create(client, "second", "ADMIN")
    name, request_id = slot_of(merchant, HMAC), new_id()
    ask(client, "CreateCredential", name=name, request_id=request_id)
    with server.client(f"second:{password}") as second:
        assert 2 == ask(second, "RenewCredential", name=name, request_id=request_id).credential.version
        assert_done_before(refused(second, "RenewCredential", name=name, request_id=request_id), name, 2)
    assert_done_before(refused(client, "RenewCredential", name=name, request_id=request_id), name, 1)


def test_a_refused_request_is_not_done_and_may_be_sent_again(client: Client, merchant: str) -> None:
    fields = {"name": slot_of(merchant, HMAC), "request_id": new_id()}
    assert "SLOT_EMPTY" == refused(client, "RenewCredential", **fields).reason
    assert "INVALID_FIELD" == refused(client, "CreateCredential", **fields, hmac_algorithm=99).reason
    assert 1 == ask(client, "CreateCredential", **fields).credential.version


def test_a_dry_run_uses_up_no_request_id(client: Client, merchant: str) -> None:
    fields = prepared(client, merchant, "RevokeCredential")
    ask(client, "RevokeCredential", **fields, validate_only=True)
    ask(client, "RevokeCredential", **fields)


def test_requests_without_an_id_are_all_different(client: Client, merchant: str) -> None:
    name = slot_of(merchant, HMAC)
    ask(client, "CreateCredential", name=name)
    assert [2, 3] == [ask(client, "RenewCredential", name=name).credential.version for _ in range(2)]


def test_requests_are_remembered_over_a_restart(tmp_path: Path) -> None:
    server = DevServer(tmp_path / "home").start()
    with server.client() as client:
        merchants = {method: client.active_merchant(method) for method in CHANGES}
        sent = {method: prepared(client, merchants[method], method) for method in CHANGES}
        told = {method: ask(client, method, **fields).credential for method, fields in sent.items()}
    server.stop()
    server.start()
    with server.client() as client:
        for method, fields in sent.items():
            assert_done_before(refused(client, method, **fields), told[method].name, told[method].version)
            assert told[method] == ask(client, "GetCredential", name=told[method].name)
    assert 0 == server.stop()


@pytest.mark.parametrize("method", ["RenewCredential", "RevokeCredential"])
def test_only_the_newest_etag_changes_a_slot(client: Client, merchant: str, method: str) -> None:
    name = slot_of(merchant, "api-password")
    stale = [ask(client, "GetCredential", name=name).etag]
    stale.append(ask(client, "CreateCredential", name=name).credential.etag)
    newest = ask(client, "RenewCredential", name=name).credential
    for etag in (*stale, "no such etag", newest.etag + " "):
        told = refused(client, method, name=name, etag=etag)
        assert (grpc.StatusCode.ABORTED, "ETAG_MISMATCH") == (told.code, told.reason)
    assert newest == ask(client, "GetCredential", name=name)
    ask(client, method, name=name, etag=newest.etag)


def test_with_one_etag_only_one_of_many_threads_renews(client: Client, merchant: str) -> None:
    name = slot_of(merchant, HMAC)
    etag = ask(client, "CreateCredential", name=name).credential.etag
    outcomes = at_once(lambda: ask(client, "RenewCredential", name=name, etag=etag))
    assert {"done": 1, "ETAG_MISMATCH": THREADS - 1} == reasons(outcomes)


def test_with_one_etag_only_one_of_many_threads_swaps(client: Client, merchant: str) -> None:
    for slot in HMAC_SLOTS:
        ask(client, "CreateCredential", name=slot_of(merchant, slot))
    pair = {"name": merchant, "kind": "HMAC_KEY"}
    etag = ask(client, "GetRotation", **pair).etag
    outcomes = at_once(lambda: ask(client, "SwapCredentials", etag=etag, **pair))
    assert {"done": 1, "ETAG_MISMATCH": THREADS - 1} == reasons(outcomes)
    request_id = new_id()
    outcomes = at_once(lambda: ask(client, "SwapCredentials", request_id=request_id, **pair))
    assert {"done": 1, "REQUEST_ALREADY_DONE": THREADS - 1} == reasons(outcomes)
    assert [3, 3] == [each.version for each in ask(client, "GetRotation", **pair).keys]


@pytest.mark.parametrize(("method", "slot"), [("CreateCredential", "api-password"), ("ImportCredential", HMAC)])
def test_of_many_threads_one_fills_the_slot(client: Client, merchant: str, method: str, slot: str) -> None:
    name = slot_of(merchant, slot)
    outcomes = at_once(lambda: ask(client, method, name=name, **CHANGES[method]))
    assert {"done": 1, "SLOT_OCCUPIED": THREADS - 1} == reasons(outcomes)
    assert 1 == ask(client, "GetCredential", name=name).version
    if method == "CreateCredential":
        [shown] = [each.secret.value for each in outcomes if not isinstance(each, Refusal)]
        assert "VALID" == verify_key(client, name, shown)


def test_renewed_by_many_threads_at_once_each_answer_tells_its_own_key(client: Client, merchant: str) -> None:
    """The credential beside a secret is the one that the secret belongs to, whatever came after."""
    name = slot_of(merchant, HMAC)
    ask(client, "CreateCredential", name=name)
    answers = [answer for _ in range(5) for answer in at_once(lambda: ask(client, "RenewCredential", name=name))]
    versions = sorted(answer.credential.version for answer in answers)
    assert list(range(2, 2 + len(answers))) == versions
    last = max(answers, key=lambda answer: answer.credential.version)
    assert last.credential == ask(client, "GetCredential", name=name)
    assert "VALID" == verify_mac(client, name, b"m", mac_of(key_of(last.secret.value, "HEX"), b"m"))


def test_of_many_threads_one_revokes(client: Client, merchant: str) -> None:
    name = slot_of(merchant, HMAC)
    ask(client, "CreateCredential", name=name)
    outcomes = at_once(lambda: ask(client, "RevokeCredential", name=name))
    assert {"done": 1, "SLOT_EMPTY": THREADS - 1} == reasons(outcomes)


def test_of_many_threads_one_adds_the_merchant(client: Client, merchant_ids: Callable[[], str]) -> None:
    merchant_id = merchant_ids()
    outcomes = at_once(lambda: ask(client, "CreateMerchant", merchant_id=merchant_id))
    assert {"done": 1, "ALREADY_EXISTS": THREADS - 1} == reasons(outcomes)
