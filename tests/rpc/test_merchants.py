"""MerchantService over the wire: adding, reading, listing and moving merchants between their states."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import grpc
import pytest
from support.asking import ask, refused
from support.server import Client

from keysvc.v1.merchant_pb2 import Merchant

State = Merchant.State
MOVES = {"ACTIVE": "ActivateMerchant", "SUSPENDED": "SuspendMerchant", "TERMINATED": "TerminateMerchant"}
WAYS = {
    "WAITING_ACTIVATION": (),
    "ACTIVE": ("ActivateMerchant",),
    "SUSPENDED": ("ActivateMerchant", "SuspendMerchant"),
    "TERMINATED": ("TerminateMerchant",),
}
ALLOWED = {
    ("WAITING_ACTIVATION", "ACTIVE"),
    ("WAITING_ACTIVATION", "TERMINATED"),
    ("ACTIVE", "SUSPENDED"),
    ("ACTIVE", "TERMINATED"),
    ("SUSPENDED", "ACTIVE"),
    ("SUSPENDED", "TERMINATED"),
}


def in_state(client: Client, merchant_id: str, state: str) -> Merchant:
    """A new merchant, brought there."""
    made: Merchant = ask(client, "CreateMerchant", merchant_id=merchant_id)
    for method in WAYS[state]:
        made = ask(client, method, name=made.name)
    assert state == State.Name(made.state)
    return made


def test_a_new_merchant_waits_for_its_activation(client: Client, merchant_ids: Callable[[], str]) -> None:
    merchant_id = merchant_ids()
    wanted = Merchant(display_name="Café Zürich", psp="principals/PSP_42", acquirer="principals/acq-1")
    made = ask(client, "CreateMerchant", merchant_id=merchant_id, merchant=wanted)
    assert (f"merchants/{merchant_id}", State.WAITING_ACTIVATION) == (made.name, made.state)
    assert ("Café Zürich", "principals/PSP_42", "principals/acq-1") == (made.display_name, made.psp, made.acquirer)
    assert made.create_time == made.update_time
    assert abs((datetime.now(UTC) - made.create_time.ToDatetime(UTC)).total_seconds()) < 30
    assert made == ask(client, "GetMerchant", name=made.name)


def test_what_the_service_fills_in_is_not_taken_from_the_request(
    client: Client, merchant_ids: Callable[[], str]
) -> None:
    wanted = Merchant(state="ACTIVE", etag="7", display_name="x")
    made = ask(client, "CreateMerchant", merchant_id=merchant_ids(), merchant=wanted)
    assert State.WAITING_ACTIVATION == made.state
    assert "7" != made.etag


def test_the_same_id_twice_is_refused(client: Client, merchant_ids: Callable[[], str]) -> None:
    merchant_id = merchant_ids()
    made = ask(client, "CreateMerchant", merchant_id=merchant_id)
    told = refused(client, "CreateMerchant", merchant_id=merchant_id, merchant=Merchant(display_name="other"))
    assert (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS") == (told.code, told.reason)
    assert made == ask(client, "GetMerchant", name=made.name)


def test_ids_differ_by_case_and_take_every_letter_of_the_rule(client: Client, merchant_ids: Callable[[], str]) -> None:
    base = merchant_ids()
    for merchant_id in (f"{base}-aZ09_-", f"{base}-AZ09_-", f"{base}-{'x' * 64}"[:64]):
        assert f"merchants/{merchant_id}" == ask(client, "CreateMerchant", merchant_id=merchant_id).name


@pytest.mark.parametrize("method", ["GetMerchant", *MOVES.values()])
def test_an_unknown_merchant_is_not_found(client: Client, method: str) -> None:
    told = refused(client, method, name="merchants/nobody")
    assert (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "merchants/nobody") == (
        told.code,
        told.reason,
        told.info.metadata["resource"],
    )


@pytest.mark.parametrize("before", WAYS)
@pytest.mark.parametrize("target", MOVES)
def test_every_move_from_every_state(client: Client, merchant_ids: Callable[[], str], before: str, target: str) -> None:
    made = in_state(client, merchant_ids(), before)
    if before != target and (before, target) not in ALLOWED:
        told = refused(client, MOVES[target], name=made.name)
        assert (grpc.StatusCode.FAILED_PRECONDITION, "MERCHANT_NOT_ACTIVE") == (told.code, told.reason)
        assert made == ask(client, "GetMerchant", name=made.name)
        return
    moved = ask(client, MOVES[target], name=made.name)
    assert target == State.Name(moved.state)
    assert (before == target) == (made.etag == moved.etag)
    assert made.create_time == moved.create_time
    assert moved == ask(client, "GetMerchant", name=made.name)


@pytest.mark.parametrize("target", MOVES)
def test_a_move_that_is_repeated_changes_nothing_even_with_the_etag_of_before(
    client: Client, merchant_ids: Callable[[], str], target: str
) -> None:
    made = in_state(client, merchant_ids(), "SUSPENDED" if target == "ACTIVE" else "ACTIVE")
    moved = ask(client, MOVES[target], name=made.name, etag=made.etag)
    assert moved.update_time.ToDatetime() > made.update_time.ToDatetime()
    assert moved == ask(client, MOVES[target], name=made.name, etag=made.etag)


@pytest.mark.parametrize("target", MOVES)
def test_a_stale_etag_moves_nothing(client: Client, merchant_ids: Callable[[], str], target: str) -> None:
    made = in_state(client, merchant_ids(), "SUSPENDED" if target == "ACTIVE" else "ACTIVE")
    told = refused(client, MOVES[target], name=made.name, etag=made.etag + "0")
    assert (grpc.StatusCode.ABORTED, "ETAG_MISMATCH") == (told.code, told.reason)
    assert made == ask(client, "GetMerchant", name=made.name)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_paging_through_all_merchants_gives_each_once_in_order(
    client: Client, merchant_ids: Callable[[], str], size: int
) -> None:
    mine = {ask(client, "CreateMerchant", merchant_id=merchant_ids()).name for _ in range(4)}
    everything = [merchant.name for merchant in ask(client, "ListMerchants", page_size=1000).merchants]
    assert mine <= set(everything)
    assert sorted(set(everything)) == everything
    start = everything.index(min(mine))
    token = _token_after(client, start) if start else ""
    seen: list[str] = []
    while not seen or (token and not mine <= set(seen)):
        page = ask(client, "ListMerchants", page_size=size, page_token=token)
        assert len(page.merchants) <= size
        seen += [merchant.name for merchant in page.merchants]
        token = page.next_page_token
    assert everything[start : start + len(seen)] == seen


def _token_after(client: Client, count: int) -> str:
    return str(ask(client, "ListMerchants", page_size=count).next_page_token)


def test_a_list_of_merchants_has_fifty_on_a_page_unless_asked(client: Client, merchant_ids: Callable[[], str]) -> None:
    for _ in range(51):
        ask(client, "CreateMerchant", merchant_id=merchant_ids())
    page = ask(client, "ListMerchants")
    assert 50 == len(page.merchants)
    assert page.next_page_token != ""
