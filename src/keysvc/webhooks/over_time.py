"""Schemes that sign a time before the body: Slack's v0 and Stripe's. `standard` is the third, with an id too."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from keysvc.model.errors import InvalidField
from keysvc.webhooks.notation import HEX
from keysvc.webhooks.received import known_headers, needed, only_signature, signature_text, time_of
from keysvc.webhooks.schemes import Claim, Delivery, Draft, Malformed, Signed

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_MAX_WRITTEN = 10**11 - 1

_SLACK_TIME = "x-slack-request-timestamp"
_SLACK_SIGNATURE = "x-slack-signature"
_SLACK_KNOWN = frozenset({_SLACK_TIME, _SLACK_SIGNATURE})
_SLACK_PREFIX = "v0="
_CLOCKS_DIFFER = 5.0
"""Seconds. Stripe's webhooks are never of the future, but for clocks that differ a little."""
_STRIPE = "stripe-signature"
_STRIPE_KNOWN = frozenset({_STRIPE})


def written_time(time: datetime) -> str:
    """A draft's time as it is signed and sent: whole seconds, a fraction cut off; raises InvalidField."""
    seconds = (time - _EPOCH) // _SECOND
    if not 0 <= seconds <= _MAX_WRITTEN:
        raise InvalidField("time", "must be 1970 or later, and of 11 digits of seconds at most")
    return str(seconds)


class SlackForm:
    """`v0:{time}:{body}`."""

    __slots__ = ()

    def read(self, delivery: Delivery) -> Claim:
        found = known_headers(delivery.headers, _SLACK_KNOWN)
        text = signature_text(found, _SLACK_SIGNATURE)
        if not text.startswith(_SLACK_PREFIX):
            raise Malformed(f"{_SLACK_SIGNATURE} does not begin with {_SLACK_PREFIX}")
        signatures = only_signature(HEX.decode(text[len(_SLACK_PREFIX) :]), _SLACK_SIGNATURE)
        raw_time = needed(found, _SLACK_TIME)
        time = time_of(raw_time, _SLACK_TIME)
        return Claim(_slack_message(raw_time, delivery.body), signatures, time)

    def message(self, draft: Draft) -> bytes:
        return _slack_message(written_time(draft.time), draft.body)

    def write(self, draft: Draft, signatures: Sequence[bytes]) -> Signed:
        signature = _SLACK_PREFIX + HEX.encode(signatures[0])
        return Signed({_SLACK_TIME: written_time(draft.time), _SLACK_SIGNATURE: signature}, {})


def _slack_message(raw_time: str, body: bytes) -> bytes:
    return b"v0:%b:%b" % (raw_time.encode("ascii"), body)


class StripeForm:
    """`{t}.{body}`; the time and any number of signatures in one header, other schemes of Stripe's beside them."""

    __slots__ = ()

    def read(self, delivery: Delivery) -> Claim:
        text = signature_text(known_headers(delivery.headers, _STRIPE_KNOWN), _STRIPE)
        raw_time, signatures = _stripe_items(text)
        time = time_of(raw_time, _STRIPE)
        return Claim(_stripe_message(raw_time, delivery.body), signatures, time, _CLOCKS_DIFFER)

    def message(self, draft: Draft) -> bytes:
        return _stripe_message(written_time(draft.time), draft.body)

    def write(self, draft: Draft, signatures: Sequence[bytes]) -> Signed:
        items = [f"t={written_time(draft.time)}", *(f"v1={HEX.encode(signature)}" for signature in signatures)]
        return Signed({_STRIPE: ",".join(items)}, {})


def _stripe_items(text: str) -> tuple[str, tuple[bytes, ...]]:
    """The one time, and the signatures of scheme v1 that are well formed: at least one."""
    times: list[str] = []
    signatures: list[bytes] = []
    for item in text.split(","):
        if item.startswith("v1="):
            if signature := HEX.decode(item[3:]):
                signatures.append(signature)
        elif item.startswith("t="):
            times.append(item[2:])
    # A blank stands between two headers that were joined on the way (RFC 9110 section 5.3), and nowhere else.
    if len(times) != 1 or not signatures or " " in text:
        raise Malformed(f"{_STRIPE} needs one t, and a v1 in lower-case hexadecimal")
    return times[0], tuple(signatures)


def _stripe_message(raw_time: str, body: bytes) -> bytes:
    return b"%b.%b" % (raw_time.encode("ascii"), body)
