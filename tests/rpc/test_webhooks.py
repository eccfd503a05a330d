"""SignWebhook and VerifyWebhook in every scheme: what was published, what is signed, which keys, and the time."""

from __future__ import annotations

import base64
import time
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from support.asking import ask, refused, slot_of
from support.outside import key_of, mac_of
from support.server import Client
from webhooks.samples import BODY, EVENT_ID, KEY, OTHER_HEADERS, SIGNED_FIELDS, TIME, URL, delivery

from keysvc.v1.webhook_pb2 import VerifyWebhookResponse
from keysvc.webhooks.schemes import Delivery, Scheme

MIB = 1024 * 1024
PRIMARY, SECONDARY = "primary-hmac-key", "secondary-hmac-key"
LONGEST = Duration(seconds=3650 * 86400)
"""The widest tolerance that is taken."""
VECTORS = tomllib.loads((Path(__file__).parents[1] / "vectors" / "webhooks.toml").read_text())["webhook"]
SEVERAL = (Scheme.STANDARD_WEBHOOKS, Scheme.STRIPE)
EVERY = pytest.mark.parametrize("scheme", Scheme)


@pytest.fixture(scope="module")
def known(client: Client, merchant_ids: Callable[[], str]) -> str:
    """A merchant whose primary key is KEY."""
    merchant = client.active_merchant(merchant_ids())
    name = slot_of(merchant, PRIMARY)
    ask(client, "ImportCredential", name=name, secret=KEY.decode(), secret_format="TEXT")
    return merchant


def verified(client: Client, name: str, scheme: str, webhook: Delivery, **fields: Any) -> Any:
    received = {"headers": webhook.headers, "body": webhook.body, "url": webhook.url, "fields": webhook.fields}
    return ask(client, "VerifyWebhook", name=name, scheme=scheme, **received | fields)


def result_of(answer: Any) -> str:
    return str(VerifyWebhookResponse.Result.Name(answer.result))


def verify(client: Client, name: str, scheme: str, webhook: Delivery, **fields: Any) -> str:
    return result_of(verified(client, name, scheme, webhook, **fields))


def sign(client: Client, name: str, scheme: str, **fields: Any) -> Any:
    signed = {"body": BODY, "url": URL, "fields": SIGNED_FIELDS.get(Scheme(scheme), {}), "event_id": EVENT_ID}
    return ask(client, "SignWebhook", name=name, scheme=scheme, **signed | fields)


def sent(scheme: Scheme, signed: Any) -> Delivery:
    """The webhook as it arrives."""
    return Delivery(OTHER_HEADERS | dict(signed.headers), BODY, URL, {**SIGNED_FIELDS.get(scheme, {}), **signed.fields})


def created(client: Client, name: str, method: str = "CreateCredential", **fields: Any) -> bytes:
    """The new key's bytes."""
    return key_of(ask(client, method, name=name, **fields).secret.value, "HEX")


@EVERY
def test_what_is_signed_is_verified_and_is_what_the_makers_would_send(
    client: Client, known: str, scheme: Scheme
) -> None:
    signed = sign(client, known, scheme)
    assert [(slot_of(known, PRIMARY), 1)] == [(each.credential, each.version) for each in signed.signers]
    assert "VALID" == verify(client, known, scheme, sent(scheme, signed))
    then, made = sign(client, known, scheme, time={"seconds": TIME, "nanos": 999}), delivery(scheme)
    assert made.headers == OTHER_HEADERS | dict(then.headers)
    fields = {name: text.lower() if name == "MAC" else text for name, text in then.fields.items()}
    assert made.fields == {**SIGNED_FIELDS.get(scheme, {}), **fields}


@EVERY
def test_what_was_signed_outside_is_verified_by_the_merchants_name_and_the_slots(
    client: Client, known: str, scheme: Scheme
) -> None:
    for name in (known, slot_of(known, PRIMARY)):
        told = verified(client, name, scheme, delivery(scheme), tolerance=LONGEST)
        assert ("VALID", slot_of(known, PRIMARY), 1, False) == (
            result_of(told), told.matched_credential, told.matched_version, told.retiring,
        )  # fmt: skip


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['scheme']}-{vector['signature']['text'][-9:]}")
def test_a_published_webhook_is_verified(client: Client, merchant: str, vector: dict[str, Any]) -> None:
    """As far as its time may be away."""
    secret = {"secret": vector["secret"], "secret_format": vector["secret_format"], "allow_weak_key": True}
    ask(client, "ImportCredential", name=slot_of(merchant, PRIMARY), **secret)
    headers, fields, signature = dict(vector.get("headers", {})), dict(vector.get("fields", {})), vector["signature"]
    place = headers if "header" in signature else fields
    place[signature.get("header") or signature["field"]] = signature["text"]
    webhook = Delivery(headers, vector.get("body", "").encode(), vector.get("url", ""), fields)
    signed = [int(text) for name, text in headers.items() if name.endswith("timestamp")]
    near = all(time.time() - each < LONGEST.seconds for each in signed)
    assert ("VALID" if near else "STALE_TIMESTAMP") == verify(
        client, merchant, vector["scheme"], webhook, tolerance=LONGEST
    )
    assert ("STALE_TIMESTAMP" if signed else "VALID") == verify(client, merchant, vector["scheme"], webhook)


def signatures_in(signed: Any) -> list[bytes]:
    """Those of a scheme that carries several, in their order."""
    if "stripe-signature" in signed.headers:
        return [bytes.fromhex(item[3:]) for item in signed.headers["stripe-signature"].split(",")[1:]]
    return [base64.b64decode(item[3:]) for item in signed.headers["webhook-signature"].split(" ")]


def test_every_live_key_signs_where_a_scheme_carries_several(client: Client, merchant: str) -> None:
    """The one that GenerateHmac would use first; so receivers on any of them accept it."""
    names = [slot_of(merchant, PRIMARY), slot_of(merchant, PRIMARY), slot_of(merchant, SECONDARY)]
    old = created(client, names[0])
    other = created(client, names[2])
    new = created(client, names[0], "RenewCredential", previous_ttl={"seconds": 3600})
    at = {"seconds": TIME}
    messages = {"STRIPE": b"%d.%b" % (TIME, BODY), "STANDARD_WEBHOOKS": b"%b.%d.%b" % (EVENT_ID.encode(), TIME, BODY)}
    for scheme, message in messages.items():
        signed = sign(client, merchant, scheme, time=at)
        assert [mac_of(key, message) for key in (new, old, other)] == signatures_in(signed)
        signers = [(each.credential, each.version) for each in signed.signers]
        assert list(zip(names, (2, 1, 1), strict=True)) == signers
    assert 2 == len(signatures_in(sign(client, names[0], "STRIPE")))
    assert mac_of(new, BODY).hex() == sign(client, merchant, "GITHUB").headers["x-hub-signature-256"][7:]


@EVERY
def test_both_keys_of_a_double_run_are_accepted(client: Client, merchant: str, scheme: Scheme) -> None:
    ask(client, "CreateCredential", name=slot_of(merchant, SECONDARY))
    secret = {"secret": KEY.decode(), "secret_format": "TEXT"}
    ask(client, "ImportCredential", name=slot_of(merchant, PRIMARY), **secret)
    for slot in (PRIMARY, SECONDARY):
        webhook = sent(scheme, sign(client, slot_of(merchant, slot), scheme))
        told = verified(client, merchant, scheme, webhook)
        assert ("VALID", slot_of(merchant, slot)) == (result_of(told), told.matched_credential)
    other = slot_of(merchant, PRIMARY)
    assert "INVALID" == verify(client, other, scheme, webhook)


def test_the_old_key_is_retiring_until_its_end_and_nothing_after(client: Client, merchant: str) -> None:
    name = slot_of(merchant, PRIMARY)
    ask(client, "CreateCredential", name=name)
    webhook = sent(Scheme.SLACK_V0, sign(client, merchant, "SLACK_V0"))
    renewed = ask(client, "RenewCredential", name=name, previous_ttl=Duration(seconds=1)).credential
    told = verified(client, merchant, "SLACK_V0", webhook)
    assert ("VALID", 1, True) == (result_of(told), told.matched_version, told.retiring)
    stale = verified(client, merchant, "SLACK_V0", webhook, tolerance={})
    assert ("STALE_TIMESTAMP", 1, True) == (result_of(stale), stale.matched_version, stale.retiring)
    end = renewed.retiring[0].expire_time.ToDatetime(UTC)
    time.sleep(max(0.0, (end - datetime.now(UTC)).total_seconds()))
    assert "INVALID" == verify(client, merchant, "SLACK_V0", webhook)


@EVERY
def test_without_a_live_key_or_an_active_merchant_nothing_is_looked_at(
    client: Client, merchant: str, scheme: Scheme
) -> None:
    webhook = Delivery({}, b"")
    assert "NO_LIVE_KEY" == verify(client, merchant, scheme, webhook)
    assert "SLOT_EMPTY" == refused(client, "SignWebhook", name=merchant, scheme=scheme).reason
    ask(client, "SuspendMerchant", name=merchant)
    assert "MERCHANT_NOT_ACTIVE" == verify(client, merchant, scheme, webhook)
    assert "MERCHANT_NOT_ACTIVE" == refused(client, "SignWebhook", name=merchant, scheme=scheme).reason


def test_only_sha256_keys_sign_and_verify(client: Client, merchant: str) -> None:
    ask(client, "CreateCredential", name=slot_of(merchant, PRIMARY), hmac_algorithm="HMAC_SHA512")
    for name in (merchant, slot_of(merchant, PRIMARY), slot_of(merchant, "api-password")):
        told = [refused(client, method, name=name, scheme="GITHUB") for method in ("SignWebhook", "VerifyWebhook")]
        assert ["WRONG_KIND"] * 2 == [each.reason for each in told]
    ask(client, "CreateCredential", name=slot_of(merchant, SECONDARY))
    # The first signer is the key that GenerateHmac would use, or none signs.
    assert "WRONG_KIND" == refused(client, "SignWebhook", name=merchant, scheme="STRIPE", body=BODY).reason
    signed = sign(client, slot_of(merchant, SECONDARY), "STRIPE")
    assert "VALID" == verify(client, merchant, "STRIPE", sent(Scheme.STRIPE, signed))
    ask(client, "SwapCredentials", name=merchant, kind="HMAC_KEY")
    signed = sign(client, merchant, "STRIPE")
    assert [slot_of(merchant, PRIMARY)] == [each.credential for each in signed.signers]


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("scheme", {}),
        ("scheme", {"scheme": 11}),
        ("scheme", {"scheme": -1}),
        ("url", {"scheme": "SQUARE"}),
        ("url", {"scheme": "SQUARE", "url": "u" * 20_000}),
        ("body", {"scheme": "GITHUB", "body": bytes(4 * MIB + 1)}),
        ("fields", {"scheme": "COMPUTOP_NOTIFY", "fields": {"MAC": "m" * 20_000}}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_only_the_caller_knows_is_an_error(client: Client, known: str, field: str, fields: dict[str, Any]) -> None:
    sent_along = {"event_id": "e", **fields}
    assert ("INVALID_FIELD", [field]) == told_of(client, "SignWebhook", name=known, **sent_along)
    received = {"headers": {"x-square-hmacsha256-signature": "AAAA"}, **fields}
    assert ("INVALID_FIELD", [field]) == told_of(client, "VerifyWebhook", name=known, **received)


def told_of(client: Client, method: str, **fields: Any) -> tuple[str, list[str]]:
    told = refused(client, method, **fields)
    return told.reason, told.fields


@pytest.mark.parametrize(
    ("field", "scheme", "fields"),
    [
        ("event_id", "STANDARD_WEBHOOKS", {"event_id": ""}),
        ("event_id", "STANDARD_WEBHOOKS", {"event_id": "a.b"}),
        ("event_id", "STANDARD_WEBHOOKS", {"event_id": "e" * 257}),
        ("event_id", "STANDARD_WEBHOOKS", {"event_id": "e\n"}),
        ("time", "SLACK_V0", {"time": {"seconds": -1}}),
        ("time", "STRIPE", {"time": {"nanos": -1}}),
        ("fields", "ADYEN_NOTIFICATION", {"fields": {"PspReference": "1"}}),
    ],
)
def test_what_cannot_be_signed_is_an_error(
    client: Client, known: str, field: str, scheme: str, fields: dict[str, Any]
) -> None:
    assert ("INVALID_FIELD", [field]) == told_of(client, "SignWebhook", name=known, scheme=scheme, **fields)


def test_a_body_of_4_mib_is_signed_and_verified(client: Client, known: str) -> None:
    body = bytes(4 * MIB)
    signed = sign(client, known, "SHOPIFY", body=body)
    assert {"x-shopify-hmac-sha256": base64.b64encode(mac_of(KEY, body)).decode()} == dict(signed.headers)
    assert "VALID" == verify(client, known, "SHOPIFY", Delivery(dict(signed.headers), body))


def test_a_clock_of_stripe_may_be_seconds_ahead_and_no_more(client: Client, known: str) -> None:
    told = []
    for ahead in (3, 10):
        webhook = sent(Scheme.STRIPE, sign(client, known, "STRIPE", time={"seconds": int(time.time()) + ahead}))
        told.append(verify(client, known, "STRIPE", webhook))
    assert ["VALID", "STALE_TIMESTAMP"] == told


@pytest.mark.parametrize("scheme", [*SEVERAL, Scheme.SLACK_V0])
@pytest.mark.parametrize(
    ("away", "tolerance", "expected"),
    [
        (0, None, "VALID"), (-290, None, "VALID"), (290, None, "VALID"), (-310, None, "STALE_TIMESTAMP"),
        (310, None, "STALE_TIMESTAMP"), (-20, 10, "STALE_TIMESTAMP"), (20, 10, "STALE_TIMESTAMP"), (-20, 30, "VALID"),
        (20, 30, "VALID"), (-1, 0, "STALE_TIMESTAMP"), (1000, 0, "STALE_TIMESTAMP"), (-3600, 86400, "VALID"),
    ],
)  # fmt: skip
def test_a_time_may_be_as_far_away_as_the_tolerance(
    client: Client, known: str, scheme: Scheme, away: int, tolerance: int | None, expected: str
) -> None:
    """In the past and in the future; Stripe's is never of the future. Nothing is told of it to whoever cannot sign."""
    if scheme is Scheme.STRIPE and away > 0:
        expected = "STALE_TIMESTAMP"
    webhook = sent(scheme, sign(client, known, scheme, time={"seconds": int(time.time()) + away}))
    fields = {} if tolerance is None else {"tolerance": Duration(seconds=tolerance)}
    assert expected == verify(client, known, scheme, webhook, **fields)
    assert "INVALID" == verify(client, known, scheme, webhook, body=BODY + b" ", **fields)


@pytest.mark.parametrize("tolerance", [Duration(seconds=-1), Duration(nanos=-1000), Duration(seconds=3650 * 86400 + 1)])
def test_a_tolerance_is_not_negative_and_ends_at_ten_years(client: Client, known: str, tolerance: Duration) -> None:
    assert ("INVALID_FIELD", ["tolerance"]) == told_of(
        client, "VerifyWebhook", name=known, scheme="GITHUB", tolerance=tolerance
    )
