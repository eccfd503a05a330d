"""The merchants that a process remembers: as many as fit, by their number and by what they hold, the oldest out first.

By what they hold too, because a merchant may have one key or fifty: a bound on merchants alone bounds no memory.
"""

from __future__ import annotations

from keysvc.service.views import MerchantView

MERCHANTS = 20_000
"""Remembered at most."""
PARTS = 160_000
"""Keys and tokens of all of them together, and the merchants themselves: of about 900 bytes each, measured."""


class Remembered:
    """Whoever writes holds the cache's lock; `get` may be called without it."""

    def __init__(self) -> None:
        self._views: dict[str, MerchantView] = {}
        self._parts = 0
        self.get = self._views.get

    def __len__(self) -> int:
        return len(self._views)

    def __contains__(self, merchant_id: object) -> bool:
        return merchant_id in self._views

    def put(self, merchant_id: str, view: MerchantView) -> None:
        self.pop(merchant_id)
        self._views[merchant_id] = view
        self._parts += _parts(view)
        while len(self._views) > MERCHANTS or self._parts > PARTS:
            self.pop(next(iter(self._views)))

    def pop(self, merchant_id: str) -> MerchantView | None:
        """The merchant that is forgotten by this, if it was remembered."""
        view = self._views.pop(merchant_id, None)
        if view is not None:
            self._parts -= _parts(view)
        return view

    def clear(self) -> list[MerchantView]:
        """All that are forgotten by this."""
        gone = list(self._views.values())
        self._views.clear()
        self._parts = 0
        return gone


def _parts(view: MerchantView) -> int:
    return 1 + len(view.tokens.tokens) + sum(len(slot.keys) for slot in view.slots.values())
