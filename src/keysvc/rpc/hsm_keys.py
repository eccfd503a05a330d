"""HsmKeyService on the wire: parse, one service call, convert."""

from __future__ import annotations

from dataclasses import dataclass

from keysvc.model.errors import InvalidField
from keysvc.model.hsm_keys import HsmKeyRecord, Purpose
from keysvc.model.names import principal_name
from keysvc.service.calls import Caller
from keysvc.service.hsm_keys import HsmKeys, etag_of
from keysvc.v1 import hsm_key_service_pb2 as pb
from keysvc.v1.hsm_key_pb2 import HsmKey

_TIMES = ("request_time", "approve_time", "use_time", "destroy_time")


@dataclass(frozen=True, slots=True)
class HsmKeyServicer:
    """The rpcs of HsmKeyService. Each is given the Caller that the gate let through."""

    keys: HsmKeys

    def ListHsmKeys(self, _request: pb.ListHsmKeysRequest, _caller: Caller) -> pb.ListHsmKeysResponse:
        return pb.ListHsmKeysResponse(keys=[_message(view.record, view.rows) for view in self.keys.list()])

    def RequestHsmKey(self, request: pb.RequestHsmKeyRequest, caller: Caller) -> HsmKey:
        return _message(self.keys.request(caller, _purpose(request.purpose), request.request_id))

    def ApproveHsmKey(self, request: pb.ApproveHsmKeyRequest, caller: Caller) -> HsmKey:
        return _message(self.keys.approve(caller, request.name, request.etag, request.request_id))

    def WithdrawHsmKey(self, request: pb.WithdrawHsmKeyRequest, caller: Caller) -> pb.WithdrawHsmKeyResponse:
        self.keys.withdraw(caller, request.name, request.etag, request.request_id)
        return pb.WithdrawHsmKeyResponse()


def _purpose(number: int) -> Purpose:
    """Raises InvalidField."""
    names = dict(zip(HsmKey.Purpose.values(), HsmKey.Purpose.keys(), strict=True))
    if not number or number not in names:
        known = ", ".join(name for value, name in names.items() if value)
        raise InvalidField("purpose", f"must be one of {known}")
    return Purpose(names[number].lower())


def _message(key: HsmKeyRecord, rows: int = 0) -> HsmKey:
    message = HsmKey(
        name=key.name,
        purpose=key.purpose.name,
        generation=key.generation,
        state=key.state.name,
        rows=rows,
        requester=principal_name(key.requester) if key.requester else "",
        approver=principal_name(key.approver) if key.approver else "",
        etag=etag_of(key),
    )
    for field in _TIMES:
        time = getattr(key, field)
        if time is not None:
            getattr(message, field).FromDatetime(time)
    return message
