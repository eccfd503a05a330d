"""CredentialService on the wire: parse, one service call, convert."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from keysvc.model.errors import InvalidField
from keysvc.model.names import parse_credential, parse_merchant, parse_merchant_or_credential
from keysvc.rpc import convert
from keysvc.rpc.convert import MAX_ADDITIONAL_DATA, MAX_MESSAGE, sized
from keysvc.rpc.pages import Sizes, page_of
from keysvc.service import recipients
from keysvc.service.calls import Caller
from keysvc.service.envelope import OVERHEAD_BYTES
from keysvc.service.lifecycle import Lifecycle, Request
from keysvc.service.material import ImportKey
from keysvc.service.verification import Verdict, Verification
from keysvc.service.viewing import Viewing
from keysvc.v1 import credential_service_pb2 as pb
from keysvc.v1.credential_pb2 import Credential

V = TypeVar("V", pb.VerifyHmacResponse, pb.VerifyApiKeyResponse)

_SIZES = Sizes(default=50, most=100)


@dataclass(frozen=True, slots=True)
class CredentialServicer:
    """The rpcs of CredentialService. Each is given the Caller that the gate let through."""

    lifecycle: Lifecycle
    verification: Verification
    viewing: Viewing
    import_key: ImportKey

    def CreateCredential(self, request: pb.CreateCredentialRequest, caller: Caller) -> pb.CreateCredentialResponse:
        name = parse_credential(request.name)
        view, fresh = self.lifecycle.create(
            Request(caller, name, request.request_id),
            convert.algorithm_of(request.hmac_algorithm),
            convert.format_of(request.secret_format),
            recipients.parse_recipient(sized(request.recipient_public_key, "recipient_public_key")),
        )
        return pb.CreateCredentialResponse(credential=convert.credential(view), secret=convert.secret(fresh))

    def RenewCredential(self, request: pb.RenewCredentialRequest, caller: Caller) -> pb.RenewCredentialResponse:
        name = parse_credential(request.name)
        view, fresh = self.lifecycle.renew(
            Request(caller, name, request.request_id, request.etag),
            convert.timedelta_of(request.previous_ttl, "previous_ttl"),
            convert.format_of(request.secret_format),
            recipients.parse_recipient(sized(request.recipient_public_key, "recipient_public_key")),
        )
        return pb.RenewCredentialResponse(credential=convert.credential(view), secret=convert.secret(fresh))

    def RevokeCredential(self, request: pb.RevokeCredentialRequest, caller: Caller) -> pb.RevokeCredentialResponse:
        name = parse_credential(request.name)
        view = self.lifecycle.revoke(
            Request(caller, name, request.request_id, request.etag),
            convert.timedelta_of(request.unused_for, "unused_for"),
            validate_only=request.validate_only,
        )
        return pb.RevokeCredentialResponse(credential=convert.credential(view))

    def ImportCredential(self, request: pb.ImportCredentialRequest, caller: Caller) -> pb.ImportCredentialResponse:
        name = parse_credential(request.name)
        payload = request.WhichOneof("payload")
        if payload is None:
            raise InvalidField("secret", "or sealed_secret must be set")
        view = self.lifecycle.adopt(
            Request(caller, name, request.request_id),
            convert.algorithm_of(request.hmac_algorithm),
            convert.format_of(request.secret_format),
            sized(request.secret, "secret") if payload == "secret" else sized(request.sealed_secret, "sealed_secret"),
            allow_weak=request.allow_weak_key,
        )
        return pb.ImportCredentialResponse(credential=convert.credential(view))

    def GetImportKey(self, _request: pb.GetImportKeyRequest, _caller: Caller) -> pb.GetImportKeyResponse:
        return pb.GetImportKeyResponse(public_key=self.import_key.pem(), mechanism=recipients.MECHANISM)

    def GetCredential(self, request: pb.GetCredentialRequest, _caller: Caller) -> Credential:
        return convert.credential(self.viewing.get(parse_credential(request.name)))

    def ListCredentials(self, request: pb.ListCredentialsRequest, _caller: Caller) -> pb.ListCredentialsResponse:
        merchant_id = parse_merchant(request.parent, "parent")
        page, next_page_token = page_of(
            request, request.parent, _SIZES, partial(self.viewing.list, merchant_id), lambda view: view.name.slot
        )
        return pb.ListCredentialsResponse(
            credentials=[convert.credential(view) for view in page], next_page_token=next_page_token
        )

    def GenerateHmac(self, request: pb.GenerateHmacRequest, _caller: Caller) -> pb.GenerateHmacResponse:
        merchant_id, slot = parse_merchant_or_credential(request.name)
        mac, key = self.verification.generate_hmac(merchant_id, slot, sized(request.message, "message", MAX_MESSAGE))
        return pb.GenerateHmacResponse(mac=mac, credential=key.name, version=key.version)

    def VerifyHmac(self, request: pb.VerifyHmacRequest, caller: Caller) -> pb.VerifyHmacResponse:
        name = parse_merchant_or_credential(request.name)
        message = sized(request.message, "message", MAX_MESSAGE)
        if not request.mac:
            raise InvalidField("mac", "is absent: send the MAC as it was received, decoded to bytes")
        verdict = self.verification.verify_hmac(caller, name, message, request.mac)
        return _told(pb.VerifyHmacResponse, verdict)

    def VerifyApiKey(self, request: pb.VerifyApiKeyRequest, caller: Caller) -> pb.VerifyApiKeyResponse:
        name = parse_merchant_or_credential(request.name)
        if not request.api_key:
            raise InvalidField("api_key", "is absent: send the key as it was presented")
        verdict = self.verification.verify_api_key(caller, name, sized(request.api_key, "api_key"))
        return _told(pb.VerifyApiKeyResponse, verdict)

    def Encrypt(self, request: pb.EncryptRequest, _caller: Caller) -> pb.EncryptResponse:
        name = parse_credential(request.name)
        ciphertext, version = self.verification.encrypt(
            name,
            sized(request.plaintext, "plaintext", MAX_MESSAGE),
            sized(request.additional_data, "additional_data", MAX_ADDITIONAL_DATA),
        )
        return pb.EncryptResponse(ciphertext=ciphertext, version=version)

    def Decrypt(self, request: pb.DecryptRequest, _caller: Caller) -> pb.DecryptResponse:
        name = parse_credential(request.name)
        plaintext, version = self.verification.decrypt(
            name,
            sized(request.ciphertext, "ciphertext", MAX_MESSAGE + OVERHEAD_BYTES),
            sized(request.additional_data, "additional_data", MAX_ADDITIONAL_DATA),
        )
        return pb.DecryptResponse(plaintext=plaintext, version=version)


def _told(response: type[V], verdict: Verdict) -> V:
    key = verdict.key
    if key is None:
        return response(result=verdict.result)
    return response(
        result=verdict.result,
        matched_credential=key.name,
        matched_version=key.version,
        retiring=key.expire_time is not None,
    )
