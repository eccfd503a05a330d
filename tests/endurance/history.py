"""A recorded history of calls: what was asked when, and what was answered.

Times are `time.time_ns` of this machine, the clock by which the server ends overlaps: so an overlap's end is
exact. A call takes effect at some instant between its begin and its end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from endurance.callers import CallerEvent
from endurance.keys import Answer, Key, Place
from endurance.spans import Span

CREATE, RENEW, REVOKE = "CreateCredential", "RenewCredential", "RevokeCredential"
REVOKE_ONE = "RevokeCredential of one version"
SWAP = "SwapCredentials"
FILLS = (CREATE, RENEW, SWAP)
"""The changes that put a key into a slot."""
SUSPEND, ACTIVATE = "SuspendMerchant", "ActivateMerchant"


@dataclass(frozen=True, slots=True)
class Changed:
    """A change of one slot that was answered. A swap is two: one of each slot.

    `key` is the one that stands in the slot since; for a revoke, the one that ended.
    """

    span: Span
    method: str
    key: Key
    previous_ends: Span | None = None
    """When, or between when, the overlap ends of the key before this one; None where that ended at once."""
    source: Place | None = None
    """Where a swapped key stood before."""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Moved:
    """A merchant that became active, or stopped being so. Without any it is active."""

    span: Span
    merchant: str
    active: bool


@dataclass(frozen=True, slots=True)
class Stayed:
    """A merchant that was to become so, and was so already."""

    span: Span
    merchant: str
    active: bool


@dataclass(frozen=True, slots=True)
class Verified:
    """A verification at `name` that was answered: is this by a key of the slot, or by one of its pair?"""

    span: Span
    name: str
    slot: str
    keys: tuple[Key, ...]
    """Those that signed what was presented, known by a place where they stood; none where it was forged."""
    answer: Answer


@dataclass(frozen=True, slots=True)
class Signed:
    """A MAC that was made at `name`, by the key that the answer tells of."""

    span: Span
    name: str
    message: bytes
    mac: bytes
    signer: Place


@dataclass(frozen=True, slots=True)
class SignedByAll:
    """A webhook that was signed at `name` by every live key, the first as a MAC would be."""

    span: Span
    name: str
    message: bytes
    macs: tuple[bytes, ...]
    signers: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """A call at `name` that ended with an error. Where it has no reason, that is its code."""

    span: Span
    name: str
    slot: str
    """The one asked for, or one of the pair that the name stands for."""
    method: str
    reason: str
    version: int = 0
    """The one to be revoked."""
    request: Any = field(default=None, repr=False, compare=False)
    """The message. It may hold a secret."""


Event = Changed | Moved | Stayed | Verified | Signed | SignedByAll | Refused | CallerEvent


def by_credential(events: Iterable[Event]) -> dict[str, list[Changed]]:
    """The changes of each credential."""
    found: dict[str, list[Changed]] = defaultdict(list)
    for event in events:
        if isinstance(event, Changed):
            found[event.key.credential].append(event)
    return found


def disorder(changes: dict[str, list[Changed]]) -> list[str]:
    """What cannot be: versions that were skipped or given out twice, or in another order than the calls'."""
    faults = [f"{name}: {fault}" for name, listed in changes.items() for fault in _disorder(listed)]
    filled = {change.key.place for listed in changes.values() for change in listed if change.method in FILLS}
    moved = [change for listed in changes.values() for change in listed if change.source]
    return faults + [
        f"{change.source} was moved and never held a key" for change in moved if change.source not in filled
    ]


def _disorder(changes: list[Changed]) -> list[str]:
    births = sorted((c for c in changes if c.method in FILLS), key=lambda change: change.key.version)
    revoked = [change.key.version for change in changes if change.method == REVOKE]
    retired = [change.key.version for change in changes if change.method == REVOKE_ONE]
    versions = [birth.key.version for birth in births]
    if versions != list(range(1, len(births) + 1)):
        return [f"the answers tell of versions {versions}"]
    for ended in (revoked, retired):
        if len(set(ended)) != len(ended) or not set(ended) <= set(versions):
            return [f"the answers tell of revoked versions {sorted(ended)}, of {versions[-1:]}"]
    faults = []
    for before, after in pairwise(births):
        if after.span.end < before.span.begin:
            faults.append(f"{after.key} was answered before the call that made {before.key} began")
        if (after.method == CREATE) != (before.key.version in revoked):
            faults.append(f"{after.key} came of {after.method}, with {revoked} revoked")
    return faults
