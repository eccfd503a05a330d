"""Reading the epoch: one read serves every call that was waiting when it began.

A call may use what a process remembers only at an epoch that was read after the call arrived. Under
load calls share reads, so the database sees far fewer of them than there are calls.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from time import monotonic
from typing import Any

from sqlalchemy import Engine, event, select
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry

from keysvc.model.errors import StoreUnavailable
from keysvc.store import own_tables
from keysvc.store.engine import StoreSilent, errors_told_apart, reader_of, unavailable
from keysvc.store.reach import Reach
from keysvc.store.rows import table_of

CHANGE = table_of(own_tables.Change)
EPOCH = table_of(own_tables.Epoch)
GATHER_SECONDS = 0.002
"""How long a read waits for calls to share it, where there are any."""
WAIT_SECONDS = 1.2
"""How long a call waits for another's read."""
_READ = "SELECT value FROM epoch"
_MADE = "made"


class EpochReader:
    """The epoch's own connection, outside every transaction and the pool. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._connection: Any = None
        self._cursor: Any = None
        self._waiting: list[None] = []
        """As many as wait for the lock."""
        self._begun = 0
        self._seen = 0
        self._value = 0
        self._committed = 0
        self._noting = threading.Lock()
        self._anew = False
        """Whether the last value was read on another connection: this one may lead to a database with another past."""
        self._usable_from = 0.0
        event.listen(engine, "connect", _note_time)
        event.listen(engine, "checkout", self._refuse_kept)
        self.reach = Reach(self._ask)
        """Of this database, for whoever asks it."""

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
        self.reach.require()
        self._waiting.append(None)
        try:
            if not self._lock.acquire(timeout=WAIT_SECONDS):
                self.reach.lost()
                raise StoreUnavailable("The database's epoch is waited for by too many: try again")
        finally:
            self._waiting.pop()
        try:
            if not self.seen_since(arrived):  # no read that began after this call arrived has ended while it waited
                self.reach.require()
                self._let_others_come()
                self._see(moved)
        finally:
            self._lock.release()

    def _let_others_come(self) -> None:
        """Where calls wait, a read that begins a moment later serves more of them. A lone call is not held up."""
        if self._waiting and self._engine.dialect.name != "sqlite":
            time.sleep(GATHER_SECONDS)

    def committed(self, value: int) -> None:
        """A change of this process has counted so far. Known without a read, which a crash may come before."""
        with self._noting:
            self._committed = max(self._committed, value)

    def require_reached(self, value: int, committed: int = 0) -> None:
        """Raises StoreUnavailable where `value` lies behind what was seen, or committed, and then for good.

        An older database counts on, and would come to where this process has been by another way. Only
        a start looks at the database anew.
        """
        known = max(self._value, committed)
        if value < known:
            self.reach.refuse(
                "The database is older than what this process has seen"
                f" (epoch {value} after {known}): bring back the newest, then restart keysvc"
            )
        self.reach.require()

    def changes(self, after: int, until: int) -> list[str] | None:
        """What changed at the epochs after `after` up to `until`; None where that is not known (any more)."""
        if self._anew:
            return None
        query = select(CHANGE.c.subject).where(CHANGE.c.epoch > after, CHANGE.c.epoch <= until)
        with self.reach.visit(), reader_of(self._engine).connect() as connection:
            subjects = [row.subject for row in connection.execute(query)]
        return subjects if len(subjects) == until - after else None

    def close(self) -> None:
        self.reach.close()
        with self._lock:
            self._forget_connection()

    def _see(self, moved: Callable[[int], None]) -> None:
        self._begun += 1
        begun = self._begun
        committed = self._committed  # before the read, which need not see what is committed meanwhile
        value = self._read()
        self.require_reached(value, committed)
        if value != self._value or self._anew:
            moved(value)
            self._value = value
            self._anew = False
        self._seen = begun

    def _read(self) -> int:
        kept = self._cursor is not None
        try:
            rows = self._rows()
        except StoreSilent:
            self.reach.lost()
            raise
        except StoreUnavailable:
            if not kept:
                raise
            rows = self._rows()  # the connection was cut since the last read, which says nothing of a new one
        if not rows:
            raise StoreUnavailable("The database has lost its epoch: restore it from a backup")
        return int(rows[0][0])

    def _rows(self) -> Any:
        try:
            cursor = self._cursor or self._connect()
            cursor.execute(_READ)
            return cursor.fetchall()
        except self._engine.dialect.loaded_dbapi.Error as error:
            self._forget_connection()
            raise unavailable(error) from error

    def _connect(self) -> Any:
        """A new connection. What the pool has kept until now may be broken, or lead to another server."""
        self._usable_from = monotonic()
        with errors_told_apart():
            connection = self._engine.raw_connection()
        self._usable_from = monotonic()
        connection.detach()
        self._connection = connection.dbapi_connection
        if self._engine.dialect.name != "sqlite":
            self._connection.autocommit = True
        self._cursor = self._connection.cursor()
        self._anew = self._seen > 0
        return self._cursor

    def _forget_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._cursor = None

    def _refuse_kept(self, _connection: object, record: ConnectionPoolEntry, _proxy: object) -> None:
        if record.info.get(_MADE, 0.0) < self._usable_from:
            raise InvalidatePoolError

    def _ask(self) -> None:
        with errors_told_apart(), reader_of(self._engine).connect() as connection:
            connection.execute(select(1))


def _note_time(_connection: object, record: ConnectionPoolEntry) -> None:
    record.info[_MADE] = monotonic()
