"""The rpcs of CredentialService that rotate keys, and show what is due."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration

from keysvc.model.errors import InvalidField
from keysvc.model.fleet import FleetSummary, SlotSummary
from keysvc.model.names import CredentialName, merchant_name, parse_credential, parse_merchant, principal_name
from keysvc.model.rotation import Rotation, Standing, Step
from keysvc.model.slots import Kind, Slot
from keysvc.model.uses import Calls
from keysvc.rpc import convert
from keysvc.rpc.convert import set_time
from keysvc.service.calls import Caller, Request
from keysvc.service.fleet import Fleet
from keysvc.service.lifecycle import Lifecycle
from keysvc.service.rotations import Rotations, RotationView, SwapRequest
from keysvc.v1 import rotation_pb2 as pb
from keysvc.v1.credential_pb2 import Credential

_DAY = timedelta(days=1)
_MONTH = timedelta(days=30)
_CALLERS = 100


@dataclass(frozen=True)
class RotationRpcs:
    """Each is given the Caller that the gate let through."""

    lifecycle: Lifecycle
    rotations: Rotations
    fleet: Fleet

    def GetRotation(self, request: pb.GetRotationRequest, _caller: Caller) -> pb.Rotation:
        merchant_id = parse_merchant(request.name)
        unused_for = _given(request.HasField, request.unused_for, "unused_for", _DAY)
        return _rotation(self.rotations.get(merchant_id, _kind_of(request.kind), unused_for))

    def SwapCredentials(self, request: pb.SwapCredentialsRequest, caller: Caller) -> pb.SwapCredentialsResponse:
        merchant_id = parse_merchant(request.name)
        primary, secondary = self.rotations.swap(
            SwapRequest(caller, merchant_id, _kind_of(request.kind), request.request_id, request.etag)
        )
        return pb.SwapCredentialsResponse(primary=convert.credential(primary), secondary=convert.credential(secondary))

    def ScheduleRotation(self, request: pb.ScheduleRotationRequest, caller: Caller) -> Credential:
        rotate_before = convert.optional_time(request, "rotate_before")
        name = parse_credential(request.name)
        view = self.lifecycle.schedule(Request(caller, name, request.request_id, request.etag, rotate_before))
        return convert.credential(view)

    def SummarizeCredentials(
        self, request: pb.SummarizeCredentialsRequest, caller: Caller
    ) -> pb.SummarizeCredentialsResponse:
        merchant_id = parse_merchant(request.parent, "parent")
        due_within = _given(request.HasField, request.due_within, "due_within", _MONTH)
        used_within = _given(request.HasField, request.used_within, "used_within", _DAY)
        return _summary(self.fleet.summary(caller, merchant_id, due_within, used_within))


def _given(has: Callable[[str], bool], duration: Duration, field: str, default: timedelta) -> timedelta:
    return convert.timedelta_of(duration, field) if has(field) else default


def _kind_of(number: int) -> Kind:
    try:
        return Kind(Credential.Kind.Name(number))
    except ValueError:
        raise InvalidField("kind", "must be HMAC_KEY or BEARER_SECRET") from None


def _rotation(view: RotationView) -> pb.Rotation:
    rotation, merchant_id = view.rotation, view.merchant_id
    message = pb.Rotation(
        name=merchant_name(merchant_id),
        kind=rotation.kind,
        stage=rotation.stage,
        keys=[_traffic(merchant_id, rotation, key) for key in rotation.keys],
        # Of a merchant that is not active nothing can be created or swapped.
        steps=[_step(merchant_id, step) for step in rotation.steps()] if view.active else [],
        etag=view.etag,
    )
    set_time(message.time, rotation.now)
    return message


def _traffic(merchant_id: str, rotation: Rotation, key: Standing) -> pb.KeyTraffic:
    message = pb.KeyTraffic(
        credential=str(CredentialName(merchant_id, key.slot)),
        version=key.version,
        signs=rotation.signs(key),
        old=rotation.is_old(key),
        can_be_revoked=rotation.can_be_revoked(key),
        calls=_calls(key.calls),
        callers=[
            pb.CallerTraffic(principal=principal_name(who) if who else "", calls=_calls(calls))
            for who, calls in key.callers[:_CALLERS]
        ],
    )
    set_time(message.create_time, key.create_time)
    set_time(message.expire_time, key.expire_time)
    return message


def _calls(calls: Calls) -> pb.Calls:
    message = pb.Calls(last_hour=calls.last_hour, last_day=calls.last_day, total=calls.total)
    set_time(message.last_used_time, calls.last_used_time)
    return message


def _step(merchant_id: str, step: Step) -> pb.Rotation.Step:
    slot_name = str(CredentialName(merchant_id, step.slot)) if step.slot else ""
    return pb.Rotation.Step(
        action=step.action, slot_name=slot_name, version=step.version, safe=step.safe, reason=step.reason
    )


def _summary(summary: FleetSummary) -> pb.SummarizeCredentialsResponse:
    return pb.SummarizeCredentialsResponse(
        merchants=summary.merchants,
        slots=[_slot_summary(slot, summary) for slot in sorted(Slot)],
    )


def _slot_summary(slot: Slot, summary: FleetSummary) -> pb.SummarizeCredentialsResponse.SlotSummary:
    found = summary.slots.get(slot, SlotSummary())
    return pb.SummarizeCredentialsResponse.SlotSummary(
        slot=slot, active=found.active, inactive=found.inactive, empty=summary.empty(slot), overdue=found.overdue,
        due=found.due, retiring_keys=found.retiring_keys, retiring_keys_used=found.retiring_keys_used,
    )  # fmt: skip
