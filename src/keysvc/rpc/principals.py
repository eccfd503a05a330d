"""PrincipalService on the wire: parse, one service call, convert."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keysvc.model.errors import InvalidField
from keysvc.model.names import merchant_name, parse_merchant, parse_principal, principal_name
from keysvc.model.principals import MAX_MERCHANTS, PrincipalKind, PrincipalRecord, PrincipalState
from keysvc.rpc import convert
from keysvc.rpc.pages import Sizes, page_of
from keysvc.service.calls import Caller
from keysvc.service.principals import Principals, etag_of
from keysvc.v1 import principal_service_pb2 as pb
from keysvc.v1.principal_pb2 import Principal

_LIST = "principals"
_SIZES = Sizes(default=50, most=1000)


@dataclass(frozen=True, slots=True)
class PrincipalServicer:
    """The rpcs of PrincipalService. Each is given the Caller that the gate let through."""

    principals: Principals

    def CreatePrincipal(self, request: pb.CreatePrincipalRequest, caller: Caller) -> pb.CreatePrincipalResponse:
        wanted = request.principal
        if wanted.name not in ("", principal_name(request.principal_id)):
            raise InvalidField("principal.name", "must be empty, or principals/ and the principal_id")
        fields = {name: read(wanted) for name, read in _READERS.items() if name != "state"}
        made, password = self.principals.create(caller, request.principal_id, _kind_of(wanted.kind), fields)
        return pb.CreatePrincipalResponse(principal=principal(made), password=password.reveal())

    def GetPrincipal(self, request: pb.GetPrincipalRequest, _caller: Caller) -> Principal:
        return principal(self.principals.get(parse_principal(request.name, "name")))

    def ListPrincipals(self, request: pb.ListPrincipalsRequest, _caller: Caller) -> pb.ListPrincipalsResponse:
        page, next_page_token = page_of(
            request, _LIST, _SIZES, self.principals.list, lambda record: record.principal_id
        )
        return pb.ListPrincipalsResponse(
            principals=[principal(record) for record in page], next_page_token=next_page_token
        )

    def UpdatePrincipal(self, request: pb.UpdatePrincipalRequest, caller: Caller) -> Principal:
        wanted = request.principal
        principal_id = parse_principal(wanted.name, "principal.name")
        if not request.update_mask.paths:
            raise InvalidField("update_mask", f"must name fields to set: {', '.join(_READERS)}")
        unknown = next((path for path in request.update_mask.paths if path not in _READERS), None)
        if unknown is not None:
            raise InvalidField("update_mask", f"names what cannot be set; {', '.join(_READERS)} can")
        fields = {path: _READERS[path](wanted) for path in request.update_mask.paths}
        return principal(self.principals.update(caller, principal_id, wanted.etag, fields))

    def RenewPrincipalPassword(
        self, request: pb.RenewPrincipalPasswordRequest, caller: Caller
    ) -> pb.RenewPrincipalPasswordResponse:
        principal_id = parse_principal(request.name, "name")
        previous_ttl = convert.timedelta_of(request.previous_ttl, "previous_ttl")
        renewed, password = self.principals.renew_password(caller, principal_id, previous_ttl, request.request_id)
        return pb.RenewPrincipalPasswordResponse(principal=principal(renewed), password=password.reveal())

    def DisablePrincipal(self, request: pb.DisablePrincipalRequest, caller: Caller) -> Principal:
        return principal(self.principals.disable(caller, parse_principal(request.name, "name"), request.etag))


def principal(record: PrincipalRecord) -> Principal:
    """A principal, with all that is known of it but its passwords."""
    message = Principal(
        name=principal_name(record.principal_id),
        kind=record.kind,
        merchants=[merchant_name(merchant_id) for merchant_id in record.merchants],
        can_edit_credentials=record.can_edit_credentials,
        remote_access=record.remote_access,
        can_sign=record.can_sign,
        spiffe_id=record.spiffe_id or "",
        jwt_public_keys=record.jwt_public_keys,
        state=record.state,
        etag=etag_of(record),
    )
    convert.set_time(message.create_time, record.create_time)
    convert.set_time(message.update_time, record.update_time or record.create_time)
    convert.set_time(message.password_time, record.password_time or record.create_time)
    for old in record.retiring_passwords:
        message.retiring_password_times.add().FromDatetime(old.expire_time)
    return message


def _kind_of(number: int) -> PrincipalKind:
    try:
        return PrincipalKind(Principal.Kind.Name(number))
    except ValueError:
        known = ", ".join(PrincipalKind)
        raise InvalidField("principal.kind", f"must be one of {known}") from None


def _merchants_of(wanted: Principal) -> tuple[str, ...]:
    if len(wanted.merchants) > MAX_MERCHANTS:
        raise InvalidField("principal.merchants", f"lists more than {MAX_MERCHANTS:,}")
    # A list is a set here: in one order, and each once.
    return tuple(sorted({parse_merchant(name, "principal.merchants") for name in wanted.merchants}))


def _active(wanted: Principal) -> PrincipalState:
    if wanted.state != Principal.ACTIVE:
        raise InvalidField("principal.state", "can only be set to ACTIVE; DisablePrincipal does the other")
    return PrincipalState.ACTIVE


_READERS: dict[str, Callable[[Principal], Any]] = {
    "merchants": _merchants_of,
    "can_edit_credentials": lambda wanted: wanted.can_edit_credentials,
    "remote_access": lambda wanted: wanted.remote_access,
    "can_sign": lambda wanted: wanted.can_sign,
    "spiffe_id": lambda wanted: wanted.spiffe_id or None,
    "jwt_public_keys": lambda wanted: tuple(wanted.jwt_public_keys),
    "state": _active,
}
"""The fields that a caller may set, by their names, which are also the record's."""
