"""The reads, as functions of a connection, so that a transaction and a single read ask the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import ParamSpec, TypeVar

from sqlalchemy import Column, ColumnElement, Connection, RowMapping, bindparam, select
from sqlalchemy.exc import OperationalError

from keysvc.model.errors import Integrity
from keysvc.model.principals import PrincipalKind, PrincipalRecord, PrincipalState
from keysvc.model.records import Holdings, KeyRecord, MerchantRecord, SlotRecord, TokenSetRecord
from keysvc.model.slots import Slot
from keysvc.store import tables
from keysvc.store.rows import UNREADABLE, table_of, to_record

P = ParamSpec("P")
R = TypeVar("R")

MERCHANT = table_of(tables.Merchant)
SLOT = table_of(tables.Credential)
KEY = table_of(tables.CredentialKey)
TOKENS = table_of(tables.MerchantTokenSet)
PRINCIPAL = table_of(tables.Principal)

_ANY_PRINCIPAL = select(PRINCIPAL).limit(1).subquery()
_PRINCIPAL_OR_ANY = (
    select(PRINCIPAL).where(PRINCIPAL.c.principal_id == bindparam("id")).union_all(select(_ANY_PRINCIPAL)).limit(1)
)


@dataclass(frozen=True, slots=True)
class Owner:
    """A principal that merchants name as theirs."""

    kind: PrincipalKind
    principal_id: str

    @property
    def column(self) -> Column[str]:
        """Where merchants name it."""
        columns = {PrincipalKind.PSP: MERCHANT.c.psp, PrincipalKind.ACQUIRER: MERCHANT.c.acquirer}
        return columns[self.kind]


Theirs = Owner | Sequence[str] | None
"""Whose merchants: an owner's, those of a list, or all."""

_ALL_HOLDINGS = (
    select(MERCHANT, SLOT, KEY, TOKENS)
    .select_from(
        MERCHANT.outerjoin(TOKENS, TOKENS.c.merchant_id == MERCHANT.c.merchant_id)
        .outerjoin(SLOT, SLOT.c.merchant_id == MERCHANT.c.merchant_id)
        .outerjoin(KEY, (KEY.c.merchant_id == SLOT.c.merchant_id) & (KEY.c.slot == SLOT.c.slot))
    )
    .order_by(KEY.c.version.desc())
)
_HOLDINGS = _ALL_HOLDINGS.where(MERCHANT.c.merchant_id == bindparam("id"))
_HOLDINGS_OF = _ALL_HOLDINGS.where(MERCHANT.c.merchant_id.in_(bindparam("ids", expanding=True)))


def are_theirs(merchant_id: ColumnElement[str], theirs: Theirs) -> list[ColumnElement[bool]]:
    """The condition that a column of merchants' ids holds one of theirs; none where that is all."""
    if theirs is None:
        return []
    if isinstance(theirs, Owner):
        return [merchant_id.in_(select(MERCHANT.c.merchant_id).where(theirs.column == theirs.principal_id))]
    return [merchant_id.in_(theirs)]


def readable(query: Callable[P, R]) -> Callable[P, R]:
    """Raises Integrity for a row that cannot even be read: its values are none that keysvc writes."""

    @wraps(query)
    def read(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return query(*args, **kwargs)
        except UNREADABLE as error:
            raise _unreadable() from error
        except OperationalError as error:
            if "decode to UTF-8" not in str(error.orig):
                raise
            raise _unreadable() from error  # SQLite's words for text that is none

    return read


def _unreadable() -> Integrity:
    return Integrity("A stored row holds what keysvc never writes, and is not used")


@readable
def merchant(connection: Connection, merchant_id: str) -> MerchantRecord | None:
    row = connection.execute(select(MERCHANT).where(MERCHANT.c.merchant_id == merchant_id)).mappings().first()
    return to_record(MerchantRecord, MERCHANT, row) if row else None


@readable
def owned_merchant(connection: Connection, owner: Owner, merchant_id: str) -> MerchantRecord | None:
    """None for an unknown merchant and for another's, after the same work."""
    query = select(MERCHANT).where(MERCHANT.c.merchant_id == merchant_id, owner.column == owner.principal_id)
    row = connection.execute(query).mappings().first()
    return to_record(MerchantRecord, MERCHANT, row) if row else None


@readable
def merchants(connection: Connection, after: str | None, limit: int, theirs: Theirs = None) -> list[MerchantRecord]:
    """In the order of their ids, from the one after `after`: all, an owner's, or those of a list."""
    # An owner's stand in the order of their ids in its index: one that compared ids with theirs would be sorted.
    whose = (
        [theirs.column == theirs.principal_id]
        if isinstance(theirs, Owner)
        else are_theirs(MERCHANT.c.merchant_id, theirs)
    )
    query = select(MERCHANT).where(*whose)
    if after is not None:
        query = query.where(MERCHANT.c.merchant_id > after)
    rows = connection.execute(query.order_by(MERCHANT.c.merchant_id).limit(limit)).mappings()
    return [to_record(MerchantRecord, MERCHANT, row) for row in rows]


@readable
def holdings(connection: Connection, merchant_id: str) -> Holdings | None:
    """A merchant with its slots and keys, in one statement and so of one instant, or None."""
    return _grouped(connection.execute(_HOLDINGS, {"id": merchant_id}).mappings()).get(merchant_id)


@readable
def holdings_of(connection: Connection, merchant_ids: Iterable[str]) -> dict[str, Holdings]:
    """The same of several, by id: those that there are."""
    return _grouped(connection.execute(_HOLDINGS_OF, {"ids": list(merchant_ids)}).mappings())


def _grouped(rows: Iterable[RowMapping]) -> dict[str, Holdings]:
    found: dict[str, Holdings] = {}
    for row in rows:
        merchant_id = row[MERCHANT.c.merchant_id]
        if merchant_id not in found:
            found[merchant_id] = _without_slots(row)
        _add(found[merchant_id], row)
    return found


def _without_slots(row: RowMapping) -> Holdings:
    tokens = to_record(TokenSetRecord, TOKENS, row) if row[TOKENS.c.merchant_id] is not None else None
    return Holdings(to_record(MerchantRecord, MERCHANT, row), {}, {}, tokens)


def _add(found: Holdings, row: RowMapping) -> None:
    if row[SLOT.c.slot] is None:
        return
    slot = Slot(row[SLOT.c.slot])
    if slot not in found.slots:
        found.slots[slot] = to_record(SlotRecord, SLOT, row)
    if row[KEY.c.version] is not None:
        found.keys.setdefault(slot, []).append(to_record(KeyRecord, KEY, row))


@readable
def principal(connection: Connection, principal_id: str) -> PrincipalRecord | None:
    """Where there is none, another is read in its place, and dropped: time must not tell which there are."""
    row = connection.execute(_PRINCIPAL_OR_ANY, {"id": principal_id}).mappings().first()
    found = to_record(PrincipalRecord, PRINCIPAL, row) if row else None
    return found if found and found.principal_id == principal_id else None


@readable
def principal_of(connection: Connection, spiffe_id: str) -> PrincipalRecord | None:
    row = connection.execute(select(PRINCIPAL).where(PRINCIPAL.c.spiffe_id == spiffe_id)).mappings().first()
    return to_record(PrincipalRecord, PRINCIPAL, row) if row else None


@readable
def principals(connection: Connection, after: str | None, limit: int) -> list[PrincipalRecord]:
    """In the order of their ids, from the one after `after`."""
    query = select(PRINCIPAL).order_by(PRINCIPAL.c.principal_id).limit(limit)
    if after is not None:
        query = query.where(PRINCIPAL.c.principal_id > after)
    return [to_record(PrincipalRecord, PRINCIPAL, row) for row in connection.execute(query).mappings()]


@readable
def active_admins(connection: Connection) -> list[PrincipalRecord]:
    """Two at most."""
    admin, active = PRINCIPAL.c.kind == PrincipalKind.ADMIN, PRINCIPAL.c.state == PrincipalState.ACTIVE
    rows = connection.execute(select(PRINCIPAL).where(admin, active).limit(2)).mappings()
    return [to_record(PrincipalRecord, PRINCIPAL, row) for row in rows]
