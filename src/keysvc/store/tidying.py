"""Deleting what is past, some rows at a time: no statement takes long, however much has gathered."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, Table, delete, select, tuple_

AT_ONCE = 5_000


def delete_some(connection: Connection, table: Table, *which: ColumnElement[bool]) -> bool:
    """Deletes these, but what another transaction holds, AT_ONCE at most. Tells whether there may be more."""
    key = tuple(table.primary_key)
    some = select(*key).where(*which).limit(AT_ONCE).with_for_update(skip_locked=True)
    return connection.execute(delete(table).where(tuple_(*key).in_(some))).rowcount >= AT_ONCE
