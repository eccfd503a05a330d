"""Reading the epoch: one read serves every call that was waiting when it began.

A call may use what a process remembers only at an epoch that was read after the call arrived. Under
load calls share reads, so the database sees far fewer of them than there are calls.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from sqlalchemy import Engine, select
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.pool import PoolProxiedConnection

from keysvc.model.errors import StoreUnavailable
from keysvc.store import own_tables
from keysvc.store.engine import errors_told_apart, reader_of
from keysvc.store.rows import table_of

CHANGE = table_of(own_tables.Change)
_READ = "SELECT value FROM epoch"


class EpochReader:
    """The epoch's own connection, outside every transaction. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._connection: PoolProxiedConnection | None = None
        self._cursor: DBAPICursor | None = None
        self._begun = 0
        self._seen = 0
        self._value = 0

    @property
    def reads(self) -> int:
        """Reads begun since the start."""
        return self._begun

    def arrival(self) -> int:
        """A ticket for a call that arrives now: no read that has begun by now will do for it."""
        return self._begun

    def seen_since(self, arrived: int) -> bool:
        """Whether a read that began after `arrived` has ended well."""
        return self._seen > arrived

    def read(self, moved: Callable[[int], None], arrived: int | None = None) -> None:
        """Returns when an epoch has been seen whose read began after `arrived`, or else after this call.

        Where it is another than the last, `moved(epoch)` is called first, under the reader's lock; only
        if that returns does the epoch count as seen. Raises StoreUnavailable.
        """
        if arrived is None:
            arrived = self._begun
        with self._lock:
            if self.seen_since(arrived):
                return  # a read that began after this call arrived has ended while it waited
            self._begun += 1
            value = self._read()
            if value != self._value:
                moved(value)
                self._value = value
            self._seen = self._begun

    def changes(self, after: int, until: int) -> list[str] | None:
        """What changed at the epochs after `after` up to `until`; None where that is not known any more."""
        query = select(CHANGE.c.subject).where(CHANGE.c.epoch > after, CHANGE.c.epoch <= until)
        with errors_told_apart(), reader_of(self._engine).connect() as connection:
            subjects = [row.subject for row in connection.execute(query)]
        return subjects if len(subjects) == until - after else None

    def close(self) -> None:
        with self._lock:
            self._forget_connection()

    def _read(self) -> int:
        try:
            cursor = self._cursor or self._connect()
            cursor.execute(_READ)
            rows = cursor.fetchall()
        except self._engine.dialect.loaded_dbapi.Error as error:
            self._doubt_all_connections()
            raise StoreUnavailable("The database does not answer: try again") from error
        if not rows:
            raise StoreUnavailable("The database has lost its epoch: restore it from a backup")
        return int(rows[0][0])

    def _connect(self) -> DBAPICursor:
        with errors_told_apart():
            connection = self._engine.raw_connection()
        if self._engine.dialect.name != "sqlite":
            connection.dbapi_connection.autocommit = True  # type: ignore[union-attr]
        self._connection = connection
        self._cursor = connection.cursor()
        return self._cursor

    def _forget_connection(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
        self._connection = None
        self._cursor = None

    def _doubt_all_connections(self) -> None:
        """Where one is broken, so are most likely all that the pool has kept: a failing query lets it find out."""
        self._forget_connection()
        with (
            contextlib.suppress(StoreUnavailable),
            errors_told_apart(),
            reader_of(self._engine).connect() as connection,
        ):
            connection.execute(select(1))
