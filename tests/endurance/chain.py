"""The audit record of a data directory, read with sqlite3 and computed anew as docs/audit.md describes it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from keysvc.model.audit import FIRST_HASH, AuditRecord, event_hash

_COLUMNS = "time, principal, method, resource, version, outcome, reason, request_id, peer"


@dataclass(frozen=True, slots=True)
class Event:
    """One row of the audit table."""

    sequence: int
    record: AuditRecord
    previous_hash: str
    hash: str

    @property
    def method(self) -> str:
        """Without its service."""
        return self.record.method.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Chain:
    """All of it at one instant."""

    events: list[Event]
    tail: tuple[int, str]
    heads: list[tuple[int, str]]
    """(sequence, hash) of what was signed."""

    @property
    def done(self) -> list[Event]:
        """What was changed, in its order; refusals left out."""
        return [event for event in self.events if event.record.outcome == "OK"]


def read_chain(connection: sqlite3.Connection) -> Chain:
    rows = connection.execute(
        f"SELECT sequence, previous_hash, hash, {_COLUMNS} FROM audit_event ORDER BY sequence"
    ).fetchall()
    [tail] = connection.execute("SELECT sequence, hash FROM audit_tail").fetchall()
    heads = connection.execute("SELECT sequence, hash FROM audit_head ORDER BY sequence").fetchall()
    return Chain([_event(*row) for row in rows], tail, heads)


def chain_faults(chain: Chain) -> Iterator[str]:
    """One sentence each; none where the chain is whole."""
    before = (0, FIRST_HASH)
    for event in chain.events:
        if (event.sequence, event.previous_hash) != (before[0] + 1, before[1]):
            yield f"audit event {event.sequence} does not follow {before[0]}"
        if event.hash != event_hash(event.sequence, event.record, event.previous_hash):
            yield f"audit event {event.sequence} has another hash than its fields"
        before = (event.sequence, event.hash)
    if chain.tail != before:
        yield f"the chain ends with {before}, and its tail says {chain.tail}"
    ends = {event.sequence: event.hash for event in chain.events}
    for sequence, signed in chain.heads:
        if ends.get(sequence) != signed:
            yield f"what was signed of event {sequence} is not in the chain"
    if any(later.record.time < earlier.record.time for earlier, later in pairwise(chain.done)):
        yield "the times of the changes are not in their order"


def _event(sequence: int, previous_hash: str, digest: str, time: str, *rest: str | int) -> Event:
    principal, method, resource, version, outcome, reason, request_id, peer = rest
    record = AuditRecord(
        time=datetime.fromisoformat(time).replace(tzinfo=UTC), principal=str(principal), method=str(method),
        resource=str(resource), version=int(version), outcome=str(outcome), reason=str(reason),
        request_id=str(request_id), peer=str(peer),
    )  # fmt: skip
    return Event(sequence, record, previous_hash, digest)
