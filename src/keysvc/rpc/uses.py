"""The rpcs of CredentialService that use keys: sign, verify, encrypt, decrypt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from keysvc.model.changing import check_span
from keysvc.model.errors import InvalidField
from keysvc.model.names import parse_credential, parse_merchant_or_credential
from keysvc.rpc import convert
from keysvc.rpc.batches import Batches, check_presented
from keysvc.rpc.convert import MAX_ADDITIONAL_DATA, MAX_MESSAGE, sized, told
from keysvc.service.calls import Caller, Clock
from keysvc.service.encryption import Encryption
from keysvc.service.envelope import OVERHEAD_BYTES
from keysvc.service.signing import Signing
from keysvc.service.verification import Verification
from keysvc.v1 import credential_service_pb2 as pb
from keysvc.v1 import webhook_pb2
from keysvc.webhooks.forms import FIELDS_ARE_SIGNED, URL_IS_SIGNED
from keysvc.webhooks.reading import DEFAULT_TOLERANCE
from keysvc.webhooks.schemes import Delivery, Draft, Scheme

_NO_FIELDS: Mapping[str, str] = {}
_SCHEMES = {webhook_pb2.WebhookScheme.Value(scheme): scheme for scheme in Scheme}


@dataclass(frozen=True)
class UseRpcs:
    """Each is given the Caller that the gate let through."""

    verification: Verification
    batches: Batches
    signing: Signing
    encryption: Encryption
    now: Clock

    def GenerateHmac(self, request: pb.GenerateHmacRequest, caller: Caller) -> pb.GenerateHmacResponse:
        name = parse_merchant_or_credential(request.name)
        mac, key = self.signing.generate_hmac(caller, name, sized(request.message, "message", MAX_MESSAGE))
        return pb.GenerateHmacResponse(mac=mac, credential=key.name, version=key.version)

    def VerifyHmac(self, request: pb.VerifyHmacRequest, caller: Caller) -> pb.VerifyHmacResponse:
        name, message, mac = parse_merchant_or_credential(request.name), request.message, request.mac
        check_presented(message, mac)
        return told(pb.VerifyHmacResponse, self.verification.verify_hmac(caller, name, message, mac))

    def BatchVerifyHmac(self, request: pb.BatchVerifyHmacRequest, caller: Caller) -> bytes:
        return self.batches.verify(request, caller)

    def VerifyApiKey(self, request: pb.VerifyApiKeyRequest, caller: Caller) -> pb.VerifyApiKeyResponse:
        name = parse_merchant_or_credential(request.name)
        if not request.api_key:
            raise InvalidField("api_key", "is absent: send the key as it was presented")
        verdict = self.verification.verify_api_key(caller, name, sized(request.api_key, "api_key"))
        return told(pb.VerifyApiKeyResponse, verdict)

    def SignWebhook(self, request: webhook_pb2.SignWebhookRequest, caller: Caller) -> webhook_pb2.SignWebhookResponse:
        name = parse_merchant_or_credential(request.name)
        draft = Draft(
            sized(request.body, "body", MAX_MESSAGE),
            sized(request.url, "url"),
            _sized_fields(request),
            request.event_id,
            convert.time_of(request.time, "time") if request.HasField("time") else self.now(),
        )
        signed, keys = self.signing.sign_webhook(caller, name, _scheme_of(request.scheme), draft)
        signers = [webhook_pb2.WebhookSigner(credential=key.name, version=key.version) for key in keys]
        return webhook_pb2.SignWebhookResponse(headers=signed.headers, fields=signed.fields, signers=signers)

    def VerifyWebhook(
        self, request: webhook_pb2.VerifyWebhookRequest, caller: Caller
    ) -> webhook_pb2.VerifyWebhookResponse:
        name = parse_merchant_or_credential(request.name)
        scheme = _scheme_of(request.scheme)
        delivery = Delivery(
            request.headers,
            sized(request.body, "body", MAX_MESSAGE),
            # Asked for only where they count: every webhook comes here.
            sized(request.url, "url") if scheme in URL_IS_SIGNED else "",
            _sized_fields(request) if scheme in FIELDS_ARE_SIGNED else _NO_FIELDS,
        )
        tolerance = DEFAULT_TOLERANCE
        if request.HasField("tolerance"):
            tolerance = check_span(convert.timedelta_of(request.tolerance, "tolerance"), "tolerance")
        verdict = self.verification.verify_webhook(caller, name, scheme, delivery, tolerance)
        return told(webhook_pb2.VerifyWebhookResponse, verdict)

    def Encrypt(self, request: pb.EncryptRequest, caller: Caller) -> pb.EncryptResponse:
        name = parse_credential(request.name)
        ciphertext, version = self.encryption.encrypt(
            caller,
            name,
            sized(request.plaintext, "plaintext", MAX_MESSAGE),
            sized(request.additional_data, "additional_data", MAX_ADDITIONAL_DATA),
        )
        return pb.EncryptResponse(ciphertext=ciphertext, version=version)

    def Decrypt(self, request: pb.DecryptRequest, caller: Caller) -> pb.DecryptResponse:
        name = parse_credential(request.name)
        plaintext, version = self.encryption.decrypt(
            caller,
            name,
            sized(request.ciphertext, "ciphertext", MAX_MESSAGE + OVERHEAD_BYTES),
            sized(request.additional_data, "additional_data", MAX_ADDITIONAL_DATA),
        )
        return pb.DecryptResponse(plaintext=plaintext, version=version)


def _scheme_of(number: int) -> Scheme:
    scheme = _SCHEMES.get(number)
    if scheme is None:
        raise InvalidField("scheme", "must be one of WebhookScheme")
    return scheme


def _sized_fields(request: webhook_pb2.SignWebhookRequest | webhook_pb2.VerifyWebhookRequest) -> Mapping[str, str]:
    fields = dict(request.fields)
    for value in fields.values():
        sized(value, "fields")
    return fields
