"""The counts of keys' uses: added to by every replica at once, and folded into longer steps."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, case, delete, func, select, tuple_
from sqlalchemy.dialects.postgresql import Insert as PostgresqlInsert
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import Insert as SqliteInsert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from keysvc.model import uses
from keysvc.model.uses import HOUR, TEN_MINUTES, Tally, Use, Uses
from keysvc.store import tables
from keysvc.store.queries import KEY
from keysvc.store.rows import table_of
from keysvc.store.tidying import AT_ONCE, delete_some

USE = table_of(tables.CredentialUse)

_IDENTITY = tuple(USE.c[name] for name in Use._fields)
FOLDED = {TEN_MINUTES: uses.FINE_FOR, HOUR: uses.HOURLY_FOR}
"""The steps that are folded, with how long they stay as they are."""


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


def last_of(connection: Connection, merchant_ids: Iterable[str]) -> dict[tuple[str, str], datetime]:
    """When each key of these merchants was used last, by merchant and fingerprint."""
    key = (USE.c.merchant_id, USE.c.fingerprint)
    last = func.max(USE.c.last_used_time, type_=USE.c.last_used_time.type)
    query = select(*key, last).where(USE.c.merchant_id.in_(list(merchant_ids))).group_by(*key)
    return {(merchant_id, fingerprint): time for merchant_id, fingerprint, time in connection.execute(query)}


def fold(connection: Connection, step: int, now: datetime) -> bool:
    """Folds some steps of this length that are past into longer ones. Tells whether there may be more.

    Waits for no row of this length that another transaction holds, but leaves it for the next time; it then waits
    for longer ones only. So those that add, and replicas that fold at once, never wait for each other in a circle.
    """
    before = (now - FOLDED[step]).timestamp() - HOUR
    some = select(*_IDENTITY).where(USE.c.step == step, USE.c.since < before).limit(AT_ONCE)
    some = some.with_for_update(skip_locked=True)
    taken = _read(
        connection.execute(delete(USE).where(tuple_(*_IDENTITY).in_(some)).returning(*USE.c)).mappings().all()
    )
    longer: Uses = {}
    for use, tally in taken.items():
        uses.add(longer, uses.folded(use, now), tally)
    add(connection, longer)
    return len(taken) >= AT_ONCE


def forget_ended(connection: Connection, after: str) -> str | None:
    """Deletes what was written down after its key's end, of some merchants that come after `after`.

    Returns the last of them; None where none is left. So each statement looks at a part of the table, in its order.
    """
    ahead = USE.c.merchant_id > after
    last = select(USE.c.merchant_id).where(ahead).order_by(USE.c.merchant_id).offset(AT_ONCE - 1).limit(1)
    until: str | None = connection.scalar(last)
    its_key = select(KEY.c.version).where(
        KEY.c.merchant_id == USE.c.merchant_id, KEY.c.fingerprint == USE.c.fingerprint
    )
    these = [ahead] if until is None else [ahead, USE.c.merchant_id <= until]
    delete_some(connection, USE, *these, ~its_key.exists())
    return until


def _read(rows: Any) -> Uses:
    return {
        Use(*(row[column] for column in _IDENTITY)): Tally(row[USE.c.calls], row[USE.c.last_used_time]) for row in rows
    }
