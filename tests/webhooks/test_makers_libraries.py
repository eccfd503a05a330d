"""The makers' own libraries, in both directions: what they sign is read, and what is written they accept."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import standardwebhooks
import stripe
import svix

from keysvc.webhooks.reading import DEFAULT_TOLERANCE, fresh, read
from keysvc.webhooks.schemes import Delivery, Draft, Scheme
from keysvc.webhooks.writing import message, write
from webhooks.samples import OTHER_KEY, b64, mac

BODIES = ["", "{}", '{"amount": 1130}', "two\r\nlines", '{"name": "Zo\u00eb \U0001f600"}', "a.b.c", "x" * 100_000]
WHSEC_KEY = bytes(range(32))
WHSEC = f"whsec_{b64(WHSEC_KEY)}"
STRIPE_SECRET = "whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH"
STRIPE_KEY = STRIPE_SECRET.encode()
EVENT_ID = "evt_1"


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def draft(body: str, event_id: str = "") -> Draft:
    return Draft(body.encode(), "", {}, event_id, now())


def standard_accepts(secret: str, body: str, headers: dict[str, str]) -> bool:
    try:
        standardwebhooks.Webhook(secret).verify(body, headers, json_parse=False)
    except standardwebhooks.WebhookVerificationError:
        return False
    return True


def svix_accepts(secret: str, body: str, headers: dict[str, str]) -> bool:
    try:
        svix.Webhook(secret).verify(body, headers)
    except svix.WebhookVerificationError:
        return False
    return True


def stripe_accepts(secret: str, body: str, header: str) -> bool:
    try:
        stripe.WebhookSignature.verify_header(body, header, secret, tolerance=300)
    except stripe.SignatureVerificationError:
        return False
    return True


@pytest.mark.parametrize("body", BODIES, ids=len)
@pytest.mark.parametrize(
    ("prefix", "sign"),
    [("webhook", standardwebhooks.Webhook(WHSEC).sign), ("svix", svix.Webhook(WHSEC).sign)],
    ids=["standardwebhooks", "svix"],
)
def test_what_standard_webhooks_and_svix_sign_is_read(
    body: str, prefix: str, sign: Callable[[str, datetime, str], str]
) -> None:
    time = now()
    headers = {
        f"{prefix}-id": EVENT_ID,
        f"{prefix}-timestamp": str(int(time.timestamp())),
        f"{prefix}-signature": sign(EVENT_ID, time, body),
    }
    claim = read(Scheme.STANDARD_WEBHOOKS, Delivery(headers, body.encode()))
    assert (mac(claim.message, WHSEC_KEY),) == claim.signatures
    assert fresh(claim, time, DEFAULT_TOLERANCE)


@pytest.mark.parametrize("body", BODIES, ids=len)
def test_what_stripe_signs_is_read(body: str) -> None:
    time = now()
    header = stripe.WebhookSignature.generate_signature_header(body, STRIPE_SECRET, int(time.timestamp()))
    claim = read(Scheme.STRIPE, Delivery({"Stripe-Signature": header}, body.encode()))
    assert (mac(claim.message, STRIPE_KEY),) == claim.signatures
    assert int(time.timestamp()) == claim.time


@pytest.mark.parametrize("accepts", [standard_accepts, svix_accepts])
@pytest.mark.parametrize("body", BODIES, ids=len)
def test_what_is_written_standard_webhooks_and_svix_accept(
    body: str, accepts: Callable[[str, str, dict[str, str]], bool]
) -> None:
    """Signed with two keys, as in a double run: a receiver on either accepts it, and one on a third does not."""
    webhook = draft(body, EVENT_ID)
    to_sign = message(Scheme.STANDARD_WEBHOOKS, webhook)
    signed = write(Scheme.STANDARD_WEBHOOKS, webhook, [mac(to_sign, OTHER_KEY), mac(to_sign, WHSEC_KEY)])
    secrets = [WHSEC, f"whsec_{b64(OTHER_KEY)}", f"whsec_{b64(b'a third key, which did not sign.')}"]
    assert [True, True, False] == [accepts(secret, body, signed.headers) for secret in secrets]
    assert not accepts(WHSEC, body + " ", signed.headers)


@pytest.mark.parametrize("body", BODIES, ids=len)
def test_what_is_written_stripe_accepts(body: str) -> None:
    """Signed with two keys, as Stripe does while a secret is rolled."""
    webhook = draft(body)
    to_sign = message(Scheme.STRIPE, webhook)
    signatures = [mac(to_sign, OTHER_KEY), mac(to_sign, STRIPE_KEY)]
    header = write(Scheme.STRIPE, webhook, signatures).headers["stripe-signature"]
    secrets = [STRIPE_SECRET, OTHER_KEY.decode(), "whsec_a_third"]
    assert [True, True, False] == [stripe_accepts(secret, body, header) for secret in secrets]
    assert not stripe_accepts(STRIPE_SECRET, body + " ", header)
