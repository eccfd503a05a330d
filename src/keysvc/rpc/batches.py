"""BatchVerifyHmac: many VerifyHmac in one call, each with an answer or an error of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keysvc.model.errors import InvalidField, KeysvcError, PermissionDenied
from keysvc.model.names import parse_merchant_or_credential
from keysvc.rpc import errors
from keysvc.rpc.convert import MAX_MESSAGE, sized, told
from keysvc.service.authority import Authority
from keysvc.service.batch import Answer, BatchVerification, Presented
from keysvc.service.calls import Caller
from keysvc.service.live_keys import Named
from keysvc.v1 import credential_service_pb2 as pb

MAX_BATCH = 1000

_Outcome = pb.BatchVerifyHmacResponse.Outcome


@dataclass(frozen=True, slots=True)
class Batches:
    """Each request is held to the caller's own merchants by itself, before it is looked at further."""

    authority: Authority
    verification: BatchVerification

    def verify(self, request: pb.BatchVerifyHmacRequest, caller: Caller) -> pb.BatchVerifyHmacResponse:
        """Raises InvalidField for a batch of none or too many."""
        asked = request.requests
        if not 0 < len(asked) <= MAX_BATCH:
            raise InvalidField("requests", f"holds {len(asked):,}; from 1 to {MAX_BATCH:,} are taken")
        admitted = self._admitted(asked, caller)
        answers = iter(
            self.verification.verify(caller, [each for each in admitted if not isinstance(each, KeysvcError)])
        )
        return _response([each if isinstance(each, KeysvcError) else next(answers) for each in admitted])

    def _admitted(self, asked: Sequence[pb.VerifyHmacRequest], caller: Caller) -> list[Presented | KeysvcError]:
        """Names are looked at once each: most batches are of one merchant."""
        names: dict[str, Named | KeysvcError] = {}
        admitted: list[Presented | KeysvcError] = []
        for each in asked:
            text = each.name
            name = names.get(text)
            if name is None:
                name = names[text] = self._own(text, caller)
            admitted.append(name if isinstance(name, KeysvcError) else _read(name, each))
        return admitted

    def _own(self, name: str, caller: Caller) -> Named | KeysvcError:
        known = caller.who
        if known is None:
            return PermissionDenied("The service itself verifies nothing")
        try:
            self.authority.check(known, self.authority.grant(known, caller.method), caller.method, name)
            return parse_merchant_or_credential(name)
        except KeysvcError as error:
            return error


def presented(name: Named, request: pb.VerifyHmacRequest) -> Presented:
    """What a VerifyHmac asks. Raises InvalidField."""
    mac = request.mac
    if not mac:
        raise InvalidField("mac", "is absent: send the MAC as it was received, decoded to bytes")
    return Presented(name, sized(request.message, "message", MAX_MESSAGE), mac)


def _read(name: Named, request: pb.VerifyHmacRequest) -> Presented | KeysvcError:
    try:
        return presented(name, request)
    except InvalidField as error:
        return error


def _response(answers: Sequence[Answer]) -> pb.BatchVerifyHmacResponse:
    """Equal answers are one object here, and are written once."""
    written: dict[int, _Outcome] = {}
    results = []
    for answer in answers:
        outcome = written.get(id(answer))
        if outcome is None:
            outcome = written[id(answer)] = _outcome(answer)
        results.append(outcome)
    return pb.BatchVerifyHmacResponse(results=results)


def _outcome(answer: Answer) -> _Outcome:
    if isinstance(answer, KeysvcError):
        return _Outcome(error=errors.to_message(answer))
    return _Outcome(response=told(pb.VerifyHmacResponse, answer))
