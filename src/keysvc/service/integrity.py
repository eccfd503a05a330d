"""MACs over stored records, by the token's row key: made at every write, checked before every use."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from keysvc.hsm.keyring import Purpose
from keysvc.hsm.token import Token
from keysvc.model.errors import Integrity
from keysvc.model.records import KeyRecord, MerchantRecord, PrincipalRecord, SlotRecord, SlotState, meaning

Record = TypeVar("Record", MerchantRecord, SlotRecord, KeyRecord, PrincipalRecord)


class Sealer:
    """Makes and checks the MACs. Methods raise HsmUnavailable when the token cannot answer."""

    def __init__(self, token: Token, report: Callable[[str], None]) -> None:
        """`report` is told the name of every resource that fails; it must not block."""
        self._token = token
        self._report = report

    def seal(self, record: Record) -> Record:
        """The record with its MAC, by the newest row key."""
        unsealed = replace(record, mac=b"", mac_generation=self._token.newest(Purpose.ROW))
        return replace(unsealed, mac=self._mac(unsealed))

    def check(self, record: Record, resource: str) -> None:
        """Raises Integrity where the record is not as it was written."""
        try:
            right = hmac.compare_digest(self._mac(record), record.mac)
        except KeyError:
            right = False  # no row key of this generation: the number was altered, or the token is another
        if not right:
            raise self._altered(resource)

    def check_slot(self, slot: SlotRecord, keys: Iterable[KeyRecord], resource: str) -> None:
        """Checks a slot with all of its keys, and that they belong together. Raises Integrity.

        A row that was put back after its key ended carries a right MAC; its version or the slot's
        state gives it away.
        """
        self.check(slot, resource)
        current = []
        for key in keys:
            self.check(key, resource)
            if key.retiring and key.version >= slot.version:
                raise self._altered(resource)
            if not key.retiring:
                current.append(key.version)
        if current != ([slot.version] if slot.state is SlotState.ACTIVE else []):
            raise self._altered(resource)

    def _mac(self, record: MerchantRecord | SlotRecord | KeyRecord | PrincipalRecord) -> bytes:
        return self._token.keyed_digest(Purpose.ROW, record.mac_generation, meaning(record))

    def _altered(self, resource: str) -> Integrity:
        self._report(resource)
        return Integrity(
            f"What is stored of {resource} was altered, and is not used: find out who wrote to the database",
            resource=resource,
        )
