"""Whether the tables of a data directory agree with each other, read with sqlite3 beside the server."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from endurance.chain import Chain, Event, chain_faults, read_chain

_FILLING = ("CreateCredential", "ImportCredential", "RenewCredential")
_CHANGING = (*_FILLING, "RevokeCredential")
_TOKENS = ("CreateToken", "RevokeToken")


@dataclass(frozen=True, slots=True)
class Tables:
    """All rows at one instant."""

    slots: dict[str, tuple[str, int]]
    """(state, version) by name."""
    keys: dict[str, list[tuple[int, bool]]]
    """(version, retiring) by name."""
    tokens: dict[str, set[str]]
    """The ids of the Lib Lite tokens that stand there, by merchant."""
    written: dict[str, int]
    """How often each merchant and principal was written, by name."""
    chain: Chain
    requests: dict[str, tuple[str, int]]
    """(resource, version) by request_id."""

    @property
    def audit(self) -> list[Event]:
        """What was changed, in its order."""
        return self.chain.done


def read(database: Path) -> Tables:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, isolation_level=None)) as connection:
        connection.execute("BEGIN")  # one snapshot for all
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
            tokens={
                f"merchants/{merchant}": {token["token_id"] for token in json.loads(tokens)}
                for merchant, tokens in _rows(connection, "SELECT merchant_id, tokens FROM merchant_token_set")
            },
            written=dict(
                _rows(
                    connection,
                    "SELECT 'principals/' || principal_id, revision FROM principal"
                    " UNION SELECT 'merchants/' || merchant_id, revision FROM merchant",
                )
            ),
            chain=read_chain(connection),
            requests={
                request_id: (resource, version)
                for request_id, resource, version in _rows(
                    connection, "SELECT request_id, resource, version FROM request"
                )
            },
        )


def disagreements(tables: Tables) -> list[str]:
    """One sentence each; empty where all is well."""
    return [
        *chain_faults(tables.chain),
        *_strangers(tables),
        *_unlike_requests(tables),
        *_unlike_tokens(tables),
        *_unlike_writings(tables),
        *(fault for name in tables.slots for fault in _unlike_audit(tables, name)),
    ]


def _strangers(tables: Tables) -> Iterator[str]:
    changed = {event.record.resource for event in tables.audit if event.method in _CHANGING}
    if changed != set(tables.slots):
        yield f"changes were recorded of {changed - set(tables.slots)}, and none of {set(tables.slots) - changed}"
    if not set(tables.keys) <= set(tables.slots):
        yield f"there are keys of {set(tables.keys) - set(tables.slots)}"


def _unlike_requests(tables: Tables) -> Iterator[str]:
    recorded = {
        event.record.request_id: (event.record.resource, event.record.version)
        for event in tables.audit
        if event.record.request_id
    }
    if recorded != tables.requests:
        yield f"request_ids and audit events differ in {set(recorded.items()) ^ set(tables.requests.items())}"


def _unlike_tokens(tables: Tables) -> Iterator[str]:
    """Those that stand there are those whose last event made them. None of these tests lets a token expire."""
    last = {event.record.resource: event.method for event in tables.audit if event.method in _TOKENS}
    made = {name for name, method in last.items() if method == "CreateToken"}
    stand = {f"{merchant}/tokens/{token}" for merchant, ids in tables.tokens.items() for token in ids}
    if made != stand:
        yield f"tokens and audit events differ in {made ^ stand}"


def _unlike_writings(tables: Tables) -> Iterator[str]:
    """Every writing of a merchant or principal has one event, and every event its writing."""
    recorded = Counter(event.record.resource for event in tables.audit if event.record.resource.count("/") == 1)
    if recorded != tables.written:
        yield f"merchants and principals were written {tables.written} times, and recorded {dict(recorded)} times"


def _unlike_audit(tables: Tables, name: str) -> Iterator[str]:
    state, version = tables.slots[name]
    events = [event for event in tables.audit if event.record.resource == name and event.method in _CHANGING]
    filled = [event.record.version for event in events if event.method in _FILLING]
    if filled != list(range(1, version + 1)):
        yield f"{name} is at version {version}, and the audit table tells of {filled}"
    if (events[-1].method in _FILLING) != (state == "ACTIVE"):
        yield f"{name} is {state}, and its last event is {events[-1]}"
    if events[-1].record.version != version:
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
