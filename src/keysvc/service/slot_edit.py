"""One slot inside one change: its checked rows, the rules, and the writing of what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from keysvc.model.changing import MAX_RETIRING, check_etag
from keysvc.model.errors import Integrity, InvalidField, SlotEmpty, SlotOccupied, TooManyRetiring
from keysvc.model.merchants import no_merchant
from keysvc.model.names import CredentialName, merchant_name
from keysvc.model.records import KeyRecord, MerchantRecord, SlotRecord, SlotState
from keysvc.service.integrity import Sealer
from keysvc.service.material import Fresh
from keysvc.store.changes import Change


class Dates(NamedTuple):
    """Of a slot that holds a key."""

    create_time: datetime
    renew_time: datetime | None
    rotate_before: datetime | None


@dataclass(frozen=True, slots=True)
class SlotEdit:
    """A slot as it stands under the change's lock. `slot` is None where it was never filled."""

    change: Change
    sealer: Sealer
    name: CredentialName
    merchant: MerchantRecord
    slot: SlotRecord | None
    keys: list[KeyRecord]

    @classmethod
    def read(cls, change: Change, sealer: Sealer, name: CredentialName) -> SlotEdit:
        """Raises NotFound where there is no such merchant."""
        return cls.read_several(change, sealer, [name])[0]

    @classmethod
    def read_several(cls, change: Change, sealer: Sealer, names: Sequence[CredentialName]) -> list[SlotEdit]:
        """Slots of one merchant, which is read once. Raises as `read` does."""
        merchant_id = names[0].merchant_id
        found = change.holdings(merchant_id)
        if found is None:
            raise no_merchant(merchant_id)
        return [
            cls(change, sealer, name, found.merchant, found.slots.get(name.slot), found.keys.get(name.slot, []))
            for name in names
        ]

    def check_integrity(self) -> None:
        """Raises Integrity where the merchant's row, the slot's or a key's was altered."""
        self.sealer.check(self.merchant, merchant_name(self.merchant.merchant_id))
        if self.slot is not None:
            self.sealer.check_slot(self.slot, self.keys, str(self.name))

    def require_no_key(self) -> None:
        if self.slot is not None and self.slot.state is SlotState.ACTIVE:
            raise SlotOccupied(f"{self.name} holds a key: renew it, or revoke it first", resource=str(self.name))

    def require_key(self) -> SlotRecord:
        if self.slot is None or self.slot.state is not SlotState.ACTIVE:
            raise SlotEmpty(f"{self.name} holds no key: create one first", resource=str(self.name))
        return self.slot

    def check_etag(self, etag: str) -> None:
        check_etag(etag, etag_of(self.slot), str(self.name))

    def fill(self, fresh: Fresh, now: datetime, rotate_before: datetime | None) -> SlotRecord:
        """Puts a key into a slot that holds none."""
        before = self.slot
        written = self._next(fresh, Dates(now, None, rotate_before), ())
        if before is None:
            self.change.add_slot(written)
        else:
            self.change.put_slot(written)
        self._add_key(fresh, written.version, now)
        return written

    def replace(
        self, fresh: Fresh, now: datetime, previous_ends: datetime | None, rotate_before: datetime | None
    ) -> tuple[SlotRecord, tuple[KeyRecord, ...]]:
        """Puts a new key in the current one's place; the old one ends now, or at `previous_ends`.

        Returns the slot, and the keys that live on beside the new one, newest first.
        """
        slot = self.require_key()
        retiring = self._end_current(slot, now, previous_ends)
        written = self._next(fresh, Dates(slot.create_time, now, rotate_before), retiring)
        self.change.put_slot(written)
        self._add_key(fresh, written.version, now)
        return written, tuple(key for key in retiring if key.live(now))

    def schedule(self, rotate_before: datetime | None) -> SlotRecord:
        """Sets the date before which the slot's key is to be replaced."""
        slot = self.require_key()
        written = self.sealer.seal(replace(slot, rotate_before=rotate_before, revision=slot.revision + 1))
        self.change.put_slot(written)
        return written

    def require_retiring(self, version: int, now: datetime) -> KeyRecord:
        """The retiring key of this version that is still live."""
        slot = self.require_key()
        if version == slot.version:
            raise InvalidField("version", f"{version} is the current key: renew it, or leave version out to end all")
        for key in self.keys:
            if key.version == version and key.live(now):
                return key
        raise SlotEmpty(f"{self.name} holds no key of version {version} any more", resource=str(self.name))

    def end_retiring(self, slot: SlotRecord, ended: KeyRecord) -> SlotRecord:
        """Erases one retiring key."""
        self.change.delete_keys(slot.merchant_id, slot.slot, [ended.version])
        left = slot.retiring_fingerprints.split()
        left.remove(ended.fingerprint)  # once: the same secret, imported again, may retire twice
        written = self.sealer.seal(replace(slot, retiring_fingerprints=" ".join(left), revision=slot.revision + 1))
        self.change.put_slot(written)
        return written

    def current(self) -> KeyRecord:
        """The slot's current key, where it holds one."""
        return next(key for key in self.keys if not key.retiring)

    def retiring(self, now: datetime) -> tuple[KeyRecord, ...]:
        """The keys that live on beside the current one."""
        return tuple(key for key in self.keys if key.retiring and key.live(now))

    def require_something_to_revoke(self) -> SlotRecord:
        """A slot that holds a key, or one whose rows were altered, whatever they say."""
        if self.slot is not None:
            try:
                self.sealer.check_slot(self.slot, self.keys, str(self.name))
            except Integrity:
                return self.slot
        return self.require_key()

    def empty(self, slot: SlotRecord, now: datetime) -> SlotRecord:
        """Ends every key of the slot and erases it."""
        self.change.delete_keys(slot.merchant_id, slot.slot, [key.version for key in self.keys])
        written = self.emptied(slot, now)
        self.change.put_slot(written)
        return written

    def emptied(self, slot: SlotRecord, now: datetime) -> SlotRecord:
        """The slot as it would be after `empty`."""
        return self.sealer.seal(
            replace(
                slot,
                state=SlotState.INACTIVE,
                retiring_fingerprints="",
                revoke_time=now,
                rotate_before=None,
                revision=slot.revision + 1,
            )
        )

    def _end_current(self, slot: SlotRecord, now: datetime, previous_ends: datetime | None) -> tuple[KeyRecord, ...]:
        # Keys whose time has ended stay until they are erased with a record of their own (`Maintenance.expire`).
        current = self.current()
        retiring = [key for key in self.keys if key.retiring]
        if previous_ends is None:
            self.change.delete_keys(slot.merchant_id, slot.slot, [current.version])
        elif sum(key.live(now) for key in retiring) >= MAX_RETIRING:
            raise TooManyRetiring(
                f"{self.name} has {MAX_RETIRING} retiring keys: wait for one to end, or renew without previous_ttl",
                resource=str(self.name),
            )
        else:
            retired = self.sealer.seal(replace(current, expire_time=previous_ends))
            self.change.put_key(retired)
            retiring.insert(0, retired)
        return tuple(retiring)

    def _next(self, fresh: Fresh, dates: Dates, retiring: tuple[KeyRecord, ...]) -> SlotRecord:
        return self.sealer.seal(
            SlotRecord(
                merchant_id=self.name.merchant_id,
                slot=self.name.slot,
                state=SlotState.ACTIVE,
                version=(self.slot.version if self.slot else 0) + 1,
                hmac_algorithm=fresh.recipe.algorithm,
                secret_format=fresh.recipe.secret_format,
                fingerprint=fresh.fingerprint,
                weak_key=fresh.weak,
                retiring_fingerprints=" ".join(key.fingerprint for key in retiring),
                create_time=dates.create_time,
                renew_time=dates.renew_time,
                revoke_time=None,
                rotate_before=dates.rotate_before,
                revision=(self.slot.revision if self.slot else 0) + 1,
            )
        )

    def _add_key(self, fresh: Fresh, version: int, now: datetime) -> None:
        self.change.add_key(
            self.sealer.seal(
                KeyRecord(
                    merchant_id=self.name.merchant_id,
                    slot=self.name.slot,
                    version=version,
                    kind=fresh.recipe.kind,
                    hmac_algorithm=fresh.recipe.algorithm,
                    material=fresh.material,
                    generation=fresh.generation,
                    fingerprint=fresh.fingerprint,
                    create_time=now,
                    expire_time=None,
                )
            )
        )


def etag_of(slot: SlotRecord | None) -> str:
    return str(slot.revision if slot else 0)
