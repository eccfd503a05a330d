"""BatchVerifyHmac: many VerifyHmac in one call, each with an answer or an error of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from keysvc.model.errors import InvalidField, KeysvcError, PermissionDenied
from keysvc.model.names import parse_merchant_or_credential
from keysvc.rpc import errors
from keysvc.rpc.convert import MAX_MESSAGE, sized, told
from keysvc.service.authority import Authority
from keysvc.service.batch import Answer, Answers, BatchVerification, Presented
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

    def verify(self, request: pb.BatchVerifyHmacRequest, caller: Caller) -> bytes:
        """A BatchVerifyHmacResponse, written. Raises InvalidField for a batch of none or too many."""
        asked = list(request.requests)
        if not 0 < len(asked) <= MAX_BATCH:
            raise InvalidField("requests", f"holds {len(asked):,}; from 1 to {MAX_BATCH:,} are taken")
        answers: Answers = {}
        answers |= self.verification.verify(caller, self._presented(asked, caller, answers))
        return _written([answers[number] for number in range(len(asked))])

    def _presented(self, asked: Sequence[pb.VerifyHmacRequest], caller: Caller, answers: Answers) -> Presented:
        """By columns, since a batch is long, and names looked at once each. Answers what cannot be verified."""
        numbers_by_name: defaultdict[str, list[int]] = defaultdict(list)
        for number, text in enumerate([each.name for each in asked]):
            numbers_by_name[text].append(number)
        messages, macs = [each.message for each in asked], [each.mac for each in asked]
        wrong = _wrong(messages, macs)
        names: defaultdict[Named, list[int]] = defaultdict(list)
        for text, numbers in numbers_by_name.items():
            name = self._own(text, caller)
            if isinstance(name, KeysvcError):
                answers.update(dict.fromkeys(numbers, name))
            else:
                answers.update((number, wrong[number]) for number in wrong.keys() & numbers)
                names[name] += [number for number in numbers if number not in wrong]
        return Presented(messages, macs, {name: numbers for name, numbers in names.items() if numbers})

    def _own(self, name: str, caller: Caller) -> Named | KeysvcError:
        known = caller.who
        if known is None:
            return PermissionDenied("The service itself verifies nothing")
        try:
            self.authority.check(known, self.authority.grant(known, caller.method), caller.method, name)
            return parse_merchant_or_credential(name)
        except KeysvcError as error:
            return error


def check_presented(message: bytes, mac: bytes) -> None:
    """Raises InvalidField for what a VerifyHmac may not hold."""
    if not mac:
        raise InvalidField("mac", "is absent: send the MAC as it was received, decoded to bytes")
    sized(message, "message", MAX_MESSAGE)


def _wrong(messages: Sequence[bytes], macs: Sequence[bytes]) -> dict[int, InvalidField]:
    """The items that hold what they may not, by their numbers."""
    if all(macs) and max(map(len, messages)) <= MAX_MESSAGE:
        return {}
    wrong = {}
    for number, (message, mac) in enumerate(zip(messages, macs, strict=True)):
        try:
            check_presented(message, mac)
        except InvalidField as error:
            wrong[number] = error
    return wrong


def _written(answers: Sequence[Answer]) -> bytes:
    """The response to all. Equal answers are one object here, and are written once: responses one after another are
    one with the results of all (Protocol Buffers, Encoding, "Last One Wins")."""
    distinct = {id(answer): answer for answer in answers}
    written = {known: _response(answer).SerializeToString() for known, answer in distinct.items()}
    return b"".join(map(written.__getitem__, map(id, answers)))


def _response(answer: Answer) -> pb.BatchVerifyHmacResponse:
    return pb.BatchVerifyHmacResponse(results=[_outcome(answer)])


def _outcome(answer: Answer) -> _Outcome:
    if isinstance(answer, KeysvcError):
        return _Outcome(error=errors.to_message(answer))
    return _Outcome(response=told(pb.VerifyHmacResponse, answer))
