"""Moving from one key of a pair to the other: where it stands, and the swap."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from keysvc.model.changing import check_etag, check_span
from keysvc.model.errors import InvalidField
from keysvc.model.merchants import no_merchant, require_active
from keysvc.model.names import CredentialName, merchant_name
from keysvc.model.records import KeyRecord, MerchantState, SlotRecord
from keysvc.model.rotation import Rotation, Standing
from keysvc.model.slots import PAIRS, Kind, Slot
from keysvc.model.uses import Uses, callers_of, calls_of
from keysvc.service.calls import Caller, Clock, record, refuse_repeat
from keysvc.service.integrity import Sealer
from keysvc.service.slot_edit import SlotEdit, etag_of
from keysvc.service.usage import Usage
from keysvc.service.viewing import CredentialView
from keysvc.store.store import Store


@dataclass(frozen=True, slots=True)
class RotationView:
    """A rotation as it is shown."""

    merchant_id: str
    active: bool
    """Whether the merchant's keys may be created, renewed and swapped."""
    rotation: Rotation
    etag: str


@dataclass(frozen=True, slots=True)
class SwapRequest:
    """What a swap comes with. `etag` is a rotation's."""

    caller: Caller
    merchant_id: str
    kind: Kind
    request_id: str = ""
    etag: str = ""


class Rotations:
    """Methods raise NotFound, InvalidField for a kind that has no pair, or StoreUnavailable."""

    def __init__(self, store: Store, sealer: Sealer, usage: Usage, now: Clock) -> None:
        self._store = store
        self._sealer = sealer
        self._usage = usage
        self._now = now

    def get(self, merchant_id: str, kind: Kind, unused_for: timedelta) -> RotationView:
        """A view: rows are not checked, and it answers while the token is out of reach."""
        check_span(unused_for, "unused_for")
        pair = _pair(kind)
        holdings = self._store.holdings(merchant_id)
        if holdings is None:
            raise no_merchant(merchant_id)
        now, uses = self._now(), self._usage.of(merchant_id)
        keys = [_standing(key, uses, now) for slot in pair for key in holdings.keys.get(slot, []) if key.live(now)]
        active = holdings.merchant.state is MerchantState.ACTIVE
        etag = _etag(holdings.slots.get(slot) for slot in pair)
        return RotationView(merchant_id, active, Rotation(kind, keys, unused_for, now), etag)

    def swap(self, request: SwapRequest) -> tuple[CredentialView, CredentialView]:
        """Exchanges the current keys of the pair; (primary, secondary) as they are then.

        Each slot counts a version on, so that no name and version ever stands for two keys. Raises SlotEmpty,
        MerchantNotActive, EtagMismatch, RequestAlreadyDone, Integrity.
        """
        names = [CredentialName(request.merchant_id, slot) for slot in _pair(request.kind)]
        with self._store.change() as change:
            request.caller.check_deadline()
            refuse_repeat(change, request.caller, request.request_id)
            edits = SlotEdit.read_several(change, self._sealer, names)
            for edit in edits:
                edit.check_integrity()
                require_active(edit.merchant)
                edit.require_key()
            check_etag(request.etag, _etag(edit.slot for edit in edits), merchant_name(request.merchant_id))
            now = self._now()
            written = _exchange(*edits)
            used = self._usage.last_within(change, request.merchant_id)
            for edit, slot, request_id in zip(edits, written, (request.request_id, ""), strict=True):
                record(change, request.caller, str(edit.name), version=slot.version, request_id=request_id, time=now)
        primary, secondary = (
            CredentialView(edit.name, slot, edit.retiring(now), used) for edit, slot in zip(edits, written, strict=True)
        )
        return primary, secondary


def _exchange(one: SlotEdit, other: SlotEdit) -> tuple[SlotRecord, SlotRecord]:
    for edit in (one, other):
        edit.change.take_key(edit.current())
    return _fill_with(one, other), _fill_with(other, one)


def _fill_with(edit: SlotEdit, source: SlotEdit) -> SlotRecord:
    """Puts what the source's slot says of its current key, and the key, into this slot. Retiring keys stay."""
    mine, theirs, key = edit.require_key(), source.require_key(), source.current()
    slot = edit.sealer.seal(
        replace(
            theirs,
            slot=mine.slot,
            version=mine.version + 1,
            revision=mine.revision + 1,
            retiring_fingerprints=mine.retiring_fingerprints,
        )
    )
    made_in = key.made_in or key.slot
    moved = replace(key, slot=slot.slot, version=slot.version, made_in=None if made_in is slot.slot else made_in)
    edit.change.put_slot(slot)
    edit.change.add_key(edit.sealer.seal(moved))
    return slot


def _pair(kind: Kind) -> tuple[Slot, Slot]:
    if kind not in PAIRS:
        raise InvalidField("kind", f"must be {' or '.join(PAIRS)}: other slots have no second")
    return PAIRS[kind]


def _standing(key: KeyRecord, uses: Uses, now: datetime) -> Standing:
    own = [(use, tally) for use, tally in uses.items() if use.fingerprint == key.fingerprint]
    callers = tuple(callers_of(uses, {key.fingerprint}, now))
    may_sign = key.hmac_algorithm is not None and key.hmac_algorithm.may_sign
    return Standing(key.slot, key.version, may_sign, key.create_time, key.expire_time, calls_of(own, now), callers)


def _etag(slots: Iterable[SlotRecord | None]) -> str:
    """Of both slots of a pair, the primary's first."""
    return ".".join(etag_of(slot) for slot in slots)
