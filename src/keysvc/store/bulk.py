"""Many additions in one change: what is added is kept until the change ends, and then written table by table."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Table, insert

from keysvc.model.audit import AuditRecord
from keysvc.model.records import KeyRecord, MerchantRecord, SlotRecord
from keysvc.store import audit_log
from keysvc.store.audit_log import HeadSigner
from keysvc.store.changes import Change
from keysvc.store.queries import KEY, MERCHANT, SLOT
from keysvc.store.rows import to_row


class Bulk(Change):
    """A change that reads before it adds: what it added is not found by its own reads. Made by `Store.bulk`."""

    def __init__(self, connection: Connection, sign: HeadSigner) -> None:
        super().__init__(connection, sign)
        self._rows: dict[Table, list[dict[str, Any]]] = {MERCHANT: [], SLOT: [], KEY: []}
        """In the order in which one refers to the other."""
        self._events: list[AuditRecord] = []

    def add_merchant(self, record: MerchantRecord) -> None:
        self._rows[MERCHANT].append(to_row(record))

    def add_slot(self, record: SlotRecord) -> None:
        self._rows[SLOT].append(to_row(record))

    def add_key(self, record: KeyRecord) -> None:
        self._rows[KEY].append(to_row(record))

    def audit(self, event: AuditRecord) -> None:
        self._events.append(event)

    def write(self) -> None:
        """Raises Integrity where a row contradicts what stands there, and StoreUnavailable."""
        for table, rows in self._rows.items():
            if rows:
                self._connection.execute(insert(table), rows)
        audit_log.append_all(self._connection, self._events, self._sign)
