"""Over the wire, for any webhook: no change of one byte is taken, and the order and case of headers never matter."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from webhooks.samples import BODY, SIGNED_FIELDS, delivery, signature_text, with_field, with_header, with_signature

from keysvc.webhooks.schemes import Delivery, Scheme

Ask = Callable[[Scheme, Delivery], str]
"""The fixture `told`."""
SIGNED_HEADERS = ("webhook-id", "webhook-timestamp", "x-slack-request-timestamp")
EITHER_CASE = (Scheme.COMPUTOP_REQUEST, Scheme.COMPUTOP_NOTIFY)
FEW = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
CHARACTERS = st.sampled_from([chr(number) for number in range(0x20, 0x7F)])


@FEW
@given(scheme=st.sampled_from(Scheme), data=st.data())
def test_one_byte_changed_anywhere_does_not_verify(told: Ask, scheme: Scheme, data: st.DataObject) -> None:
    """In the body, the time, the id, the address, any field or the signature."""
    webhook = delivery(scheme)
    names = [
        name for name in webhook.headers if name in ("webhook-id", "webhook-timestamp", "x-slack-request-timestamp")
    ]
    fields = list(SIGNED_FIELDS.get(scheme, {}))
    body = [] if fields else ["body"]
    part = data.draw(
        st.sampled_from([*names, *fields, *body, *(["url"] if scheme is Scheme.SQUARE else []), "signature"])
    )

    def changed(text: str) -> str:
        at, to = data.draw(st.integers(0, len(text) - 1)), data.draw(CHARACTERS)
        assume(text[at] != to and not (scheme in EITHER_CASE and part == "signature" and text[at] == to.lower()))
        return text[:at] + to + text[at + 1 :]

    if part == "body":
        at, by = data.draw(st.integers(0, len(BODY) - 1)), data.draw(st.integers(1, 255))
        spoilt = webhook._replace(body=BODY[:at] + bytes([BODY[at] ^ by]) + BODY[at + 1 :])
    elif part == "url":
        spoilt = webhook._replace(url=changed(webhook.url))
    elif part == "signature":
        spoilt = with_signature(scheme, webhook, changed(signature_text(scheme, webhook)))
    elif part in fields:
        spoilt = with_field(webhook, part, changed(webhook.fields[part]))
    else:
        spoilt = with_header(webhook, part, changed(webhook.headers[part]))
    assert told(scheme, spoilt) in ("INVALID", "MALFORMED_SIGNATURE")


@FEW
@given(scheme=st.sampled_from(Scheme), data=st.data())
def test_the_order_and_case_of_headers_do_not_matter(told: Ask, scheme: Scheme, data: st.DataObject) -> None:
    webhook = delivery(scheme)
    turns = st.sampled_from([str.lower, str.upper, str.title, str.swapcase])
    headers = [
        (data.draw(turns)(name), text) for name, text in data.draw(st.permutations(list(webhook.headers.items())))
    ]
    assert "VALID" == told(scheme, webhook._replace(headers=dict(headers)))
