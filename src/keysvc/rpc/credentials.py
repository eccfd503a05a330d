"""CredentialService on the wire: parse, one service call, convert. Here the life cycle and the views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from keysvc.model.errors import InvalidField
from keysvc.model.names import parse_credential, parse_merchant
from keysvc.model.principals import ALL_MERCHANTS
from keysvc.rpc import convert
from keysvc.rpc.convert import sized
from keysvc.rpc.pages import Sizes, page_of
from keysvc.rpc.rotation import RotationRpcs
from keysvc.rpc.uses import UseRpcs
from keysvc.service import recipients
from keysvc.service.calls import Caller, Request
from keysvc.service.material import ImportKey
from keysvc.service.revocation import Revocation
from keysvc.service.viewing import CredentialView, Viewing
from keysvc.v1 import credential_service_pb2 as pb
from keysvc.v1.credential_pb2 import Credential

_SIZES = Sizes(default=50, most=100)


@dataclass(frozen=True)
class CredentialServicer(UseRpcs, RotationRpcs):
    """The rpcs of CredentialService. Each is given the Caller that the gate let through."""

    revocation: Revocation
    viewing: Viewing
    import_key: ImportKey

    def CreateCredential(self, request: pb.CreateCredentialRequest, caller: Caller) -> pb.CreateCredentialResponse:
        name = parse_credential(request.name)
        view, fresh = self.lifecycle.create(
            Request(caller, name, request.request_id, rotate_before=convert.optional_time(request, "rotate_before")),
            convert.algorithm_of(request.hmac_algorithm),
            convert.format_of(request.secret_format),
            recipients.parse_recipient(sized(request.recipient_public_key, "recipient_public_key")),
        )
        return pb.CreateCredentialResponse(credential=convert.credential(view), secret=convert.secret(fresh))

    def RenewCredential(self, request: pb.RenewCredentialRequest, caller: Caller) -> pb.RenewCredentialResponse:
        name = parse_credential(request.name)
        view, fresh = self.lifecycle.renew(
            Request(caller, name, request.request_id, request.etag, convert.optional_time(request, "rotate_before")),
            convert.timedelta_of(request.previous_ttl, "previous_ttl"),
            convert.format_of(request.secret_format),
            recipients.parse_recipient(sized(request.recipient_public_key, "recipient_public_key")),
        )
        return pb.RenewCredentialResponse(credential=convert.credential(view), secret=convert.secret(fresh))

    def RevokeCredential(self, request: pb.RevokeCredentialRequest, caller: Caller) -> pb.RevokeCredentialResponse:
        asked = Request(caller, parse_credential(request.name), request.request_id, request.etag)
        unused_for = convert.timedelta_of(request.unused_for, "unused_for")
        if request.version:
            view = self.revocation.revoke_retiring(
                asked, request.version, unused_for, validate_only=request.validate_only
            )
        else:
            view = self.revocation.revoke(asked, unused_for, validate_only=request.validate_only)
        return pb.RevokeCredentialResponse(credential=convert.credential(view))

    def ImportCredential(self, request: pb.ImportCredentialRequest, caller: Caller) -> pb.ImportCredentialResponse:
        name = parse_credential(request.name)
        payload = request.WhichOneof("payload")
        if payload is None:
            raise InvalidField("secret", "or sealed_secret must be set")
        view = self.lifecycle.adopt(
            Request(caller, name, request.request_id, rotate_before=convert.optional_time(request, "rotate_before")),
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

    def ListCredentials(self, request: pb.ListCredentialsRequest, caller: Caller) -> pb.ListCredentialsResponse:
        merchant_id = parse_merchant(request.parent, "parent")
        if request.HasField("due_within"):
            within = convert.timedelta_of(request.due_within, "due_within")
            fetch = partial(self.fleet.due, caller, merchant_id, within)
            due, next_page_token = page_of(request, f"{request.parent} due", _SIZES, fetch, lambda each: str(each[0]))
            views: Sequence[CredentialView] = [view for _, view in due]
        elif merchant_id == ALL_MERCHANTS:
            raise InvalidField("due_within", f"is absent: {request.parent} lists credentials that are due only")
        else:
            views, next_page_token = page_of(
                request, request.parent, _SIZES, partial(self.viewing.list, merchant_id), lambda view: view.name.slot
            )
        return pb.ListCredentialsResponse(
            credentials=[convert.credential(view) for view in views], next_page_token=next_page_token
        )
