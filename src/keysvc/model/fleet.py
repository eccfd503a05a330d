"""All merchants' credentials seen together: which are due, and how many stand where."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from keysvc.model.slots import Slot

_EPOCH = datetime.fromtimestamp(0, UTC)


class DueSlot(NamedTuple):
    """A slot whose key is due, in the order in which they are listed: the most overdue first."""

    rotate_before: datetime
    merchant_id: str
    slot: Slot

    def __str__(self) -> str:
        """For the token of a page."""
        microseconds = (self.rotate_before - _EPOCH) // timedelta(microseconds=1)
        return f"{microseconds} {self.merchant_id} {self.slot.value}"

    @classmethod
    def parse(cls, text: str) -> DueSlot:
        """Undoes `str`. Raises ValueError."""
        microseconds, merchant_id, slot = text.split(" ")
        try:
            return cls(_EPOCH + timedelta(microseconds=int(microseconds)), merchant_id, Slot(slot))
        except OverflowError:
            raise ValueError("no time is that far away") from None


@dataclass(frozen=True, slots=True)
class SlotSummary:
    """How many slots of one id, or of their keys."""

    active: int = 0
    inactive: int = 0
    overdue: int = 0
    due: int = 0
    """Not overdue, but soon."""
    retiring_keys: int = 0
    retiring_keys_used: int = 0


@dataclass(frozen=True, slots=True)
class FleetSummary:
    """By slot, those that no merchant ever filled left out."""

    merchants: int
    slots: dict[Slot, SlotSummary]

    def empty(self, slot: Slot) -> int:
        """Slots of this id that were never filled."""
        found = self.slots.get(slot, SlotSummary())
        return self.merchants - found.active - found.inactive


@dataclass(frozen=True, slots=True)
class FleetTimes:
    """The times that a summary is made by."""

    now: datetime
    due_before: datetime
    used_since: datetime
