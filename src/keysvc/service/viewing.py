"""Views: a slot's state and dates, never its secret. Answers while the token is out of reach."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from keysvc.model.merchants import no_merchant
from keysvc.model.names import CredentialName
from keysvc.model.records import Holdings, KeyRecord, SlotRecord
from keysvc.model.slots import Slot
from keysvc.model.uses import last_uses
from keysvc.service.calls import Clock
from keysvc.service.usage import Usage
from keysvc.store.store import Store


@dataclass(frozen=True, slots=True)
class CredentialView:
    """One slot as it is shown. `record` is None where it was never filled."""

    name: CredentialName
    record: SlotRecord | None
    retiring: tuple[KeyRecord, ...] = ()
    last_uses: dict[str, datetime] = field(default_factory=dict)
    """By the keys' fingerprints."""

    def last_use(self, key: SlotRecord | KeyRecord) -> datetime | None:
        """Of the slot's current key, or of a retiring one."""
        return self.last_uses.get(key.fingerprint)


class Viewing:
    """Reads single slots and all of a merchant's."""

    def __init__(self, store: Store, usage: Usage, now: Clock) -> None:
        self._store = store
        self._usage = usage
        self._now = now

    def get(self, name: CredentialName) -> CredentialView:
        """Raises NotFound where there is no such merchant."""
        return self._view(self._holdings(name.merchant_id), name, last_uses(self._usage.of(name.merchant_id)))

    def list(self, merchant_id: str, after: str | None, limit: int) -> list[CredentialView]:
        """By slot id, those after `after`, the empty ones too. Raises NotFound."""
        holdings = self._holdings(merchant_id)
        used = last_uses(self._usage.of(merchant_id))
        slots = sorted(slot for slot in Slot if after is None or slot > after)
        return [self._view(holdings, CredentialName(merchant_id, slot), used) for slot in slots[:limit]]

    def _holdings(self, merchant_id: str) -> Holdings:
        holdings = self._store.holdings(merchant_id)
        if holdings is None:
            raise no_merchant(merchant_id)
        return holdings

    def _view(self, holdings: Holdings, name: CredentialName, used: dict[str, datetime]) -> CredentialView:
        now = self._now()
        keys = holdings.keys.get(name.slot, [])
        retiring = tuple(key for key in keys if key.retiring and key.live(now))
        return CredentialView(name, holdings.slots.get(name.slot), retiring, used)
