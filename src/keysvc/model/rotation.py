"""Where the rotation of a pair of slots stands, and what is safe to do next: pure rules over its live keys.

A double run goes: create the secondary, move the clients, swap, revoke the secondary, which then holds the
old key. Old is the one of two current keys that was made first, and every retiring key.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from keysvc.model.slots import PAIRS, Kind, Slot
from keysvc.model.uses import Calls, recent_callers, told_use

_NAMED = 3
"""Callers that a reason names."""


class Stage(StrEnum):
    """How far a rotation is, by its name on the wire."""

    NO_KEY = "NO_KEY"
    SINGLE = "SINGLE"
    MOVING = "MOVING"
    RETIRING = "RETIRING"


class Action(StrEnum):
    """What takes it on."""

    CREATE = "CREATE"
    SWAP = "SWAP"
    REVOKE = "REVOKE"


@dataclass(frozen=True, slots=True)
class Standing:
    """One live key and its use."""

    slot: Slot
    version: int
    may_sign: bool
    create_time: datetime
    expire_time: datetime | None
    calls: Calls
    callers: tuple[tuple[str, Calls], ...]
    """By principal's id, the last to use it first."""

    @property
    def retiring(self) -> bool:
        return self.expire_time is not None


@dataclass(frozen=True, slots=True)
class Step:
    """What could be done next. `version` is that of a retiring key, or 0."""

    action: Action
    slot: Slot | None
    version: int
    safe: bool
    reason: str


class Rotation:
    """What is known of one pair at one time."""

    def __init__(self, kind: Kind, keys: list[Standing], unused_for: timedelta, now: datetime) -> None:
        """`keys` in the order in which they are tried. A key that was not used for `unused_for` may be revoked."""
        self.kind = kind
        self.keys = keys
        self.now = now
        self._unused_for = unused_for
        self._current = {key.slot: key for key in keys if not key.retiring}

    @property
    def stage(self) -> Stage:
        if not self._current:
            return Stage.NO_KEY
        if self._older is not None and self._older.slot is PAIRS[self.kind][0]:
            return Stage.MOVING
        return Stage.RETIRING if any(self.is_old(key) for key in self.keys) else Stage.SINGLE

    def is_old(self, key: Standing) -> bool:
        """Whether another key is to take its place."""
        return key.retiring or key is self._older

    def signs(self, key: Standing) -> bool:
        """Whether it signs what is asked for by the merchant's name."""
        signer = next((self._current[slot] for slot in PAIRS[self.kind] if slot in self._current), None)
        return key is signer and key.may_sign

    def can_be_revoked(self, key: Standing) -> bool:
        """Whether ending it breaks nothing that is seen here."""
        return self.is_old(key) and not self._recent(key)

    def steps(self) -> Iterator[Step]:
        """The first first."""
        primary, secondary = PAIRS[self.kind]
        if self.stage is Stage.NO_KEY:
            yield Step(Action.CREATE, primary, 0, True, "The pair holds no key")
        elif len(self._current) == 1 and secondary not in self._current:
            yield Step(Action.CREATE, secondary, 0, True, "Verification accepts both keys; the primary goes on signing")
        elif len(self._current) == 1:
            yield self._fill_primary(primary)
        elif self.stage is Stage.MOVING:
            yield self._swap(self._current[secondary])
        for key in self.keys:
            if key.retiring or (self.is_old(key) and key.slot is secondary):
                yield self._revoke(key)

    def _recent(self, key: Standing) -> list[tuple[str, datetime]]:
        """Who used of late what ends with it: all keys of its slot, where it is the current one."""
        ending = [key] if key.retiring else [one for one in self.keys if one.slot is key.slot]
        return recent_callers((each for one in ending for each in one.callers), self._unused_for, self.now)

    def _unused(self) -> str:
        if not self._unused_for:
            return "Nobody uses it"
        return f"Nobody has used it for {str(self._unused_for).removesuffix(', 0:00:00')}"

    @property
    def _older(self) -> Standing | None:
        """The older of two current keys."""
        if len(self._current) < len(PAIRS[self.kind]):
            return None
        return min(self._current.values(), key=lambda key: key.create_time)

    def _fill_primary(self, primary: Slot) -> Step:
        if self.kind is Kind.HMAC_KEY:
            reason = "Signing by the merchant's name moves to the new key at once: its receivers must know it before"
            return Step(Action.CREATE, primary, 0, False, reason)
        return Step(Action.CREATE, primary, 0, True, "Verification accepts both keys")

    def _swap(self, newer: Standing) -> Step:
        if self.kind is not Kind.HMAC_KEY:
            return Step(Action.SWAP, None, 0, True, "Nothing is signed with API keys: only the names change")
        if not newer.may_sign:
            return Step(Action.SWAP, None, 0, False, "The newer key only verifies, and would sign nothing: renew it")
        if newer.calls.total:
            return Step(Action.SWAP, None, 0, True, "The newer key is in use; signing moves to it")
        reason = "Nobody has used the newer key yet: make sure that the receivers of what is signed have it"
        return Step(Action.SWAP, None, 0, False, reason)

    def _revoke(self, key: Standing) -> Step:
        version = key.version if key.retiring else 0
        if self.can_be_revoked(key):
            return Step(Action.REVOKE, key.slot, version, True, self._unused())
        reason = f"Last used at {told_use(self._recent(key), _NAMED)}: move them first"
        return Step(Action.REVOKE, key.slot, version, False, reason)
