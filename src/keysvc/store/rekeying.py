"""The token's own keys in SQL: their generations, and which rows hang on an old one.

Rows of tables that grow with the merchants are found by an index on their generation; digests in lists of tokens and
passwords are not, and are read from end to end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Table,
    Text,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    tuple_,
    type_coerce,
    update,
)

from keysvc.model.hsm_keys import HsmKeyRecord, Purpose
from keysvc.model.principals import PrincipalRecord
from keysvc.model.records import KeyRecord, MerchantRecord, SlotRecord, TokenSetRecord
from keysvc.model.sealed import Sealed
from keysvc.model.slots import Kind
from keysvc.store import audit_tables, own_tables, tables
from keysvc.store.epoch import CHANGE, EPOCH
from keysvc.store.queries import KEY, MERCHANT, PRINCIPAL, SLOT, TOKENS, readable
from keysvc.store.rows import table_of, to_record, to_row

HSM_KEY = table_of(tables.HsmKey)
HEAD = table_of(audit_tables.AuditHead)
BINDING = table_of(own_tables.TokenBinding)

TABLES: dict[type[Any], Table] = {
    MerchantRecord: MERCHANT,
    SlotRecord: SLOT,
    KeyRecord: KEY,
    TokenSetRecord: TOKENS,
    PrincipalRecord: PRINCIPAL,
    HsmKeyRecord: HSM_KEY,
}
Place = tuple[Any, ...] | None
"""A primary key; None before the first row."""
S = TypeVar("S", bound=Sealed)


Condition = Callable[[int], ColumnElement[bool]]
"""Of a generation: which rows hang on it."""


def _is(column: Column[Any], *more: ColumnElement[bool]) -> Condition:
    return lambda generation: and_(column == generation, *more)


def _listed(column: Column[Any]) -> Condition:
    """A list that is kept as JSON, one of whose elements names the generation."""
    return lambda generation: type_coerce(column, Text).like(f'%"generation":{generation},%')


_HANGING: dict[Purpose, dict[Table, Condition]] = {
    Purpose.WRAPPING: {KEY: _is(KEY.c.generation, KEY.c.kind != Kind.BEARER_SECRET)},
    Purpose.ROW: {table: _is(table.c.mac_generation) for table in TABLES.values()},
    Purpose.DIGEST: {
        KEY: _is(KEY.c.generation, KEY.c.kind == Kind.BEARER_SECRET),
        PRINCIPAL: lambda generation: or_(
            PRINCIPAL.c.digest_generation == generation, _listed(PRINCIPAL.c.retiring_passwords)(generation)
        ),
        TOKENS: _listed(TOKENS.c.tokens),
    },
    Purpose.AUDIT: {HEAD: _is(HEAD.c.generation)},
}


def count(connection: Connection, purpose: Purpose, generation: int) -> int:
    """Rows that hang on the generation, of all tables."""
    return sum(
        connection.scalar(select(func.count()).select_from(table).where(hang_on(generation))) or 0
        for table, hang_on in _HANGING[purpose].items()
    )


@readable
def batch(
    connection: Connection, purpose: Purpose, record_type: type[S], generation: int, after: Place, limit: int
) -> list[S]:
    """Rows of one table that hang on the generation, in the order of their primary keys, those after a place."""
    table = TABLES[record_type]
    places = list(table.primary_key)
    query = select(table).where(_HANGING[purpose][table](generation)).order_by(*places).limit(limit)
    if after is not None:
        query = query.where(tuple_(*places) > after)
    return [to_record(record_type, table, row) for row in connection.execute(query).mappings()]


@readable
def generations(connection: Connection) -> list[HsmKeyRecord]:
    """All that are known, by purpose and generation."""
    rows = connection.execute(select(HSM_KEY).order_by(HSM_KEY.c.purpose, HSM_KEY.c.generation)).mappings()
    return [to_record(HsmKeyRecord, HSM_KEY, row) for row in rows]


def place_of(record: Sealed) -> tuple[Any, ...]:
    """Its primary key."""
    return tuple(getattr(record, column.name) for column in TABLES[type(record)].primary_key)


class HsmKeyRows:
    """What a change may do with them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def of(self, purpose: Purpose) -> list[HsmKeyRecord]:
        """Its generations that are known, in their order."""
        return [key for key in generations(self._connection) if key.purpose is purpose]

    def add(self, record: HsmKeyRecord) -> None:
        self._connection.execute(insert(HSM_KEY), to_row(record))

    def remove(self, record: HsmKeyRecord) -> None:
        same = [HSM_KEY.c.purpose == record.purpose, HSM_KEY.c.generation == record.generation]
        self._connection.execute(delete(HSM_KEY).where(*same))

    def count(self, purpose: Purpose, generation: int) -> int:
        return count(self._connection, purpose, generation)

    def batch(self, purpose: Purpose, record_type: type[S], generation: int, after: Place, limit: int) -> list[S]:
        """Rows of one table that hang on the generation, in the order of their primary keys, those after a place."""
        return batch(self._connection, purpose, record_type, generation, after, limit)

    def put(self, record: Sealed) -> None:
        """Writes a row that is there anew."""
        table = TABLES[type(record)]
        same = [column == value for column, value in zip(table.primary_key, place_of(record), strict=True)]
        self._connection.execute(update(table).where(*same).values(to_row(record)))

    def bind(self, purpose: Purpose, generation: int, check_value: bytes) -> None:
        """Notes that the database is written with this key from now on."""
        row = {"purpose": purpose, "generation": generation, "check_value": check_value}
        self._connection.execute(insert(BINDING), row)

    def unbind(self, purpose: Purpose, generation: int) -> None:
        same = [BINDING.c.purpose == purpose, BINDING.c.generation == generation]
        self._connection.execute(delete(BINDING).where(*same))

    def count_change(self, name: str) -> None:
        """Counts a change of the token's own keys: every replica looks for them before it goes on."""
        moved = update(EPOCH).values(value=EPOCH.c.value + 1, hsm_keys=EPOCH.c.hsm_keys + 1).returning(EPOCH.c.value)
        self._connection.execute(
            insert(CHANGE), {"epoch": self._connection.execute(moved).scalar_one(), "subject": name}
        )
