"""The audit record in SQL: appending to the chain, and reading it. Functions of a connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from datetime import datetime

from sqlalchemy import Connection, RowMapping, insert, or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from keysvc.model.audit import SIGN_EVERY, AuditRecord, ChainedEvent, ChainEnd, SignedHead
from keysvc.model.errors import HsmUnavailable, StoreUnavailable
from keysvc.store import audit_tables
from keysvc.store.rows import table_of

EVENT = table_of(audit_tables.AuditEvent)
TAIL = table_of(audit_tables.AuditTail)
HEAD = table_of(audit_tables.AuditHead)

HeadSigner = Callable[[int, str], tuple[int, bytes]]
"""From a sequence and its event's hash to (generation, signature). Raises HsmUnavailable."""

_TAIL = select(TAIL.c.sequence, TAIL.c.hash)
_LAST_HEAD = select(HEAD).order_by(HEAD.c.sequence.desc()).limit(1)
_FIELDS = tuple(f.name for f in fields(AuditRecord))


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are asked for. `parent` is a resource's name: it, and what stands under it."""

    parent: str = ""
    start_time: datetime | None = None
    end_time: datetime | None = None


def append(connection: Connection, event: AuditRecord, sign: HeadSigner) -> None:
    """Adds an event to the chain's end; the caller holds the epoch's lock. Raises StoreUnavailable where it cannot."""
    try:
        before = tail(connection)
        chained = ChainedEvent.after(before, event)
        row = {"sequence": chained.sequence, "previous_hash": chained.previous_hash, "hash": chained.hash}
        connection.execute(insert(EVENT), row | asdict(event))
        connection.execute(update(TAIL).values(sequence=chained.sequence, hash=chained.hash))
        if chained.sequence % SIGN_EVERY == 0:
            sign_end(connection, ChainEnd(chained.sequence, chained.hash), event.time, sign)
    except SQLAlchemyError as error:
        raise StoreUnavailable("The audit record cannot be written, so nothing was changed: try again") from error
    except HsmUnavailable:
        # A change that needs no token is not held up: the next signature covers this event too.
        return


def sign_end(connection: Connection, end: ChainEnd, time: datetime, sign: HeadSigner) -> None:
    """Raises HsmUnavailable."""
    generation, signature = sign(end.sequence, end.hash)
    row = {"sequence": end.sequence, "hash": end.hash, "time": time, "generation": generation, "signature": signature}
    connection.execute(insert(HEAD), row)


def tail(connection: Connection) -> ChainEnd:
    """Raises StoreUnavailable where the row is gone."""
    row = connection.execute(_TAIL).first()
    if row is None:
        raise StoreUnavailable("The audit record has lost its end: run `keysvc audit verify`, and restore a backup")
    return ChainEnd(row.sequence, row.hash)


def last_head(connection: Connection) -> SignedHead | None:
    row = connection.execute(_LAST_HEAD).mappings().first()
    return SignedHead(**row) if row else None


def heads(connection: Connection) -> list[SignedHead]:
    """Every signature, in the chain's order."""
    return [SignedHead(**row) for row in connection.execute(select(HEAD).order_by(HEAD.c.sequence)).mappings()]


def events(connection: Connection, after: int, limit: int, wanted: EventFilter) -> list[ChainedEvent]:
    """In their order, those after the sequence `after`."""
    query = select(EVENT).where(EVENT.c.sequence > after).order_by(EVENT.c.sequence).limit(limit)
    if wanted.parent:
        below = EVENT.c.resource.startswith(f"{wanted.parent}/", autoescape=True)
        query = query.where(or_(EVENT.c.resource == wanted.parent, below))
    if wanted.start_time is not None:
        query = query.where(EVENT.c.time >= wanted.start_time)
    if wanted.end_time is not None:
        query = query.where(EVENT.c.time < wanted.end_time)
    return [_chained(row) for row in connection.execute(query).mappings()]


def _chained(row: RowMapping) -> ChainedEvent:
    event = AuditRecord(**{name: row[name] for name in _FIELDS})
    return ChainedEvent(row["sequence"], event, row["previous_hash"], row["hash"])
