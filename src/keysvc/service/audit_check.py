"""The check of the whole audit record: every event, every signature, and both ends. Reads only.

It may run beside servers that write: what is checked is the chain up to where it ended when the check began.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from keysvc.model.audit import SIGN_EVERY, ChainedEvent, ChainEnd, SignedHead, event_hash
from keysvc.model.errors import Integrity
from keysvc.service.audit import AuditSigner
from keysvc.store.audit_log import EventFilter
from keysvc.store.store import Store

PAGE = 1000
_BEFORE_ALL = -(2**63)
_NEIGHBOURS = 1000
"""How far from its place a moved event is looked for, to be named."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a check that found nothing wrong has seen."""

    end: ChainEnd
    first_time: datetime | None
    last_time: datetime | None
    signed: SignedHead | None

    @property
    def unsigned(self) -> int:
        """Events that rest on the chain alone."""
        return self.end.sequence - (self.signed.sequence if self.signed else 0)


class ChainCheck:
    """One check of the record. `run` raises Integrity that names the first wrong event."""

    def __init__(self, store: Store, signer: AuditSigner, noted: Iterable[ChainEnd]) -> None:
        """`noted` are places that somebody wrote down elsewhere. Raises StoreUnavailable, or Integrity."""
        self._store = store
        self._signer = signer
        # Signatures first: none is over an event after an end that is read later.
        heads = store.audit_heads(after=_BEFORE_ALL)
        self._end = store.audit_end()
        self._heads = {head.sequence: head for head in heads if isinstance(head.sequence, int) and head.sequence > 0}
        # Those that were made between the two, so that none of them seems to be missing.
        later = store.audit_heads(after=max(self._heads, default=0))
        self._heads |= {head.sequence: head for head in later if self._is_within(head.sequence)}
        self._stray_heads = [head.sequence for head in heads if head.sequence not in self._heads]
        self._noted: dict[int, list[str]] = defaultdict(list)
        for place in noted:
            self._noted[place.sequence].append(place.hash)
        self._place = ChainEnd()
        self._first_time: datetime | None = None
        self._last_time: datetime | None = None
        self._page = PAGE
        self._generation = 0
        """Of the newest signature that was checked."""

    @property
    def total(self) -> int:
        """Events to check."""
        return self._end.sequence

    def run(self) -> Iterator[int]:
        """Checks a page at a time; yields how many events were right so far. Raises Integrity, HsmUnavailable, and
        StoreUnavailable."""
        self._check_pins()
        while self._place.sequence < self._end.sequence:
            for event in self._next_page():
                self._check(event)
            yield self._place.sequence
        self._check_end()

    def require_signatures(self) -> None:
        """Once `run` is through. Raises Integrity where the token has not signed for more than SIGN_EVERY events, other
        than before the first signature: events that were moved in from an older schema have none."""
        places = [*sorted(self._heads), self._place.sequence]
        if len(places) == 1:
            places = [0, *places]
        for signed, then in pairwise(places):
            if then - signed > SIGN_EVERY:
                last = then - 1 if then in self._heads else then
                raise Integrity(
                    f"Signatures are missing: the audit events {signed + 1} to {last} have none. They were removed, or"
                    " the token was away: if you know that it was, run it with --allow-unsigned"
                )

    def report(self) -> Report:
        """Once `run` is through."""
        signed = self._heads[max(self._heads)] if self._heads else None
        return Report(self._place, self._first_time, self._last_time, signed)

    def _is_within(self, sequence: object) -> bool:
        return isinstance(sequence, int) and 0 < sequence <= self._end.sequence

    def _next_page(self) -> list[ChainedEvent]:
        after, expected = self._place.sequence, self._place.sequence + 1
        limit = min(self._page, self._end.sequence - after)
        try:
            found = self._store.audit_events(after, limit, EventFilter())
        except Integrity:
            if limit == 1:
                raise
            # One of them cannot be read. Those before it come first.
            self._page = 1
            return []
        if not found:
            raise Integrity(
                f"Audit event {expected} is missing: the chain is noted to end with event {self._end.sequence},"
                f" and ends with event {after}"
            )
        return found

    def _check(self, event: ChainedEvent) -> None:
        expected = self._place.sequence + 1
        if event.sequence != expected:
            if isinstance(event.sequence, int) and event.sequence > expected:
                raise Integrity(f"Audit event {expected} is missing: the next that is there is event {event.sequence}")
            raise Integrity(f"Audit event {event.sequence!r} has no place in the chain: {expected} would come there")
        if _hash_at(expected, event) != event.hash:
            raise self._altered(event)
        if event.previous_hash != self._place.hash:
            raise Integrity(f"Audit event {expected} does not follow event {expected - 1}: one of them was rewritten")
        self._place = ChainEnd(expected, event.hash)
        self._first_time = self._first_time or event.event.time
        self._last_time = event.event.time
        self._check_pins()

    def _altered(self, event: ChainedEvent) -> Integrity:
        here = self._place.sequence + 1
        for place in range(max(1, here - _NEIGHBOURS), here + _NEIGHBOURS):
            if _hash_at(place, event) == event.hash:
                return Integrity(f"Audit event {here} is not in its place: what stands there was event {place}")
        return Integrity(f"Audit event {here} was edited: its hash is not that of its fields")

    def _check_pins(self) -> None:
        """What was signed, or noted elsewhere, of the place that the check has come to."""
        place = self._place
        head = self._heads.get(place.sequence)
        if head is not None:
            if not self._signer.made(head):
                raise Integrity(
                    f"The signature over audit event {place.sequence} is wrong: the token's audit key did not make it,"
                    " or the signature before it is not the one that it follows"
                )
            if head.generation < self._generation:
                raise Integrity(
                    f"The signature over audit event {place.sequence} is of audit key {head.generation}, which was"
                    f" replaced by {self._generation} before it"
                )
            self._generation = head.generation
            if head.hash != place.hash:
                raise Integrity(f"Audit event {place.sequence} is not the one that was signed{self._rewritten()}")
        if any(noted != place.hash for noted in self._noted.get(place.sequence, [])):
            raise Integrity(f"Audit event {place.sequence} is not the one of --head{self._rewritten()}")

    def _rewritten(self) -> str:
        """Where the wrong event is, when only a place after it tells."""
        place = self._place.sequence
        first = max((sequence for sequence in self._heads if sequence < place), default=0) + 1
        return f": some of the events {first} to {place} were rewritten"

    def _check_end(self) -> None:
        last, end = self._place, self._end
        if end.sequence != last.sequence:
            raise Integrity(f"The chain of audit events is noted to end with event {end.sequence}, which cannot be")
        if last.hash != end.hash:
            raise Integrity(f"Audit event {last.sequence} is not the one with which the chain is noted to end")
        stray = self._store.stray_audit_event()
        if stray is not None:
            raise Integrity(f"Audit event {stray!r} has no place in the chain: it stands outside its ends")
        for places, told in ((self._heads, "was signed"), (self._noted, "is noted by --head")):
            beyond = max(places, default=0)
            if beyond > last.sequence:
                raise Integrity(
                    f"Audit event {last.sequence + 1} is missing: event {beyond} {told}, and the chain ends with event"
                    f" {last.sequence}"
                )
        if self._stray_heads:
            raise Integrity(f"There is a signature over audit event {self._stray_heads[0]!r}, which cannot be")


def _hash_at(sequence: int, event: ChainedEvent) -> str | None:
    """None where a field is of a type that keysvc never writes."""
    try:
        return event_hash(sequence, event.event, event.previous_hash)
    except (TypeError, ValueError, AttributeError, OverflowError):
        return None
