"""MACs over stored records, by the token's row key: made at every write, checked before every use."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

from keysvc.hsm.token import Token
from keysvc.model.errors import Integrity
from keysvc.model.hsm_keys import Purpose
from keysvc.model.principals import PrincipalKind, PrincipalRecord, PrincipalState
from keysvc.model.records import KeyRecord, SlotRecord, SlotState, meaning
from keysvc.model.sealed import Sealed

Record = TypeVar("Record", bound=Sealed)

_NOBODY = PrincipalRecord(
    principal_id="nobody", kind=PrincipalKind.MERCHANT, state=PrincipalState.DISABLED, password_digest=bytes(32),
    digest_generation=1, create_time=datetime.fromtimestamp(0, UTC), revision=1,
)  # fmt: skip


class Sealer:
    """Makes and checks the MACs. Methods raise HsmUnavailable when the token cannot answer.

    What is written is sealed inside the change that writes it: only there it is certain which key is the newest.
    """

    def __init__(self, token: Token, report: Callable[[str], None]) -> None:
        """`report` is told the name of every resource that fails; it must not block."""
        self._token = token
        self._report = report

    def seal(self, record: Record) -> Record:
        """The record with its MAC, by the newest row key."""
        unsealed = replace(record, mac=b"", mac_generation=self._token.newest(Purpose.ROW))
        return replace(unsealed, mac=self._mac(unsealed))

    def seal_each(self, records: Sequence[Record]) -> list[Record]:
        """The same of many, in their order."""
        generation = self._token.newest(Purpose.ROW)
        unsealed = [replace(record, mac=b"", mac_generation=generation) for record in records]
        macs = self._token.keyed_digests(Purpose.ROW, generation, [meaning(record) for record in unsealed])
        return [replace(record, mac=mac) for record, mac in zip(unsealed, macs, strict=True)]

    def check(self, record: Record, resource: str) -> None:
        """Raises Integrity where the record is not as it was written."""
        try:
            right = hmac.compare_digest(self._mac(record), record.mac)
        except (KeyError, TypeError):
            right = False  # no row key of this generation, or a MAC that is no bytes
        if not right:
            raise self._altered(resource)

    def spend_a_check(self) -> None:
        """The work of a check where there is nothing to check, so that time does not tell who is there."""
        with suppress(KeyError):
            self._token.keyed_digest(Purpose.ROW, self._token.newest(Purpose.ROW), meaning(_NOBODY))

    def check_slot(self, slot: SlotRecord, keys: Iterable[KeyRecord], resource: str) -> None:
        """Checks a slot with all of its keys, and that they belong together. Raises Integrity.

        A row that was put back after its key ended carries a right MAC. The slot gives it away: it
        names the one key that is current, and those that may retire beside it, by their fingerprints,
        which no version that was set back and counted again can give to another key.
        """
        self.check(slot, resource)
        active = slot.state is SlotState.ACTIVE
        retiring = slot.retiring_fingerprints.split() if active else []
        current = []
        for key in keys:
            self.check(key, resource)
            if not key.retiring:
                current.append((key.version, key.fingerprint))
            elif key.fingerprint not in retiring:
                raise self._altered(resource)
        if current != ([(slot.version, slot.fingerprint)] if active else []):
            raise self._altered(resource)

    def _mac(self, record: Sealed) -> bytes:
        return self._token.keyed_digest(Purpose.ROW, record.mac_generation, meaning(record))

    def _altered(self, resource: str) -> Integrity:
        self._report(resource)
        return Integrity(
            f"What is stored of {resource} was altered, and is not used: find out who wrote to the database",
            resource=resource,
        )


class SealedLater(Sealer):
    """For what is added in bulk: the change seals all of it at its end."""

    def __init__(self, token: Token) -> None:
        super().__init__(token, lambda _resource: None)

    def seal(self, record: Record) -> Record:
        """The record as it is."""
        return record
