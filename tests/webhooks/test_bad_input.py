"""Bad input and what is told of it: headers, times, ids, fields. Every case begins as a right webhook."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from keysvc.model.errors import InvalidField
from keysvc.webhooks.reading import DEFAULT_TOLERANCE, fresh, read
from keysvc.webhooks.schemes import Claim, Delivery, Malformed, Scheme
from webhooks.samples import (
    BODY,
    EVENT_ID,
    OTHER_KEY,
    SIGNATURE_FIELDS,
    SIGNATURE_HEADERS,
    TIME,
    b64,
    delivery,
    mac,
    signature_text,
    signed_by,
    told,
    with_field,
    with_header,
    with_signature,
    without,
)

MALFORMED, INVALID, VALID = "MALFORMED_SIGNATURE", "INVALID", "VALID"
STANDARD, STRIPE, SLACK = Scheme.STANDARD_WEBHOOKS, Scheme.STRIPE, Scheme.SLACK_V0
TIMED = [STANDARD, STRIPE, SLACK]
BASE64 = [Scheme.SQUARE, Scheme.SHOPIFY, Scheme.ADYEN_PAYLOAD, Scheme.ADYEN_NOTIFICATION]
HEX = [Scheme.GITHUB, SLACK]
COMPUTOP = [Scheme.COMPUTOP_REQUEST, Scheme.COMPUTOP_NOTIFY]
OF_ONE_SIGNATURE = [*BASE64, *HEX, *COMPUTOP]
OTHER_MACS = [mac(b"%d" % index, OTHER_KEY) for index in range(199)]


def timed(scheme: Scheme, time: str) -> Delivery:
    """A webhook of that time, rightly signed over it."""
    webhook = delivery(scheme)
    raw = time.encode(errors="surrogatepass")
    if scheme is STANDARD:
        signature = f"v1,{b64(mac(b'.'.join((EVENT_ID.encode(), raw, BODY))))}"
        return with_header(with_header(webhook, "webhook-timestamp", time), "webhook-signature", signature)
    if scheme is SLACK:
        signature = f"v0={mac(b'v0:%b:%b' % (raw, BODY)).hex()}"
        return with_header(with_header(webhook, "x-slack-request-timestamp", time), "x-slack-signature", signature)
    return with_header(webhook, "stripe-signature", f"t={time},v1={mac(b'%b.%b' % (raw, BODY)).hex()}")


def identified(event_id: str) -> Delivery:
    """A standard webhook of that id, rightly signed over it."""
    signature = f"v1,{b64(mac(b'%b.%d.%b' % (event_id.encode(errors='surrogatepass'), TIME, BODY)))}"
    return with_header(with_header(delivery(STANDARD), "webhook-id", event_id), "webhook-signature", signature)


# Absent, empty or given twice


@pytest.mark.parametrize("scheme", Scheme)
def test_no_signature_is_malformed(scheme: Scheme) -> None:
    webhook = delivery(scheme)
    headers = without(webhook.headers, SIGNATURE_HEADERS.get(scheme, ""))
    fields = without(webhook.fields, SIGNATURE_FIELDS.get(scheme, ""))
    assert MALFORMED == told(scheme, webhook._replace(headers=headers, fields=fields))
    assert MALFORMED == signed_by(scheme, lambda _: "")


@pytest.mark.parametrize(
    ("scheme", "name"),
    [(STANDARD, "webhook-id"), (STANDARD, "webhook-timestamp"), (SLACK, "x-slack-request-timestamp")],
)
def test_no_id_and_no_time_are_malformed(scheme: Scheme, name: str) -> None:
    webhook = delivery(scheme)
    assert MALFORMED == told(scheme, webhook._replace(headers=without(webhook.headers, name)))
    assert MALFORMED == told(scheme, with_header(webhook, name, ""))


@pytest.mark.parametrize(
    ("scheme", "name"),
    [
        *SIGNATURE_HEADERS.items(),
        (STANDARD, "webhook-id"),
        (STANDARD, "webhook-timestamp"),
        (SLACK, "x-slack-request-timestamp"),
    ],
)
def test_a_header_given_twice_is_malformed_also_where_both_are_equal(scheme: Scheme, name: str) -> None:
    webhook = delivery(scheme)
    assert MALFORMED == told(scheme, with_header(webhook, name.title(), webhook.headers[name]))
    assert MALFORMED == told(scheme, with_header(webhook, name.upper(), "another"))


@pytest.mark.parametrize("scheme", SIGNATURE_HEADERS)
def test_another_header_given_twice_does_not_matter(scheme: Scheme) -> None:
    assert VALID == told(scheme, with_header(with_header(delivery(scheme), "x-other", "1"), "X-Other", "2"))


@pytest.mark.parametrize("scheme", [scheme for scheme in SIGNATURE_HEADERS if scheme not in TIMED])
def test_two_signatures_that_a_proxy_joined_are_malformed(scheme: Scheme) -> None:
    """As HTTP allows for a header given twice (RFC 9110 section 5.3)."""
    assert MALFORMED == signed_by(scheme, lambda text: f"{text}, {text}")


def test_a_letter_that_only_python_lowers_to_ascii_names_no_header() -> None:
    """U+212A, the sign of the kelvin, is no k of a header's name: it is neither a header known nor a second one."""
    kelvin = "x-slac\u212a-signature"
    assert "x-slack-signature" == kelvin.lower()
    webhook = delivery(SLACK)
    assert VALID == told(SLACK, with_header(webhook, kelvin, "v0=00"))
    moved = webhook._replace(
        headers={**without(webhook.headers, "x-slack-signature"), kelvin: signature_text(SLACK, webhook)}
    )
    assert MALFORMED == told(SLACK, moved)


@pytest.mark.parametrize("scheme", Scheme)
def test_a_signature_over_16_kib_is_malformed(scheme: Scheme) -> None:
    assert MALFORMED == signed_by(scheme, lambda text: text + "0" * 16 * 1024)


# Times

TIMES = {
    "NaN": MALFORMED, "nan": MALFORMED, "inf": MALFORMED, "1e400": MALFORMED, "1e9": MALFORMED, "+1": MALFORMED,
    "": MALFORMED, "-": MALFORMED, "--1": MALFORMED, " 1760000000": MALFORMED, "1760000000 ": MALFORMED,
    "1760000000\n": MALFORMED, "1_760_000_000": MALFORMED, "1760000000.0": MALFORMED,
    "0x68e5": MALFORMED, "\u0661\u0662\u0663": MALFORMED,
    "\uff11": MALFORMED, "\ud800": MALFORMED, "9" * 16: MALFORMED, "9" * 5000: MALFORMED,
    "-1": "STALE_TIMESTAMP", "0": "STALE_TIMESTAMP", "-0": "STALE_TIMESTAMP", "9" * 15: "STALE_TIMESTAMP",
    "-" + "9" * 15: "STALE_TIMESTAMP", "01760000000": VALID, "1760000000": VALID,
}  # fmt: skip


@pytest.mark.parametrize("scheme", TIMED)
@pytest.mark.parametrize(("time", "result"), TIMES.items())
def test_a_time_of_another_form_is_malformed_and_a_far_one_stale(scheme: Scheme, time: str, result: str) -> None:
    """Each rightly signed over the text as it stands, leading zeros and all."""
    webhook, now = timed(scheme, time), datetime.fromtimestamp(TIME, UTC)
    answer = told(scheme, webhook)
    if answer == VALID and not fresh(read(scheme, webhook), now, DEFAULT_TOLERANCE):
        answer = "STALE_TIMESTAMP"
    assert result == answer


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_time_at_the_tolerance_is_fresh_and_a_microsecond_further_stale(sign: int) -> None:
    claim = Claim(b"", (b"\0",), TIME)
    now = datetime.fromtimestamp(TIME, UTC) + sign * timedelta(seconds=300)
    assert fresh(claim, now, DEFAULT_TOLERANCE)
    assert not fresh(claim, now + sign * timedelta(microseconds=1), DEFAULT_TOLERANCE)
    assert fresh(claim, now + sign * timedelta(microseconds=1), timedelta(seconds=301))
    assert not fresh(claim, now, timedelta(0))


@pytest.mark.parametrize("scheme", [scheme for scheme in Scheme if scheme not in TIMED])
def test_without_a_signed_time_a_webhook_is_always_fresh(scheme: Scheme) -> None:
    claim = read(scheme, delivery(scheme))
    assert claim.time is None
    assert fresh(claim, datetime.max.replace(tzinfo=UTC), timedelta(0))


# Ids, and the two sets of headers

IDS = {
    "a dot": ("msg.1", MALFORMED),
    "a dot alone": (".", MALFORMED),
    "half a surrogate pair": ("\ud800", MALFORMED),
    "1 KiB": ("x" * 1024, VALID),
    "more than 1 KiB": ("x" * 1025, MALFORMED),
    "more than 1 KiB in bytes": ("\u00e9" * 513, MALFORMED),
    "a blank": ("msg 1", VALID),
    "not ASCII": ("\u00e9", VALID),
}


@pytest.mark.parametrize(("event_id", "result"), IDS.values(), ids=IDS)
def test_an_id_of_standard_webhooks(event_id: str, result: str) -> None:
    assert result == told(STANDARD, identified(event_id))


def test_the_dots_cannot_be_moved_between_id_time_and_body() -> None:
    """The same bytes, taken apart in another way, with the signature that fits them."""
    webhook = delivery(STANDARD)
    moved = with_header(webhook, "webhook-id", f"{EVENT_ID}.{TIME}")._replace(body=b"")
    assert MALFORMED == told(STANDARD, moved)


def as_svix(webhook: Delivery) -> dict[str, str]:
    return {name.replace("webhook-", "svix-"): value for name, value in webhook.headers.items()}


def test_svixs_headers_are_read_where_there_is_no_webhook_signature() -> None:
    webhook = delivery(STANDARD)
    assert VALID == told(STANDARD, webhook._replace(headers=as_svix(webhook)))
    assert VALID == told(STANDARD, webhook._replace(headers={**as_svix(webhook), "webhook-id": "another"}))


def test_the_two_sets_of_headers_are_never_mixed() -> None:
    webhook = delivery(STANDARD)
    both = {**as_svix(webhook), **webhook.headers}
    assert VALID == told(STANDARD, webhook._replace(headers=both))
    assert VALID == told(STANDARD, webhook._replace(headers={**both, "Svix-Id": "given twice, and not read"}))
    assert MALFORMED == told(STANDARD, webhook._replace(headers=without(both, "webhook-id")))
    assert MALFORMED == told(STANDARD, webhook._replace(headers={**both, "webhook-signature": ""}))
    assert MALFORMED == told(
        STANDARD, webhook._replace(headers=without(as_svix(webhook), "svix-id") | {"webhook-id": "x"})
    )


# Fields and addresses


@pytest.mark.parametrize(
    ("scheme", "name", "signed"),
    [
        (
            Scheme.ADYEN_NOTIFICATION,
            "merchantReference",
            b"7914073381342284:7914073381342283:TestMerchant:a:b\\:%3A:1130:EUR:CAPTURE:true",
        ),
        (Scheme.COMPUTOP_REQUEST, "TransID", b"7bbb*a:b\\:%3A*m1*1*EUR"),
    ],
)
def test_a_field_is_signed_as_it_is(scheme: Scheme, name: str, signed: bytes) -> None:
    assert signed == read(scheme, with_field(delivery(scheme), name, "a:b\\:%3A")).message


def test_a_separator_in_a_field_lets_text_move_to_the_next_under_the_same_signature() -> None:
    """As the maker's form has it, and docs/webhooks.md warns. Where no value holds one, nothing can be moved."""
    scheme, webhook = Scheme.COMPUTOP_REQUEST, delivery(Scheme.COMPUTOP_REQUEST)
    first, second = [
        webhook._replace(fields={**webhook.fields, "TransID": trans_id, "MerchantID": merchant_id})
        for trans_id, merchant_id in (("TID*1", "m1"), ("TID", "1*m1"))
    ]
    assert b"7bbb*TID*1*m1*1*EUR" == read(scheme, first).message == read(scheme, second).message
    assert INVALID == told(scheme, webhook._replace(fields={**webhook.fields, "PayID": "", "TransID": "7bbb*TID-1"}))


@pytest.mark.parametrize("scheme", [Scheme.ADYEN_NOTIFICATION, *COMPUTOP])
def test_an_absent_field_counts_as_empty_and_a_name_is_matched_as_it_is(scheme: Scheme) -> None:
    webhook = delivery(scheme)
    first = next(iter(webhook.fields))
    absent = webhook._replace(fields=without(webhook.fields, first))
    assert read(scheme, with_field(webhook, first, "")) == read(scheme, absent)
    assert INVALID == told(scheme, absent)
    assert INVALID == told(scheme, with_field(absent, first.upper(), webhook.fields[first]))


@pytest.mark.parametrize("scheme", [Scheme.ADYEN_NOTIFICATION, *COMPUTOP])
def test_a_field_that_is_no_text_is_malformed_and_a_long_one_is_not(scheme: Scheme) -> None:
    webhook = delivery(scheme)
    first = next(iter(webhook.fields))
    assert MALFORMED == told(scheme, with_field(webhook, first, "\ud800"))
    assert INVALID == told(scheme, with_field(webhook, first, "x" * 1_000_000))


@pytest.mark.parametrize("url", ["", "\ud800"])
def test_square_without_its_address_is_the_callers_fault(url: str) -> None:
    with pytest.raises(InvalidField) as refused:
        read(Scheme.SQUARE, delivery(Scheme.SQUARE)._replace(url=url))
    assert "url" == refused.value.field


def test_square_with_another_address_is_invalid() -> None:
    webhook = delivery(Scheme.SQUARE)
    assert INVALID == told(Scheme.SQUARE, webhook._replace(url=webhook.url + "/"))


@pytest.mark.parametrize("scheme", Scheme)
def test_what_is_said_of_a_malformed_webhook_quotes_nothing_of_it(scheme: Scheme) -> None:
    webhook = with_signature(scheme, delivery(scheme), "canary")
    with pytest.raises(Malformed) as refused:
        read(scheme, webhook)
    assert "canary" not in str(refused.value)
