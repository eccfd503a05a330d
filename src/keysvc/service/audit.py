"""The audit record in use: its signatures, the watch over its end, and its events for those who may read them."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime

import structlog

from keysvc.hsm.keyring import Purpose
from keysvc.hsm.token import Token
from keysvc.model.audit import ChainedEvent, ChainEnd, SignedHead, head_bytes, time_text
from keysvc.model.errors import Integrity
from keysvc.service.calls import Clock, itself, record
from keysvc.store.audit_log import EventFilter
from keysvc.store.store import Store

log = structlog.get_logger(__name__)


class AuditSigner:
    """Signs the chain's end. Thread-safe. Raises HsmUnavailable when the token cannot answer."""

    def __init__(self, token: Token) -> None:
        self._token = token

    def __call__(self, sequence: int, digest: str) -> tuple[int, bytes]:
        """(generation of the audit key, HMAC-SHA256)"""
        generation = self._token.newest(Purpose.AUDIT)
        return generation, self._token.keyed_digest(Purpose.AUDIT, generation, head_bytes(sequence, digest))

    def made(self, head: SignedHead) -> bool:
        """Whether the token signed this. In constant time; False for a generation that the token lacks."""
        try:
            data = head_bytes(head.sequence, head.hash)
            signature = self._token.keyed_digest(Purpose.AUDIT, head.generation, data)
            return hmac.compare_digest(signature, head.signature)
        except (KeyError, TypeError):
            # A row may hold values of any type.
            return False


def json_line(chained: ChainedEvent) -> str:
    """An event with the fields of AuditEvent on the wire, the time as it is hashed. Without a newline.

    Raises Integrity for a row that holds what keysvc never writes.
    """
    try:
        fields = asdict(chained.event) | {"time": time_text(chained.event.time)}
        hashes = {"previous_hash": chained.previous_hash, "hash": chained.hash}
        return json.dumps({"sequence": chained.sequence} | fields | hashes)
    except (TypeError, ValueError, AttributeError, OverflowError):
        raise Integrity(f"Audit event {chained.sequence!r} was altered: run `keysvc audit verify`") from None


class AuditReader:
    """The use cases of AuditService."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def events(
        self, parent: str, start_time: datetime | None, end_time: datetime | None, after: int, limit: int
    ) -> list[ChainedEvent]:
        """Those after the sequence `after`, of `parent` and what stands under it. Raises Integrity."""
        return self._store.audit_events(after, limit, EventFilter(parent, start_time, end_time))

    def pages(self, after: int, size: int) -> Iterator[list[ChainedEvent]]:
        """All after the sequence `after`, as far as they go by then. Raises Integrity."""
        while page := self._store.audit_events(after, size, EventFilter()):
            yield page
            after = page[-1].sequence

    def head(self) -> tuple[ChainEnd, SignedHead | None]:
        """Where the chain ends, and its newest signature. Raises Integrity."""
        # In this order, so that the signature is never over an event after the end.
        signed = self._store.last_audit_head()
        return self._store.audit_end(), signed


class AuditWatch:
    """Has the chain's end signed, logs what was signed, and notices when the chain goes back. For one thread.

    The log's lines are anchors outside the database: `keysvc audit verify --head SEQUENCE:HASH`.
    """

    def __init__(self, store: Store, now: Clock) -> None:
        self._store = store
        self._now = now
        self._seen = ChainEnd()
        self._logged: int | None = None
        """The newest signature that stands in the log; None before the first look."""

    def look(self) -> None:
        """Raises StoreUnavailable or Integrity."""
        end = self._store.audit_end()
        if not self._still_holds(self._seen, end):
            log.error("audit.went_back", seen=self._seen.sequence, seen_hash=self._seen.hash, found=end.sequence)
            self._logged = None
        self._seen = end
        self._log_heads()

    def sign(self) -> None:
        """Signs the end, where it is not signed. Raises HsmUnavailable, StoreUnavailable or Integrity."""
        last = self._store.last_audit_head()
        if self._store.audit_end().sequence > (last.sequence if last else 0):
            with self._store.change() as change:
                change.sign_audit(self._now())
        self._log_heads()

    def _still_holds(self, seen: ChainEnd, end: ChainEnd) -> bool:
        """Whether the chain that ends there still has what was its end."""
        if end.sequence <= seen.sequence:
            return end == seen
        if seen.sequence == 0:
            return True
        found = self._store.audit_events(seen.sequence - 1, 1, EventFilter())
        return [(event.sequence, event.hash) for event in found] == [(seen.sequence, seen.hash)]

    def _log_heads(self) -> None:
        """Only after the commit: a signature that was undone would be an anchor that the chain does not hold."""
        if self._logged is None:
            # The newest may have been made by a process that died before it logged it.
            last = self._store.last_audit_head()
            self._logged = last.sequence - 1 if last else 0
        for head in self._store.audit_heads(self._logged):
            log.info("audit.signed", sequence=head.sequence, hash=head.hash, generation=head.generation)
            self._logged = head.sequence


def note_start(store: Store, now: Clock) -> None:
    """Writes the event of a start. Raises StoreUnavailable: what cannot be recorded does not start."""
    with store.change() as change:
        record(change, itself("start"), "", time=now())
