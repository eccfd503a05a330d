"""One change: one transaction that holds the epoch's lock from its start.

Changes so happen one after another, in the order of their epochs, and what a change reads is what it
changes. Its audit event and its request_id are written with it or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from keysvc.model.audit import AuditRecord
from keysvc.model.errors import StoreUnavailable
from keysvc.model.principals import PrincipalRecord
from keysvc.model.records import Holdings, KeyRecord, MerchantRecord, SlotRecord, TokenSetRecord
from keysvc.model.slots import Slot
from keysvc.model.uses import Uses
from keysvc.store import audit_log, own_tables, queries, uses
from keysvc.store.audit_log import HeadSigner
from keysvc.store.epoch import CHANGE, EPOCH
from keysvc.store.queries import KEY, MERCHANT, PRINCIPAL, SLOT, TOKENS
from keysvc.store.rekeying import HsmKeyRows
from keysvc.store.rows import table_of, to_row
from keysvc.store.tidying import delete_some
from keysvc.store.uses import USE

REQUEST = table_of(own_tables.Request)

_LOCK = select(EPOCH.c.value, EPOCH.c.hsm_keys).with_for_update()


def current_epoch(connection: Connection) -> int:
    """Raises StoreUnavailable where the row is gone."""
    epoch = connection.scalar(select(EPOCH.c.value))
    if epoch is None:
        raise StoreUnavailable("The database has lost its epoch: restore it from a backup")
    return int(epoch)


def _these(merchant_id: str, slot: Slot, versions: Iterable[int]) -> tuple[ColumnElement[bool], ...]:
    return KEY.c.merchant_id == merchant_id, KEY.c.slot == slot, KEY.c.version.in_(list(versions))


class Change:
    """What may be read and written in one change. Made by `Store.change`."""

    def __init__(self, connection: Connection, sign: HeadSigner) -> None:
        """Takes the lock; blocks while another change holds it. (SQLite took it with BEGIN IMMEDIATE.)"""
        self._connection = connection
        self._sign = sign
        locked = connection.execute(_LOCK).one()
        self.epoch: int = locked.value
        """Before this change."""
        self.keys_counted: int = locked.hsm_keys
        """How often the token's own keys were changed."""
        self.hsm_keys = HsmKeyRows(connection)

    def counted(self) -> int:
        """The epoch with this change."""
        return current_epoch(self._connection)

    def merchant(self, merchant_id: str) -> MerchantRecord | None:
        return queries.merchant(self._connection, merchant_id)

    def holdings(self, merchant_id: str) -> Holdings | None:
        return queries.holdings(self._connection, merchant_id)

    def holdings_of(self, merchant_ids: Iterable[str]) -> dict[str, Holdings]:
        return queries.holdings_of(self._connection, merchant_ids)

    def uses(self, merchant_id: str) -> Uses:
        return uses.of(self._connection, merchant_id)

    def principal(self, principal_id: str) -> PrincipalRecord | None:
        return queries.principal(self._connection, principal_id)

    def add_merchant(self, record: MerchantRecord) -> None:
        self._connection.execute(insert(MERCHANT), to_row(record))

    def put_merchant(self, record: MerchantRecord) -> None:
        self._connection.execute(
            update(MERCHANT).where(MERCHANT.c.merchant_id == record.merchant_id).values(to_row(record))
        )

    def add_slot(self, record: SlotRecord) -> None:
        self._connection.execute(insert(SLOT), to_row(record))

    def put_slot(self, record: SlotRecord) -> None:
        self._connection.execute(
            update(SLOT)
            .where(SLOT.c.merchant_id == record.merchant_id, SLOT.c.slot == record.slot)
            .values(to_row(record))
        )

    def add_key(self, record: KeyRecord) -> None:
        self._connection.execute(insert(KEY), to_row(record))

    def put_key(self, record: KeyRecord) -> None:
        self._connection.execute(
            update(KEY)
            .where(KEY.c.merchant_id == record.merchant_id, KEY.c.slot == record.slot, KEY.c.version == record.version)
            .values(to_row(record))
        )

    def take_key(self, record: KeyRecord) -> None:
        """Takes a key out of its slot, to be added to another: what is known of its use stays."""
        self._connection.execute(delete(KEY).where(*_these(record.merchant_id, record.slot, [record.version])))

    def delete_keys(self, merchant_id: str, slot: Slot, versions: Iterable[int]) -> int:
        """Erases the keys' material and what was known of their use; returns how many keys there were."""
        these = delete(KEY).where(*_these(merchant_id, slot, versions)).returning(KEY.c.fingerprint)
        ended = self._connection.execute(these).scalars().all()
        # A secret that was imported again, after a swap moved it, stands in both slots, under one fingerprint.
        left = select(KEY.c.fingerprint).where(KEY.c.merchant_id == merchant_id)
        # What another transaction holds is left behind, and goes with `uses.forget_ended`.
        delete_some(
            self._connection,
            USE,
            USE.c.merchant_id == merchant_id,
            USE.c.fingerprint.in_(ended),
            USE.c.fingerprint.not_in(left),
        )
        return len(ended)

    def put_tokens(self, record: TokenSetRecord) -> None:
        """Puts a merchant's tokens in the place of those there, if any."""
        self.delete_tokens(record.merchant_id)
        self._connection.execute(insert(TOKENS), to_row(record))

    def delete_tokens(self, merchant_id: str) -> None:
        self._connection.execute(delete(TOKENS).where(TOKENS.c.merchant_id == merchant_id))

    def principal_of(self, spiffe_id: str) -> PrincipalRecord | None:
        return queries.principal_of(self._connection, spiffe_id)

    def active_admins(self) -> list[PrincipalRecord]:
        """At most two: whether there is another is all that is asked."""
        return queries.active_admins(self._connection)

    def add_principal(self, record: PrincipalRecord) -> None:
        self._connection.execute(insert(PRINCIPAL), to_row(record))

    def put_principal(self, record: PrincipalRecord) -> None:
        self._connection.execute(
            update(PRINCIPAL).where(PRINCIPAL.c.principal_id == record.principal_id).values(to_row(record))
        )

    def done_request(self, principal: str, request_id: str) -> tuple[str, int] | None:
        """(resource, version) of what the request_id did before, or None."""
        row = self._connection.execute(
            select(REQUEST.c.resource, REQUEST.c.version).where(
                REQUEST.c.principal == principal, REQUEST.c.request_id == request_id
            )
        ).first()
        return (row.resource, row.version) if row else None

    def remember_request(self, principal: str, request_id: str, resource: str, version: int, time: datetime) -> None:
        row = {
            "principal": principal,
            "request_id": request_id,
            "resource": resource,
            "version": version,
            "time": time,
        }
        self._connection.execute(insert(REQUEST), row)

    def audit(self, event: AuditRecord) -> None:
        """Appends an event to the chain. The lock makes the sequence free of gaps. Raises StoreUnavailable."""
        audit_log.append(self._connection, event, self._sign)

    def sign_audit(self, time: datetime) -> None:
        """Has the token sign the chain's end, unless it has. Raises HsmUnavailable."""
        end, last = audit_log.tail(self._connection), audit_log.last_head(self._connection)
        if end.sequence > (last.sequence if last else 0):
            audit_log.sign_end(self._connection, end, time, self._sign)

    def move_epoch(self, above: int, by: int) -> int:
        """Moves it `by` beyond `above` and all that this database has seen; returns it.

        Nothing is noted of what changed, so whoever reads it forgets everything.
        """
        noted = self._connection.scalar(select(func.max(CHANGE.c.epoch))) or 0
        epoch = max(above, noted, current_epoch(self._connection)) + by
        self._connection.execute(update(EPOCH).values(value=epoch))
        return epoch
