"""Merchants as verification sees them: checked, with every live key ready for use."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from keysvc.hsm.keys import KeyShape, WrappedKey
from keysvc.model.errors import Integrity
from keysvc.model.names import CredentialName, merchant_name, tokens_name
from keysvc.model.records import Holdings, KeyRecord, MerchantRecord, MerchantToken, SlotRecord, TokenSetRecord
from keysvc.model.slots import PAIRS, HmacAlgorithm, Kind, Slot
from keysvc.service.integrity import Sealer


@dataclass(frozen=True, slots=True)
class LiveKey:
    """One key that verifies until `expire_time`, or until its slot changes."""

    slot: Slot
    name: str
    version: int
    expire_time: datetime | None
    algorithm: HmacAlgorithm | None
    wrapped: WrappedKey | None
    """None for a bearer secret, of which there is only a digest."""
    digest: bytes
    generation: int
    fingerprint: str
    bound_to: str
    """The name that a bearer secret's digest is bound to: that of the slot it was made in."""

    def live(self, now: datetime) -> bool:
        return self.expire_time is None or now < self.expire_time


@dataclass(frozen=True, slots=True)
class SlotView:
    """A slot's keys, the current one first. `broken` says why they must not be used."""

    keys: tuple[LiveKey, ...]
    broken: Integrity | None = None


@dataclass(frozen=True, slots=True)
class TokensView:
    """A merchant's Lib Lite tokens, those that expired since they were written among them. `broken` as in SlotView."""

    tokens: tuple[MerchantToken, ...] = ()
    broken: Integrity | None = None


@dataclass(frozen=True, slots=True)
class MerchantView:
    """A merchant, its slots that were filled at least once, and its tokens."""

    record: MerchantRecord
    slots: dict[Slot, SlotView]
    pairs: dict[Kind, list[SlotView]]
    """What the merchant's own name stands for, by kind, primary first."""
    tokens: TokensView


def checked_view(holdings: Holdings, sealer: Sealer) -> MerchantView:
    """Checks every row. Raises Integrity for the merchant's own; others take but a slot, or the tokens, out of use."""
    merchant = holdings.merchant
    sealer.check(merchant, merchant_name(merchant.merchant_id))
    slots = {slot: _slot_view(record, holdings.keys.get(slot, []), sealer) for slot, record in holdings.slots.items()}
    pairs = {kind: [slots[slot] for slot in pair if slot in slots] for kind, pair in PAIRS.items()}
    return MerchantView(merchant, slots, pairs, _tokens_view(holdings.tokens, sealer))


def _slot_view(record: SlotRecord, keys: list[KeyRecord], sealer: Sealer) -> SlotView:
    name = str(CredentialName(record.merchant_id, record.slot))
    try:
        sealer.check_slot(record, keys, name)
    except Integrity as broken:
        return SlotView((), broken)
    return SlotView(tuple(_live_key(name, key) for key in sorted(keys, key=lambda k: -k.version)))


def _tokens_view(record: TokenSetRecord | None, sealer: Sealer) -> TokensView:
    if record is None:
        return TokensView()
    try:
        sealer.check(record, tokens_name(record.merchant_id))
    except Integrity as broken:
        return TokensView((), broken)
    return TokensView(record.tokens)


def _live_key(name: str, key: KeyRecord) -> LiveKey:
    wrapped = None
    if key.kind is not Kind.BEARER_SECRET:
        # The MAC covers everything of the key, so it also names it in the cache of handles.
        wrapped = WrappedKey(key.mac, KeyShape(key.hmac_algorithm), key.material, key.generation)
    bound_to = name if key.made_in is None else str(CredentialName(key.merchant_id, key.made_in))
    return LiveKey(
        key.slot, name, key.version, key.expire_time, key.hmac_algorithm, wrapped, key.material, key.generation,
        key.fingerprint, bound_to,
    )  # fmt: skip
