"""When keys were last used: noted in memory, written in batches.

At most one interval of notes is lost when the process dies. What is asked of it here is always
answered from memory and SQL together.
"""

from __future__ import annotations

import threading
from datetime import datetime

from keysvc.model.names import CredentialName
from keysvc.model.records import UsageRecord
from keysvc.model.slots import Slot
from keysvc.store.changes import Change
from keysvc.store.store import Store

FLUSH_SECONDS = 1.0

Key = tuple[str, Slot, int]
"""(merchant id, slot, version)"""


class Usage:
    """Thread-safe; `note` neither locks nor blocks."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._noted: dict[Key, datetime] = {}
        self._flushing: dict[Key, datetime] = {}
        self._flush_lock = threading.Lock()

    def note(self, merchant_id: str, slot: Slot, version: int, time: datetime) -> None:
        self._noted[merchant_id, slot, version] = time

    def flush(self) -> None:
        """Writes what was noted. Raises StoreUnavailable; the notes are then kept for the next time."""
        with self._flush_lock:
            self._flushing, self._noted = {**self._flushing, **self._noted}, {}
            self._store.write_usage(self._flushing)
            self._flushing = {}

    def of(self, merchant_id: str) -> dict[tuple[Slot, int], datetime]:
        """The last uses of a merchant's keys, by slot and version."""
        return self._with_noted(merchant_id, self._store.usage(merchant_id))

    def of_slot(self, change: Change, name: CredentialName) -> datetime | None:
        """The last use of any key of a slot, read inside a change."""
        used = self.within(change, name.merchant_id)
        return max((time for (slot, _), time in used.items() if slot is name.slot), default=None)

    def within(self, change: Change, merchant_id: str) -> dict[tuple[Slot, int], datetime]:
        """The same as `of`, read inside a change."""
        return self._with_noted(merchant_id, change.usage(merchant_id))

    def _with_noted(self, merchant_id: str, written: list[UsageRecord]) -> dict[tuple[Slot, int], datetime]:
        used = {(record.slot, record.version): record.last_used_time for record in written}
        for noted in (self._flushing, self._noted):
            for (merchant, slot, version), time in noted.copy().items():
                if merchant == merchant_id:
                    used[slot, version] = max(time, used.get((slot, version), time))
        return used
