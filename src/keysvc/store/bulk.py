"""Many additions in one change: what is added is kept until its end, then sealed, and written table by table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Table, insert

from keysvc.model.audit import AuditRecord
from keysvc.model.records import KeyRecord, MerchantRecord, SlotRecord
from keysvc.store import audit_log
from keysvc.store.audit_log import HeadSigner
from keysvc.store.changes import Change
from keysvc.store.queries import KEY, MERCHANT, SLOT
from keysvc.store.rows import to_row

SealEach = Callable[[Sequence[Any]], list[Any]]
"""From records to the same with their MACs. Raises HsmUnavailable."""


class Bulk(Change):
    """A change that reads before it adds: what it added is not found by its own reads. Made by `Store.bulk`."""

    def __init__(self, connection: Connection, sign: HeadSigner) -> None:
        super().__init__(connection, sign)
        self._added: dict[Table, list[Any]] = {MERCHANT: [], SLOT: [], KEY: []}
        """Without their MACs, in the order in which one refers to the other."""
        self._events: list[AuditRecord] = []

    def add_merchant(self, record: MerchantRecord) -> None:
        self._added[MERCHANT].append(record)

    def add_slot(self, record: SlotRecord) -> None:
        self._added[SLOT].append(record)

    def add_key(self, record: KeyRecord) -> None:
        self._added[KEY].append(record)

    def audit(self, event: AuditRecord) -> None:
        self._events.append(event)

    def write(self, seal_each: SealEach) -> None:
        """Raises Integrity where a row contradicts what stands there, and StoreUnavailable."""
        for table, records in self._added.items():
            if records:
                self._connection.execute(insert(table), [to_row(record) for record in seal_each(records)])
        audit_log.append_all(self._connection, self._events, self._sign)
