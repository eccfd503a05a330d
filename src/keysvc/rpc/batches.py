"""BatchVerifyHmac: many VerifyHmac in one call, each with an answer or an error of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keysvc.model.errors import InvalidField, KeysvcError, PermissionDenied
from keysvc.model.names import parse_merchant_or_credential
from keysvc.rpc import errors
from keysvc.rpc.convert import MAX_MESSAGE, sized, told
from keysvc.service.authority import Authority
from keysvc.service.calls import Caller
from keysvc.service.verification import Presented, Verdict, Verification
from keysvc.v1 import credential_service_pb2 as pb

MAX_BATCH = 1000

_Outcome = pb.BatchVerifyHmacResponse.Outcome


@dataclass(frozen=True, slots=True)
class Batches:
    """Each request is held to the caller's own merchants by itself, before it is looked at further."""

    authority: Authority
    verification: Verification

    def verify(self, request: pb.BatchVerifyHmacRequest, caller: Caller) -> pb.BatchVerifyHmacResponse:
        """Raises InvalidField for a batch of none or too many."""
        asked = request.requests
        if not 0 < len(asked) <= MAX_BATCH:
            raise InvalidField("requests", f"holds {len(asked):,}; from 1 to {MAX_BATCH:,} are taken")
        admitted = self._admitted(asked, caller)
        good = [each for each in admitted if isinstance(each, Presented)]
        verdicts = iter(self.verification.verify_hmacs(caller, good))
        outcomes = [next(verdicts) if isinstance(each, Presented) else each for each in admitted]
        return pb.BatchVerifyHmacResponse(results=[_outcome(each) for each in outcomes])

    def _admitted(self, asked: Sequence[pb.VerifyHmacRequest], caller: Caller) -> list[Presented | KeysvcError]:
        known = caller.who
        if known is None:
            raise PermissionDenied("The service itself verifies nothing")
        grant = self.authority.grant(known, caller.method)
        admitted: list[Presented | KeysvcError] = []
        for each in asked:
            try:
                self.authority.check(known, grant, caller.method, each.name)
                admitted.append(presented(each))
            except KeysvcError as error:
                admitted.append(error)
        return admitted


def presented(request: pb.VerifyHmacRequest) -> Presented:
    """What a VerifyHmac asks. Raises InvalidField."""
    name = parse_merchant_or_credential(request.name)
    message = sized(request.message, "message", MAX_MESSAGE)
    mac = request.mac
    if not mac:
        raise InvalidField("mac", "is absent: send the MAC as it was received, decoded to bytes")
    return Presented(name, message, mac)


def _outcome(found: Verdict | KeysvcError) -> _Outcome:
    if isinstance(found, KeysvcError):
        return _Outcome(error=errors.to_message(found))
    return _Outcome(response=told(pb.VerifyHmacResponse, found))
