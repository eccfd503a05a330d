"""The calls that both clients have a method for: from arguments to a request, and from its answer to a result.

Pure functions; the clients carry them out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, TypedDict, TypeVar

from google.protobuf.message import Message

from keysvc.client.methods import Method, method_of
from keysvc.client.received import ReceivedWebhook, headers_of
from keysvc.client.results import Kind, NewSecret, Scheme, SignedWebhook, Verdict, text_of, verdict_of
from keysvc.v1 import credential_service_pb2 as pb
from keysvc.v1.credential_pb2 import Credential
from keysvc.v1.rotation_pb2 import (
    GetRotationRequest,
    Rotation,
    SummarizeCredentialsRequest,
    SummarizeCredentialsResponse,
    SwapCredentialsRequest,
    SwapCredentialsResponse,
)
from keysvc.v1.webhook_pb2 import SignWebhookRequest, VerifyWebhookRequest

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Call(Generic[R]):
    """One call to make. Its request is the method's message, and may hold a secret."""

    method: Method
    request: Any = field(repr=False)
    read: Callable[[Any], R]


class CreateOptions(TypedDict, total=False):
    """CreateCredential's fields beside its name; enums by their names in the contract."""

    request_id: str
    hmac_algorithm: str
    secret_format: str
    recipient_public_key: str
    rotate_before: datetime


class RenewOptions(TypedDict, total=False):
    """RenewCredential's."""

    etag: str
    request_id: str
    previous_ttl: timedelta
    secret_format: str
    recipient_public_key: str
    rotate_before: datetime


class RevokeOptions(TypedDict, total=False):
    """RevokeCredential's."""

    etag: str
    request_id: str
    unused_for: timedelta
    validate_only: bool
    version: int


class SignOptions(TypedDict, total=False):
    """SignWebhook's. `time` is aware; now unless set."""

    event_id: str
    url: str
    fields: Mapping[str, str]
    time: datetime


def any_rpc(name: str, request: Message | Mapping[str, Any]) -> Call[Any]:
    method = method_of(name)
    return Call(method, method.message(request), _as_it_is)


def verify_hmac(name: str, message: bytes, mac: bytes) -> Call[Verdict]:
    return _call("VerifyHmac", pb.VerifyHmacRequest(name=name, message=message, mac=mac), verdict_of)


def verify_api_key(name: str, api_key: str) -> Call[Verdict]:
    return _call("VerifyApiKey", pb.VerifyApiKeyRequest(name=name, api_key=api_key), verdict_of)


def verify_webhook(name: str, scheme: Scheme, got: ReceivedWebhook, tolerance: timedelta | None) -> Call[Verdict]:
    request = VerifyWebhookRequest(
        name=name,
        scheme=scheme.value,
        headers=headers_of(got.headers),
        body=got.body,
        url=got.url,
        fields=got.fields,
        tolerance=tolerance,
    )
    return _call("VerifyWebhook", request, verdict_of)


def sign_webhook(name: str, scheme: Scheme, body: bytes, options: SignOptions) -> Call[SignedWebhook]:
    request = SignWebhookRequest(name=name, scheme=scheme.value, body=body, **options)
    return _call("SignWebhook", request, _signed)


def generate_hmac(name: str, message: bytes) -> Call[bytes]:
    return _call("GenerateHmac", pb.GenerateHmacRequest(name=name, message=message), lambda answer: bytes(answer.mac))


def create_credential(name: str, options: CreateOptions) -> Call[NewSecret]:
    return _call("CreateCredential", pb.CreateCredentialRequest(name=name, **options), _new_secret)


def renew_credential(name: str, options: RenewOptions) -> Call[NewSecret]:
    return _call("RenewCredential", pb.RenewCredentialRequest(name=name, **options), _new_secret)


def revoke_credential(name: str, options: RevokeOptions) -> Call[Credential]:
    return _call("RevokeCredential", pb.RevokeCredentialRequest(name=name, **options), _credential)


def get_rotation(name: str, kind: Kind, unused_for: timedelta | None) -> Call[Rotation]:
    return _call("GetRotation", GetRotationRequest(name=name, kind=kind.value, unused_for=unused_for), _as_it_is)


def swap_credentials(name: str, kind: Kind, etag: str, request_id: str) -> Call[SwapCredentialsResponse]:
    request = SwapCredentialsRequest(name=name, kind=kind.value, etag=etag, request_id=request_id)
    return _call("SwapCredentials", request, _as_it_is)


def summarize_credentials(
    parent: str, due_within: timedelta | None, used_within: timedelta | None
) -> Call[SummarizeCredentialsResponse]:
    request = SummarizeCredentialsRequest(parent=parent, due_within=due_within, used_within=used_within)
    return _call("SummarizeCredentials", request, _as_it_is)


def list_credentials(
    parent: str, due_within: timedelta | None, page_size: int, page_token: str
) -> Call[pb.ListCredentialsResponse]:
    request = pb.ListCredentialsRequest(
        parent=parent, due_within=due_within, page_size=page_size, page_token=page_token
    )
    return _call("ListCredentials", request, _as_it_is)


def _call(name: str, request: Message, read: Callable[[Any], R]) -> Call[R]:
    return Call(method_of(f"CredentialService/{name}"), request, read)


def _as_it_is(answer: Any) -> Any:
    return answer


def _credential(answer: Any) -> Credential:
    credential: Credential = answer.credential
    return credential


def _signed(answer: Any) -> SignedWebhook:
    signers = tuple((signer.credential, signer.version) for signer in answer.signers)
    return SignedWebhook(dict(answer.headers), dict(answer.fields), signers)


def _new_secret(answer: Any) -> NewSecret:
    secret = answer.secret
    return NewSecret(answer.credential, secret.value, secret.sealed, text_of(secret, "format"), secret.mechanism)
