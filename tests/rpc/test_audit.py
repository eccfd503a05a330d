"""AuditService over the wire: events in pages, of a parent and a time, and the head; and changes that cannot be
recorded."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from support.asking import ask, refused, request, slot_of
from support.server import Client, DevServer, FirstStart, refusal
from support.waiting import until

from keysvc.model.audit import AuditRecord, event_hash
from keysvc.v1.audit_pb2 import AuditEvent

SLOT = "primary-hmac-key"
LONG_AGO, LATER = datetime(2000, 1, 1, tzinfo=UTC), datetime(2900, 1, 1, tzinfo=UTC)


def listed(client: Client, **fields: Any) -> list[AuditEvent]:
    """All pages."""
    found: list[AuditEvent] = []
    token = ""
    while True:
        page = ask(client, "ListAuditEvents", page_token=token, **fields)
        found += page.events
        token = page.next_page_token
        if not token:
            return found


def stamp(time: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(time)
    return made


def last(method: str) -> str:
    return method.rpartition("/")[2]


def change(client: Client, merchant: str) -> None:
    """Three events of a slot."""
    name = slot_of(merchant, SLOT)
    ask(client, "CreateCredential", name=name, request_id=f"create-{merchant.partition('/')[2]}")
    ask(client, "RenewCredential", name=name)
    ask(client, "RevokeCredential", name=name)


def test_each_change_is_an_event_with_all_its_fields(client: Client, merchant: str) -> None:
    began = datetime.now(UTC)
    change(client, merchant)
    events = listed(client, parent=merchant)[2:]
    assert [("CreateCredential", 1), ("RenewCredential", 2), ("RevokeCredential", 2)] == [
        (last(event.method), event.version) for event in events
    ]
    first = events[0]
    assert ("principals/admin", slot_of(merchant, SLOT), AuditEvent.OK, "") == (
        first.principal, first.resource, first.outcome, first.reason,
    )  # fmt: skip
    assert first.request_id.startswith("create-")
    assert first.peer.startswith("ipv4:127.0.0.1:")
    assert timedelta(0) <= first.time.ToDatetime(tzinfo=UTC) - began < timedelta(seconds=20)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[DevServer]:
    """A server whose record and database are this test's."""
    server = FirstStart(tmp_path / "home").start()
    yield server
    server.stop()


def test_the_record_of_a_server_is_a_chain_that_its_head_ends(own: DevServer) -> None:
    with own.client() as client:
        until(lambda: ask(client, "GetAuditHead").signed_sequence == 2)
        change(client, client.active_merchant("m"))
        events, head = listed(client, page_size=3), ask(client, "GetAuditHead")
    assert ["init", "start", "CreateMerchant", "ActivateMerchant"] == [last(event.method) for event in events[:4]]
    assert list(range(1, 8)) == [event.sequence for event in events]
    previous = "0" * 64
    for event in events:
        assert previous == event.previous_hash
        previous = hash_of(event)
        assert previous == event.hash
    assert (7, previous) == (head.sequence, head.hash)
    assert (2, events[1].hash, 1, 32) == (
        head.signed_sequence, head.signed_hash, head.generation, len(head.signature),
    )  # fmt: skip


def hash_of(event: AuditEvent) -> str:
    record = AuditRecord(
        time=event.time.ToDatetime(tzinfo=UTC), principal=event.principal, method=event.method,
        resource=event.resource, version=event.version, outcome=AuditEvent.Outcome.Name(event.outcome),
        reason=event.reason, request_id=event.request_id, peer=event.peer,
    )  # fmt: skip
    return event_hash(event.sequence, record, event.previous_hash)


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_pages_of_any_size_hold_the_same_events(client: Client, merchant: str, size: int) -> None:
    change(client, merchant)
    whole = listed(client, parent=merchant)
    assert 5 == len(whole)
    assert whole == listed(client, parent=merchant, page_size=size)
    assert min(size, 5) == len(ask(client, "ListAuditEvents", parent=merchant, page_size=size).events)


def test_times_bound_what_is_listed(client: Client, merchant: str) -> None:
    change(client, merchant)
    whole = listed(client, parent=merchant)
    third = whole[2].time
    assert whole[2:] == listed(client, parent=merchant, start_time=third)
    assert whole[:2] == listed(client, parent=merchant, end_time=third)
    assert [] == listed(client, parent=merchant, start_time=third, end_time=third)
    assert whole == listed(client, parent=merchant, start_time=stamp(LONG_AGO), end_time=stamp(LATER), page_size=2)
    assert [] == listed(client, parent=merchant, start_time=stamp(LATER))


def test_a_parent_without_events_has_none(client: Client) -> None:
    for parent in ("merchants/without-events", "principals/without-events"):
        assert [] == listed(client, parent=parent)


WRONG: dict[str, list[dict[str, Any]]] = {
    "parent": [
        {"parent": name} for name in ("merchants", "merchants/", "merchants/a/credentials/x", "slots/a", "%", "/")
    ],
    "page_size": [{"page_size": -1}],
    "page_token": [{"page_token": token} for token in ("x", "AAAAAAAAAAAx", "é")],
    "start_time": [{"start_time": Timestamp(seconds=10**15)}, {"start_time": Timestamp(nanos=-1)}],
    "end_time": [{"end_time": Timestamp(seconds=-(10**15))}, {"end_time": Timestamp(nanos=2_000_000_000)}],
}


@pytest.mark.parametrize(("field", "fields"), [(name, each) for name, wrong in WRONG.items() for each in wrong])
def test_a_field_that_is_none_is_named(client: Client, field: str, fields: dict[str, Any]) -> None:
    told = refused(client, "ListAuditEvents", **fields)
    assert (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", [field]) == (told.code, told.reason, told.fields)


def test_a_page_token_is_of_its_list_alone(client: Client, merchant: str) -> None:
    change(client, merchant)
    token = ask(client, "ListAuditEvents", parent=merchant, page_size=1).next_page_token
    assert token
    others: list[dict[str, Any]] = [
        {}, {"parent": f"{merchant}x"}, {"parent": merchant, "start_time": stamp(LONG_AGO)},
        {"parent": merchant, "end_time": stamp(LATER)},
    ]  # fmt: skip
    for other in others:
        told = refused(client, "ListAuditEvents", page_token=token, **other)
        assert ("INVALID_FIELD", ["page_token"]) == (told.reason, told.fields)


def write(server: DevServer, statement: str) -> list[Any]:
    """As the second writer."""
    with closing(sqlite3.connect(server.database, timeout=10)) as connection, connection:
        return connection.execute(statement).fetchall()


ALTERED = ("time = 'never'", "outcome = 'GOOD'", "version = 'x'", "version = 5000000000", "peer = x'ff'")


def test_an_event_that_cannot_be_told_is_data_loss(own: DevServer) -> None:
    (kept,) = write(own, "SELECT time, outcome, version, peer FROM audit_event WHERE sequence = 2")
    with own.client() as client:
        for edit in ALTERED:
            write(own, f"UPDATE audit_event SET {edit} WHERE sequence = 2")
            told = refused(client, "ListAuditEvents")
            assert (grpc.StatusCode.DATA_LOSS, "INTEGRITY") == (told.code, told.reason), edit
            assert "audit event 2" in told.message.lower()
            write(own, f"UPDATE audit_event SET (time, outcome, version, peer) = {kept} WHERE sequence = 2")
        assert 2 == len(listed(client))


def work(client: Client) -> list[Callable[[], object]]:
    """A change of every kind."""
    m, name = "merchants/m", slot_of("merchants/m", SLOT)
    return [
        lambda: ask(client, "CreateMerchant", merchant_id="n"),
        lambda: ask(client, "SuspendMerchant", name=m),
        lambda: ask(client, "TerminateMerchant", name=m),
        lambda: ask(client, "CreateCredential", name=slot_of(m, "api-password")),
        lambda: ask(client, "ImportCredential", name=slot_of(m, "secondary-hmac-key"), secret="ab" * 32),
        lambda: ask(client, "RenewCredential", name=name),
        lambda: ask(client, "RevokeCredential", name=name),
        lambda: client.call("CreatePrincipal", request("CreatePrincipal", principal_id="p", principal={"kind": "PSP"})),
        lambda: ask(client, "CreateToken", parent=m),
    ]


TABLES = ("merchant", "credential", "credential_key", "principal", "merchant_token_set", "request", "audit_event",
          "audit_tail", "epoch")  # fmt: skip


def test_what_cannot_be_recorded_does_not_happen_and_the_caller_is_told(own: DevServer) -> None:
    """And goes on once it can be recorded again."""
    with own.client() as client:
        ask(client, "CreateCredential", name=slot_of(client.active_merchant("m"), SLOT))
        write(own, "CREATE TRIGGER full BEFORE INSERT ON audit_event BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        before = [write(own, f"SELECT * FROM {table}") for table in TABLES]
        for each in work(client):
            told = refusal(each)
            assert (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE") == (told.code, told.reason)
            assert "audit record cannot be written" in told.message
            assert told.retry is not None
        assert before == [write(own, f"SELECT * FROM {table}") for table in TABLES]
        ask(client, "GenerateHmac", name="merchants/m", message=b"m")
        write(own, "DROP TRIGGER full")
        ask(client, "RenewCredential", name=slot_of("merchants/m", SLOT))
