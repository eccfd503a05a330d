"""The audit record: events, and the chain of hashes that holds them in their order. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from datetime import UTC, datetime

FIRST_HASH = "0" * 64
"""What the first event has for a previous hash."""
SIGN_EVERY = 100
"""Events between two signatures at most."""
_EVENT = "keysvc audit event 1"
_HEAD = "keysvc audit head 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One change, one refusal to change, a start, or an init. Written in the transaction of what it tells."""

    time: datetime
    principal: str
    """`principals/{p}`; empty where the caller proved nothing; the service's own name for what it did itself."""
    method: str
    resource: str
    version: int
    outcome: str
    reason: str
    request_id: str
    peer: str


_FIELDS = tuple(f.name for f in fields(AuditRecord))


@dataclass(frozen=True, slots=True)
class ChainedEvent:
    """An event at its place in the chain."""

    sequence: int
    event: AuditRecord
    previous_hash: str
    hash: str

    @classmethod
    def after(cls, tail: ChainEnd, event: AuditRecord) -> ChainedEvent:
        sequence = tail.sequence + 1
        return cls(sequence, event, tail.hash, event_hash(sequence, event, tail.hash))


@dataclass(frozen=True, slots=True)
class ChainEnd:
    """Where the chain ends, or where it ended once."""

    sequence: int = 0
    hash: str = FIRST_HASH


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A place in the chain that the token's audit key has signed, and with it all events and signatures before."""

    sequence: int
    hash: str
    time: datetime
    generation: int
    signature: bytes
    previous_signature: bytes = b""
    """Of the one before; empty for the first."""


def event_hash(sequence: int, event: AuditRecord, previous_hash: str) -> str:
    """SHA-256 in hexadecimal, over a JSON list without blanks: a fixed text, the sequence, the fields in their order
    (the time as ISO 8601 in UTC, to the microsecond), and the previous hash."""
    time, *rest = (getattr(event, name) for name in _FIELDS)
    listed = [_EVENT, sequence, time_text(time), *rest, previous_hash]
    return hashlib.sha256(json.dumps(listed, separators=(",", ":")).encode()).hexdigest()


def time_text(time: datetime) -> str:
    """As it is hashed: 2026-05-01T12:00:00.000000+00:00."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def head_bytes(sequence: int, digest: str, previous_signature: bytes) -> bytes:
    """What the audit key signs: a JSON list of a fixed text, the sequence, the event's hash, the signature before."""
    return json.dumps([_HEAD, sequence, digest, previous_signature.hex()], separators=(",", ":")).encode()
