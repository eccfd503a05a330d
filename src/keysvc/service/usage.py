"""How often keys are used, by whom and when last: noted in memory, written down in batches.

At most two intervals of notes are lost when the process dies. What is asked of it here is always
answered from memory and SQL together, and is never too few.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime

from keysvc.model import uses
from keysvc.model.uses import TEN_MINUTES, Tally, Use, Uses, step_of
from keysvc.store.changes import Change
from keysvc.store.store import Store

FLUSH_SECONDS = 1.0
_LOOKS = 20
"""At what is stored, until no batch is written meanwhile. A read that never finds it so may tell too many."""

_Whose = tuple[str, str, str]
"""(merchant id, fingerprint, principal)"""


class Usage:
    """Thread-safe; `note` neither locks nor blocks."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._noted: deque[tuple[_Whose, datetime, int]] = deque()
        self._moving = threading.Lock()
        """Held while notes move between these, so that each stands in one of them at every moment."""
        self._counted: Uses = {}
        self._being_written: Uses = {}
        self._writes = 0
        self._flushing = threading.Lock()

    def note(self, merchant_id: str, fingerprint: str, principal: str, time: datetime, times: int = 1) -> None:
        """So many uses of a key."""
        self._noted.append(((merchant_id, fingerprint, principal), time, times))

    def flush(self) -> None:
        """Writes what was noted. Raises StoreUnavailable; the notes are then kept for the next time."""
        with self._flushing:
            with self._moving:
                self._count()
                self._being_written, self._counted = self._counted, {}
                self._writes += 1
            try:
                self._store.add_uses(self._being_written)
            except BaseException:
                with self._moving:
                    self._keep()
                    self._writes += 1
                raise
            with self._moving:
                self._being_written = {}
                self._writes += 1

    def of(self, merchant_id: str) -> Uses:
        """The uses of a merchant's keys."""
        for _ in range(_LOOKS):
            writes = self._writes
            found = self._with_stored(merchant_id, lambda: self._store.uses(merchant_id))
            # Even and the same: no batch was being written meanwhile, which would stand in both places for a moment.
            if self._writes == writes and not writes % 2:
                break
        return found

    def within(self, change: Change, merchant_id: str) -> Uses:
        """The same, read inside a change, during which no batch of this process is written."""
        return self._with_stored(merchant_id, lambda: change.uses(merchant_id))

    def last_within(self, change: Change, merchant_id: str) -> dict[str, datetime]:
        """When each of a merchant's keys was used last, by fingerprint, read inside a change."""
        return uses.last_uses(self.within(change, merchant_id))

    def _with_stored(self, merchant_id: str, read: Callable[[], Uses]) -> Uses:
        # Memory first: what is written down meanwhile is then found in both, not in neither.
        with self._moving:
            self._count()
            unwritten = [
                item for batch in (self._being_written, self._counted) for item in batch.items()
                if item[0].merchant_id == merchant_id
            ]  # fmt: skip
        found = read()
        for use, tally in unwritten:
            uses.add(found, use, tally)
        return found

    def _count(self) -> None:
        """Adds up the notes that are there now."""
        latest: dict[_Whose, datetime] = {}
        calls: dict[_Whose, int] = {}
        for _ in range(len(self._noted)):
            whose, time, times = self._noted.popleft()
            calls[whose] = calls.get(whose, 0) + times
            if latest.get(whose, time) <= time:
                latest[whose] = time
        for whose, time in latest.items():
            # All in the step of the last: a window of time is then told a little too large, and never too small.
            uses.add(self._counted, Use(*whose, TEN_MINUTES, step_of(time)), Tally(calls[whose], time))

    def _keep(self) -> None:
        """Takes back a batch that was not written."""
        for use, tally in self._being_written.items():
            uses.add(self._counted, use, tally)
        self._being_written = {}
