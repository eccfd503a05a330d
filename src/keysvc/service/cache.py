"""What this process remembers of merchants and principals, never older than the call that asks.

`refresh` comes first in every call: it returns when an epoch that was read after the call arrived has
been seen, and everything that changed up to it is forgotten. What is loaded while the epoch moves is
used by the call that loaded it, and not remembered.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from keysvc.hsm.token import Token
from keysvc.model.hsm_keys import HSM_KEYS
from keysvc.model.names import merchant_name, principal_name
from keysvc.model.principals import PrincipalRecord
from keysvc.service.integrity import Sealer
from keysvc.service.known import Known
from keysvc.service.remembered import MERCHANTS, Remembered
from keysvc.service.views import MerchantView, checked_view
from keysvc.store.store import Store

HEADERS = 10_000
"""Authenticated headers remembered at most."""


@dataclass(slots=True)
class Lookups:
    """How often something was looked for. Counted without a lock: of a great many, one may be lost."""

    hits: int = 0
    misses: int = 0


class Cache:
    """Thread-safe. Methods raise StoreUnavailable, and HsmUnavailable where a row must be checked."""

    def __init__(self, store: Store, token: Token, sealer: Sealer) -> None:
        self._store = store
        self._token = token
        self._sealer = sealer
        self.arrival = store.epoch.arrival
        """Gives a ticket to take when a call arrives, before it waits for a thread. Does not block."""
        self._lock = threading.Lock()
        self._epoch = 0
        self._moves = 0
        self._merchants = Remembered()
        self._headers: dict[bytes, Known] = {}
        self.merchant_lookups = Lookups()
        self.header_lookups = Lookups()

    @property
    def epoch(self) -> int:
        """The epoch seen last."""
        return self._epoch

    @property
    def moves(self) -> int:
        """How often the epoch moved. Pass it to `remember_header` as it was before the header was checked.

        Not the epoch itself: a database that took over from another may have come to the same by another way.
        """
        return self._moves

    def refresh(self, arrived: int | None = None) -> None:
        """Sees to an epoch whose read began after the call arrived. Blocks, unless other calls have seen to it."""
        if arrived is None or not self._store.epoch.seen_since(arrived):
            self._store.epoch.read(self._moved, arrived)

    def merchant(self, merchant_id: str) -> MerchantView | None:
        """The merchant as of the last `refresh` or later, checked; None where there is none. Raises Integrity."""
        view = self._merchants.get(merchant_id)
        if view is None:
            self.merchant_lookups.misses += 1
            return self._load(merchant_id)
        self.merchant_lookups.hits += 1
        return view

    def is_at_hand(self, merchant_id: str) -> bool:
        """Whether the merchant is remembered, and the token makes MACs without being waited for."""
        return merchant_id in self._merchants and self._token.is_at_hand()

    def principal(self, principal_id: str) -> PrincipalRecord | None:
        """Read from the store and checked; None where there is none. Raises Integrity."""
        return self._checked(self._store.principal(principal_id))

    def principal_of(self, spiffe_id: str) -> PrincipalRecord | None:
        """The same, by the SPIFFE id of a certificate."""
        return self._checked(self._store.principal_of(spiffe_id))

    def header(self, key: bytes) -> Known | None:
        """Whose proof this was when it was last checked, if that principal has not changed since."""
        known = self._headers.get(key)
        if known is None:
            self.header_lookups.misses += 1
        else:
            self.header_lookups.hits += 1
        return known

    def known(self, key: bytes) -> Known | None:
        """What `header` would find now. Not counted as a look-up."""
        return self._headers.get(key)

    def remember_header(self, key: bytes, known: Known, as_of: int) -> None:
        with self._lock:
            if self._moves == as_of:
                self._headers[key] = known
                if len(self._headers) > HEADERS:
                    del self._headers[next(iter(self._headers))]

    def _checked(self, record: PrincipalRecord | None) -> PrincipalRecord | None:
        if record is None:
            self._sealer.spend_a_check()
        else:
            self._sealer.check(record, principal_name(record.principal_id))
        return record

    def _load(self, merchant_id: str) -> MerchantView | None:
        as_of = self._moves
        holdings = self._store.holdings(merchant_id)
        if holdings is None:
            return None
        view = checked_view(holdings, self._sealer)
        with self._lock:
            if self._moves == as_of:
                self._merchants.put(merchant_id, view)
        return view

    def _moved(self, epoch: int) -> None:
        with self._lock:
            if not self._merchants and not self._headers:
                # Nothing to forget; and what is being loaded just now sees that the epoch has moved.
                self._epoch, self._moves = epoch, self._moves + 1
                self._token.doubt_keys()
                return
        changed = self._changed(epoch)
        if changed is None or any(subject.startswith(HSM_KEYS) for subject in changed):
            self._token.doubt_keys()
        with self._lock:
            gone = self._forget(changed)
            self._epoch, self._moves = epoch, self._moves + 1
        self._token.forget(
            key.wrapped.ident for view in gone for slot in view.slots.values() for key in slot.keys if key.wrapped
        )

    def _changed(self, epoch: int) -> set[str] | None:
        """What changed since the epoch seen last; None where that is not known, or more than it is worth to read."""
        if epoch - self._epoch > MERCHANTS:
            return None
        changed = self._store.epoch.changes(self._epoch, epoch)
        return None if changed is None else set(changed)

    def _forget(self, subjects: set[str] | None) -> list[MerchantView]:
        """Forgets what changed, or everything where that is not known; returns the merchants forgotten."""
        if subjects is None:
            self._headers.clear()
            return self._merchants.clear()
        merchants, principals = merchant_name(""), principal_name("")
        changed = {subject.removeprefix(principals) for subject in subjects if subject.startswith(principals)}
        if changed:
            # Only theirs: who is at work stays known, also while others guess its password.
            kept = ((key, known) for key, known in self._headers.items() if known.record.principal_id not in changed)
            self._headers = dict(kept)
        names = [subject.removeprefix(merchants) for subject in subjects if subject.startswith(merchants)]
        return [view for name in names if (view := self._merchants.pop(name))]
