"""What holds for every webhook: nothing that is signed can change unnoticed, and nothing else matters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from keysvc.model.errors import InvalidField
from keysvc.webhooks.reading import DEFAULT_TOLERANCE, fresh, read
from keysvc.webhooks.schemes import Delivery, Draft, Malformed, Scheme
from keysvc.webhooks.writing import CARRIES_SEVERAL, message, write
from webhooks.samples import (
    SIGNATURE_FIELDS,
    SIGNED_FIELDS,
    b64,
    delivery,
    mac,
    signature_text,
    told,
    with_field,
    with_header,
    with_signature,
)

SIGN_BODY = [scheme for scheme in Scheme if scheme not in SIGNED_FIELDS]
TIME_HEADERS = {Scheme.STANDARD_WEBHOOKS: "webhook-timestamp", Scheme.SLACK_V0: "x-slack-request-timestamp"}
EITHER_CASE = {Scheme.COMPUTOP_REQUEST, Scheme.COMPUTOP_NOTIFY}

FEWER = settings(max_examples=50)  # of each scheme

ANY_TEXT = st.text(st.characters(), max_size=30)  # half surrogate pairs too, which st.text() alone leaves out
ODD = st.sampled_from(
    ["", " ", "NaN", "nan", "inf", "1e400", "-1", "+1", "9" * 400, "\u0661\u0662", "t=", "v1,", "v1=", "v0=", "="]
)
ANY_SIGNATURE = st.binary(min_size=1, max_size=40)
WELL_FORMED = ANY_SIGNATURE.flatmap(
    lambda raw: st.sampled_from([raw.hex(), f"sha256={raw.hex()}", f"v0={raw.hex()}", b64(raw), f"v1,{b64(raw)}"])
)
VALUE = st.one_of(ANY_TEXT, ODD, WELL_FORMED, st.sampled_from(["1614265330", "t=1,v1=00", "t=NaN,v1=00", "x" * 17_000]))
NAMES = sorted(
    {name.lower() for scheme in Scheme for name in delivery(scheme).headers}
    | {"svix-id", "svix-timestamp", "svix-signature"}
)
FIELD_NAMES = sorted({name for scheme in Scheme for name in delivery(scheme).fields})


def changed_at(text: str, at: int, to: str) -> str:
    """One character of it changed; not drawn where nothing would change."""
    index = at % len(text)
    assume(text[index] != to)
    return text[:index] + to + text[index + 1 :]


def is_noticed(scheme: Scheme, webhook: Delivery) -> bool:
    return told(scheme, webhook) in ("INVALID", "MALFORMED_SIGNATURE")


@pytest.mark.parametrize("scheme", Scheme)
def test_the_samples_are_valid(scheme: Scheme) -> None:
    """Or else nothing below would prove anything."""
    assert "VALID" == told(scheme, delivery(scheme))


@pytest.mark.parametrize("scheme", SIGN_BODY)
@FEWER
@given(at=st.integers(min_value=0), to=st.integers(0, 255))
def test_no_byte_of_the_body_changes_unnoticed(scheme: Scheme, at: int, to: int) -> None:
    webhook = delivery(scheme)
    body = bytearray(webhook.body)
    assume(body[at % len(body)] != to)
    body[at % len(body)] = to
    assert "INVALID" == told(scheme, webhook._replace(body=bytes(body)))


@pytest.mark.parametrize("scheme", SIGN_BODY)
@FEWER
@given(at=st.integers(0, 60), more=st.binary(min_size=1, max_size=3))
def test_no_byte_is_added_to_the_body_unnoticed(scheme: Scheme, at: int, more: bytes) -> None:
    webhook = delivery(scheme)
    assert "INVALID" == told(scheme, webhook._replace(body=webhook.body[:at] + more + webhook.body[at:]))


@pytest.mark.parametrize("scheme", TIME_HEADERS)
@FEWER
@given(at=st.integers(min_value=0), to=st.one_of(st.characters(), st.sampled_from("0123456789")))
def test_no_character_of_the_time_changes_unnoticed(scheme: Scheme, at: int, to: str) -> None:
    webhook, name = delivery(scheme), TIME_HEADERS[scheme]
    assert is_noticed(scheme, with_header(webhook, name, changed_at(webhook.headers[name], at, to)))


@given(at=st.integers(min_value=0), to=st.one_of(st.characters(), st.sampled_from("0123456789")))
def test_no_character_of_stripes_time_changes_unnoticed(at: int, to: str) -> None:
    webhook = delivery(Scheme.STRIPE)
    time, _, rest = webhook.headers["stripe-signature"].partition(",")
    assert is_noticed(
        Scheme.STRIPE, with_header(webhook, "stripe-signature", f"t={changed_at(time[2:], at, to)},{rest}")
    )


@given(at=st.integers(min_value=0), to=st.characters())
def test_no_character_of_the_id_changes_unnoticed(at: int, to: str) -> None:
    webhook = delivery(Scheme.STANDARD_WEBHOOKS)
    event_id = changed_at(webhook.headers["webhook-id"], at, to)
    assert is_noticed(Scheme.STANDARD_WEBHOOKS, with_header(webhook, "webhook-id", event_id))


@given(at=st.integers(min_value=0), to=st.characters(exclude_categories=["Cs"]))
def test_no_character_of_the_url_changes_unnoticed(at: int, to: str) -> None:
    webhook = delivery(Scheme.SQUARE)
    assert "INVALID" == told(Scheme.SQUARE, webhook._replace(url=changed_at(webhook.url, at, to)))


@settings(max_examples=500)
@given(
    place=st.sampled_from([(scheme, name) for scheme, fields in SIGNED_FIELDS.items() for name in fields]),
    at=st.integers(min_value=0),
    to=st.one_of(st.characters(), st.sampled_from("*:")),
)
def test_no_character_of_a_signed_field_changes_unnoticed(place: tuple[Scheme, str], at: int, to: str) -> None:
    scheme, name = place
    webhook = delivery(scheme)
    assert is_noticed(scheme, with_field(webhook, name, changed_at(webhook.fields[name], at, to)))


@pytest.mark.parametrize("scheme", Scheme)
@FEWER
@given(at=st.integers(min_value=0), to=st.one_of(st.characters(), st.sampled_from("0123456789abcdefABCDEF+/=, ")))
def test_no_character_of_a_signature_changes_and_leaves_it_the_same(scheme: Scheme, at: int, to: str) -> None:
    """But for the case of Computop's hexadecimal."""
    webhook = delivery(scheme)
    before = signature_text(scheme, webhook)
    after = changed_at(before, at, to)
    assume(scheme not in EITHER_CASE or before.lower() != after.lower())
    assert is_noticed(scheme, with_signature(scheme, webhook, after))


@pytest.mark.parametrize("scheme", Scheme)
@FEWER
@given(data=st.data())
def test_order_and_case_of_headers_and_order_of_fields_do_not_matter(scheme: Scheme, data: st.DataObject) -> None:
    webhook = delivery(scheme)
    turned = [data.draw(st.sampled_from([str.lower, str.upper, str.title, str.swapcase])) for _ in webhook.headers]
    headers = [(turn(name), value) for turn, (name, value) in zip(turned, webhook.headers.items(), strict=True)]
    shuffled = Delivery(
        dict(data.draw(st.permutations(headers))),
        webhook.body,
        webhook.url,
        dict(data.draw(st.permutations(list(webhook.fields.items())))),
    )
    assert read(scheme, webhook) == read(scheme, shuffled)


@pytest.mark.parametrize("scheme", Scheme)
@FEWER
@given(more=st.dictionaries(ANY_TEXT, VALUE, max_size=5))
def test_what_the_scheme_does_not_read_does_not_matter(scheme: Scheme, more: Mapping[str, str]) -> None:
    webhook = delivery(scheme)
    assume(not {name.lower() for name in more} & set(NAMES) and not set(more) & set(FIELD_NAMES))
    widened = webhook._replace(headers={**more, **webhook.headers}, fields={**more, **webhook.fields})
    assert read(scheme, webhook) == read(scheme, widened)


@given(
    scheme=st.sampled_from(Scheme),
    headers=st.dictionaries(st.one_of(st.sampled_from(NAMES), st.sampled_from(NAMES).map(str.title), ANY_TEXT), VALUE),
    fields=st.dictionaries(st.one_of(st.sampled_from(FIELD_NAMES), ANY_TEXT), VALUE),
    body=st.binary(max_size=20),
    url=ANY_TEXT,
)
def test_reading_anything_is_a_claim_malformed_or_the_urls_fault(
    scheme: Scheme, headers: Mapping[str, str], fields: Mapping[str, str], body: bytes, url: str
) -> None:
    holds_up(scheme, Delivery(headers, body, url, fields))


@pytest.mark.parametrize("scheme", Scheme)
@FEWER
@given(data=st.data())
def test_reading_a_webhook_with_any_part_spoiled_is_no_other_error(scheme: Scheme, data: st.DataObject) -> None:
    """One part only, so that the rest is read too."""
    webhook = delivery(scheme)
    names = SIGNED_FIELDS.get(scheme, {}) | {SIGNATURE_FIELDS.get(scheme, "MAC"): ""}
    spoilt: Callable[..., Delivery] = data.draw(st.sampled_from([with_header, with_field]))
    name = data.draw(st.sampled_from(NAMES if spoilt is with_header else sorted(names)))
    holds_up(scheme, spoilt(webhook, name, data.draw(VALUE)))


def holds_up(scheme: Scheme, webhook: Delivery) -> None:
    try:
        claim = read(scheme, webhook)
    except Malformed:
        return
    except InvalidField as error:
        if (scheme, error.field) != (Scheme.SQUARE, "url"):
            raise
        return
    assert claim.signatures
    assert all(claim.signatures)
    assert isinstance(fresh(claim, datetime.now(UTC), DEFAULT_TOLERANCE), bool)


DRAFTS = st.builds(
    Draft,
    body=st.binary(max_size=50),
    url=st.text(max_size=20),
    fields=st.dictionaries(st.sampled_from(FIELD_NAMES), st.text(max_size=10)),
    event_id=st.one_of(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=260), st.text()),
    time=st.one_of(
        st.datetimes(timezones=st.just(UTC)),
        st.datetimes(datetime(2000, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    ),
)


@pytest.mark.parametrize("scheme", Scheme)
@FEWER
@given(draft=DRAFTS, signatures=st.lists(ANY_SIGNATURE, min_size=1, max_size=8))
def test_what_is_written_reads_back(scheme: Scheme, draft: Draft, signatures: list[bytes]) -> None:
    """Or is refused as a whole: then neither a message nor a signed webhook is made."""
    carried = signatures if scheme in CARRIES_SEVERAL else signatures[:1]
    try:
        to_sign = message(scheme, draft)
    except InvalidField as error:
        with pytest.raises(InvalidField, match=f"^{error.field}: "):
            write(scheme, draft, carried)
        return
    signed = write(scheme, draft, carried)
    claim = read(scheme, Delivery(signed.headers, draft.body, draft.url, {**draft.fields, **signed.fields}))
    assert (to_sign, tuple(carried)) == (claim.message, claim.signatures)
    assert fresh(claim, draft.time, timedelta(seconds=1))


def test_the_mac_of_the_samples_is_hmac_sha256() -> None:
    """RFC 4231 section 4.3, so that the tests' own HMAC is held against something."""
    published = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert published == mac(b"what do ya want for nothing?", b"Jefe").hex()
