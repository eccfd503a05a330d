"""The ten schemes by name, and what goes in and comes out: a webhook received and what it claims, one to be signed and
what is sent with it.

The names are those of `WebhookScheme` on the wire. Forms are in `forms`, errors of a caller in `keysvc.model.errors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple


class Scheme(StrEnum):
    """How a webhook is signed. All are HMAC-SHA256."""

    __hash__ = str.__hash__  # Enum's own is Python, and every webhook looks its scheme up

    STANDARD_WEBHOOKS = "STANDARD_WEBHOOKS"
    STRIPE = "STRIPE"
    GITHUB = "GITHUB"
    SLACK_V0 = "SLACK_V0"
    SQUARE = "SQUARE"
    SHOPIFY = "SHOPIFY"
    ADYEN_NOTIFICATION = "ADYEN_NOTIFICATION"
    ADYEN_PAYLOAD = "ADYEN_PAYLOAD"
    COMPUTOP_REQUEST = "COMPUTOP_REQUEST"
    COMPUTOP_NOTIFY = "COMPUTOP_NOTIFY"


class Delivery(NamedTuple):
    """A webhook as it was received. What the scheme does not read may hold anything."""

    headers: Mapping[str, str]
    body: bytes
    url: str = ""
    fields: Mapping[str, str] = MappingProxyType({})


class Claim(NamedTuple):
    """What a webhook says was signed: nothing of it is proved yet."""

    message: bytes
    signatures: tuple[bytes, ...]
    """At least one, none of them empty; of any length."""
    time: int | None
    """Seconds since 1970, of up to 15 digits and perhaps below 0; None where the scheme signs no time."""
    most_ahead: float | None = None
    """Seconds that the time may be in the future at most; as far as the tolerance unless set."""


class Malformed(Exception):
    """What the scheme signs, or its signature, is absent, given twice or not of its form.

    An answer about the sender, not an error of the caller's. The text names the place and quotes nothing.
    """


@dataclass(frozen=True, slots=True)
class Draft:
    """A webhook to be signed. What the scheme does not sign is not looked at."""

    body: bytes
    url: str
    fields: Mapping[str, str]
    event_id: str
    time: datetime


@dataclass(frozen=True, slots=True)
class Signed:
    """What is sent with a webhook: header names are in lower case."""

    headers: dict[str, str]
    fields: dict[str, str]
