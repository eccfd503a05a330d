"""Merchants: adding them, moving them between states, and ending all their keys when they end."""

from __future__ import annotations

from dataclasses import dataclass, replace

from keysvc.model.changing import check_etag
from keysvc.model.errors import AlreadyExists, InvalidField
from keysvc.model.merchants import check_move, no_merchant
from keysvc.model.names import CredentialName, check_id, merchant_name, parse_principal, tokens_name
from keysvc.model.principals import ALL_MERCHANTS
from keysvc.model.records import MerchantRecord, MerchantState, SlotState
from keysvc.service.authority import merchants_of
from keysvc.service.calls import Caller, Clock, record
from keysvc.service.integrity import Sealer
from keysvc.service.slot_edit import SlotEdit
from keysvc.store.changes import Change
from keysvc.store.store import Store

MAX_DISPLAY_NAME = 200


@dataclass(frozen=True, slots=True)
class NewMerchant:
    """What a caller says of a merchant that is to be added. psp and acquirer are principals' names, or empty."""

    merchant_id: str
    display_name: str
    psp: str
    acquirer: str


class Merchants:
    """The use cases of MerchantService."""

    def __init__(self, store: Store, sealer: Sealer, now: Clock) -> None:
        self._store = store
        self._sealer = sealer
        self._now = now

    def create(self, caller: Caller, new: NewMerchant) -> MerchantRecord:
        """Raises AlreadyExists or InvalidField."""
        now = self._now()
        if new.merchant_id == ALL_MERCHANTS:
            raise InvalidField("merchant_id", f"{ALL_MERCHANTS} stands for all merchants: choose another")
        merchant = MerchantRecord(
            merchant_id=check_id(new.merchant_id, "merchant_id"),
            display_name=check_display_name(new.display_name, "merchant.display_name"),
            psp=parse_principal(new.psp, "merchant.psp") if new.psp else None,
            acquirer=parse_principal(new.acquirer, "merchant.acquirer") if new.acquirer else None,
            state=MerchantState.WAITING_ACTIVATION,
            create_time=now,
            update_time=now,
            revision=1,
        )
        with self._store.change() as change:
            if change.merchant(new.merchant_id) is not None:
                raise AlreadyExists(
                    f"Merchant {new.merchant_id} is there already", resource=merchant_name(new.merchant_id)
                )
            written = self._sealer.seal(merchant)
            change.add_merchant(written)
            record(change, caller, merchant_name(new.merchant_id), time=now)
        return written

    def get(self, merchant_id: str) -> MerchantRecord:
        return _found(self._store.merchant(merchant_id), merchant_id)

    def list(self, caller: Caller, after: str | None, limit: int) -> list[MerchantRecord]:
        """By id, those after `after`: all for an ADMIN or AUDITOR, for others their own."""
        return self._store.merchants(after, limit, merchants_of(caller))

    def move(self, caller: Caller, merchant_id: str, etag: str, target: MerchantState) -> MerchantRecord:
        """To another state; one that it is in already changes nothing. Raises MerchantNotActive or EtagMismatch."""
        with self._store.change() as change:
            merchant = _found(change.merchant(merchant_id), merchant_id)
            resource = merchant_name(merchant_id)
            self._sealer.check(merchant, resource)
            if merchant.state is target:
                return merchant
            check_move(merchant, target)
            check_etag(etag, etag_of(merchant), resource)
            now = self._now()
            if target is MerchantState.TERMINATED:
                self._end_all_keys(change, caller, merchant_id)
            moved = replace(merchant, state=target, update_time=now, revision=merchant.revision + 1)
            written = self._sealer.seal(moved)
            change.put_merchant(written)
            record(change, caller, resource, time=now)
        return written

    def _end_all_keys(self, change: Change, caller: Caller, merchant_id: str) -> None:
        holdings = change.holdings(merchant_id)
        if holdings is None:
            return
        now = self._now()
        for slot in holdings.slots.values():
            keys = holdings.keys.get(slot.slot, [])
            if slot.state is SlotState.ACTIVE or keys:
                name = CredentialName(merchant_id, slot.slot)
                SlotEdit(change, self._sealer, name, holdings.merchant, slot, keys).empty(slot, now)
                record(change, caller, str(name), version=slot.version, time=now)
        if holdings.tokens is not None:
            change.delete_tokens(merchant_id)
            record(change, caller, tokens_name(merchant_id), time=now)


def etag_of(merchant: MerchantRecord) -> str:
    return str(merchant.revision)


def _found(merchant: MerchantRecord | None, merchant_id: str) -> MerchantRecord:
    if merchant is None:
        raise no_merchant(merchant_id)
    return merchant


def check_display_name(text: str, field: str) -> str:
    """Returns it; raises InvalidField, which names the field that it stands in."""
    if len(text) > MAX_DISPLAY_NAME:
        raise InvalidField(field, f"is longer than {MAX_DISPLAY_NAME} characters")
    if not text.isprintable():
        raise InvalidField(field, "holds a character that does not print")
    return text
