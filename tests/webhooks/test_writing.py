"""What is written for each scheme, letter by letter, and what cannot be signed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from keysvc.model.errors import InvalidField
from keysvc.webhooks.schemes import Draft, Scheme, Signed
from keysvc.webhooks.writing import CARRIES_SEVERAL, message, write
from webhooks.samples import BODY, EVENT_ID, MESSAGES, SIGNED_FIELDS, TIME, draft

ONE, TWO = b"\xfb\xef\xbe", b"\x00\xff"

WRITTEN = {
    Scheme.STANDARD_WEBHOOKS: {
        "webhook-id": EVENT_ID,
        "webhook-timestamp": "1760000000",
        "webhook-signature": "v1,++++",
    },
    Scheme.STRIPE: {"stripe-signature": "t=1760000000,v1=fbefbe"},
    Scheme.GITHUB: {"x-hub-signature-256": "sha256=fbefbe"},
    Scheme.SLACK_V0: {"x-slack-request-timestamp": "1760000000", "x-slack-signature": "v0=fbefbe"},
    Scheme.SQUARE: {"x-square-hmacsha256-signature": "++++"},
    Scheme.SHOPIFY: {"x-shopify-hmac-sha256": "++++"},
    Scheme.ADYEN_PAYLOAD: {"hmacsignature": "++++"},
}
WRITTEN_FIELDS = {
    Scheme.ADYEN_NOTIFICATION: {"additionalData.hmacSignature": "++++"},
    Scheme.COMPUTOP_REQUEST: {"MAC": "FBEFBE"},
    Scheme.COMPUTOP_NOTIFY: {"MAC": "FBEFBE"},
}
TIMED = [Scheme.STANDARD_WEBHOOKS, Scheme.STRIPE, Scheme.SLACK_V0]


def refused(scheme: Scheme, webhook: Draft) -> str:
    """The field that both the message and the signed webhook are refused for."""
    with pytest.raises(InvalidField) as of_message:
        message(scheme, webhook)
    with pytest.raises(InvalidField) as of_write:
        write(scheme, webhook, [ONE])
    assert of_message.value.field == of_write.value.field
    return of_message.value.field


@pytest.mark.parametrize("scheme", Scheme)
def test_the_message_is_as_the_maker_has_it(scheme: Scheme) -> None:
    assert MESSAGES[scheme] == message(scheme, draft(scheme))


@pytest.mark.parametrize("scheme", Scheme)
def test_one_signature_is_written(scheme: Scheme) -> None:
    expected = Signed(WRITTEN.get(scheme, {}), WRITTEN_FIELDS.get(scheme, {}))
    assert expected == write(scheme, draft(scheme), [ONE])


def test_several_signatures_are_written_in_their_order() -> None:
    standard = write(Scheme.STANDARD_WEBHOOKS, draft(Scheme.STANDARD_WEBHOOKS), [TWO, ONE])
    assert "v1,AP8= v1,++++" == standard.headers["webhook-signature"]
    stripe = write(Scheme.STRIPE, draft(Scheme.STRIPE), [TWO, ONE])
    assert "t=1760000000,v1=00ff,v1=fbefbe" == stripe.headers["stripe-signature"]
    assert {Scheme.STANDARD_WEBHOOKS, Scheme.STRIPE} == CARRIES_SEVERAL


@pytest.mark.parametrize(
    ("scheme", "signatures"),
    [(scheme, []) for scheme in Scheme] + [(scheme, [ONE, TWO]) for scheme in Scheme if scheme not in CARRIES_SEVERAL],
)
def test_signatures_that_the_scheme_cannot_carry_are_the_programs_fault(
    scheme: Scheme, signatures: list[bytes]
) -> None:
    with pytest.raises(ValueError, match=f"cannot carry {len(signatures)}"):
        write(scheme, draft(scheme), signatures)


@pytest.mark.parametrize(
    "event_id", ["", "a.b", ".", "a b", " a", "a\n", "a\tb", "\u00e9", "\x7f", "x" * 257, "\ud800"]
)
def test_an_event_id_that_cannot_be_sent_is_refused(event_id: str) -> None:
    webhook = replace(draft(Scheme.STANDARD_WEBHOOKS), event_id=event_id)
    assert "event_id" == refused(Scheme.STANDARD_WEBHOOKS, webhook)


@pytest.mark.parametrize("event_id", ["x", "x" * 256, "!~-/,;=:\"'"])
def test_an_event_id_of_visible_characters_is_taken(event_id: str) -> None:
    webhook = replace(draft(Scheme.STANDARD_WEBHOOKS), event_id=event_id)
    assert event_id == write(Scheme.STANDARD_WEBHOOKS, webhook, [ONE]).headers["webhook-id"]


@pytest.mark.parametrize("scheme", TIMED)
@pytest.mark.parametrize(
    "time",
    [
        datetime.min.replace(tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime.fromtimestamp(10**11, UTC),
        datetime.max.replace(tzinfo=UTC),
    ],
    ids=str,
)
def test_a_time_before_1970_or_of_12_digits_is_refused(scheme: Scheme, time: datetime) -> None:
    assert "time" == refused(scheme, replace(draft(scheme), time=time))


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), b"0"),
        (datetime.fromtimestamp(10**11, UTC) - timedelta(microseconds=1), b"99999999999"),
        (datetime.fromtimestamp(TIME, UTC) + timedelta(microseconds=999_999), b"1760000000"),
        (datetime.fromtimestamp(TIME, timezone(timedelta(hours=-5))), b"1760000000"),
    ],
)
def test_a_time_is_signed_in_whole_seconds_a_fraction_cut_off(time: datetime, seconds: bytes) -> None:
    assert seconds + b"." + BODY == message(Scheme.STRIPE, replace(draft(Scheme.STRIPE), time=time))


@pytest.mark.parametrize("url", ["", "\ud800"])
def test_square_needs_an_address(url: str) -> None:
    assert "url" == refused(Scheme.SQUARE, replace(draft(Scheme.SQUARE), url=url))


@pytest.mark.parametrize("scheme", SIGNED_FIELDS)
def test_fields_that_are_no_text_or_none_of_the_schemes_are_refused(scheme: Scheme) -> None:
    """Most likely their names are in another spelling, and nothing would be signed but separators."""
    first = next(iter(SIGNED_FIELDS[scheme]))
    for fields in [{}, {first: ""}, {first.upper(): "1"}, {"MAC": "00"}, {first: "\ud800"}]:
        assert "fields" == refused(scheme, replace(draft(scheme), fields=fields))


@pytest.mark.parametrize("scheme", Scheme)
def test_what_the_scheme_does_not_sign_is_not_looked_at(scheme: Scheme) -> None:
    webhook = draft(scheme)
    signs_fields = scheme in SIGNED_FIELDS
    bare = Draft(
        b"" if signs_fields else webhook.body,
        webhook.url if scheme is Scheme.SQUARE else "\ud800",
        webhook.fields if signs_fields else {"MAC": "\ud800"},
        webhook.event_id if scheme is Scheme.STANDARD_WEBHOOKS else "a.b",
        webhook.time if scheme in TIMED else datetime.min.replace(tzinfo=UTC),
    )
    assert message(scheme, webhook) == message(scheme, bare)
    assert write(scheme, webhook, [ONE]) == write(scheme, bare, [ONE])
