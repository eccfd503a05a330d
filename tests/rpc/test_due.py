"""Due dates, and all merchants seen together: each caller sees its own, the most overdue first, page by page."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from support.asking import SLOTS, ask, refused, slot_of
from support.outside import key_of, mac_of
from support.principals import Principals
from support.server import Client

ALL = "merchants/-"
DAY, YEAR = 86400, 366 * 86400
SLOT = "primary-hmac-key"
LIST_AT_MOST = 100


def at(seconds: int) -> dict[str, int]:
    """So long from now."""
    return {"seconds": int(time.time()) + seconds}


def due(client: Client, parent: str, within: int, **fields: Any) -> list[str]:
    """The names of those that are due, of all pages."""
    names: list[str] = []
    token = ""
    while True:
        asked = {"parent": parent, "due_within": Duration(seconds=within), "page_token": token}
        page = ask(client, "ListCredentials", **asked | fields)
        assert len(page.credentials) <= (fields.get("page_size") or LIST_AT_MOST)
        names += [each.name for each in page.credentials]
        token = page.next_page_token
        if not token:
            return names


def summary(client: Client, parent: str, **fields: Any) -> dict[str, Any]:
    """By slot; under "" all of the answer."""
    told = ask(client, "SummarizeCredentials", parent=parent, **fields)
    assert list(SLOTS) == [each.slot for each in told.slots]
    return {"": told, **{each.slot: each for each in told.slots}}


@pytest.fixture(scope="module")
def psp(principals: Principals) -> tuple[str, Client]:
    return principals.make("PSP", can_edit_credentials=True)


@pytest.fixture(scope="module")
def three(client: Client, psp: tuple[str, Client], merchant_ids: Callable[[], str]) -> list[str]:
    """The PSP's merchants: their primary keys are overdue, due tomorrow and due in a year; the last has a second,
    without a date. Another's is overdue too."""
    names = [f"merchants/{merchant_ids()}" for _ in range(4)]
    for name, owner in zip(names, [f"principals/{psp[0]}"] * 3 + [""], strict=True):
        ask(client, "CreateMerchant", merchant_id=name.partition("/")[2], merchant={"psp": owner})
        ask(client, "ActivateMerchant", name=name)
    for name, seconds in zip(names, (-100, DAY, YEAR, -200), strict=True):
        ask(client, "CreateCredential", name=slot_of(name, SLOT), rotate_before=at(seconds))
    ask(client, "CreateCredential", name=slot_of(names[2], "api-password"))
    return names


def slots_of(merchants: list[str]) -> list[str]:
    return [slot_of(merchant, SLOT) for merchant in merchants]


@pytest.fixture(scope="module")
def merchants_own(principals: Principals, three: list[str]) -> Client:
    """A MERCHANT that lists the last two."""
    return principals.make("MERCHANT", merchants=three[2:])[1]


def test_each_sees_those_of_its_own_that_are_due(
    client: Client, psp: tuple[str, Client], merchants_own: Client, three: list[str]
) -> None:
    one, two, three_, others = slots_of(three)
    assert [[one], [one, two], [one, two, three_]] == [due(psp[1], ALL, each) for each in (0, 2 * DAY, 2 * YEAR)]
    assert [[others], [others, three_]] == [due(merchants_own, ALL, each) for each in (0, 2 * YEAR)]
    everything = due(client, ALL, 2 * YEAR)
    assert [others, one, two, three_] == [name for name in everything if name in slots_of(three)]


def test_of_one_merchant_only_its_own(client: Client, psp: tuple[str, Client], three: list[str]) -> None:
    assert [[], [slot_of(three[1], SLOT)]] == [due(psp[1], three[1], each) for each in (0, 2 * DAY)]
    told = refused(psp[1], "ListCredentials", parent=three[3], due_within=Duration())
    assert "NOT_OWNER" == told.reason
    assert "NOT_FOUND" == refused(client, "ListCredentials", parent="merchants/nobody", due_within=Duration()).reason


@pytest.mark.parametrize("page_size", [1, 2, 3])
def test_pages_hold_each_once_and_in_order(psp: tuple[str, Client], three: list[str], page_size: int) -> None:
    assert slots_of(three[:3]) == due(psp[1], ALL, 2 * YEAR, page_size=page_size)


def test_a_page_is_gone_on_with_where_equal_dates_stand(client: Client, merchant: str) -> None:
    then = at(60)
    for slot in SLOTS:
        ask(client, "CreateCredential", name=slot_of(merchant, slot), rotate_before=then)
    for page_size in (1, 2, 6):
        assert [slot_of(merchant, slot) for slot in SLOTS] == due(client, merchant, 3600, page_size=page_size)


def test_a_page_token_is_of_its_list_only(psp: tuple[str, Client], three: list[str]) -> None:
    page = {"parent": ALL, "due_within": Duration(seconds=2 * YEAR), "page_size": 1}
    token = ask(psp[1], "ListCredentials", **page).next_page_token
    others: list[dict[str, Any]] = [{"parent": three[0], "due_within": Duration()}, {"parent": three[0]}]
    for other in others:
        told = refused(psp[1], "ListCredentials", page_token=token, **other)
        assert ("INVALID_FIELD", ["page_token"]) == (told.reason, told.fields)


def test_all_merchants_are_listed_only_for_what_is_due(client: Client) -> None:
    told = refused(client, "ListCredentials", parent=ALL)
    assert ("INVALID_FIELD", ["due_within"]) == (told.reason, told.fields)


@pytest.mark.parametrize("method", ["ListCredentials", "SummarizeCredentials"])
@pytest.mark.parametrize("within", [Duration(seconds=-1), Duration(nanos=-1000), Duration(seconds=3650 * DAY + 1)])
def test_how_soon_has_bounds(client: Client, merchant: str, method: str, within: Duration) -> None:
    for parent in (merchant, ALL):
        told = refused(client, method, parent=parent, due_within=within)
        assert ("INVALID_FIELD", ["due_within"]) == (told.reason, told.fields)


def test_a_date_is_shown_changed_taken_away_and_met_by_renewing(client: Client, merchant: str) -> None:
    name = slot_of(merchant, SLOT)
    then = at(DAY)
    made = ask(client, "CreateCredential", name=name, rotate_before=then).credential
    assert then["seconds"] == made.rotate_before.seconds
    sooner = ask(client, "ScheduleRotation", name=name, rotate_before=at(-5), etag=made.etag)
    assert (1, True, [name]) == (sooner.version, sooner.etag != made.etag, due(client, merchant, 0))
    assert sooner == ask(client, "GetCredential", name=name)
    assert "ETAG_MISMATCH" == refused(client, "ScheduleRotation", name=name, etag=made.etag).reason
    assert not ask(client, "ScheduleRotation", name=name).HasField("rotate_before")
    assert [] == due(client, merchant, YEAR)
    ask(client, "ScheduleRotation", name=name, rotate_before=at(-5))
    assert not ask(client, "RenewCredential", name=name).credential.HasField("rotate_before")
    assert [] == due(client, merchant, YEAR)
    ask(client, "RenewCredential", name=name, rotate_before=at(5))
    assert [name] == due(client, merchant, DAY)
    assert not ask(client, "RevokeCredential", name=name).credential.HasField("rotate_before")
    assert [] == due(client, merchant, YEAR)


def test_a_date_goes_with_its_key_when_it_is_swapped(client: Client, merchant: str) -> None:
    other = "secondary-hmac-key"
    ask(client, "CreateCredential", name=slot_of(merchant, SLOT), rotate_before=at(-5))
    ask(client, "CreateCredential", name=slot_of(merchant, other))
    ask(client, "SwapCredentials", name=merchant, kind="HMAC_KEY")
    assert [slot_of(merchant, other)] == due(client, merchant, 0)


def test_only_a_key_can_be_due_and_only_once_for_a_request_id(
    client: Client, merchant: str, merchant_ids: Callable[[], str]
) -> None:
    name = slot_of(merchant, SLOT)
    assert "SLOT_EMPTY" == refused(client, "ScheduleRotation", name=name, rotate_before=at(5)).reason
    ask(client, "CreateCredential", name=name)
    fields = {"name": name, "request_id": f"due-{merchant_ids()}"}
    ask(client, "ScheduleRotation", rotate_before=at(5), **fields)
    told = refused(client, "ScheduleRotation", rotate_before=at(-5), **fields)
    assert ("REQUEST_ALREADY_DONE", name) == (told.reason, told.info.metadata["resource"])
    assert [] == due(client, merchant, 0)
    told = refused(client, "ScheduleRotation", name=name, rotate_before={"seconds": 10**12})
    assert ("INVALID_FIELD", ["rotate_before"]) == (told.reason, told.fields)


def test_a_summary_counts_slots_by_their_state_and_dates(
    client: Client, psp: tuple[str, Client], merchants_own: Client, three: list[str]
) -> None:
    told = summary(psp[1], ALL)
    assert 3 == told[""].merchants
    assert (3, 0, 0, 1, 1) == counts(told[SLOT])
    assert (1, 0, 2, 0, 0) == counts(told["api-password"])
    assert (0, 0, 3, 0, 0) == counts(told["secondary-hmac-key"])
    assert (3, 0, 0, 1, 2) == counts(summary(psp[1], ALL, due_within=Duration(seconds=2 * YEAR))[SLOT])
    assert (3, 0, 0, 1, 0) == counts(summary(psp[1], ALL, due_within=Duration())[SLOT])
    assert (1, 0, 0, 1, 0) == counts(summary(psp[1], three[0])[SLOT])
    assert (2, 0, 0, 1, 0) == counts(summary(merchants_own, ALL)[SLOT])
    whole = summary(client, ALL)
    assert whole[""].merchants == sum(counts(whole[SLOT])[:3]) >= 4


def counts(slot: Any) -> tuple[int, int, int, int, int]:
    return slot.active, slot.inactive, slot.empty, slot.overdue, slot.due


def test_a_summary_counts_retiring_keys_and_those_that_are_used(client: Client, merchant: str) -> None:
    for made in renewed(client, slot_of(merchant, SLOT), 3):
        mac = mac_of(made, b"m")
    assert (3, 0) == retiring(summary(client, merchant))
    ask(client, "VerifyHmac", name=merchant, message=b"m", mac=mac)
    time.sleep(2.1)  # uses are counted where they are written down
    assert (3, 1) == retiring(summary(client, merchant))
    assert (3, 0) == retiring(summary(client, merchant, used_within=Duration()))
    ask(client, "RevokeCredential", name=slot_of(merchant, SLOT))
    told = summary(client, merchant)
    assert ((0, 1, 0, 0, 0), (0, 0)) == (counts(told[SLOT]), retiring(told))


def renewed(client: Client, name: str, times: int) -> Iterator[bytes]:
    """The keys that retire."""
    yield key_of(ask(client, "CreateCredential", name=name).secret.value, "HEX")
    for _ in range(times - 1):
        answer = ask(client, "RenewCredential", name=name, previous_ttl=Duration(seconds=3600))
        yield key_of(answer.secret.value, "HEX")
    ask(client, "RenewCredential", name=name, previous_ttl=Duration(seconds=3600))


def retiring(told: dict[str, Any]) -> tuple[int, int]:
    return told[SLOT].retiring_keys, told[SLOT].retiring_keys_used


def test_a_summary_is_of_a_merchant_that_there_is(client: Client, psp: tuple[str, Client]) -> None:
    assert "NOT_FOUND" == refused(client, "SummarizeCredentials", parent="merchants/nobody").reason
    assert "NOT_OWNER" == refused(psp[1], "SummarizeCredentials", parent="merchants/nobody").reason
    for used_within in (Duration(seconds=-1), Duration(seconds=3650 * DAY + 1)):
        told = refused(client, "SummarizeCredentials", parent=ALL, used_within=used_within)
        assert ("INVALID_FIELD", ["used_within"]) == (told.reason, told.fields)
