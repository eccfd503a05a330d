"""What became of the changes of a history, by the audit record: it tells each that was committed, in their order.

A call that ended with no certain answer may have been done, then or later. The record tells whether it was, and the
changes beside it when: one was committed after all that stand before it, and before all that stand after it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import accumulate
from typing import Any

from endurance.changes import moved
from endurance.history import (
    ACTIVATE,
    CREATE,
    RENEW,
    REVOKE,
    REVOKE_ONE,
    SUSPEND,
    SWAP,
    Changed,
    Event,
    Moved,
    Refused,
    Stayed,
)
from endurance.keys import Key, Place
from endurance.spans import Span

UNANSWERED = frozenset(
    {"OVERLOADED", "UNAVAILABLE", "STORE_UNAVAILABLE", "HSM_UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"}
)
"""How calls end that say nothing: of a part out of reach, a connection cut, or an answer that came too late."""
_OF_SLOTS = frozenset({CREATE, RENEW, REVOKE, REVOKE_ONE, SWAP})
_OF_MERCHANTS = {SUSPEND: False, ACTIVATE: True}


@dataclass(frozen=True, slots=True)
class Recorded:
    """One change as the audit record tells of it."""

    sequence: int
    time: int
    """Nanoseconds since 1970, from within its transaction."""
    method: str
    place: Place
    request_id: str

    @classmethod
    def of(cls, row: dict[str, Any]) -> Recorded:
        """From a row of the table."""
        at: datetime = row["time"]
        time = int(at.replace(microsecond=0).timestamp()) * 1_000_000_000 + at.microsecond * 1_000
        method = row["method"].rpartition("/")[2]
        return cls(row["sequence"], time, method, (row["resource"], row["version"]), row["request_id"])


@dataclass(frozen=True, slots=True)
class Settled:
    """A history in which every change is certain."""

    events: list[Event]
    faults: list[str]
    """Where the record and the answers contradict each other."""
    unanswered: list[Refused]
    """Every call that had no certain answer. Of these:"""
    unknown: int
    """changes,"""
    done: int
    """and those of them that were done."""


class _Settling:
    """One history, against one record that was read at `read_at`, when nothing could change any more."""

    def __init__(self, history: Iterable[Event], record: list[Recorded], read_at: int) -> None:
        self._history = list(history)
        self._record = sorted(record, key=lambda entry: entry.sequence)
        self._after = {entry.sequence: later for entry, later in zip(self._record, self._record[1:], strict=False)}
        self._by_id = {entry.request_id: entry for entry in self._record if entry.request_id}
        self._of_merchants = [entry for entry in self._record if entry.method in _OF_MERCHANTS]
        self._read_at = read_at
        self.faults: list[str] = []
        self.changes: list[tuple[int, Changed | Moved]] = []
        self.others: list[Event] = []
        self.done = 0

    def settle(self) -> None:
        told = set()
        for event in self._history:
            match event:
                case Changed():
                    told.add(event.request_id)
                    self._settle_answered(event)
                case Moved():
                    self._settle_move(event)
                case Refused() if event.reason in UNANSWERED:
                    told |= self._settle_unanswered(event)
                case Refused() if self._entry_of(event):
                    self.faults.append(f"a change was refused and is on record: {event}")
                case _:
                    self.others.append(event)
        self.faults += [f"nobody asked for {entry}" for key, entry in self._by_id.items() if key not in told]
        # What nobody was told of began before it was noted, and was done by the time that the record was read.
        for entry in self._of_merchants:
            span = Span(entry.time, self._read_at)
            self.changes.append((entry.sequence, Moved(span, entry.place[0], _OF_MERCHANTS[entry.method])))

    def _settle_answered(self, event: Changed) -> None:
        entry = self._by_id.get(event.request_id)
        if entry is None:
            self.faults.append(f"a change was answered and is not on record: {event}")
        else:
            self.changes.append((entry.sequence, event))

    def _settle_move(self, event: Moved) -> None:
        """By the time, since such calls carry no request_id: those of one merchant come one after another."""
        for entry in self._of_merchants:
            asked = entry.place[0] == event.merchant and _OF_MERCHANTS[entry.method] is event.active
            if asked and event.span.begin <= entry.time <= event.span.end:
                self._of_merchants.remove(entry)
                self.changes.append((entry.sequence, event))
                return
        self.others.append(Stayed(event.span, event.merchant, event.active))

    def _settle_unanswered(self, event: Refused) -> set[str]:
        entry = self._entry_of(event)
        if entry is None:
            return set()
        self.done += 1
        span = Span(event.span.begin, self._read_at)
        for change in self._as_done(event, entry, span):
            self.changes.append((entry.sequence, change))
        return {entry.request_id}

    def _entry_of(self, event: Refused) -> Recorded | None:
        return self._by_id.get(getattr(event.request, "request_id", ""))

    def _as_done(self, event: Refused, entry: Recorded, span: Span) -> list[Changed]:
        """What an answer would have told, but for the secret, which nobody knows."""
        if event.method == SWAP:
            pair = entry.place, self._after[entry.sequence].place
            return [moved(span, *places, entry.request_id) for places in (pair, pair[::-1])]
        ends = None
        if event.method == RENEW and event.request.HasField("previous_ttl"):
            overlap = event.request.previous_ttl.ToNanoseconds()
            ends = Span(span.begin + overlap, entry.time + overlap)
        return [Changed(span, event.method, Key(*entry.place), ends, request_id=entry.request_id)]


def settled(history: Iterable[Event], record: list[Recorded], read_at: int) -> Settled:
    """`record` was read at `read_at`, when nothing could change any more."""
    events = list(history)
    settling = _Settling(events, record, read_at)
    settling.settle()
    unanswered = [event for event in events if isinstance(event, Refused) and event.reason in UNANSWERED]
    unknown = [event for event in unanswered if event.method in _OF_SLOTS or event.method in _OF_MERCHANTS]
    changes = _in_order(settling.changes)
    return Settled([*changes, *settling.others], settling.faults, unanswered, len(unknown), settling.done)


def _in_order(changes: list[tuple[int, Changed | Moved]]) -> list[Changed | Moved]:
    """As they were committed: none before one that stands before it, none after one that stands after it."""
    ordered = [change for _, change in sorted(changes, key=lambda numbered: numbered[0])]
    begins = accumulate((change.span.begin for change in ordered), max, initial=-math.inf)
    ends = list(accumulate((change.span.end for change in reversed(ordered)), min, initial=math.inf))[::-1]
    return [
        replace(change, span=Span(begin, end))
        for change, begin, end in zip(ordered, list(begins)[1:], ends[:-1], strict=True)
    ]
