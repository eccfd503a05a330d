"""Webhooks as nobody should send them: each has a result by the contract's table, and none is an error or VALID."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from webhooks.samples import (
    BODY,
    EVENT_ID,
    SIGNATURE_FIELDS,
    SIGNATURE_HEADERS,
    SIGNED_FIELDS,
    TIME,
    b64,
    delivery,
    mac,
    signature_text,
    with_field,
    with_header,
    with_signature,
    without,
)

from keysvc.webhooks.schemes import Delivery, Scheme

STANDARD, STRIPE, GITHUB, SLACK, SQUARE, SHOPIFY, ADYEN, ADYEN_PAYLOAD, REQUEST, NOTIFY = Scheme
VALID, INVALID, STALE, MALFORMED = "VALID", "INVALID", "STALE_TIMESTAMP", "MALFORMED_SIGNATURE"
IN_BASE64 = (STANDARD, SQUARE, SHOPIFY, ADYEN, ADYEN_PAYLOAD)
EITHER_CASE = (REQUEST, NOTIFY)

Ask = Callable[[Scheme, Delivery], str]
"""The fixture `told`."""


def standard(event_id: str, time: str, body: bytes = BODY) -> Delivery:
    """Rightly signed, whatever the id and the time are."""
    signature = b64(mac(f"{event_id}.{time}.".encode() + body))
    return Delivery({"webhook-id": event_id, "webhook-timestamp": time, "webhook-signature": f"v1,{signature}"}, body)


def stripe(time: str) -> Delivery:
    return Delivery({"stripe-signature": f"t={time},v1={mac(f'{time}.'.encode() + BODY).hex()}"}, BODY)


def slack(time: str) -> Delivery:
    signature = f"v0={mac(f'v0:{time}:'.encode() + BODY).hex()}"
    return Delivery({"x-slack-request-timestamp": time, "x-slack-signature": signature}, BODY)


FORGED = {
    STANDARD: lambda time: with_header(standard(EVENT_ID, time), "webhook-signature", f"v1,{b64(bytes(32))}"),
    STRIPE: lambda time: with_header(stripe(time), "stripe-signature", f"t={time},v1={bytes(32).hex()}"),
    SLACK: lambda time: with_header(slack(time), "x-slack-signature", f"v0={bytes(32).hex()}"),
}
SIGNED = {STANDARD: lambda time: standard(EVENT_ID, time), STRIPE: stripe, SLACK: slack}


@pytest.mark.parametrize("scheme", SIGNED)
@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (str(TIME), VALID), ("-1", STALE), ("0", STALE), ("9" * 11, STALE), ("9" * 15, STALE), ("9" * 16, MALFORMED),
        ("NaN", MALFORMED), ("1e400", MALFORMED), ("inf", MALFORMED), ("", MALFORMED), (f" {TIME}", MALFORMED),
        (f"{TIME}\n", MALFORMED), (f"+{TIME}", MALFORMED), (f"{TIME}.0", MALFORMED), ("\u0661\u0662", MALFORMED),
        ("0x10", MALFORMED), ("1_000", MALFORMED), ("9" * 10_000, MALFORMED),
    ],
    ids=lambda value: ascii(value)[:20],
)  # fmt: skip
def test_a_time_of_any_text_has_its_result(told: Ask, scheme: Scheme, time: str, expected: str) -> None:
    """Also where it is rightly signed; STALE_TIMESTAMP is only for who could sign."""
    assert expected == told(scheme, SIGNED[scheme](time))
    assert (MALFORMED if expected == MALFORMED else INVALID) == told(scheme, FORGED[scheme](time))


@pytest.mark.parametrize("scheme", Scheme)
def test_without_its_signature_or_with_an_empty_one_it_is_malformed(told: Ask, scheme: Scheme) -> None:
    webhook = delivery(scheme)
    assert VALID == told(scheme, webhook)
    assert MALFORMED == told(scheme, webhook._replace(headers={}, fields={}))
    assert MALFORMED == told(scheme, with_signature(scheme, webhook, ""))


@pytest.mark.parametrize("scheme", SIGNATURE_HEADERS)
def test_a_header_given_twice_is_malformed_also_where_both_are_right(told: Ask, scheme: Scheme) -> None:
    webhook, name = delivery(scheme), SIGNATURE_HEADERS[scheme]
    for twin in (name.upper(), name.title()):
        assert MALFORMED == told(scheme, with_header(webhook, twin, webhook.headers[name]))
    assert VALID == told(scheme, with_header(webhook, "X-Other", "1"))


@pytest.mark.parametrize("name", ["Webhook-Id", "Webhook-Timestamp"])
def test_an_id_or_a_time_given_twice_is_malformed(told: Ask, name: str) -> None:
    webhook = delivery(STANDARD)
    assert MALFORMED == told(STANDARD, with_header(webhook, name, webhook.headers[name.lower()]))


@pytest.mark.parametrize("scheme", Scheme)
@pytest.mark.parametrize(
    "change", [lambda text: f" {text}", lambda text: f"{text} ", lambda text: f"{text}\n", lambda text: f"\t{text}"]
)
def test_white_space_about_a_signature_is_not_taken_off(
    told: Ask, scheme: Scheme, change: Callable[[str], str]
) -> None:
    """A blank between the signatures of one header is what parts them, so there may be one too many."""
    webhook = delivery(scheme)
    changed = change(signature_text(scheme, webhook))
    one_blank_more = scheme is STANDARD and changed.strip(" ") == signature_text(scheme, webhook)
    expected = VALID if one_blank_more else MALFORMED
    assert expected == told(scheme, with_signature(scheme, webhook, changed))


@pytest.mark.parametrize("scheme", Scheme)
def test_a_signature_of_other_case_is_malformed_but_computops(told: Ask, scheme: Scheme) -> None:
    webhook = delivery(scheme)
    text = signature_text(scheme, webhook)
    for changed in {text.upper(), text.lower(), text.swapcase()} - {text}:
        result = told(scheme, with_signature(scheme, webhook, changed))
        if scheme in EITHER_CASE:
            assert VALID == result
        else:
            # Base64 in other case is other base64.
            assert result == MALFORMED or (scheme in IN_BASE64 and result == INVALID)


@pytest.mark.parametrize("scheme", IN_BASE64)
def test_base64_with_bad_padding_is_malformed(told: Ask, scheme: Scheme) -> None:
    webhook = delivery(scheme)
    text = signature_text(scheme, webhook)
    assert text.endswith("=")
    last = text[-2]
    spare = chr(ord(last) + 1)  # 32 bytes leave two bits that must be zero
    changes = [text[:-1], f"{text}=", f"{text}==", text[:-1] + "==", text[:-2] + spare + "=", text + "AAAA"]
    for changed in [*changes, text.replace("+", "-").replace("/", "_") + "_"]:
        assert MALFORMED == told(scheme, with_signature(scheme, webhook, changed)), changed


@pytest.mark.parametrize("scheme", Scheme)
def test_a_signature_of_a_wrong_length_is_invalid(told: Ask, scheme: Scheme) -> None:
    webhook = delivery(scheme)
    for signature in (b"\0", bytes(31), bytes(33), bytes(64)):
        text = b64(signature) if scheme in IN_BASE64 else signature.hex()
        prefix = {STANDARD: "v1,", STRIPE: f"t={TIME},v1=", GITHUB: "sha256=", SLACK: "v0="}.get(scheme, "")
        assert INVALID == told(scheme, with_signature(scheme, webhook, prefix + text))


@pytest.mark.parametrize(
    ("scheme", "prefix", "part", "joint", "unknown"),
    [(STANDARD, "", "v1,", " ", "v1a,"), (STRIPE, f"t={TIME},", "v1=", ",", "v0=")],
)
def test_two_hundred_signatures_are_all_tried(
    told: Ask, scheme: Scheme, prefix: str, part: str, joint: str, unknown: str
) -> None:
    written = b64 if scheme is STANDARD else bytes.hex
    webhook = delivery(scheme)
    right = signature_text(scheme, webhook).rpartition(part)[2]
    wrong = [f"{part}{written(bytes([number] * 32))}" for number in range(200)]

    def of(parts: list[str]) -> str:
        return told(scheme, with_signature(scheme, webhook, prefix + joint.join(parts)))

    assert [VALID, VALID, INVALID] == [of([*wrong[1:], part + right]), of([part + right, *wrong[1:]]), of(wrong)]
    assert VALID == of([unknown + right, f"{part}no-signature", part + right])
    assert MALFORMED == of([unknown + right])
    assert MALFORMED == of([f"{part}no-signature"] * 200)
    assert MALFORMED == of([*wrong * 5, part + right]), "over 16 KiB"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("v1,{}", VALID), ("v2,{}", MALFORMED), ("V1,{}", MALFORMED), ("{}", MALFORMED), ("v1={}", MALFORMED),
        ("v1,{0},{0}", MALFORMED), ("v2,{0} v1,{0}", VALID), ("v1,{0}  v1,{0}", VALID), ("v1,{0}\tv1,{0}", MALFORMED),
    ],
)  # fmt: skip
def test_versions_that_nobody_knows_are_skipped_and_nothing_alone(told: Ask, text: str, expected: str) -> None:
    webhook = delivery(STANDARD)
    right = signature_text(STANDARD, webhook).removeprefix("v1,")
    assert expected == told(STANDARD, with_signature(STANDARD, webhook, text.format(right)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("v1={v1}", MALFORMED), ("t={t}", MALFORMED), ("t={t},v0={v1}", MALFORMED), ("t={t},t={t},v1={v1}", MALFORMED),
        ("v1={v1},t={t}", VALID), ("t={t},v0=00,v1={v1}", VALID), ("t={t}, v1={v1}", MALFORMED), (",", MALFORMED),
    ],
)  # fmt: skip
def test_stripes_one_header_holds_one_time_and_a_v1(told: Ask, text: str, expected: str) -> None:
    webhook = delivery(STRIPE)
    right = signature_text(STRIPE, webhook).rpartition("v1=")[2]
    assert expected == told(STRIPE, with_signature(STRIPE, webhook, text.format(t=TIME, v1=right)))


@pytest.mark.parametrize(
    ("event_id", "expected"),
    [("msg_1", VALID), ("msg.1", MALFORMED), ("", MALFORMED), (".", MALFORMED), ("x" * 1025, MALFORMED), ("é", VALID)],
)
def test_an_id_holds_no_dot(told: Ask, event_id: str, expected: str) -> None:
    """Or else a part of the id could be taken for the time."""
    assert expected == told(STANDARD, standard(event_id, str(TIME)))


def test_no_dot_moves_from_one_part_to_the_next(told: Ask) -> None:
    whole = standard("msg", str(TIME), b"1.body")
    moved = {"webhook-id": f"msg.{TIME}", "webhook-timestamp": "1"}
    assert VALID == told(STANDARD, whole)
    assert MALFORMED == told(STANDARD, Delivery({**whole.headers, **moved}, b"body"))


def test_svix_headers_are_the_same_and_the_two_sets_are_not_mixed(told: Ask) -> None:
    webhook = delivery(STANDARD)
    named = {name.replace("webhook-", "svix-"): text for name, text in webhook.headers.items()}
    assert VALID == told(STANDARD, webhook._replace(headers=named))
    assert MALFORMED == told(STANDARD, webhook._replace(headers=without(named, "svix-id") | {"webhook-id": EVENT_ID}))


@pytest.mark.parametrize(
    ("scheme", "one", "next_one", "separator"),
    [(ADYEN, "merchantReference", "amount.value", ":"), (REQUEST, "TransID", "MerchantID", "*")],
)
def test_a_field_that_holds_the_separator_is_signed_as_it_is(
    told: Ask, scheme: Scheme, one: str, next_one: str, separator: str
) -> None:
    fields = {**SIGNED_FIELDS[scheme], one: f"a{separator}b"}
    message = separator.join(fields.values()).encode()
    signature = b64(mac(message)) if scheme is ADYEN else mac(message).hex()
    webhook = Delivery({}, b"", "", {**fields, SIGNATURE_FIELDS[scheme]: signature})
    assert VALID == told(scheme, webhook)
    assert INVALID == told(scheme, with_field(webhook, one, "ab"))
    assert INVALID == told(scheme, with_field(webhook, next_one, ""))
    assert INVALID == told(scheme, webhook._replace(fields=without(webhook.fields, next_one)))
