"""A database of schema 0001 to 0004 with rows in it is brought to 0005, and nothing in it changes its meaning.

The rows and the bytes that their MACs cover are written here as 0001 and 0002 had them, apart from the code of today.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from alembic import command
from sqlalchemy import inspect, text
from support.databases import Database, Row

from keysvc.model.audit import FIRST_HASH, AuditRecord, ChainEnd, event_hash
from keysvc.model.errors import KeysvcError, Misconfigured
from keysvc.model.principals import PrincipalKind, PrincipalRecord, PrincipalState
from keysvc.model.records import meaning
from keysvc.model.slots import Slot
from keysvc.model.uses import EVER, Tally, Use
from keysvc.store import schema
from keysvc.store.audit_log import EventFilter
from keysvc.store.epoch import EpochReader
from store.records import a_token_set, an_event

ROW_KEY = b"in the place of the token's row key"
START = datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC)
WIRE = "/keysvc.v1.CredentialService"

OLD: dict[str, list[tuple[str, Row]]] = {
    "merchant": [
        ("MerchantRecord", {
            "merchant_id": "m", "display_name": "Zoë's \"Café\" 🔑", "psp": "PSP_42", "acquirer": None,
            "state": "ACTIVE", "create_time": START, "update_time": START + timedelta(microseconds=1), "revision": 2,
        }),
        ("MerchantRecord", {
            "merchant_id": "n", "display_name": "", "psp": None, "acquirer": "ACQ-7", "state": "TERMINATED",
            "create_time": START, "update_time": START, "revision": 3,
        }),
    ],
    "credential": [
        ("SlotRecord", {
            "merchant_id": "m", "slot": "primary-hmac-key", "state": "ACTIVE", "version": 2,
            "hmac_algorithm": "HMAC_SHA256", "secret_format": "HEX", "fingerprint": "0123", "weak_key": True,
            "retiring_fingerprints": "4567", "create_time": START, "renew_time": START + timedelta(days=1),
            "revoke_time": None, "revision": 2,
        }),
        ("SlotRecord", {
            "merchant_id": "n", "slot": "api-password", "state": "INACTIVE", "version": 1, "hmac_algorithm": None,
            "secret_format": "HEX_UPPER_32", "fingerprint": "", "weak_key": False, "retiring_fingerprints": "",
            "create_time": START, "renew_time": None, "revoke_time": START + timedelta(days=2), "revision": 2,
        }),
    ],
    "credential_key": [
        ("KeyRecord", {
            "merchant_id": "m", "slot": "primary-hmac-key", "version": version, "kind": "HMAC_KEY",
            "hmac_algorithm": "HMAC_SHA256", "material": bytes(range(40)), "generation": 1,
            "fingerprint": fingerprint, "create_time": START, "expire_time": expire_time,
        })
        for version, fingerprint, expire_time in [(1, "4567", START + timedelta(days=8)), (2, "0123", None)]
    ],
    "principal": [
        ("PrincipalRecord", {
            "principal_id": principal_id, "kind": "ADMIN", "state": state, "password_digest": bytes(range(32)),
            "digest_generation": 1, "create_time": START, "revision": 4,
        })
        for principal_id, state in [("admin", "ACTIVE"), ("former", "DISABLED")]
    ],
}  # fmt: skip
"""By table: a record's type, and its fields in the order that 0001 had them, without the MAC and its generation."""

USAGE = [
    ("m", "primary-hmac-key", 1, START + timedelta(days=3, microseconds=1)),
    ("m", "primary-hmac-key", 2, START + timedelta(days=4)),
    ("m", "primary-hmac-key", 9, START + timedelta(days=5)),
    ("n", "api-password", 1, START + timedelta(days=1)),
]
"""Last uses, of keys that have ended too: the last two."""

EVENTS = [
    AuditRecord(
        time=START + timedelta(seconds=number, microseconds=number % 3), principal="admin" if number % 2 else "keysvc",
        method=f"{WIRE}/RenewCredential" if number % 2 else "expire",
        resource="merchants/m/credentials/primary-hmac-key", version=number,
        outcome="OK" if number % 5 else "REFUSED", reason="" if number % 5 else "INTEGRITY",
        request_id="" if number % 4 else f"r-{number}", peer="ipv4:127.0.0.1:1" if number % 2 else "Zoë 🔑 \"",
    )
    for number in range(1, 131)
]  # fmt: skip
"""More than lie between two signatures."""


@pytest.fixture
def old(new_empty: Callable[[], Database]) -> Database:
    """A database of 0001, without rows."""
    database = new_empty()
    _to(database, "0001")
    return database


@pytest.fixture
def filled(old: Database) -> Database:
    with old.second_writer() as writer:
        for table, row in _rows_of_before():
            values = ", ".join(f":{name}" for name in row)
            statement = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({values})"
            writer.execute(text(statement), _as_written(old, row))
    return old


def _rows_of_before() -> Iterator[tuple[str, Row]]:
    for table, records in OLD.items():
        for record_type, values in records:
            state = {"slot_state": "ACTIVE"} if table == "credential_key" else {}
            yield table, {**values, **state, "mac": _old_mac(record_type, values, 1), "mac_generation": 1}
    for sequence, event in reversed(list(enumerate(EVENTS, start=1))):
        yield "audit_event", {"sequence": sequence, **asdict(event)}
    for merchant_id, slot, version, time in USAGE:
        yield "credential_usage", {
            "merchant_id": merchant_id, "slot": slot, "version": version, "last_used_time": time,
        }  # fmt: skip
    yield "token_binding", {"purpose": "row", "generation": 1, "check_value": b"check"}
    yield "request", {"principal": "admin", "request_id": "r-1", "resource": "merchants/m", "version": 1, "time": START}


@pytest.mark.parametrize("before", ["0001", "0002", "0003", "0004"])
def test_rows_of_before_keep_their_macs(filled: Database, before: str) -> None:
    _to(filled, before)
    assert (before, "0005") == schema.upgrade(filled.engine())
    store = filled.store()
    found: list[Any] = [*store.merchants(None, 10), *store.principals(None, 10)]
    for merchant_id in ("m", "n"):
        holdings = store.holdings(merchant_id)
        assert holdings is not None
        assert holdings.tokens is None
        found += [*holdings.slots.values(), *(key for keys in holdings.keys.values() for key in keys)]
    assert sum(len(rows) for rows in OLD.values()) == len(found)
    for record in found:
        assert hmac.digest(ROW_KEY, meaning(record), "sha256") == record.mac, record


def test_what_0002_added_keeps_its_macs(old: Database) -> None:
    """Tokens, and a principal with rights: each stands with the bytes that its MAC covered then."""
    _to(old, "0002")
    principal, tokens = _rows_of_0002()
    with old.second_writer() as writer:
        for table, row in (("merchant", next(_rows_of_before())[1]), ("principal", principal),
                           ("merchant_token_set", tokens)):  # fmt: skip
            values = ", ".join(f":{name}" for name in row)
            writer.execute(text(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({values})"), _as_written(old, row))
    schema.upgrade(old.engine())
    store = old.store()
    holdings = store.holdings("m")
    assert holdings is not None
    for record in (store.principal("billing"), holdings.tokens):
        assert record is not None
        assert hmac.digest(ROW_KEY, meaning(record), "sha256") == record.mac, record


@pytest.mark.parametrize("before", ["0001", "0002"])
def test_last_uses_of_live_keys_are_kept_as_one_call_of_nobody_known(filled: Database, before: str) -> None:
    _to(filled, before)
    schema.upgrade(filled.engine())
    store = filled.store()
    times = [time for _, _, _, time in USAGE]
    expected = {
        Use("m", fingerprint, "", EVER, 0): Tally(1, time)
        for fingerprint, time in [("4567", times[0]), ("0123", times[1])]
    }
    assert (expected, {}) == (store.uses("m"), store.uses("n"))
    assert "credential_usage" not in inspect(filled.engine()).get_table_names()


def test_uses_of_two_keys_with_one_fingerprint_become_the_later_one(filled: Database) -> None:
    """A secret imported twice into one slot, with another between: 0002 knew its uses by version."""
    filled.execute("UPDATE credential_key SET fingerprint = '0123'")
    schema.upgrade(filled.engine())
    assert {Use("m", "0123", "", EVER, 0): Tally(1, USAGE[1][3])} == filled.store().uses("m")


def test_uses_are_added_to_those_of_before(filled: Database) -> None:
    schema.upgrade(filled.engine())
    store = filled.store()
    store.add_uses({Use("m", "0123", "", EVER, 0): Tally(5, START)})
    assert Tally(6, USAGE[1][3]) == store.uses("m")[Use("m", "0123", "", EVER, 0)]


def test_no_key_of_before_is_due_or_came_from_another_slot(filled: Database) -> None:
    schema.upgrade(filled.engine())
    store = filled.store()
    holdings = store.holdings("m")
    assert holdings is not None
    assert {None} == {slot.rotate_before for slot in holdings.slots.values()}
    assert {None} == {key.made_in for keys in holdings.keys.values() for key in keys}
    assert [] == store.due(None, 10, datetime.max.replace(tzinfo=UTC), None)


def test_a_principal_of_before_has_no_rights_and_no_proof_but_its_password(filled: Database) -> None:
    schema.upgrade(filled.engine())
    _, values = OLD["principal"][0]
    expected = PrincipalRecord(
        principal_id="admin", kind=PrincipalKind.ADMIN, state=PrincipalState.ACTIVE, password_digest=bytes(range(32)),
        digest_generation=1, create_time=START, revision=4, mac=_old_mac("PrincipalRecord", values, 1),
        mac_generation=1, merchants=(), can_edit_credentials=False, remote_access=False, can_sign=False,
        spiffe_id=None, jwt_public_keys=(), update_time=None, password_time=None, retiring_passwords=(),
    )  # fmt: skip
    assert expected == filled.store().principal("admin")


def test_all_else_stays_as_it_was(filled: Database) -> None:
    added: dict[str, dict[str, Any]] = {
        "credential": {"rotate_before": None},
        "credential_key": {"made_in": None},
        "epoch": {"hsm_keys": 0},
    }
    tables = ("merchant", "credential", "credential_key", "request", "token_binding", "epoch", "change")
    before = {table: [{**row, **added.get(table, {})} for row in filled.rows(table)] for table in tables}
    schema.upgrade(filled.engine())
    assert before == {table: filled.rows(table) for table in tables}


def test_the_events_of_before_become_a_right_chain(filled: Database) -> None:
    schema.upgrade(filled.engine())
    store = filled.store()
    chained = store.audit_events(0, 1000, EventFilter())
    assert EVENTS == [link.event for link in chained]
    assert list(range(1, len(EVENTS) + 1)) == [link.sequence for link in chained]
    previous = FIRST_HASH
    for link in chained:
        assert (previous, event_hash(link.sequence, link.event, previous)) == (link.previous_hash, link.hash)
        previous = link.hash
    assert ChainEnd(len(EVENTS), previous) == store.audit_end()
    assert [] == store.audit_heads()


def test_the_chain_goes_on_from_the_events_of_before(filled: Database) -> None:
    schema.upgrade(filled.engine())
    store = filled.store()
    before = store.audit_end()
    with store.change() as change:
        change.audit(an_event())
    (link,) = store.audit_events(before.sequence, 10, EventFilter())
    assert (before.sequence + 1, before.hash) == (link.sequence, link.previous_hash)
    assert ChainEnd(link.sequence, event_hash(link.sequence, an_event(), before.hash)) == store.audit_end()


def test_without_events_the_chain_is_at_its_beginning(old: Database) -> None:
    schema.upgrade(old.engine())
    assert ChainEnd(0, FIRST_HASH) == old.store().audit_end()
    assert [{"id": 1, "sequence": 0, "hash": FIRST_HASH}] == old.rows("audit_tail")


def test_changes_count_as_before_and_those_of_tokens_too(filled: Database) -> None:
    schema.upgrade(filled.engine())
    store = filled.store()
    reader = store.epoch
    writes: list[tuple[str, Callable[[], object], list[str]]] = [
        ("tokens put", lambda: _put_tokens(filled), ["merchants/m"]),
        ("tokens edited", lambda: filled.execute("UPDATE merchant_token_set SET revision = 9"), ["merchants/m"]),
        ("tokens moved", lambda: filled.execute("UPDATE merchant_token_set SET merchant_id = 'n'"),
         ["merchants/m", "merchants/n"]),
        ("tokens deleted", lambda: filled.execute("DELETE FROM merchant_token_set"), ["merchants/n"]),
        ("a merchant", lambda: filled.execute("UPDATE merchant SET revision = 9 WHERE merchant_id = 'n'"),
         ["merchants/n"]),
        ("a key", lambda: filled.execute("DELETE FROM credential_key WHERE version = 1"), ["merchants/m"]),
        ("a right", lambda: filled.execute("UPDATE principal SET can_sign = true WHERE principal_id = 'admin'"),
         ["principals/admin"]),
    ]  # fmt: skip
    for label, work, subjects in writes:
        before = _epoch(reader)
        work()
        assert (label, subjects) == (label, sorted(reader.changes(before, _epoch(reader)) or []))


@pytest.mark.parametrize("in_the_way", ["merchant_token_set", "audit_head", "credential_use", "hsm_key"])
def test_an_upgrade_that_fails_midway_leaves_0001_as_it_was(filled: Database, in_the_way: str) -> None:
    filled.execute(f"CREATE TABLE {in_the_way} (id INTEGER)")
    before = {table: filled.rows(table) for table in (*OLD, "credential_usage", "audit_event", "alembic_version")}
    with pytest.raises(KeysvcError):
        schema.upgrade(filled.engine())
    assert before == {table: filled.rows(table) for table in before}
    with pytest.raises(Misconfigured, match="at schema 0001 and this version needs 0005"):
        schema.require_newest(filled.engine())
    filled.execute(f"DROP TABLE {in_the_way}")
    assert ("0001", "0005") == schema.upgrade(filled.engine())


def test_an_upgrade_that_fails_midway_leaves_0002_as_it_was(filled: Database) -> None:
    _to(filled, "0002")
    filled.execute("CREATE TABLE credential_use (id INTEGER)")
    before = {table: filled.rows(table) for table in (*OLD, "credential_usage", "alembic_version")}
    with pytest.raises(KeysvcError):
        schema.upgrade(filled.engine())
    assert before == {table: filled.rows(table) for table in before}
    filled.execute("DROP TABLE credential_use")
    assert ("0002", "0005") == schema.upgrade(filled.engine())


def test_a_slot_of_before_is_found_with_its_keys_in_their_order(filled: Database) -> None:
    schema.upgrade(filled.engine())
    holdings = filled.store().holdings("m")
    assert holdings is not None
    assert [2, 1] == [key.version for key in holdings.keys[Slot.PRIMARY_HMAC_KEY]]


def _to(database: Database, revision: str) -> None:
    config = schema._config()
    with database.engine().begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def _rows_of_0002() -> tuple[Row, Row]:
    """A principal with rights, and a merchant's tokens, with their MACs by the rule of 0002."""
    fields: Row = {"principal_id": "billing", "kind": "SERVICE", "state": "ACTIVE", "password_digest": bytes(32),
                   "digest_generation": 1, "create_time": START, "revision": 2}  # fmt: skip
    listed = json.dumps(
        ["PrincipalRecord", *map(_old_plain, fields.values()), 1, {"merchants": ["m"], "can_sign": True}]
    )
    rights = {"merchants": '["m"]', "can_sign": True, "mac": _mac_of(listed.replace(", ", ",").replace(": ", ":"))}
    token = ["t-1", "00ff", 1, "0f", "2026-01-31T23:59:59.000000+00:00", None]
    told = dict(
        zip(("token_id", "digest", "generation", "fingerprint", "create_time", "expire_time"), token, strict=True)
    )
    mac = _mac_of(json.dumps(["TokenSetRecord", "m", [token], 3, 1], separators=(",", ":")))
    tokens = {"merchant_id": "m", "tokens": json.dumps([told]), "revision": 3, "mac": mac, "mac_generation": 1}
    return {**fields, **rights, "mac_generation": 1}, tokens


def _mac_of(text_of_it: str) -> bytes:
    return hmac.digest(ROW_KEY, text_of_it.encode(), "sha256")


def _old_mac(record_type: str, values: Row, generation: int) -> bytes:
    """The rule of 0001: a JSON list of the type and all fields but the MAC, in their order."""
    listed: Sequence[Any] = [record_type, *(_old_plain(value) for value in values.values()), generation]
    return hmac.new(ROW_KEY, json.dumps(listed, separators=(",", ":")).encode(), hashlib.sha256).digest()


def _old_plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%f+00:00")
    return value.hex() if isinstance(value, bytes) else value


def _as_written(database: Database, row: Row) -> Row:
    """SQLite has no times: keysvc writes them as text, in UTC, to the microsecond."""
    if not database.is_sqlite:
        return row
    return {
        name: value.strftime("%Y-%m-%d %H:%M:%S.%f") if isinstance(value, datetime) else value
        for name, value in row.items()
    }


def _put_tokens(database: Database) -> None:
    with database.store().change() as change:
        change.put_tokens(a_token_set())


def _epoch(reader: EpochReader) -> int:
    seen = [reader._value]
    reader.read(seen.append)
    return seen[-1]
