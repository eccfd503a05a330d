"""One webhook of every scheme, signed outside of keysvc, and the ways to change one of its parts.

Nothing here asks keysvc for a message or a signature: both are made from what the makers publish.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from keysvc.webhooks.reading import read
from keysvc.webhooks.schemes import Delivery, Draft, Malformed, Scheme

KEY = b"a key of thirty-two bytes, no less"
OTHER_KEY = b"another key, of the same merchant's"
TIME = 1_760_000_000
BODY = b'{"amount": 1130, "currency": "EUR", "note": "\xc3\xa9\x00\xff"}'
URL = "https://merchant.example/hooks?shop=1"
EVENT_ID = "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W"

ADYEN_FIELDS = {
    "pspReference": "7914073381342284",
    "originalReference": "7914073381342283",
    "merchantAccountCode": "TestMerchant",
    "merchantReference": "Payment-1",
    "amount.value": "1130",
    "amount.currency": "EUR",
    "eventCode": "CAPTURE",
    "success": "true",
}
COMPUTOP_REQUEST_FIELDS = {"PayID": "7bbb", "TransID": "TID-1", "MerchantID": "m1", "Amount": "1", "Currency": "EUR"}
COMPUTOP_NOTIFY_FIELDS = {"PayID": "7bbb", "TransID": "TID-1", "MerchantID": "m1", "Status": "OK", "Code": "00000000"}
SIGNED_FIELDS = {
    Scheme.ADYEN_NOTIFICATION: ADYEN_FIELDS,
    Scheme.COMPUTOP_REQUEST: COMPUTOP_REQUEST_FIELDS,
    Scheme.COMPUTOP_NOTIFY: COMPUTOP_NOTIFY_FIELDS,
}

SIGNATURE_HEADERS = {
    Scheme.STANDARD_WEBHOOKS: "webhook-signature",
    Scheme.STRIPE: "stripe-signature",
    Scheme.GITHUB: "x-hub-signature-256",
    Scheme.SLACK_V0: "x-slack-signature",
    Scheme.SQUARE: "x-square-hmacsha256-signature",
    Scheme.SHOPIFY: "x-shopify-hmac-sha256",
    Scheme.ADYEN_PAYLOAD: "hmacsignature",
}
SIGNATURE_FIELDS = {
    Scheme.ADYEN_NOTIFICATION: "additionalData.hmacSignature",
    Scheme.COMPUTOP_REQUEST: "MAC",
    Scheme.COMPUTOP_NOTIFY: "MAC",
}
OTHER_HEADERS = {"Host": "merchant.example", "Content-Type": "application/json", "X-Request-Id": "7"}

MESSAGES = {
    Scheme.STANDARD_WEBHOOKS: b"%b.%d.%b" % (EVENT_ID.encode(), TIME, BODY),
    Scheme.STRIPE: b"%d.%b" % (TIME, BODY),
    Scheme.GITHUB: BODY,
    Scheme.SLACK_V0: b"v0:%d:%b" % (TIME, BODY),
    Scheme.SQUARE: URL.encode() + BODY,
    Scheme.SHOPIFY: BODY,
    Scheme.ADYEN_NOTIFICATION: (
        b"7914073381342284:7914073381342283:TestMerchant:Payment-1:1130:EUR:CAPTURE:true"  # as Adyen's page has it
    ),
    Scheme.ADYEN_PAYLOAD: BODY,
    Scheme.COMPUTOP_REQUEST: b"7bbb*TID-1*m1*1*EUR",
    Scheme.COMPUTOP_NOTIFY: b"7bbb*TID-1*m1*OK*00000000",
}


def mac(message: bytes, key: bytes = KEY) -> bytes:
    return hmac.digest(key, message, "sha256")


def b64(signature: bytes) -> str:
    return base64.b64encode(signature).decode()


def _places(signature: bytes) -> dict[Scheme, dict[str, str]]:
    """The headers that each scheme adds, the signature among them."""
    return {
        Scheme.STANDARD_WEBHOOKS: {
            "webhook-id": EVENT_ID,
            "webhook-timestamp": str(TIME),
            "webhook-signature": f"v1,{b64(signature)}",
        },
        Scheme.STRIPE: {"stripe-signature": f"t={TIME},v1={signature.hex()}"},
        Scheme.GITHUB: {"x-hub-signature-256": f"sha256={signature.hex()}"},
        Scheme.SLACK_V0: {"x-slack-request-timestamp": str(TIME), "x-slack-signature": f"v0={signature.hex()}"},
        Scheme.SQUARE: {"x-square-hmacsha256-signature": b64(signature)},
        Scheme.SHOPIFY: {"x-shopify-hmac-sha256": b64(signature)},
        Scheme.ADYEN_PAYLOAD: {"hmacsignature": b64(signature)},
    }


def delivery(scheme: Scheme) -> Delivery:
    """A webhook of this scheme, rightly signed by KEY."""
    signature = mac(MESSAGES[scheme])
    headers = OTHER_HEADERS | _places(signature).get(scheme, {})
    fields = dict(SIGNED_FIELDS.get(scheme, {}))
    if scheme in SIGNATURE_FIELDS:
        fields[SIGNATURE_FIELDS[scheme]] = b64(signature) if scheme is Scheme.ADYEN_NOTIFICATION else signature.hex()
    return Delivery(headers, BODY, URL, fields)


def draft(scheme: Scheme) -> Draft:
    """The webhook of `delivery` before it is signed."""
    return Draft(BODY, URL, SIGNED_FIELDS.get(scheme, {}), EVENT_ID, datetime.fromtimestamp(TIME, UTC))


def without(values: Mapping[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in values.items() if key != name}


def with_header(webhook: Delivery, name: str, value: str) -> Delivery:
    """That header, in lower case, replaced; added where it is not there."""
    return webhook._replace(headers={**webhook.headers, name: value})


def with_field(webhook: Delivery, name: str, value: str) -> Delivery:
    return webhook._replace(fields={**webhook.fields, name: value})


def with_signature(scheme: Scheme, webhook: Delivery, text: str) -> Delivery:
    """The text that holds the signature replaced, wherever the scheme has it."""
    if scheme in SIGNATURE_FIELDS:
        return with_field(webhook, SIGNATURE_FIELDS[scheme], text)
    return with_header(webhook, SIGNATURE_HEADERS[scheme], text)


def signature_text(scheme: Scheme, webhook: Delivery) -> str:
    if scheme in SIGNATURE_FIELDS:
        return webhook.fields[SIGNATURE_FIELDS[scheme]]
    return webhook.headers[SIGNATURE_HEADERS[scheme]]


def told(scheme: Scheme, webhook: Delivery) -> str:
    """What a verifier with KEY would answer, but for the time: VALID, INVALID or MALFORMED_SIGNATURE."""
    try:
        claim = read(scheme, webhook)
    except Malformed:
        return "MALFORMED_SIGNATURE"
    return "VALID" if mac(claim.message) in claim.signatures else "INVALID"


def signed_by(scheme: Scheme, change: Callable[[str], str]) -> str:
    """What is told when the text that holds the signature is changed so."""
    webhook = delivery(scheme)
    return told(scheme, with_signature(scheme, webhook, change(signature_text(scheme, webhook))))
