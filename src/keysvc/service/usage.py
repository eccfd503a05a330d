"""When keys were last used: noted in memory, written in batches.

At most one interval of notes is lost when the process dies. What is asked of it here is always
answered from memory and SQL together.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime

from keysvc.model.records import UsageRecord
from keysvc.model.slots import Slot
from keysvc.store.changes import Change
from keysvc.store.store import Store

FLUSH_SECONDS = 1.0
_EVER = datetime.min.replace(tzinfo=UTC)

Key = tuple[str, Slot, int]
"""(merchant id, slot, version)"""
LastUses = dict[tuple[Slot, int], datetime]
"""By slot and version."""


class Usage:
    """Thread-safe; `note` neither locks nor blocks."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._noted: dict[Key, datetime] = {}
        self._settling: dict[Key, datetime] = {}
        self._written: dict[Key, datetime] = {}
        self._flushing: tuple[dict[Key, datetime], ...] = ()
        self._flush_lock = threading.Lock()

    def note(self, merchant_id: str, slot: Slot, version: int, time: datetime) -> None:
        key = (merchant_id, slot, version)
        if self._noted.get(key, time) <= time:
            self._noted[key] = time

    def flush(self) -> None:
        """Writes what was noted. Raises StoreUnavailable; the notes are then kept for the next time."""
        with self._flush_lock:
            # Noted in one place or the other at every moment: what comes in between stands in both.
            self._flushing = (*self._flushing, self._noted)
            self._noted = {}
            batch = _latest((self._late(), *self._flushing))
            self._store.write_usage(batch)
            self._settling, self._written = self._flushing[-1], batch
            self._flushing = ()

    def _late(self) -> dict[Key, datetime]:
        """Notes that took hold of their place just before it was written down, and arrived there just after."""
        return {key: time for key, time in self._settling.copy().items() if time > self._written.get(key, _EVER)}

    def of(self, merchant_id: str) -> LastUses:
        """The last uses of a merchant's keys."""
        return self._with_written(merchant_id, lambda: self._store.usage(merchant_id))

    def within(self, change: Change, merchant_id: str) -> LastUses:
        """The same, read inside a change."""
        return self._with_written(merchant_id, lambda: change.usage(merchant_id))

    def _with_written(self, merchant_id: str, read: Callable[[], list[UsageRecord]]) -> LastUses:
        # Memory first: what is written down meanwhile is then found in both, not in neither.
        in_memory = _latest((self._settling, *self._flushing, self._noted))
        used = {(record.slot, record.version): record.last_used_time for record in read()}
        for (merchant, slot, version), time in in_memory.items():
            if merchant == merchant_id:
                used[slot, version] = max(time, used.get((slot, version), time))
        return used


def _latest(notes: tuple[dict[Key, datetime], ...]) -> dict[Key, datetime]:
    latest: dict[Key, datetime] = {}
    for noted in notes:
        for key, time in noted.copy().items():
            latest[key] = max(time, latest.get(key, time))
    return latest
