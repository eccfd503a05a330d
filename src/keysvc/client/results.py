"""What the client answers and is asked with, without the wire's forms: verdicts, schemes, kinds, secrets shown once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from google.protobuf.message import Message

from keysvc.v1.credential_pb2 import Credential
from keysvc.v1.rotation_pb2 import Rotation

RotationStep: TypeAlias = Rotation.Step


class Scheme(StrEnum):
    """How a webhook is signed (keysvc/v1/webhook.proto)."""

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


class Kind(StrEnum):
    """The kinds of key that have two slots."""

    HMAC_KEY = "HMAC_KEY"
    BEARER_SECRET = "BEARER_SECRET"  # noqa: S105 - a kind's name


class Result(StrEnum):
    """What a verification found. The last two are of webhooks only."""

    UNKNOWN = "UNKNOWN"
    """Of a newer server. Nothing but VALID is right."""
    VALID = "VALID"
    INVALID = "INVALID"
    NO_LIVE_KEY = "NO_LIVE_KEY"
    MERCHANT_NOT_ACTIVE = "MERCHANT_NOT_ACTIVE"
    STALE_TIMESTAMP = "STALE_TIMESTAMP"
    MALFORMED_SIGNATURE = "MALFORMED_SIGNATURE"


@dataclass(frozen=True, slots=True)
class Verdict:
    """True where the result is VALID, and only there."""

    result: Result
    credential: str = ""
    """The credential that matched; empty where none did."""
    version: int = 0
    retiring: bool = False
    """The key that matched was renewed and ends soon: who uses it has not moved."""

    def __bool__(self) -> bool:
        return self.result is Result.VALID


@dataclass(frozen=True, slots=True)
class SignedWebhook:
    """What to send along with the body: headers, or fields for the schemes whose signature stands in one."""

    headers: Mapping[str, str]
    fields: Mapping[str, str]
    signers: tuple[tuple[str, int], ...]
    """(credential, version) of each key that signed."""


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A credential with its new secret, which is shown this once: as text, or sealed for its recipient."""

    credential: Credential
    value: str = field(repr=False)
    sealed: bytes = field(repr=False)
    format: str
    mechanism: str


def text_of(message: Message, name: str) -> str:
    """An enum field's value by its name in the contract: `text_of(rotation, "stage")` is "MOVING"."""
    enum = message.DESCRIPTOR.fields_by_name[name].enum_type
    if enum is None:
        raise ValueError(f"{name} is no enum in {message.DESCRIPTOR.name}")
    number = getattr(message, name)
    known = enum.values_by_number.get(number)
    return known.name if known else str(number)


def verdict_of(answer: Any) -> Verdict:
    """Of a VerifyHmacResponse, VerifyApiKeyResponse or VerifyWebhookResponse."""
    name = text_of(answer, "result")
    result = Result.__members__.get(name, Result.UNKNOWN)
    return Verdict(result, answer.matched_credential, answer.matched_version, answer.retiring)
