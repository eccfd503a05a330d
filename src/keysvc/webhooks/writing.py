"""From a webhook to be signed to the bytes that are signed, and from the signatures to what is sent with it.

`reading.read` reads all of it back to the same bytes. Which keys sign is the service's matter.
"""

from __future__ import annotations

from collections.abc import Sequence

from keysvc.webhooks.forms import FORMS
from keysvc.webhooks.schemes import Draft, Scheme, Signed

CARRIES_SEVERAL: frozenset[Scheme] = frozenset({Scheme.STANDARD_WEBHOOKS, Scheme.STRIPE})
"""The schemes whose receivers take any one of several signatures. The others carry one."""


def message(scheme: Scheme, draft: Draft) -> bytes:
    """What to sign; raises InvalidField for an event_id, url, time or fields that cannot be signed."""
    return FORMS[scheme].message(draft)


def write(scheme: Scheme, draft: Draft, signatures: Sequence[bytes]) -> Signed:
    """What is sent with the webhook; raises as `message` does. `signatures` is one, or more for CARRIES_SEVERAL."""
    if not signatures or (len(signatures) > 1 and scheme not in CARRIES_SEVERAL):
        raise ValueError(f"{scheme} cannot carry {len(signatures)} signatures")
    return FORMS[scheme].write(draft, signatures)
