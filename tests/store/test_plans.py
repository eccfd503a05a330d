"""Of many rows the store reads few: seen in the plans of the very statements that it sends, on both databases."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Table, event, insert
from support.databases import Database, SqliteDatabases
from support.postgres import Postgres

from keysvc.model.audit import ChainedEvent
from keysvc.model.fleet import DueSlot
from keysvc.model.hsm_keys import Purpose
from keysvc.model.principals import PrincipalKind
from keysvc.model.records import KeyRecord, SlotState
from keysvc.model.slots import Slot
from keysvc.model.uses import EVER, TEN_MINUTES, Tally, Use, step_of
from keysvc.store import rekeying, schema
from keysvc.store.audit_log import EVENT, EventFilter
from keysvc.store.changes import REQUEST
from keysvc.store.epoch import CHANGE
from keysvc.store.queries import KEY, MERCHANT, PRINCIPAL, SLOT, TOKENS, Owner
from keysvc.store.rows import to_row
from keysvc.store.store import USED_JWT, Store
from keysvc.store.uses import USE
from store.records import A_USE, MAC, NOON, a_key, a_merchant, a_principal, a_slot, a_token_set, an_event

MANY = 3_000
"""Merchants, and rows at least of every table that grows."""
FEW = 1_500
"""Rows that a statement may read of a table."""
SLOTS = (Slot.PRIMARY_HMAC_KEY, Slot.SECONDARY_HMAC_KEY, Slot.API_PASSWORD)
DAY = timedelta(days=1)
MIDWAY = f"m-{MANY // 2:05d}"
PSP = Owner(PrincipalKind.PSP, "psp-7")

Rows = Iterator[dict[str, Any]]


def _rows() -> Iterator[tuple[Table, Rows]]:
    """One in twenty has a date, a retiring key, and steps of use that are past: what is of a generation, or of a time,
    is a small part of its table."""
    some = range(0, MANY, 20)
    yield MERCHANT, (to_row(replace(_merchant(n), mac_generation=_generation(n))) for n in range(MANY))
    yield SLOT, (to_row(_slot(n, slot)) for n in range(MANY) for slot in SLOTS)
    yield KEY, (_key(n, slot, 2) for n in range(MANY) for slot in SLOTS)
    yield KEY, (_key(n, SLOTS[0], 1) | {"expire_time": NOON + DAY * (n % 40 - 10)} for n in some)
    yield TOKENS, (to_row(replace(a_token_set(_id(n)), mac_generation=_generation(n))) for n in range(MANY))
    yield PRINCIPAL, (to_row(replace(a_principal(f"p-{n}"), spiffe_id=f"spiffe://x/{n}")) for n in range(200))
    yield USE, (_use(_id(n), f"f-{n}", EVER, 0) for n in range(MANY))
    yield USE, (_use(_id(n), f"f-{n}", TEN_MINUTES, step_of(NOON - DAY)) for n in some)
    yield REQUEST, (_request(n, NOON - DAY if n in some else NOON + DAY) for n in range(MANY))
    yield USED_JWT, (_jwt(n, NOON - DAY if n in some else NOON + DAY) for n in range(MANY))
    yield EVENT, (_event(n) for n in range(1, 2 * MANY + 1))
    yield CHANGE, ({"epoch": n, "subject": f"merchants/{_id(n)}"} for n in range(1, MANY + 1))


def _id(number: int) -> str:
    return f"m-{number:05d}"


def _generation(number: int) -> int:
    return 1 if number % 20 == 0 else 2


def _merchant(number: int) -> Any:
    return replace(a_merchant(_id(number)), psp=f"psp-{number * 7919 % 100}", acquirer=f"acq-{number % 3}")


def _slot(number: int, slot: Slot) -> Any:
    date = NOON + timedelta(minutes=number - MANY // 2) if slot is Slot.API_PASSWORD and number % 20 == 0 else None
    return replace(a_slot(slot, 2, _id(number)), rotate_before=date, mac_generation=_generation(number))


def _key(number: int, slot: Slot, version: int) -> dict[str, Any]:
    key, generation = a_key(slot, version, _id(number)), _generation(number)
    of_it = {"fingerprint": f"f-{number}", "generation": generation, "mac_generation": generation}
    return to_row(key) | of_it | {"slot_state": SlotState.ACTIVE}


def _use(merchant_id: str, fingerprint: str, step: int, since: int) -> dict[str, Any]:
    return Use(merchant_id, fingerprint, "admin", step, since)._asdict() | Tally(1, NOON)._asdict()


def _request(number: int, time: Any) -> dict[str, Any]:
    return {"principal": "admin", "request_id": f"r-{number}", "resource": "merchants/m", "version": 1, "time": time}


def _jwt(number: int, time: Any) -> dict[str, Any]:
    return {"principal": f"p-{number}", "jti_hash": MAC, "expire_time": time}


def _event(sequence: int) -> dict[str, Any]:
    """Two of each merchant's."""
    below = "" if sequence % 2 else "/credentials/api-password"
    chained = ChainedEvent(sequence, an_event(f"merchants/{_id(sequence // 2)}{below}"), "", "")
    return {"sequence": sequence, "previous_hash": "", "hash": ""} | to_row(chained.event)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def crowded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    if request.param == "sqlite":
        databases: SqliteDatabases = request.getfixturevalue("sqlite_databases")
        database = databases.new(tmp_path_factory.mktemp("crowded"))
    else:
        server: Postgres = request.getfixturevalue("postgres")
        database = Database(server.new_database())
        schema.upgrade(database.engine())
    with database.second_writer() as writer:
        if not database.is_sqlite:
            writer.exec_driver_sql("SET LOCAL session_replication_role = replica")
        for table, rows in _rows():
            if table is CHANGE:
                writer.exec_driver_sql("DELETE FROM change")  # what SQLite's triggers noted of all that
            writer.execute(insert(table), list(rows))
        writer.exec_driver_sql(f"UPDATE epoch SET value = {MANY}")
        writer.exec_driver_sql(f"UPDATE audit_tail SET sequence = {2 * MANY}")
        writer.exec_driver_sql("ANALYZE")
    yield database
    database.close()


@pytest.fixture(scope="module")
def store(crowded: Database) -> Store:
    return crowded.store()


Work = Callable[[Store], object]


def _old_keys(connection: Connection) -> object:
    return rekeying.batch(connection, Purpose.WRAPPING, KeyRecord, 1, (MIDWAY, SLOTS[0], 2), 50)


def _change(store: Store) -> None:
    """What a renewal asks."""
    with store.change() as change:
        change.done_request("admin", "r-70")
        change.holdings(MIDWAY)
        change.uses(MIDWAY)
        change.put_slot(a_slot(SLOTS[0], 2, MIDWAY))
        change.delete_keys(MIDWAY, SLOTS[0], [1])
        change.put_key(a_key(SLOTS[0], 2, MIDWAY))


READS: dict[str, Work] = {
    "merchants, the first page": lambda store: store.merchants(None, 51),
    "merchants, a deep page": lambda store: store.merchants(MIDWAY, 51),
    "a PSP's merchants, the first page": lambda store: store.merchants(None, 51, PSP),
    "a PSP's merchants, a deep page": lambda store: store.merchants(MIDWAY, 51, PSP),
    "listed merchants": lambda store: store.merchants(None, 51, ("m-00001", MIDWAY)),
    "a merchant": lambda store: store.merchant(MIDWAY),
    "an owner's merchant": lambda store: store.owned_merchant(PSP, MIDWAY),
    "due, the first page": lambda store: store.due(None, 51, NOON, None),
    "due, a deep page": lambda store: store.due(DueSlot(NOON - DAY, MIDWAY, SLOTS[2]), 51, NOON, None),
    "due of a PSP": lambda store: store.due(None, 51, NOON, PSP),
    "due of listed merchants": lambda store: store.due(None, 51, NOON, ("m-00001", MIDWAY)),
    "how many are due": lambda store: store.due_counts(NOON, NOON + DAY),
    "how many retire": lambda store: store.retiring(NOON),
    "keys that have ended": lambda store: store.expired_keys(NOON, 200),
    "what a verification reads": lambda store: store.holdings(MIDWAY),
    "what a batch reads": lambda store: store.holdings_of([_id(n) for n in range(0, MANY, 300)]),
    "uses": lambda store: store.uses(MIDWAY),
    "last uses": lambda store: store.last_uses([MIDWAY, "m-00001"]),
    "a principal": lambda store: store.principal("p-70"),
    "nobody": lambda store: store.principal("nobody"),
    "a principal by its SPIFFE id": lambda store: store.principal_of("spiffe://x/70"),
    "principals": lambda store: store.principals("p-70", 51),
    "the newest changes": lambda store: store.epoch.changes(MANY - 50, MANY),
    "audit events, the first page": lambda store: store.audit_events(0, 51, EventFilter()),
    "audit events, a deep page": lambda store: store.audit_events(MANY, 51, EventFilter()),
    "the audit record's end": Store.audit_end,
    "an event outside the record": Store.stray_audit_event,
    "what hangs on an old wrapping key": lambda store: store.hanging(Purpose.WRAPPING, 1),
    "what hangs on an old row key": lambda store: store.hanging(Purpose.ROW, 1),
    "keys to wrap anew": lambda store: store._read(_old_keys),
}
WRITES: dict[str, Work] = {
    "uses are added": lambda store: store.add_uses({A_USE._replace(merchant_id=MIDWAY): Tally(1, NOON)}),
    "uses are folded": lambda store: store.fold_uses(NOON),
    "what is past is forgotten": lambda store: store.forget_before(NOON, NOON, MANY - 100),
    "a JWT is used": lambda store: store.use_jwt("p-70", bytes(32), NOON),
    "a change": _change,
}


@pytest.mark.parametrize("what", [*READS, *WRITES])
def test_a_statement_reads_few_of_many_rows(store: Store, crowded: Database, what: str) -> None:
    plans = list(_plans(store, crowded, (READS | WRITES)[what]))
    assert plans
    for statement, too_much in plans:
        assert [] == too_much, statement


def test_an_audit_record_of_one_resource_is_found_by_its_name(store: Store, crowded: Database) -> None:
    """SQLite's LIKE uses no index."""
    if not crowded.is_sqlite:
        wanted = EventFilter(parent=f"merchants/{MIDWAY}")
        assert 2 == len(store.audit_events(0, 51, wanted))
        [(_, too_much)] = _plans(store, crowded, lambda store: store.audit_events(0, 51, wanted))
        assert [] == too_much


def test_uses_of_ended_keys_are_looked_for_in_parts_of_the_table(
    store: Store, crowded: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keysvc.store.uses.AT_ONCE", FEW // 20)
    plans = list(_plans(store, crowded, Store.forget_uses))
    # Whose keys are so few here that PostgreSQL hashes all of them.
    assert [] == [step for _, too_much in plans for step in too_much if "credential_use" in step]
    assert len(plans) > 2 * MANY // (FEW // 20)


def test_a_scan_would_be_seen(store: Store, crowded: Database) -> None:
    def scan(store: Store) -> None:
        with store._engine.connect() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM merchant WHERE display_name <> 'Merchant'")

    [(_, too_much)] = _plans(store, crowded, scan)
    assert 1 == len(too_much)


def _plans(store: Store, database: Database, work: Work) -> Iterator[tuple[str, list[str]]]:
    """Each statement that the work sends about rows, and where it reads too many."""
    sent: list[tuple[str, Any]] = []

    def note(
        _connection: object, _cursor: object, statement: str, parameters: Any, _context: object, many: bool
    ) -> None:
        if statement.split(maxsplit=1)[0] in ("SELECT", "INSERT", "UPDATE", "DELETE"):
            sent.append((statement, parameters[0] if many else parameters))

    event.listen(store._engine, "before_cursor_execute", note)
    work(store)
    event.remove(store._engine, "before_cursor_execute", note)
    for statement, parameters in sent:
        with store._engine.connect() as connection:
            read = _read_by_sqlite if database.is_sqlite else _read_by_postgresql
            yield statement, list(read(connection, statement, parameters))
            connection.rollback()


def _read_by_sqlite(connection: Connection, statement: str, parameters: Any) -> Iterator[str]:
    """Steps that go through a whole table, but in the order of an index, which ends where there is enough. (Where no
    principal has the id, any one is read.)"""
    for *_, step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters):
        if (
            re.match(r"SCAN (?!epoch|audit_tail|principal|hsm_key|CONSTANT|anon|\(subquery)\w+", step)
            and "USING INDEX" not in step
        ):
            yield step


def _read_by_postgresql(connection: Connection, statement: str, parameters: Any) -> Iterator[str]:
    """Steps that have read more than few rows. The statement is carried out for that."""
    [[plan]] = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
    for step in _steps((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]):
        removed = sum(value for name, value in step.items() if name.startswith("Rows Removed by"))
        rows = (step["Actual Rows"] + removed) * step["Actual Loops"]
        if "Relation Name" in step and rows > FEW:
            yield f"{step['Node Type']} of {step['Relation Name']}: {rows} rows"


def _steps(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _steps(below)
