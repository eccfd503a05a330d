"""Which keys a request is about: the live ones of a slot or of a merchant's pair, as they stand at the call's epoch.

Callers refresh the cache first.
"""

from __future__ import annotations

from datetime import datetime

from keysvc.hsm.keys import WrappedKey
from keysvc.model.errors import SlotEmpty, WrongKind
from keysvc.model.merchants import no_merchant, require_active
from keysvc.model.names import CredentialName, merchant_name
from keysvc.model.slots import RULES, Kind, Slot
from keysvc.service.cache import Cache
from keysvc.service.views import LiveKey, MerchantView, SlotView

Named = tuple[str, Slot | None]
"""A merchant's id, and the one slot that is asked for; None stands for the merchant's pair."""


class LiveKeys:
    """Thread-safe. Methods raise NotFound, WrongKind, Integrity, HsmUnavailable or StoreUnavailable; those that give
    a key to use, MerchantNotActive and SlotEmpty too."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def asked(self, name: Named, kind: Kind) -> tuple[MerchantView, list[SlotView]]:
        """The merchant, and the slots that hold the keys to try, the first first."""
        merchant_id, slot = name
        view = self._cache.merchant(merchant_id)
        if view is None:
            raise no_merchant(merchant_id)
        if slot is None:
            return view, view.pairs[kind]
        if RULES[slot].kind is not kind:
            raise WrongKind(f"{slot} holds a {RULES[slot].kind}, and this needs a {kind}", slot=slot)
        return view, [view.slots[slot]] if slot in view.slots else []

    def current(self, name: Named, kind: Kind) -> LiveKey:
        """The current key of the slot, or of the first of the pair that holds one."""
        view, asked = self.asked(name, kind)
        require_active(view.record)
        for slot_view in asked:
            _require_whole(slot_view)
            if slot_view.keys:
                return slot_view.keys[0]
        raise empty(name)

    def live(self, name: Named, kind: Kind, now: datetime) -> list[LiveKey]:
        """Every live key of them; at least one."""
        view, asked = self.asked(name, kind)
        require_active(view.record)
        live = []
        for slot_view in asked:
            _require_whole(slot_view)
            live += [key for key in slot_view.keys if key.live(now)]
        if not live:
            raise empty(name)
        return live


def wrapped(key: LiveKey) -> WrappedKey:
    """The key as the token takes it. Raises ValueError for a bearer secret."""
    if key.wrapped is None:
        raise ValueError(f"{key.name} has no key in the token")
    return key.wrapped


def empty(name: Named) -> SlotEmpty:
    """What is refused where there is no key to use."""
    merchant_id, slot = name
    resource = str(CredentialName(merchant_id, slot)) if slot else merchant_name(merchant_id)
    return SlotEmpty(f"{resource} holds no key: create one first", resource=resource)


def _require_whole(slot_view: SlotView) -> None:
    if slot_view.broken is not None:
        raise slot_view.broken.with_traceback(None)  # it is remembered, and must not remember its callers
