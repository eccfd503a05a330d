"""The table: every scheme with its one form, by which it is read and written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from keysvc.webhooks.notation import BASE64, HEX, HEX_OF_EITHER_CASE
from keysvc.webhooks.over_body import OverBody, OverUrlAndBody
from keysvc.webhooks.over_fields import OverFields
from keysvc.webhooks.over_time import SlackForm, StripeForm
from keysvc.webhooks.schemes import Claim, Delivery, Draft, Scheme, Signed
from keysvc.webhooks.standard import StandardForm


class Form(Protocol):
    """One canonical form."""

    def read(self, delivery: Delivery) -> Claim:
        """Raises Malformed, or InvalidField for what only the caller knows."""
        ...

    def message(self, draft: Draft) -> bytes:
        """Raises InvalidField for a part that cannot be signed."""
        ...

    def write(self, draft: Draft, signatures: Sequence[bytes]) -> Signed:
        """Raises as `message` does. There is at least one signature, and one only where the form carries one."""
        ...


FORMS: dict[Scheme, Form] = {
    Scheme.STANDARD_WEBHOOKS: StandardForm(),
    Scheme.STRIPE: StripeForm(),
    Scheme.GITHUB: OverBody("x-hub-signature-256", "sha256=", HEX),
    Scheme.SLACK_V0: SlackForm(),
    Scheme.SQUARE: OverUrlAndBody(OverBody("x-square-hmacsha256-signature", "", BASE64)),
    Scheme.SHOPIFY: OverBody("x-shopify-hmac-sha256", "", BASE64),
    Scheme.ADYEN_NOTIFICATION: OverFields(
        (
            "pspReference",
            "originalReference",
            "merchantAccountCode",
            "merchantReference",
            "amount.value",
            "amount.currency",
            "eventCode",
            "success",
        ),
        ":",
        "additionalData.hmacSignature",
        BASE64,
    ),
    Scheme.ADYEN_PAYLOAD: OverBody("hmacsignature", "", BASE64),
    Scheme.COMPUTOP_REQUEST: OverFields(
        ("PayID", "TransID", "MerchantID", "Amount", "Currency"), "*", "MAC", HEX_OF_EITHER_CASE
    ),
    Scheme.COMPUTOP_NOTIFY: OverFields(
        ("PayID", "TransID", "MerchantID", "Status", "Code"), "*", "MAC", HEX_OF_EITHER_CASE
    ),
}

URL_IS_SIGNED = frozenset(scheme for scheme, form in FORMS.items() if isinstance(form, OverUrlAndBody))
FIELDS_ARE_SIGNED = frozenset(scheme for scheme, form in FORMS.items() if isinstance(form, OverFields))
"""What else a scheme reads, beside headers and body."""
