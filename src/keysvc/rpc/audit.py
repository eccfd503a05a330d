"""AuditService on the wire: parse, one service call, convert."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from keysvc.model.audit import ChainedEvent, ChainEnd, SignedHead
from keysvc.model.errors import Integrity, InvalidField
from keysvc.model.names import parse_merchant, parse_principal
from keysvc.rpc.convert import time_of
from keysvc.rpc.pages import Sizes, page_of
from keysvc.service.audit import AuditReader
from keysvc.service.calls import Caller
from keysvc.v1 import audit_service_pb2 as pb
from keysvc.v1.audit_pb2 import AuditEvent

_SIZES = Sizes(default=100, most=1000)
_MAX_DIGITS = 18
"""Of a sequence: what an integer of the database holds."""


@dataclass(frozen=True, slots=True)
class AuditServicer:
    """The rpcs of AuditService. Each is given the Caller that the gate let through."""

    reader: AuditReader

    def ListAuditEvents(self, request: pb.ListAuditEventsRequest, _caller: Caller) -> pb.ListAuditEventsResponse:
        parent = _parent(request.parent)
        start = time_of(request.start_time, "start_time") if request.HasField("start_time") else None
        end = time_of(request.end_time, "end_time") if request.HasField("end_time") else None
        page, next_page_token = page_of(
            request,
            f"audit {parent} {start} {end}",
            _SIZES,
            lambda after, limit: self.reader.events(parent, start, end, _sequence(after), limit),
            lambda event: str(event.sequence),
        )
        return pb.ListAuditEventsResponse(events=[_event(event) for event in page], next_page_token=next_page_token)

    def GetAuditHead(self, _request: pb.GetAuditHeadRequest, _caller: Caller) -> pb.AuditHead:
        end, signed = self.reader.head()
        with _as_written("The end of the audit record"):
            return _head(end, signed)


def _parent(name: str) -> str:
    """`name`; raises InvalidField where it is neither empty nor a merchant's nor a principal's."""
    if name.startswith("merchants/"):
        parse_merchant(name, "parent")
    elif name.startswith("principals/"):
        parse_principal(name, "parent")
    elif name:
        raise InvalidField("parent", "must be empty, merchants/{merchant} or principals/{principal}")
    return name


def _sequence(last: str | None) -> int:
    """Of a page token. Raises InvalidField."""
    if last is None:
        return 0
    if not last.isdecimal() or len(last) > _MAX_DIGITS:
        raise InvalidField("page_token", "is not of this list; start again without it")
    return int(last)


@contextmanager
def _as_written(what: str) -> Iterator[None]:
    """Raises Integrity for a row that holds what keysvc never writes: a word or a type that the message cannot hold."""
    try:
        yield
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise Integrity(f"{what} was altered in the database: run `keysvc audit verify`") from None


def _event(chained: ChainedEvent) -> AuditEvent:
    event = chained.event
    with _as_written(f"Audit event {chained.sequence}"):
        message = AuditEvent(
            sequence=chained.sequence,
            principal=event.principal,
            method=event.method,
            resource=event.resource,
            version=event.version,
            outcome=event.outcome,
            reason=event.reason,
            request_id=event.request_id,
            peer=event.peer,
            previous_hash=chained.previous_hash,
            hash=chained.hash,
        )
        message.time.FromDatetime(event.time)
    return message


def _head(end: ChainEnd, signed: SignedHead | None) -> pb.AuditHead:
    message = pb.AuditHead(sequence=end.sequence, hash=end.hash)
    if signed is not None:
        message.signed_sequence = signed.sequence
        message.signed_hash = signed.hash
        message.sign_time.FromDatetime(signed.time)
        message.signature = signed.signature
        message.generation = signed.generation
    return message
