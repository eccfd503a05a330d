"""Refusals to change, written to the audit record: each in a change of its own, since the one refused is undone."""

from __future__ import annotations

from dataclasses import dataclass

from keysvc.model.audit import AuditRecord
from keysvc.model.errors import TooManyFailures
from keysvc.model.names import is_id, is_name
from keysvc.service.calls import Clock
from keysvc.service.failures import FailureLimit
from keysvc.store.store import Store

UNRECORDED = frozenset({"OVERLOADED", "STORE_UNAVAILABLE", "TOO_MANY_FAILURES"})
"""Reasons that cannot be recorded, or that would let a flood of calls fill the record."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A call that was to change something, and why it did not."""

    principal: str
    """As in the audit record; empty where the caller proved nothing."""
    method: str
    resource: str
    request_id: str
    reason: str
    peer: str


class Refusals:
    """Thread-safe."""

    def __init__(self, store: Store, limit: FailureLimit, now: Clock) -> None:
        """`limit` is on events of callers that proved nothing, by their address: anybody can make those."""
        self._store = store
        self._limit = limit
        self._now = now

    def record(self, refused: Refused) -> None:
        """Raises StoreUnavailable where it cannot be written, which the caller is then told."""
        if refused.reason in UNRECORDED or (not refused.principal and self._too_many(refused.peer)):
            return
        event = AuditRecord(
            time=self._now(),
            principal=refused.principal,
            method=refused.method,
            resource=refused.resource if is_name(refused.resource) else "",
            version=0,
            outcome="REFUSED",
            reason=refused.reason,
            request_id=refused.request_id if is_id(refused.request_id) else "",
            peer=refused.peer,
        )
        with self._store.change() as change:
            change.audit(event)

    def _too_many(self, peer: str) -> bool:
        key = (peer.rpartition(":")[0], "")
        try:
            self._limit.check(key)
        except TooManyFailures:
            return True
        self._limit.failed(key)
        return False
