"""Between the wire's messages and the model's values. Sizes are checked here, names in the model."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from keysvc.model.errors import InvalidField
from keysvc.model.names import merchant_name, principal_name
from keysvc.model.records import KeyRecord, MerchantRecord, SlotState
from keysvc.model.slots import RULES, HmacAlgorithm, SecretFormat
from keysvc.service import recipients
from keysvc.service.material import Fresh
from keysvc.service.merchants import etag_of as merchant_etag
from keysvc.service.slot_edit import etag_of
from keysvc.service.trials import Verdict
from keysvc.service.viewing import CredentialView
from keysvc.v1.credential_pb2 import Credential, RetiringKey, Secret
from keysvc.v1.credential_service_pb2 import VerifyApiKeyResponse, VerifyHmacResponse
from keysvc.v1.merchant_pb2 import Merchant
from keysvc.v1.webhook_pb2 import VerifyWebhookResponse

MAX_MESSAGE = 4 * 1024 * 1024
MAX_ADDITIONAL_DATA = 64 * 1024
MAX_TEXT = 16 * 1024

B = TypeVar("B", bytes, str)
V = TypeVar("V", VerifyHmacResponse, VerifyApiKeyResponse, VerifyWebhookResponse)


def sized(value: B, field: str, maximum: int = MAX_TEXT) -> B:
    """`value`; raises InvalidField where it is longer than `maximum` bytes or characters."""
    if len(value) > maximum:
        raise InvalidField(field, f"is {len(value):,} long; at most {maximum:,} is taken")
    return value


def algorithm_of(number: int) -> HmacAlgorithm | None:
    """None for UNSPECIFIED; raises InvalidField for a number that has no name."""
    try:
        return HmacAlgorithm(Credential.HmacAlgorithm.Name(number)) if number else None
    except ValueError:
        raise InvalidField("hmac_algorithm", f"{number} is no algorithm") from None


def format_of(number: int) -> SecretFormat | None:
    """None for UNSPECIFIED; raises InvalidField for a number that has no name."""
    try:
        return SecretFormat(Credential.SecretFormat.Name(number)) if number else None
    except ValueError:
        raise InvalidField("secret_format", f"{number} is no format") from None


def timedelta_of(duration: Duration, field: str) -> timedelta:
    """To the microsecond; raises InvalidField outside what google.protobuf.Duration allows."""
    try:
        duration.ToJsonString()  # refuses nanoseconds beyond a second, or of another sign, which ToTimedelta takes
        return duration.ToTimedelta()
    except (ValueError, OverflowError):
        raise InvalidField(field, "is no duration") from None


def time_of(timestamp: Timestamp, field: str) -> datetime:
    """To the microsecond; raises InvalidField outside what google.protobuf.Timestamp allows."""
    try:
        timestamp.ToJsonString()  # refuses what ToDatetime takes: nanoseconds that are negative, or above a second
        return timestamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidField(field, "is no time") from None


def optional_time(request: Message, field: str) -> datetime | None:
    """None where the field is not set."""
    return time_of(getattr(request, field), field) if request.HasField(field) else None


def told(response: type[V], verdict: Verdict) -> V:
    """A verdict, as every verification answers it."""
    key = verdict.key
    if key is None:
        return response(result=verdict.result)
    return response(
        result=verdict.result,
        matched_credential=key.name,
        matched_version=key.version,
        retiring=key.expire_time is not None,
    )


def credential(view: CredentialView) -> Credential:
    """A slot, with all that is known of it but the secret."""
    name, record, kind = str(view.name), view.record, RULES[view.name.slot].kind
    if record is None:
        return Credential(name=name, state=SlotState.EMPTY, kind=kind, etag=etag_of(None))
    message = Credential(
        name=name,
        state=record.state,
        kind=kind,
        version=record.version,
        hmac_algorithm=record.hmac_algorithm,
        secret_format=record.secret_format,
        fingerprint=record.fingerprint,
        weak_key=record.weak_key,
        retiring=[_retiring(key, view.last_use(key)) for key in view.retiring],
        etag=etag_of(record),
    )
    set_time(message.create_time, record.create_time)
    set_time(message.renew_time, record.renew_time)
    set_time(message.revoke_time, record.revoke_time)
    set_time(message.rotate_before, record.rotate_before)
    set_time(message.last_used_time, view.last_use(record))
    return message


def secret(fresh: Fresh) -> Secret:
    """The one copy of a new secret. Do not keep or log what this returns."""
    message = Secret(format=fresh.recipe.secret_format)
    if fresh.sealed is not None:
        message.sealed = fresh.sealed
        message.mechanism = recipients.MECHANISM
    elif fresh.text is not None:
        message.value = fresh.text.reveal()
    return message


def merchant(record: MerchantRecord) -> Merchant:
    message = Merchant(
        name=merchant_name(record.merchant_id),
        display_name=record.display_name,
        psp=principal_name(record.psp) if record.psp else "",
        acquirer=principal_name(record.acquirer) if record.acquirer else "",
        state=record.state,
        etag=merchant_etag(record),
    )
    set_time(message.create_time, record.create_time)
    set_time(message.update_time, record.update_time)
    return message


def _retiring(key: KeyRecord, last_use: datetime | None) -> RetiringKey:
    message = RetiringKey(version=key.version)
    set_time(message.expire_time, key.expire_time)
    set_time(message.last_used_time, last_use)
    return message


def set_time(field: Timestamp, time: datetime | None) -> None:
    """Leaves the field unset for None."""
    if time is not None:
        field.FromDatetime(time)
