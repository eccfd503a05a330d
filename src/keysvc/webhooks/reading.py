"""From a webhook as received to what it claims: the bytes that were signed, the signatures, the time.

Every verification comes here, so nothing is made that is not handed on. Who signed is found out by the service.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from keysvc.webhooks.forms import FORMS
from keysvc.webhooks.schemes import Claim, Delivery, Scheme

DEFAULT_TOLERANCE = timedelta(seconds=300)


def read(scheme: Scheme, delivery: Delivery) -> Claim:
    """Raises Malformed for what the sender did; InvalidField where SQUARE is given no url, which the caller knows."""
    return FORMS[scheme].read(delivery)


def fresh(claim: Claim, now: datetime, tolerance: timedelta) -> bool:
    """Whether the signed time is within the tolerance of now, before or after. Without a signed time it always is.

    A float of seconds tells microseconds apart in this century, and holds fifteen digits.
    """
    if claim.time is None:
        return True
    age, most = now.timestamp() - claim.time, tolerance.total_seconds()
    ahead = most if claim.most_ahead is None else min(most, claim.most_ahead)
    return -ahead <= age <= most
