"""Webhooks that a caller might well send to be verified: signed by the planted key, in every scheme, and nearly so."""

from __future__ import annotations

import base64
import hmac
import time

from endurance import planted

BODY = b'{"note": "%b"}' % planted.WORD
URL = "https://fuzz.example/hooks"
EVENT_ID = "msg_fuzz"
_ADYEN = {"pspReference": "1", "amount.value": "2", "amount.currency": "EUR", "success": "true"}
_COMPUTOP = {"PayID": "1", "TransID": "2", "MerchantID": "3"}


def webhooks() -> tuple[dict[str, str], ...]:
    """The headers of each."""
    now = int(time.time())
    by_time = _standard(now) | _slack(now) | {"stripe-signature": _stripe(now)}
    over_body = {
        "X-Hub-Signature-256": f"sha256={_mac(BODY).hex()}",
        "X-Square-HmacSha256-Signature": _b64(_mac(URL.encode() + BODY)),
        "X-Shopify-Hmac-Sha256": _b64(_mac(BODY)),
        "HmacSignature": _b64(_mac(BODY)),
    }
    twice = {name.lower(): text for name, text in over_body.items()} | over_body
    late = _standard(now - 3_600) | _slack(now - 3_600) | {"stripe-signature": _stripe(now - 3_600)}
    odd_times = {"webhook-timestamp": "NaN", "x-slack-request-timestamp": "1e400", "stripe-signature": "t=-1,v1=00"}
    return ({}, by_time | over_body, by_time | over_body, by_time | twice, late, by_time | odd_times)


def _mac(message: bytes) -> bytes:
    return hmac.digest(planted.KEY, message, "sha256")


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _standard(time: int) -> dict[str, str]:
    signed = f"v1,{_b64(_mac(b'%b.%d.%b' % (EVENT_ID.encode(), time, BODY)))}"
    return {"webhook-id": EVENT_ID, "webhook-timestamp": str(time), "webhook-signature": signed}


def _slack(time: int) -> dict[str, str]:
    return {
        "x-slack-request-timestamp": str(time),
        "x-slack-signature": f"v0={_mac(b'v0:%d:%b' % (time, BODY)).hex()}",
    }


def _stripe(time: int) -> str:
    return f"t={time},v1={_mac(b'%d.%b' % (time, BODY)).hex()}"


FIELDS: tuple[dict[str, str], ...] = (
    {},
    _ADYEN | {"additionalData.hmacSignature": _b64(_mac(b"1::::2:EUR::true"))},
    _COMPUTOP | {"MAC": _mac(b"1*2*3**").hex()},
    _COMPUTOP | {"MAC": "no hex", "additionalData.hmacSignature": planted.TEXT},
)
