"""BatchVerifyHmac: what as many single calls would have answered, in their order, and no one spoils the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo
from support.asking import ask, refused, result_of, slot_of
from support.outside import key_of, mac_of
from support.principals import Principals
from support.server import Client, Refusal

MIB = 1024 * 1024
MESSAGE = b"order 1"
PRIMARY, SECONDARY = "primary-hmac-key", "secondary-hmac-key"

Item = dict[str, Any]


def created(client: Client, name: str, method: str = "CreateCredential", **fields: Any) -> bytes:
    """The new key's bytes."""
    return key_of(ask(client, method, name=name, **fields).secret.value, "HEX")


def batch(client: Client, requests: list[Item]) -> list[Any]:
    return list(ask(client, "BatchVerifyHmac", requests=requests).results)


def right(merchant: str, key: bytes, message: bytes = MESSAGE) -> Item:
    return {"name": merchant, "message": message, "mac": mac_of(key, message)}


def wrong(item: Item) -> Item:
    return {**item, "mac": bytes(32)}


def alone(client: Client, item: Item) -> bytes:
    """What the same request is answered as a call of its own: its bytes, or those of its refusal."""
    try:
        return bytes(ask(client, "VerifyHmac", **item).SerializeToString())
    except grpc.RpcError as error:
        return Refusal(error).raw


def bytes_of(outcome: Any) -> bytes:
    return bytes(getattr(outcome, outcome.WhichOneof("outcome")).SerializeToString())


def reason_of(outcome: Any) -> str:
    """Of an error: its reason, as ErrorInfo says it."""
    info = ErrorInfo()
    assert outcome.error.details[0].Unpack(info)
    assert "keysvc" == info.domain
    return str(info.reason)


def test_a_thousand_are_answered_in_their_order(client: Client, merchant: str, other_merchant: str) -> None:
    """Of two merchants, by every live key, right and wrong ones mixed."""
    names = {(merchant, 1): PRIMARY, (merchant, 2): SECONDARY, (other_merchant, 1): PRIMARY}
    keys = [(each, created(client, slot_of(each, slot))) for (each, _), slot in names.items()]
    items, expected = [], []
    for number in range(1000):
        name, key = keys[number % 3]
        item = right(name, key, b"order %d" % number)
        items.append(wrong(item) if number % 7 == 0 else item)
        slot = SECONDARY if number % 3 == 1 else PRIMARY
        expected.append(("INVALID", "") if number % 7 == 0 else ("VALID", slot_of(name, slot)))
    told = [each.response for each in batch(client, items)]
    assert expected == [(result_of(each), each.matched_credential) for each in told]


def test_none_and_more_than_a_thousand_are_refused(client: Client, merchant: str) -> None:
    for count in (0, 1001, 3000):
        told = refused(client, "BatchVerifyHmac", requests=[{"name": merchant, "mac": b"m"}] * count)
        assert ("INVALID_FIELD", ["requests"]) == (told.reason, told.fields)
    assert ["NO_LIVE_KEY"] * 1000 == [
        result_of(each.response) for each in batch(client, [{"name": merchant, "mac": b"m"}] * 1000)
    ]


BAD: dict[str, tuple[Item, str]] = {
    "no name": ({"name": "", "mac": b"m"}, "INVALID_FIELD"),
    "what is no name": ({"name": "merchants/a/b", "mac": b"m"}, "INVALID_FIELD"),
    "a name far too long": ({"name": "x" * 100_000, "mac": b"m"}, "INVALID_FIELD"),
    "an unknown slot": ({"name": "merchants/m/credentials/third", "mac": b"m"}, "INVALID_FIELD"),
    "an unknown merchant": ({"name": "merchants/nobody", "mac": b"m"}, "NOT_FOUND"),
    "all merchants": ({"name": "merchants/-", "mac": b"m"}, "NOT_FOUND"),
    "no MAC": ({"name": "merchants/nobody"}, "INVALID_FIELD"),
    "a message too long": ({"name": "merchants/nobody", "mac": b"m", "message": bytes(4 * MIB + 1)}, "INVALID_FIELD"),
    "nothing": ({}, "INVALID_FIELD"),
}


@pytest.mark.parametrize("bad", BAD)
def test_one_that_cannot_be_answered_harms_no_other(client: Client, merchant: str, bad: str) -> None:
    """Wherever it stands; and it carries the error that it would have ended with alone."""
    good = right(merchant, created(client, slot_of(merchant, PRIMARY)))
    item, reason = BAD[bad]
    first, told, last = batch(client, [good, item, wrong(good)])
    assert ["VALID", "INVALID"] == [result_of(each.response) for each in (first, last)]
    assert (reason, alone(client, item)) == (reason_of(told), bytes_of(told))


def test_each_is_answered_as_the_call_alone_would_be(client: Client, merchant: str, other_merchant: str) -> None:
    """By merchant and by slot, with keys that retire, of every algorithm, and where there is none."""
    name = slot_of(merchant, PRIMARY)
    old = created(client, name)
    new = created(client, name, "RenewCredential", previous_ttl=Duration(seconds=3600))
    long = created(client, slot_of(merchant, SECONDARY), hmac_algorithm="HMAC_SHA512")
    ask(client, "CreateCredential", name=slot_of(other_merchant, PRIMARY))
    ask(client, "SuspendMerchant", name=other_merchant)
    long_mac = mac_of(long, MESSAGE, "HMAC_SHA512")
    items = [
        right(merchant, new), right(name, old), right(merchant, old), wrong(right(name, new)),
        {"name": merchant, "message": MESSAGE, "mac": long_mac}, {"name": merchant, "message": b"", "mac": long_mac},
        right(slot_of(merchant, SECONDARY), new), right(other_merchant, new),
        right(slot_of(other_merchant, PRIMARY), new), right(slot_of(merchant, "api-password"), new),
        right(slot_of(merchant, "encryption-password"), new),
        {"name": merchant, "message": MESSAGE, "mac": mac_of(new, MESSAGE)[:-1]}, right(merchant, new, b""),
        {"name": merchant, "message": b"", "mac": bytes(100_000)},
    ]  # fmt: skip
    told = batch(client, items)
    assert [alone(client, item) for item in items] == [bytes_of(each) for each in told]
    assert [True, True] == [each.response.retiring for each in told[1:3]]
    assert "WRONG_KIND" == reason_of(told[9])


def test_a_service_is_answered_of_the_merchants_that_it_lists(
    client: Client, principals: Principals, merchant: str, other_merchant: str
) -> None:
    _, service = principals.make("SERVICE", merchants=[merchant])
    items = [right(each, created(client, slot_of(each, PRIMARY))) for each in (merchant, other_merchant)]
    told = batch(service, [items[1], items[0], {"name": "merchants/nobody"}, {"name": slot_of(merchant, PRIMARY)}])
    assert "VALID" == result_of(told[1].response)
    assert ["NOT_OWNER", "NOT_OWNER", "INVALID_FIELD"] == [reason_of(each) for each in (told[0], told[2], told[3])]
    assert bytes_of(told[0]) == bytes_of(told[2])
    assert ["VALID"] * 2 == [result_of(each.response) for each in batch(client, items)]


def test_each_that_matched_counts_as_a_use_of_its_key(client: Client, merchant: str) -> None:
    keys = [created(client, slot_of(merchant, slot)) for slot in (PRIMARY, SECONDARY)]
    items = [right(merchant, keys[0])] * 5 + [right(merchant, keys[1])] * 3 + [wrong(right(merchant, keys[0]))] * 4
    batch(client, items)
    told = ask(client, "GetRotation", name=merchant, kind="HMAC_KEY")
    assert [5, 3] == [each.calls.total for each in told.keys]


def test_a_batch_of_eight_mib_is_the_longest(client: Client, merchant: str, merchant_ids: Callable[[], str]) -> None:
    key = created(client, slot_of(merchant, PRIMARY))
    whole = right(merchant, key, bytes(4 * MIB))
    part = right(merchant, key, bytes(4 * MIB - 1000))
    assert ["VALID", "VALID"] == [result_of(each.response) for each in batch(client, [whole, part])]
    assert grpc.StatusCode.RESOURCE_EXHAUSTED == refused(client, "BatchVerifyHmac", requests=[whole, whole]).code
