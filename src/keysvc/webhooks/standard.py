"""The form of standardwebhooks.com, which is also Svix's under other header names: an id, a time and the body."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from keysvc.model.errors import InvalidField
from keysvc.webhooks.notation import BASE64
from keysvc.webhooks.over_time import written_time
from keysvc.webhooks.received import bytes_of, known_headers, needed, signature_text, time_of
from keysvc.webhooks.schemes import Claim, Delivery, Draft, Malformed, Signed

MAX_ID_BYTES = 1024
_EVENT_ID = re.compile(r"[!-\-/-~]{1,256}")  # visible ASCII; the dot stands between - and /
_VERSION = "v1,"


class _Headers(NamedTuple):
    id: str
    time: str
    signature: str


_WEBHOOK = _Headers("webhook-id", "webhook-timestamp", "webhook-signature")
_SVIX = _Headers("svix-id", "svix-timestamp", "svix-signature")
_KNOWN = frozenset(_WEBHOOK + _SVIX)


class StandardForm:
    """`{id}.{time}.{body}`. No id or time holds a dot, so there is one way only to take that apart."""

    __slots__ = ()

    def read(self, delivery: Delivery) -> Claim:
        found = known_headers(delivery.headers, _KNOWN)
        # One set or the other: an id of one beside the signature of the other was never sent together.
        names = _WEBHOOK if _WEBHOOK.signature in found else _SVIX
        signatures = _signatures(signature_text(found, names.signature), names.signature)
        message_id = _read_id(needed(found, names.id), names.id)
        raw_time = needed(found, names.time)
        time = time_of(raw_time, names.time)
        return Claim(_message(message_id, raw_time, delivery.body), signatures, time)

    def message(self, draft: Draft) -> bytes:
        return _message(_written_id(draft.event_id).encode("ascii"), written_time(draft.time), draft.body)

    def write(self, draft: Draft, signatures: Sequence[bytes]) -> Signed:
        headers = {
            _WEBHOOK.id: _written_id(draft.event_id),
            _WEBHOOK.time: written_time(draft.time),
            _WEBHOOK.signature: " ".join(_VERSION + BASE64.encode(signature) for signature in signatures),
        }
        return Signed(headers, {})


def _message(message_id: bytes, raw_time: str, body: bytes) -> bytes:
    return b"%b.%b.%b" % (message_id, raw_time.encode("ascii"), body)


def _signatures(text: str, name: str) -> tuple[bytes, ...]:
    """Those of version v1 that are well formed: at least one. Other versions are for other receivers."""
    entries = text.split(" ") if " " in text else (text,)
    found = [BASE64.decode(entry[len(_VERSION) :]) for entry in entries if entry.startswith(_VERSION)]
    signatures = tuple(filter(None, found))
    if not signatures:
        raise Malformed(f"{name} holds no signature of version v1 in base64")
    return signatures


def _read_id(text: str, name: str) -> bytes:
    message_id = bytes_of(text, name)
    if not message_id or b"." in message_id or len(message_id) > MAX_ID_BYTES:
        raise Malformed(f"{name} is empty, holds a dot or is longer than {MAX_ID_BYTES} bytes")
    return message_id


def _written_id(event_id: str) -> str:
    if not _EVENT_ID.fullmatch(event_id):
        raise InvalidField("event_id", "must be 1-256 visible ASCII characters without a dot")
    return event_id
