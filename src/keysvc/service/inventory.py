"""All merchants and their credentials as flat rows, for who wants a list of them: never a key, nor a digest of one.

Rows are read a page at a time, and not checked, as views are not: what is added meanwhile may be among them or not.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from keysvc.model.records import Holdings, KeyRecord, MerchantRecord, SlotRecord
from keysvc.model.slots import RULES
from keysvc.service.calls import Clock
from keysvc.store.store import Store

PAGE = 500
"""Merchants read at once."""
COLUMNS = (
    "merchant_id", "display_name", "psp", "acquirer", "state", "merchant_create_time", "merchant_update_time", "slot",
    "token", "slot_state", "kind", "version", "hmac_algorithm", "secret_format", "weak_key", "fingerprint",
    "create_time", "renew_time", "revoke_time", "rotate_before", "expire_time", "last_used_time",
)  # fmt: skip

Value = str | int | bool | None
Row = dict[str, Value]
_Uses = dict[tuple[str, str], datetime]


def pages(store: Store, now: Clock) -> Iterator[list[Row]]:
    """By merchant's id. A merchant without credentials is one row, one with them a row for each key and token."""
    after: str | None = None
    while merchants := store.merchants(after, PAGE):
        ids = [merchant.merchant_id for merchant in merchants]
        held, used = store.holdings_of(ids), store.last_uses(ids)
        yield [row for merchant_id in ids if merchant_id in held for row in _rows(held[merchant_id], used, now())]
        after = ids[-1]


def _rows(held: Holdings, used: _Uses, now: datetime) -> list[Row]:
    merchant = dict.fromkeys(COLUMNS) | _merchant(held.merchant)
    found = [each for slot in sorted(held.slots) for each in _slot_rows(held.slots[slot], held, used, now)]
    found += _token_rows(held, used, now)
    return [merchant | each for each in found] or [merchant]


def _merchant(record: MerchantRecord) -> Row:
    return {
        "merchant_id": record.merchant_id,
        "display_name": record.display_name,
        "psp": record.psp,
        "acquirer": record.acquirer,
        "state": record.state,
        "merchant_create_time": _told(record.create_time),
        "merchant_update_time": _told(record.update_time),
    }


def _slot_rows(slot: SlotRecord, held: Holdings, used: _Uses, now: datetime) -> list[Row]:
    """The slot with its current key, and those that retire, newest first."""
    row: Row = {
        "slot": slot.slot,
        "slot_state": slot.state,
        "kind": RULES[slot.slot].kind,
        "version": slot.version,
        "hmac_algorithm": slot.hmac_algorithm,
        "secret_format": slot.secret_format,
        "weak_key": slot.weak_key,
        "fingerprint": slot.fingerprint,
        "create_time": _told(slot.create_time),
        "renew_time": _told(slot.renew_time),
        "revoke_time": _told(slot.revoke_time),
        "rotate_before": _told(slot.rotate_before),
        "last_used_time": _told(used.get((slot.merchant_id, slot.fingerprint))),
    }
    keys = held.keys.get(slot.slot, [])
    return [row, *(_retiring(key, used) for key in keys if key.retiring and key.live(now))]


def _retiring(key: KeyRecord, used: _Uses) -> Row:
    return {
        "slot": key.slot,
        "slot_state": "RETIRING",
        "kind": key.kind,
        "version": key.version,
        "hmac_algorithm": key.hmac_algorithm,
        "fingerprint": key.fingerprint,
        "create_time": _told(key.create_time),
        "expire_time": _told(key.expire_time),
        "last_used_time": _told(used.get((key.merchant_id, key.fingerprint))),
    }


def _token_rows(held: Holdings, used: _Uses, now: datetime) -> list[Row]:
    tokens = held.tokens.tokens if held.tokens else ()
    return [
        {
            "token": token.token_id,
            "fingerprint": token.fingerprint,
            "create_time": _told(token.create_time),
            "expire_time": _told(token.expire_time),
            "last_used_time": _told(used.get((held.merchant.merchant_id, token.fingerprint))),
        }
        for token in tokens
        if token.live(now)
    ]


def _told(time: datetime | None) -> str | None:
    return time.isoformat() if time else None
