"""The audit record in use: its signatures, the watch over its end, and its events for those who may read them."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime

import structlog

from keysvc.hsm.token import Token
from keysvc.model.audit import ChainedEvent, ChainEnd, SignedHead, head_bytes, time_text
from keysvc.model.errors import HsmUnavailable, Integrity
from keysvc.model.hsm_keys import Purpose
from keysvc.service.calls import Clock, itself, record
from keysvc.store.audit_log import EventFilter
from keysvc.store.store import Store

log = structlog.get_logger(__name__)


class AuditSigner:
    """Signs the chain's end, unless the record was tampered with. Thread-safe.

    Raises HsmUnavailable when the token cannot answer.
    """

    def __init__(self, token: Token) -> None:
        self._token = token
        self._seen: SignedHead | None = None
        """The newest signature that was committed when the watch looked last, and right."""
        self._stopped = False

    def __call__(self, sequence: int, digest: str, last: SignedHead | None) -> tuple[int, bytes]:
        """(generation of the audit key, HMAC-SHA256)"""
        if self._stopped or not self.follows(last):
            raise HsmUnavailable("The audit record was tampered with, so it is not signed: run `keysvc audit verify`")
        generation = self._token.newest(Purpose.AUDIT)
        data = head_bytes(sequence, digest, last.signature if last else b"")
        return generation, self._token.keyed_digest(Purpose.AUDIT, generation, data)

    def follows(self, last: SignedHead | None) -> bool:
        """Whether this may be the newest signature: the one seen, or a right one made since by any replica."""
        if last is None or last == self._seen:
            return last == self._seen
        # A signature holds the one before it, so that none of those between can have been taken out. A key that was
        # replaced signs nothing more: whoever got hold of it must not sign in the place of the one after it.
        newer = isinstance(last.sequence, int) and last.sequence > self.seen_sequence
        return newer and last.generation >= (self._seen.generation if self._seen else 0) and self.made(last)

    @property
    def seen_sequence(self) -> int:
        return self._seen.sequence if self._seen else 0

    def go_on_after(self, last: SignedHead | None) -> None:
        """Takes note of the newest signature, which was looked at. What was stopped signs again."""
        self._seen = last
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True

    def made(self, head: SignedHead) -> bool:
        """Whether the token signed this. In constant time; False for a generation that the token lacks."""
        try:
            data = head_bytes(head.sequence, head.hash, head.previous_signature)
            signature = self._token.keyed_digest(Purpose.AUDIT, head.generation, data)
            return hmac.compare_digest(signature, head.signature)
        except (KeyError, TypeError, AttributeError):
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

    Once it went back, nothing more is signed: a signature would vouch for what somebody put there. That lasts until
    what was seen is there again, or the process is started anew.

    The log's lines are anchors outside the database: `keysvc audit verify --head SEQUENCE:HASH`.
    """

    def __init__(self, store: Store, signer: AuditSigner, now: Clock) -> None:
        """`signer` is the one that the store asks."""
        self._store = store
        self._signer = signer
        self._now = now
        self._seen = ChainEnd()
        self._logged: int | None = None
        """The newest signature that stands in the log; None before the first look."""

    def look(self) -> None:
        """Raises HsmUnavailable, StoreUnavailable or Integrity."""
        if self._holds():
            self._log_heads()

    def sign(self) -> None:
        """Looks, and signs the end where it is not signed. Raises HsmUnavailable, StoreUnavailable or Integrity."""
        if not self._holds():
            return
        if self._seen.sequence > self._signer.seen_sequence:
            with self._store.change() as change:
                change.sign_audit(self._now())
        self._log_heads()

    def _holds(self) -> bool:
        """Whether all that was seen is still there. If not, nothing is signed from then on."""
        # In this order, so that the signature is never over an event after the end.
        last, end = self._store.last_audit_head(), self._store.audit_end()
        lost = self._lost(last, end)
        if lost:
            self._signer.stop()
            log.error(
                "audit.went_back", reason=lost, seen=self._seen.sequence, seen_hash=self._seen.hash, found=end.sequence
            )
            return False
        self._seen = end
        self._signer.go_on_after(last)
        return True

    def _lost(self, last: SignedHead | None, end: ChainEnd) -> str:
        """What is not as it was; empty where all is."""
        if not self._stands(self._seen, end):
            return "the event that was the last is gone, or another"
        if not self._signer.follows(last):
            return "the newest signature is gone, or wrong"
        if last is not None and not self._stands(ChainEnd(last.sequence, last.hash), end):
            return "the event that was signed last is gone, or another"
        return ""

    def _stands(self, place: ChainEnd, end: ChainEnd) -> bool:
        """Whether the chain that ends there has this place."""
        if end.sequence <= place.sequence:
            return end == place
        if place.sequence == 0:
            return True
        found = self._store.audit_events(place.sequence - 1, 1, EventFilter())
        return [(event.sequence, event.hash) for event in found] == [(place.sequence, place.hash)]

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
