"""A recorded history of calls, and from it how long each version of each key lived.

Times are `time.monotonic_ns` of one process. A call takes effect at some instant between its begin and
its end, so every life has two bounds: the span in which the version surely counted, and the longest in
which it possibly did.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from endurance.keys import Answer, Key

CREATE, RENEW, REVOKE = "CreateCredential", "RenewCredential", "RevokeCredential"
CLOCK_SLACK = 5_000_000
"""Nanoseconds. An overlap ends by the server's wall clock, which may run a little apart from the monotonic one."""


@dataclass(frozen=True, slots=True)
class Span:
    """Nanoseconds, both ends included. An end may be infinite."""

    begin: float
    end: float

    def within(self, other: Span) -> bool:
        return other.begin < self.begin and self.end < other.end

    def touches(self, other: Span) -> bool:
        return self.begin <= other.end and other.begin <= self.end


@dataclass(frozen=True, slots=True)
class Changed:
    """A create, renew or revoke that was answered. `key` is the new one; the one that ended, for a revoke."""

    span: Span
    method: str
    key: Key
    overlap: float = 0
    """Nanoseconds that the key before this one still verifies."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A verification at `name` that was answered. `key` is None where what was presented was forged."""

    span: Span
    name: str
    slot: str
    key: Key | None
    answer: Answer


@dataclass(frozen=True, slots=True)
class Signed:
    """A MAC that was made at `name`, by the key that the answer tells of."""

    span: Span
    name: str
    message: bytes
    mac: bytes
    credential: str
    version: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A call at `name` that ended with an error. Where it has no reason, that is its code."""

    span: Span
    name: str
    method: str
    reason: str


Event = Changed | Verified | Signed | Refused


@dataclass(frozen=True, slots=True)
class Bounds:
    """The span in which something surely was so, and the longest in which it possibly was."""

    surely: Span
    possibly: Span


@dataclass(frozen=True, slots=True)
class Life:
    """How long one version was its slot's current key, and how long it verified."""

    key: Key
    current: Bounds
    verifies: Bounds


@dataclass(frozen=True, slots=True)
class _End:
    span: Span
    overlap: float = 0

    @property
    def earliest(self) -> float:
        return self.span.begin + self.overlap - (CLOCK_SLACK if self.overlap else 0)

    @property
    def latest(self) -> float:
        return self.span.end + self.overlap + (CLOCK_SLACK if self.overlap else 0)


def by_credential(events: Iterable[Event]) -> dict[str, list[Changed]]:
    """The changes of each credential."""
    found: dict[str, list[Changed]] = defaultdict(list)
    for event in events:
        if isinstance(event, Changed):
            found[event.key.credential].append(event)
    return found


def lives(changes: list[Changed]) -> dict[int, Life]:
    """By version. The changes are those of one credential, and in order (see `disorder`)."""
    births = {change.key.version: change for change in changes if change.method != REVOKE}
    revokes = [change for change in changes if change.method == REVOKE]
    return {version: _life(birth, births.get(version + 1), revokes) for version, birth in births.items()}


def disorder(changes: list[Changed]) -> list[str]:
    """What cannot be: versions that were skipped or given out twice, or in another order than the calls'."""
    births = sorted((c for c in changes if c.method != REVOKE), key=lambda change: change.key.version)
    revoked = [change.key.version for change in changes if change.method == REVOKE]
    versions = [birth.key.version for birth in births]
    if versions != list(range(1, len(births) + 1)):
        return [f"the answers tell of versions {versions}"]
    if len(set(revoked)) != len(revoked) or not set(revoked) <= set(versions):
        return [f"the answers tell of revoked versions {sorted(revoked)}, of {versions[-1:]}"]
    faults = []
    for before, after in pairwise(births):
        if after.span.end < before.span.begin:
            faults.append(f"{after.key} was answered before the call that made {before.key} began")
        if (after.method == CREATE) != (before.key.version in revoked):
            faults.append(f"{after.key} came of {after.method}, with {revoked} revoked")
    return faults


def _life(birth: Changed, successor: Changed | None, revokes: list[Changed]) -> Life:
    version = birth.key.version
    own_end = [_End(change.span) for change in revokes if change.key.version == version]
    replaced = [_End(successor.span)] if successor and successor.method == RENEW else []
    overlapped = [_End(successor.span, successor.overlap)] if successor and successor.method == RENEW else []
    # A revoke ends every key of the slot, those that are retiring too.
    any_end = [_End(change.span) for change in revokes if change.key.version >= version]
    return Life(birth.key, _bounds(birth.span, own_end + replaced), _bounds(birth.span, any_end + overlapped))


def _bounds(birth: Span, ends: list[_End]) -> Bounds:
    earliest = min((end.earliest for end in ends), default=math.inf)
    latest = min((end.latest for end in ends), default=math.inf)
    return Bounds(surely=Span(birth.end, earliest), possibly=Span(birth.begin, latest))
