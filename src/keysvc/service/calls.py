"""Who calls, and what a change writes about it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from keysvc.model.audit import AuditRecord
from keysvc.model.errors import RequestAlreadyDone
from keysvc.model.names import check_id
from keysvc.store.changes import Change

Clock = Callable[[], datetime]
"""The time now, aware and UTC."""

SERVICE_ITSELF = "keysvc"
"""The principal of what no caller did."""


def no_peer() -> str:
    """The peer of what no caller did."""
    return ""


class Caller(NamedTuple):
    """An authenticated caller of one call. A tuple, since every call makes one."""

    principal: str
    method: str
    peer: Callable[[], str]
    """Asked for only by what is recorded: finding it out costs more than a MAC."""


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
    """Writes the audit event of a change that is about to be committed, and remembers its request_id."""
    change.audit(
        AuditRecord(
            time=time, principal=caller.principal, method=caller.method, resource=resource, version=version,
            outcome="OK", reason="", request_id=request_id, peer=caller.peer(),
        )
    )  # fmt: skip
    if request_id:
        change.remember_request(caller.principal, request_id, resource, version, time)
