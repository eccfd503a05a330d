"""Refusals to change: each is one event of the audit record, and what was only asked is none."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from support.asking import ask, refused, slot_of
from support.methods import METHODS, PATHS, message_of, path_of, refused_raw
from support.principals import Principals, events_since, head_of
from support.server import Client, DevServer

from keysvc.model.permissions import PERMISSIONS, Effect
from keysvc.v1.audit_pb2 import AuditEvent

HMAC = "primary-hmac-key"
CHANGES = tuple(path for path in PATHS if PERMISSIONS[path].effect is Effect.CHANGE)
OTHERS = tuple(path for path in PATHS if PERMISSIONS[path].effect is not Effect.CHANGE)
RECORDED_STRANGERS = 60
FLOOD = 200
PEER = re.compile(r"ipv4:127\.0\.0\.1:\d+")


def recorded(client: Client, since: int) -> list[AuditEvent]:
    """What callers were refused after an event; not what the service did by itself."""
    return [event for event in events_since(client, since) if event.principal != "keysvc"]


def told_of(event: AuditEvent) -> tuple[str, str, str, str, str]:
    outcome = AuditEvent.Outcome.Name(event.outcome)
    return event.principal, event.method, event.resource, outcome, event.reason


@pytest.fixture
def since(client: Client) -> int:
    return head_of(client)


@pytest.mark.parametrize("path", CHANGES)
def test_a_caller_that_may_not_call_is_recorded_once_for_each_call(
    client: Client, principals: Principals, path: str
) -> None:
    principal_id, caller = principals.make("AUDITOR")
    since = head_of(client)
    for raw in (b"", b"\xff"):
        assert "PERMISSION_DENIED" == refused_raw(caller, path, raw).reason
    events = recorded(client, since)
    expected = (f"principals/{principal_id}", path, "", "REFUSED", "PERMISSION_DENIED")
    assert [expected] * 2 == [told_of(event) for event in events]
    assert [] == [event.peer for event in events if not PEER.fullmatch(event.peer)]


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """A server without the many strangers of other tests, who would leave no room in the record."""
    server = DevServer(tmp_path_factory.mktemp("quiet") / "home").start()
    try:
        yield server
        assert 0 == server.stop()
    finally:
        server.kill()


@pytest.mark.parametrize("path", CHANGES)
def test_a_stranger_is_recorded_without_a_name(quiet: DevServer, path: str) -> None:
    with quiet.client() as admin:
        since = head_of(admin)
        assert "UNAUTHENTICATED" == refused_raw(admin, path, b"", (("authorization", "Basic x"),)).reason
        [event] = recorded(admin, since)
    assert ("", path, "", "REFUSED", "UNAUTHENTICATED") == told_of(event)
    assert PEER.fullmatch(event.peer)


def name_in(path: str, merchant: str) -> dict[str, Any]:
    fields = METHODS[path].input_type.fields_by_name
    if "parent" in fields:
        return {"parent": merchant}
    if "kind" in fields:
        return {"name": merchant}
    return {"name": f"{merchant}/tokens/t" if "Token" in path else slot_of(merchant, HMAC)}


@pytest.mark.parametrize("method", [
    "CreateCredential", "RenewCredential", "RevokeCredential", "ImportCredential", "SwapCredentials",
    "ScheduleRotation", "CreateToken", "RevokeToken"
])  # fmt: skip
def test_an_attempt_on_anothers_merchant_is_recorded_with_what_it_was_on(
    client: Client, principals: Principals, merchant: str, method: str
) -> None:
    """The caller is told nothing of the merchant; the record tells which it was, there or not."""
    principal_id, caller = principals.make("PSP", can_edit_credentials=True)
    path, since = path_of(method), head_of(client)
    for target in (merchant, "merchants/not-there"):
        fields = {**name_in(path, target), "request_id": "r-1"}
        assert "NOT_OWNER" == refused_raw(caller, path, message_of(path, fields).SerializeToString()).reason
    events = recorded(client, since)
    assert [
        (f"principals/{principal_id}", path, next(iter(name_in(path, target).values())), "REFUSED", "NOT_OWNER")
        for target in (merchant, "merchants/not-there")
    ] == [told_of(event) for event in events]
    assert {"r-1"} == {event.request_id for event in events}
    assert {0} == {event.version for event in events}


def test_a_missing_right_is_recorded_with_what_it_was_for(
    client: Client, principals: Principals, merchant: str
) -> None:
    principal_id, caller = principals.make("MERCHANT", merchants=[merchant])
    since, name = head_of(client), slot_of(merchant, HMAC)
    refused(caller, "CreateCredential", name=name)
    [event] = recorded(client, since)
    assert (f"principals/{principal_id}", name, "PERMISSION_DENIED") == (event.principal, event.resource, event.reason)


def slot_empty(client: Client, merchant: str) -> str:
    return refused(client, "RenewCredential", name=slot_of(merchant, HMAC), request_id="r").reason


def slot_occupied(client: Client, merchant: str) -> str:
    ask(client, "CreateCredential", name=slot_of(merchant, HMAC))
    return refused(client, "ImportCredential", name=slot_of(merchant, HMAC), secret="0a" * 32, request_id="r").reason


def etag_mismatch(client: Client, merchant: str) -> str:
    ask(client, "CreateCredential", name=slot_of(merchant, HMAC))
    return refused(client, "RevokeCredential", name=slot_of(merchant, HMAC), etag="7", request_id="r").reason


def still_in_use(client: Client, merchant: str) -> str:
    fields = {"name": slot_of(merchant, HMAC), "request_id": "r"}
    ask(client, "CreateCredential", name=fields["name"])
    ask(client, "GenerateHmac", name=merchant)
    return refused(client, "RevokeCredential", **fields, unused_for=Duration(seconds=60)).reason


def merchant_not_active(client: Client, merchant: str) -> str:
    ask(client, "SuspendMerchant", name=merchant)
    return refused(client, "CreateCredential", name=slot_of(merchant, HMAC), request_id="r").reason


def request_already_done(client: Client, merchant: str) -> str:
    fields = {"name": slot_of(merchant, HMAC), "request_id": f"done-{merchant.rpartition('/')[2]}"}
    ask(client, "CreateCredential", **fields)
    return refused(client, "CreateCredential", **fields).reason


def invalid_field(client: Client, merchant: str) -> str:
    return refused(client, "CreateCredential", name=slot_of(merchant, HMAC), hmac_algorithm=99, request_id="r").reason


@pytest.mark.parametrize("refuse", [
    slot_empty, slot_occupied, etag_mismatch, still_in_use, merchant_not_active, request_already_done, invalid_field
], ids=lambda refuse: refuse.__name__)  # fmt: skip
def test_a_change_that_could_not_be_done_is_recorded_with_its_reason(
    client: Client, merchant: str, since: int, refuse: Callable[[Client, str], str]
) -> None:
    """One event, the last: and none of a change."""
    reason = refuse(client, merchant)
    assert refuse.__name__.upper() == reason
    *before, event = recorded(client, since)
    assert [] == [each for each in before if each.outcome != AuditEvent.OK]
    assert ("principals/admin", slot_of(merchant, HMAC), "REFUSED", reason) == (
        told_of(event)[0], *told_of(event)[2:]
    )  # fmt: skip
    assert event.request_id.startswith(("r", "done-"))
    assert PEER.fullmatch(event.peer)


def test_refused_changes_of_principals_and_merchants_are_recorded(
    client: Client, principals: Principals, merchant: str
) -> None:
    principal_id, _ = principals.make("PSP")
    since, name = head_of(client), f"principals/{principal_id}"
    merchant_id = merchant.removeprefix("merchants/")
    calls: list[tuple[str, dict[str, Any], str, str]] = [
        ("CreateMerchant", {"merchant_id": merchant_id}, merchant, "ALREADY_EXISTS"),
        ("SuspendMerchant", {"name": merchant, "etag": "9"}, merchant, "ETAG_MISMATCH"),
        ("TerminateMerchant", {"name": "merchants/not-there"}, "merchants/not-there", "NOT_FOUND"),
        ("CreatePrincipal", {"principal_id": principal_id, "principal": {"kind": "PSP"}}, name, "ALREADY_EXISTS"),
        ("UpdatePrincipal", {"principal": {"name": name}}, name, "INVALID_FIELD"),
        ("DisablePrincipal", {"name": name, "etag": "9"}, name, "ETAG_MISMATCH"),
        ("RenewPrincipalPassword", {"name": "principals/not-there"}, "principals/not-there", "NOT_FOUND"),
        ("RevokeToken", {"name": f"{merchant}/tokens/t"}, f"{merchant}/tokens/t", "NOT_FOUND"),
    ]
    for method, fields, _, _ in calls:
        refused(client, method, **fields)
    assert [
        ("principals/admin", path_of(method), resource, "REFUSED", reason) for method, _, resource, reason in calls
    ] == [told_of(event) for event in recorded(client, since)]


@pytest.mark.parametrize("path", OTHERS)
def test_what_changes_nothing_is_not_recorded(client: Client, principals: Principals, since: int, path: str) -> None:
    """However it is refused: for who calls, for what is asked, or for what is not there."""
    callers = [client, *(principals.make(kind)[1] for kind in ("PSP", "SERVICE", "AUDITOR"))]
    since = head_of(client)
    for caller in callers:
        for raw in (b"\xff", message_of(path, not_there(path)).SerializeToString()):
            try:
                refused_raw(caller, path, raw)
            except AssertionError:  # answered: that is recorded just as little
                assert raw != b"\xff"
    refused_raw(client, path, b"", (("authorization", "Basic x"),))
    assert [] == recorded(client, since)


def not_there(path: str) -> dict[str, str]:
    fields = METHODS[path].input_type.fields_by_name
    return {field: "merchants/not-there" for field in ("name", "parent") if field in fields}


def test_wrong_signatures_and_secrets_are_not_recorded(client: Client, merchant: str) -> None:
    for slot in (HMAC, "primary-rest-api-key"):
        ask(client, "CreateCredential", name=slot_of(merchant, slot))
    ask(client, "CreateToken", parent=merchant)
    since = head_of(client)
    for _ in range(3):
        ask(client, "VerifyHmac", name=merchant, message=b"m", mac=b"wrong")
        ask(client, "VerifyApiKey", name=merchant, api_key="wrong")
        ask(client, "VerifyToken", name=merchant, secret="wrong")
    assert [] == recorded(client, since)


PLANTED = "F00DF00DF00DF00DF00DF00DF00DF00D"


@pytest.mark.parametrize("fields", [
    {"name": f"{PLANTED} is no name"},
    {"name": f"merchants/m/credentials/{HMAC}/{PLANTED}"},
    {"name": f"merchants/m/{PLANTED}"},
    {"name": f"merchants/m/credentials/{HMAC}", "request_id": f"{PLANTED} is no id"},
    {"name": f"merchants/m/credentials/{HMAC}", "secret": PLANTED},
    {"name": f"merchants/m/credentials/{HMAC}", "secret": f"{PLANTED} is no secret"},
], ids=repr)  # fmt: skip
def test_what_has_no_form_is_not_written_down(
    server: DevServer, client: Client, since: int, fields: dict[str, Any]
) -> None:
    """A secret that stands in the wrong field is not kept for it."""
    refused(client, "ImportCredential", **fields)
    [event] = recorded(client, since)
    assert AuditEvent.REFUSED == event.outcome
    assert PLANTED.encode() not in event.SerializeToString()
    with closing(sqlite3.connect(server.database)) as database:
        assert [] == [row for row in database.execute("SELECT * FROM audit_event") if PLANTED in repr(row)]


def test_a_flood_of_strangers_does_not_fill_the_record_or_keep_others_out_of_it(quiet: DevServer) -> None:
    with quiet.client() as admin:
        since = head_of(admin)
        for number in range(FLOOD):
            path = CHANGES[number % len(CHANGES)]
            told = refused_raw(admin, path, b"", (("authorization", f"Basic {number}"),))
            assert grpc.StatusCode.UNAUTHENTICATED == told.code
        refused(admin, "SuspendMerchant", name="merchants/not-there")
        *strangers, last = recorded(admin, since)
        assert {("", "UNAUTHENTICATED")} == {(event.principal, event.reason) for event in strangers}
        # The others of this server came in the same minute, or did not.
        assert RECORDED_STRANGERS - len(CHANGES) <= len(strangers) <= RECORDED_STRANGERS
        assert ("principals/admin", "NOT_FOUND") == (last.principal, last.reason)
        sequences = [event.sequence for event in events_since(admin, 0)]
        assert list(range(1, len(sequences) + 1)) == sequences
