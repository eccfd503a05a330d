"""The audit record in SQL: appending to the chain, and reading it. Functions of a connection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, RowMapping, Select, insert, or_, select, update
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from keysvc.model.audit import SIGN_EVERY, AuditRecord, ChainedEvent, ChainEnd, SignedHead
from keysvc.model.errors import HsmUnavailable, Integrity, StoreUnavailable
from keysvc.store import audit_tables
from keysvc.store.rows import UNREADABLE, table_of, to_row

EVENT = table_of(audit_tables.AuditEvent)
TAIL = table_of(audit_tables.AuditTail)
HEAD = table_of(audit_tables.AuditHead)

HeadSigner = Callable[[int, str, SignedHead | None], tuple[int, bytes]]
"""From a sequence, its event's hash and the newest signature to (generation, signature). Raises HsmUnavailable, also
where it would not sign after that one."""

_ADD = insert(EVENT).execution_options(preserve_rowcount=True)
_TAIL = select(TAIL.c.sequence, TAIL.c.hash)
_NEWEST_FIRST = select(HEAD).order_by(HEAD.c.sequence.desc())
_SIGNATURE = "signature over audit event"
_FIELDS = tuple(f.name for f in fields(AuditRecord))
_UNREADABLE = (*UNREADABLE, OperationalError)
"""SQLite tells so of text that is not UTF-8 with the last; a database out of reach ends with it too."""

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are asked for. `parent` is a resource's name: it, and what stands under it."""

    parent: str = ""
    start_time: datetime | None = None
    end_time: datetime | None = None


def append(connection: Connection, event: AuditRecord, sign: HeadSigner) -> None:
    """Adds an event to the chain's end; the caller holds the epoch's lock. Raises StoreUnavailable where it cannot."""
    append_all(connection, [event], sign)


def append_all(connection: Connection, events: Sequence[AuditRecord], sign: HeadSigner) -> None:
    """Adds events in their order, as `append` does."""
    if not events:
        return
    try:
        chained = _chain(tail(connection), events)
        written = connection.execute(_ADD, [_row(each) for each in chained]).rowcount
        end = ChainEnd(chained[-1].sequence, chained[-1].hash)
        moved = connection.execute(update(TAIL).values(sequence=end.sequence, hash=end.hash)).rowcount
        if (written, moved) != (len(events), 1):
            # A trigger may drop a row without an error.
            raise _unwritable()
        for each in chained:
            if each.sequence % SIGN_EVERY == 0:
                sign_end(connection, ChainEnd(each.sequence, each.hash), each.event.time, sign)
    except SQLAlchemyError as error:
        raise _unwritable() from error
    except (HsmUnavailable, Integrity):
        # A change that needs no token is not held up: the next signature covers this event too.
        return


def _chain(end: ChainEnd, events: Sequence[AuditRecord]) -> list[ChainedEvent]:
    chained = []
    for event in events:
        chained.append(ChainedEvent.after(end, event))
        end = ChainEnd(chained[-1].sequence, chained[-1].hash)
    return chained


def _row(chained: ChainedEvent) -> dict[str, Any]:
    hashes = {"sequence": chained.sequence, "previous_hash": chained.previous_hash, "hash": chained.hash}
    return hashes | to_row(chained.event)


def _unwritable() -> StoreUnavailable:
    return StoreUnavailable("The audit record cannot be written, so nothing was changed: try again")


def sign_end(connection: Connection, end: ChainEnd, time: datetime, sign: HeadSigner) -> None:
    """Raises HsmUnavailable, or Integrity where the signature before cannot be read."""
    generation, signature = sign(end.sequence, end.hash, last_head(connection))
    row = {"sequence": end.sequence, "hash": end.hash, "time": time, "generation": generation, "signature": signature}
    connection.execute(insert(HEAD), row)


def tail(connection: Connection) -> ChainEnd:
    """Raises StoreUnavailable where the row is gone, or holds no number."""
    row = connection.execute(_TAIL).first()
    if row is None or not isinstance(row.sequence, int):
        raise StoreUnavailable("The audit record has lost the row that tells its end: restore it from a backup")
    return ChainEnd(row.sequence, row.hash)


def last_head(connection: Connection) -> SignedHead | None:
    """Raises Integrity where it cannot be read."""
    newest = _read(connection, _NEWEST_FIRST.limit(2), _signed, _SIGNATURE)
    return _linked(newest[::-1], b"")[-1] if newest else None


def heads(connection: Connection, after: int) -> list[SignedHead]:
    """Every signature after the sequence `after`, in the chain's order. Raises Integrity for one that is unreadable."""
    query = select(HEAD).where(HEAD.c.sequence > after).order_by(HEAD.c.sequence)
    found = _read(connection, query, _signed, _SIGNATURE)
    if not found:
        return []
    before = _read(connection, _NEWEST_FIRST.where(HEAD.c.sequence <= after).limit(1), _signed, _SIGNATURE)
    return _linked(found, before[0].signature if before else b"")


def _linked(found: list[SignedHead], previous: bytes) -> list[SignedHead]:
    """Each with the signature before it. `previous` is that before the first."""
    signatures = [previous, *(head.signature for head in found)]
    return [replace(head, previous_signature=before) for head, before in zip(found, signatures, strict=False)]


def events(connection: Connection, after: int, limit: int, wanted: EventFilter) -> list[ChainedEvent]:
    """In their order, those after the sequence `after`. Raises Integrity that names one that cannot be read."""
    query = select(EVENT).where(EVENT.c.sequence > after).order_by(EVENT.c.sequence).limit(limit)
    if wanted.parent:
        below = EVENT.c.resource.startswith(f"{wanted.parent}/", autoescape=True)
        query = query.where(or_(EVENT.c.resource == wanted.parent, below))
    if wanted.start_time is not None:
        query = query.where(EVENT.c.time >= wanted.start_time)
    if wanted.end_time is not None:
        query = query.where(EVENT.c.time < wanted.end_time)
    return _read(connection, query, _chained, "audit event")


def outside(connection: Connection) -> object:
    """The sequence of an event before the chain's beginning or after its end, None where there is none.

    One statement, and so of one instant: an event that is being added is seen with its end, or not at all.
    """
    end = select(TAIL.c.sequence).scalar_subquery()
    first = select(EVENT.c.sequence).order_by(EVENT.c.sequence).limit(1)
    # Each by the index: of either condition, PostgreSQL would go through all events in their order.
    before, after = (first.where(where).subquery() for where in (EVENT.c.sequence < 1, EVENT.c.sequence > end))
    return connection.scalar(select(before.c.sequence).union_all(select(after.c.sequence)))


def _read(
    connection: Connection, query: Select[*tuple[Any, ...]], make: Callable[[RowMapping], R], what: str
) -> list[R]:
    try:
        return [make(row) for row in connection.execute(query).mappings()]
    except _UNREADABLE as error:
        found = None if connection.invalidated else _first_unreadable(connection, query)
        if found is None:
            raise
        raise Integrity(f"The {what} {found} cannot be read: its row holds what keysvc never writes") from error


def _first_unreadable(connection: Connection, query: Select[*tuple[Any, ...]]) -> object:
    """The sequence of the first row that cannot be read, None where all can."""
    sequence = query.selected_columns.sequence
    for found in connection.scalars(query.with_only_columns(sequence)).all():
        try:
            connection.execute(query.where(sequence == found)).all()
        except _UNREADABLE:
            return found
    return None


def _chained(row: RowMapping) -> ChainedEvent:
    event = AuditRecord(**{name: row[name] for name in _FIELDS})
    return ChainedEvent(row["sequence"], event, row["previous_hash"], row["hash"])


def _signed(row: RowMapping) -> SignedHead:
    return SignedHead(**row)
