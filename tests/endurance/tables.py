"""Whether the tables of a data directory agree with each other, read with sqlite3 beside the server."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FILLING = ("CreateCredential", "ImportCredential", "RenewCredential")
_CHANGING = (*_FILLING, "RevokeCredential")


@dataclass(frozen=True, slots=True)
class Event:
    """One row of the audit table."""

    sequence: int
    method: str
    resource: str
    version: int
    request_id: str


@dataclass(frozen=True, slots=True)
class Tables:
    """All rows at one instant."""

    slots: dict[str, tuple[str, int]]
    """(state, version) by name."""
    keys: dict[str, list[tuple[int, bool]]]
    """(version, retiring) by name."""
    audit: list[Event]
    requests: dict[str, tuple[str, int]]
    """(resource, version) by request_id."""


def read(database: Path) -> Tables:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, isolation_level=None)) as connection:
        connection.execute("BEGIN")  # one snapshot for all four
        keys = defaultdict(list)
        for merchant, slot, version, retiring in _rows(
            connection, "SELECT merchant_id, slot, version, expire_time IS NOT NULL FROM credential_key"
        ):
            keys[_name(merchant, slot)].append((version, bool(retiring)))
        return Tables(
            slots={
                _name(merchant, slot): (state, version)
                for merchant, slot, state, version in _rows(
                    connection, "SELECT merchant_id, slot, state, version FROM credential"
                )
            },
            keys=keys,
            audit=[
                Event(sequence, method.rpartition("/")[2], *rest)
                for sequence, method, *rest in _rows(
                    connection,
                    "SELECT sequence, method, resource, version, request_id FROM audit_event"
                    " WHERE outcome = 'OK' ORDER BY sequence",
                )
            ],
            requests={
                request_id: (resource, version)
                for request_id, resource, version in _rows(
                    connection, "SELECT request_id, resource, version FROM request"
                )
            },
        )


def disagreements(tables: Tables) -> list[str]:
    """One sentence each; empty where all is well."""
    return [*_gaps(tables), *_strangers(tables), *_unlike_requests(tables)] + [
        fault for name in tables.slots for fault in _unlike_audit(tables, name)
    ]


def _gaps(tables: Tables) -> Iterator[str]:
    sequence = [event.sequence for event in tables.audit]
    if sequence != list(range(1, len(sequence) + 1)):
        yield f"the audit sequence has gaps: it ends with {sequence[-1:]}, and has {len(sequence)} events"


def _strangers(tables: Tables) -> Iterator[str]:
    changed = {event.resource for event in tables.audit if event.method in _CHANGING}
    if changed != set(tables.slots):
        yield f"changes were recorded of {changed - set(tables.slots)}, and none of {set(tables.slots) - changed}"
    if not set(tables.keys) <= set(tables.slots):
        yield f"there are keys of {set(tables.keys) - set(tables.slots)}"


def _unlike_requests(tables: Tables) -> Iterator[str]:
    recorded = {event.request_id: (event.resource, event.version) for event in tables.audit if event.request_id}
    if recorded != tables.requests:
        yield f"request_ids and audit events differ in {set(recorded.items()) ^ set(tables.requests.items())}"


def _unlike_audit(tables: Tables, name: str) -> Iterator[str]:
    state, version = tables.slots[name]
    events = [event for event in tables.audit if event.resource == name and event.method in _CHANGING]
    filled = [event.version for event in events if event.method in _FILLING]
    if filled != list(range(1, version + 1)):
        yield f"{name} is at version {version}, and the audit table tells of {filled}"
    if (events[-1].method in _FILLING) != (state == "ACTIVE"):
        yield f"{name} is {state}, and its last event is {events[-1]}"
    if events[-1].version != version:
        yield f"{name} is at version {version}, and its last event is {events[-1]}"
    current = [key for key, retiring in tables.keys.get(name, []) if not retiring]
    if current != ([version] if state == "ACTIVE" else []):
        yield f"{name} is {state} at version {version}, and its current keys are {current}"
    if state != "ACTIVE" and tables.keys.get(name):
        yield f"{name} is {state}, and has keys"


def _rows(connection: sqlite3.Connection, query: str) -> list[tuple[Any, ...]]:
    return connection.execute(query).fetchall()


def _name(merchant: str, slot: str) -> str:
    return f"merchants/{merchant}/credentials/{slot}"
