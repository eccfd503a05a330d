"""Who calls, and what a change writes about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from keysvc.model.audit import AuditRecord
from keysvc.model.errors import DeadlineExceeded, RequestAlreadyDone
from keysvc.model.names import CredentialName, check_id, principal_name
from keysvc.service.known import Known
from keysvc.store.changes import Change

Clock = Callable[[], datetime]
"""The time now, aware and UTC."""

SERVICE_ITSELF = ""
"""The principal of what no caller did: no principal has this id."""
_NAME_OF_ITSELF = "keysvc"


def no_peer() -> str:
    """The peer of what no caller did."""
    return ""


def no_deadline() -> float:
    """The seconds left to what nobody waits for."""
    return float("inf")


class Caller(NamedTuple):
    """An authenticated caller of one call. A tuple, since every call makes one."""

    principal: str
    method: str
    peer: Callable[[], str]
    """Asked for only by what is recorded: finding it out costs more than a MAC."""
    who: Known | None = None
    """None for the service itself."""
    remaining: Callable[[], float] = no_deadline
    """Seconds until the caller gives up."""

    @property
    def name(self) -> str:
        """As it stands in the audit record."""
        return principal_name(self.principal) if self.principal else _NAME_OF_ITSELF

    def check_deadline(self) -> None:
        """Raises DeadlineExceeded where the caller has given up."""
        if self.remaining() <= 0:
            raise DeadlineExceeded("The call's deadline has passed, and nothing was changed: allow it more time")


@dataclass(frozen=True, slots=True)
class Request:
    """What every change of a slot comes with."""

    caller: Caller
    name: CredentialName
    request_id: str = ""
    etag: str = ""
    rotate_before: datetime | None = None
    """When the key is due, for what puts one into a slot or sets its date."""


def itself(method: str) -> Caller:
    """The service itself, for what it does unasked."""
    return Caller(SERVICE_ITSELF, method, no_peer)


def refuse_repeat(change: Change, caller: Caller, request_id: str) -> None:
    """Raises RequestAlreadyDone where this caller's request_id was carried out before; InvalidField."""
    if not request_id:
        return
    done = change.done_request(caller.principal, check_id(request_id, "request_id"))
    if done is not None:
        resource, version = done
        raise RequestAlreadyDone(
            f"request_id {request_id} was done before, on {resource}: nothing is done again, and no secret shown",
            resource=resource,
            version=str(version),
        )


def record(
    change: Change, caller: Caller, resource: str, *, version: int = 0, request_id: str = "", time: datetime
) -> None:
    """Writes the audit event of a change that is about to be committed, and remembers its request_id.

    Raises DeadlineExceeded where nobody waits for the change any more, and StoreUnavailable.
    """
    caller.check_deadline()
    change.audit(
        AuditRecord(
            time=time, principal=caller.name, method=caller.method, resource=resource, version=version,
            outcome="OK", reason="", request_id=request_id, peer=caller.peer(),
        )
    )  # fmt: skip
    if request_id:
        change.remember_request(caller.principal, request_id, resource, version, time)


def record_slot(change: Change, request: Request, version: int, time: datetime) -> None:
    """The same, of a change of one slot."""
    record(change, request.caller, str(request.name), version=version, request_id=request.request_id, time=time)
