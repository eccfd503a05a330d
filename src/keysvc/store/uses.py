"""The counts of keys' uses: added to by every replica at once, and folded into longer steps."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, and_, case, delete, or_, select, tuple_
from sqlalchemy.dialects.postgresql import Insert as PostgresqlInsert
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import Insert as SqliteInsert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from keysvc.model import uses
from keysvc.model.uses import HOUR, TEN_MINUTES, Tally, Use, Uses
from keysvc.store import tables
from keysvc.store.rows import table_of

USE = table_of(tables.CredentialUse)

_IDENTITY = tuple(USE.c[name] for name in Use._fields)
_FOLDED_AT_ONCE = 5_000


def upsert(connection: Connection, table: Table) -> SqliteInsert | PostgresqlInsert:
    """An INSERT that may say what to do on a conflict."""
    return sqlite_insert(table) if connection.dialect.name == "sqlite" else postgresql_insert(table)


def add(connection: Connection, batch: Uses) -> None:
    """Adds to what is there. In one order, so that two writers never wait for each other."""
    rows: list[dict[str, Any]] = [{**use._asdict(), **tally._asdict()} for use, tally in sorted(batch.items())]
    if not rows:
        return
    statement = upsert(connection, USE)
    later = statement.excluded.last_used_time
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=list(Use._fields),
            set_={
                "calls": USE.c.calls + statement.excluded.calls,
                "last_used_time": case((later > USE.c.last_used_time, later), else_=USE.c.last_used_time),
            },
        ),
        rows,
    )


def of(connection: Connection, merchant_id: str) -> Uses:
    return _read(connection.execute(select(USE).where(USE.c.merchant_id == merchant_id)).mappings())


def fold(connection: Connection, now: datetime) -> bool:
    """Folds some steps that are past into longer ones. Tells whether there may be more."""
    before = now.timestamp()
    past = or_(
        and_(USE.c.step == TEN_MINUTES, USE.c.since < before - uses.FINE_FOR.total_seconds() - HOUR),
        and_(USE.c.step == HOUR, USE.c.since < before - uses.HOURLY_FOR.total_seconds() - HOUR),
    )
    some = select(*_IDENTITY).where(past).limit(_FOLDED_AT_ONCE)
    # Taken out and put back in one statement each: another replica that folds at the same time finds other rows.
    taken = _read(
        connection.execute(delete(USE).where(tuple_(*_IDENTITY).in_(some)).returning(*USE.c)).mappings().all()
    )
    longer: Uses = {}
    for use, tally in taken.items():
        uses.add(longer, uses.folded(use, now), tally)
    add(connection, longer)
    return len(taken) == _FOLDED_AT_ONCE


def _read(rows: Any) -> Uses:
    return {
        Use(*(row[column] for column in _IDENTITY)): Tally(row[USE.c.calls], row[USE.c.last_used_time]) for row in rows
    }
