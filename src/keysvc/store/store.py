"""The store's face: single reads, and changes.

Thread-safe. Every method raises StoreUnavailable when the database does not answer, and Integrity
where stored rows contradict what is written.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, Table, func, insert, select

from keysvc.model.audit import ChainedEvent, ChainEnd, SignedHead
from keysvc.model.errors import Overloaded
from keysvc.model.fleet import DueSlot, FleetSummary, FleetTimes
from keysvc.model.hsm_keys import HsmKeyRecord, Purpose
from keysvc.model.principals import PrincipalRecord
from keysvc.model.records import Holdings, MerchantRecord
from keysvc.model.slots import Slot
from keysvc.model.uses import Uses
from keysvc.store import audit_log, fleet, own_tables, queries, rekeying, uses
from keysvc.store.audit_log import EventFilter, HeadSigner
from keysvc.store.bulk import Bulk, SealEach
from keysvc.store.changes import REQUEST, Change, current_epoch
from keysvc.store.engine import patient, reader_of
from keysvc.store.epoch import CHANGE, EpochReader
from keysvc.store.queries import KEY, Owner, Theirs
from keysvc.store.rekeying import BINDING
from keysvc.store.rows import table_of
from keysvc.store.tidying import delete_some
from keysvc.store.uses import upsert

USED_JWT = table_of(own_tables.UsedJwt)

TURN_SECONDS = 0.7
"""How long a change waits for those of this process before it."""
BESIDE_SECONDS = 10.0
"""How long a statement may take that runs beside the calls."""

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=Change)


class Store:
    """A database at the newest schema."""

    def __init__(self, engine: Engine, sign: HeadSigner, keys_counted: Callable[[int], None] = lambda _: None) -> None:
        """`sign` has the token sign the audit record. `keys_counted` is told, before a change writes anything, how
        often the token's own keys were changed; it must not block."""
        self._keys_counted = keys_counted
        self._engine = engine
        self._sign = sign
        self._reader = reader_of(engine)
        self._beside = patient(engine, BESIDE_SECONDS)
        self._turn = threading.Lock()
        self.epoch = EpochReader(engine)
        self._reach = self.epoch.reach

    @contextmanager
    def change(self) -> Iterator[Change]:
        """One transaction: committed at the end, undone by any exception. Blocks while another runs."""
        with self._changing(Change) as change:
            yield change

    @contextmanager
    def bulk(self, seal_each: SealEach) -> Iterator[Bulk]:
        """The same for many additions, which are sealed and written at its end. Some hundred: others wait for it."""
        with self._changing(Bulk) as bulk:
            yield bulk
            bulk.write(seal_each)

    @contextmanager
    def _changing(self, kind: type[C]) -> Iterator[C]:
        with self._writing() as connection:
            change = kind(connection, self._sign)
            self.epoch.require_reached(change.epoch)
            self._keys_counted(change.keys_counted)
            yield change
            counted = change.counted()
        self.epoch.committed(counted)

    def committed_epoch(self) -> int:
        """For what compares it with one noted elsewhere; calls read it with `epoch`."""
        return self._read(current_epoch)

    def merchant(self, merchant_id: str) -> MerchantRecord | None:
        return self._read(queries.merchant, merchant_id)

    def owned_merchant(self, owner: Owner, merchant_id: str) -> MerchantRecord | None:
        """None for an unknown merchant and for another's, after the same work."""
        return self._read(queries.owned_merchant, owner, merchant_id)

    def merchants(self, after: str | None, limit: int, theirs: Theirs = None) -> list[MerchantRecord]:
        """All, an owner's, or those of a list."""
        return self._read(queries.merchants, after, limit, theirs)

    def holdings(self, merchant_id: str) -> Holdings | None:
        return self._read(queries.holdings, merchant_id)

    def holdings_of(self, merchant_ids: Iterable[str]) -> dict[str, Holdings]:
        """Of those that there are, by id, in one read."""
        return self._read(queries.holdings_of, merchant_ids)

    def uses(self, merchant_id: str) -> Uses:
        return self._read(uses.of, merchant_id)

    def last_uses(self, merchant_ids: Iterable[str]) -> dict[tuple[str, str], datetime]:
        """When keys were used last, by merchant and fingerprint."""
        return self._read(uses.last_of, merchant_ids)

    def due(self, after: DueSlot | None, limit: int, before: datetime, theirs: Theirs) -> list[DueSlot]:
        """Slots with a date up to `before`, the most overdue first."""
        return self._read(fleet.due, after, limit, before, theirs)

    def due_counts(self, now: datetime, soon: datetime) -> tuple[int, int]:
        """How many slots are past their date, and how many will be by then."""
        return self._count(fleet.due_counts, now, soon)

    def retiring(self, now: datetime) -> int:
        """How many keys verify until their overlap ends."""
        return self._count(fleet.retiring, now)

    def summary(self, times: FleetTimes, theirs: Theirs) -> FleetSummary:
        """Takes long: every row is counted."""
        return self._count(fleet.summary, times, theirs)

    def principal(self, principal_id: str) -> PrincipalRecord | None:
        return self._read(queries.principal, principal_id)

    def principal_of(self, spiffe_id: str) -> PrincipalRecord | None:
        return self._read(queries.principal_of, spiffe_id)

    def principals(self, after: str | None, limit: int) -> list[PrincipalRecord]:
        return self._read(queries.principals, after, limit)

    def use_jwt(self, principal_id: str, jti_hash: bytes, expire_time: datetime) -> bool:
        """Notes a JWT's use. False where it was used before, on any replica."""
        row = {"principal": principal_id, "jti_hash": jti_hash, "expire_time": expire_time}
        with self._writing() as connection:
            added = upsert(connection, USED_JWT).on_conflict_do_nothing().returning(USED_JWT.c.principal)
            return connection.execute(added, row).first() is not None

    def audit_events(self, after: int, limit: int, wanted: EventFilter) -> list[ChainedEvent]:
        return self._read(audit_log.events, after, limit, wanted)

    def audit_end(self) -> ChainEnd:
        """Where the chain of audit events ends."""
        return self._read(audit_log.tail)

    def audit_heads(self, after: int = 0) -> list[SignedHead]:
        """Every signature over the chain after the sequence `after`, in its order."""
        return self._read(audit_log.heads, after)

    def last_audit_head(self) -> SignedHead | None:
        return self._read(audit_log.last_head)

    def stray_audit_event(self) -> object:
        """The sequence of an event that stands outside the chain; None where there is none."""
        return self._read(audit_log.outside)

    def hsm_keys(self) -> list[HsmKeyRecord]:
        """The generations of the token's own keys that are known, by purpose and generation."""
        return self._read(rekeying.generations)

    def hanging(self, purpose: Purpose, generation: int) -> int:
        """Rows that hang on a generation. Reads tables from end to end."""
        return self._count(rekeying.count, purpose, generation)

    def add_uses(self, batch: Uses) -> None:
        if batch:
            with self._writing_beside() as connection:
                uses.add(connection, batch)

    def forget_uses(self) -> None:
        """Deletes what was written down after its key's end."""
        after: str | None = ""
        while after is not None:
            with self._writing_beside() as connection:
                after = uses.forget_ended(connection, after)

    def fold_uses(self, now: datetime) -> None:
        """Folds the steps that are past into longer ones."""
        for step in uses.FOLDED:
            self._until_done(lambda connection, step=step: uses.fold(connection, step, now))  # type: ignore[misc]

    def _until_done(self, some: Callable[[Connection], bool]) -> None:
        """In transactions of their own: others' changes and notes have their turn between."""
        more = True
        while more:
            with self._writing_beside() as connection:
                more = some(connection)

    def expired_keys(self, now: datetime, limit: int) -> list[tuple[str, Slot, int]]:
        """(merchant id, slot, version) of keys whose overlap has ended, those that ended first."""
        query = select(KEY.c.merchant_id, KEY.c.slot, KEY.c.version).where(KEY.c.expire_time <= now)
        with self._connected() as connection:
            rows = connection.execute(query.order_by(KEY.c.expire_time).limit(limit))
            return [(row.merchant_id, Slot(row.slot), row.version) for row in rows]

    def forget_before(self, jwts_before: datetime, requests_before: datetime, changes_kept: int) -> None:
        """Deletes old request_ids, ended JWTs, and all but the newest changes."""
        newest = select(func.coalesce(func.max(CHANGE.c.epoch), 0)).scalar_subquery()
        self._delete_all(REQUEST, REQUEST.c.time < requests_before)
        self._delete_all(USED_JWT, USED_JWT.c.expire_time < jwts_before)
        self._delete_all(CHANGE, CHANGE.c.epoch <= newest - changes_kept)

    def _delete_all(self, table: Table, which: ColumnElement[bool]) -> None:
        self._until_done(lambda connection: delete_some(connection, table, which))

    def bindings(self) -> dict[tuple[str, int], bytes]:
        """Check values of the token keys that this database was written with, by (purpose, generation)."""
        with self._connected() as connection:
            return {(row.purpose, row.generation): row.check_value for row in connection.execute(select(BINDING))}

    def bind(self, check_values: dict[tuple[str, int], bytes]) -> None:
        """Notes them, by (purpose, generation), all or none."""
        rows = [
            {"purpose": purpose, "generation": generation, "check_value": check_value}
            for (purpose, generation), check_value in check_values.items()
        ]
        with self._writing() as connection:
            connection.execute(insert(BINDING), rows)

    def close(self) -> None:
        self.epoch.close()
        self._engine.dispose()

    def _read(self, query: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        with self._connected() as connection:
            return query(connection, *args, **kwargs)

    def _count(self, query: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """A read that goes through rows of all merchants: it may take longer than one that a verification waits for."""
        with self._reach.visit(), self._counting() as connection:
            return query(connection, *args, **kwargs)

    def _counting(self) -> AbstractContextManager[Connection]:
        """PostgreSQL gives more time to transactions only. In SQLite one would keep writers out."""
        return self._reader.connect() if self._beside.dialect.name == "sqlite" else self._beside.begin()

    @contextmanager
    def _writing(self, engine: Engine | None = None) -> Iterator[Connection]:
        self._reach.require()
        # Writers take turns here: in SQLite they would poll for the lock, and starve each other.
        if not self._turn.acquire(timeout=TURN_SECONDS):
            self._reach.require()
            raise Overloaded("More changes wait for their turn than keysvc gets done: try again, and spread them")
        try:
            self._reach.require()  # whoever had the turn may have found the database gone
            with self._reach.visit(), (engine or self._engine).begin() as connection:
                yield connection
        finally:
            self._turn.release()

    @contextmanager
    def _writing_beside(self) -> Iterator[Connection]:
        """What runs beside the calls, and may take longer. It takes a turn only where there is one writer at a time."""
        if self._beside.dialect.name == "sqlite":
            with self._writing(self._beside) as connection:
                yield connection
            return
        with self._reach.visit(), self._beside.begin() as connection:
            yield connection

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        with self._reach.visit(), self._reader.connect() as connection:
            yield connection
