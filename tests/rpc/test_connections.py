"""The limits of a connection: its age, its streams, and the size of what calls bring along."""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path

import grpc
import pytest
from support.asking import ask, refused, request
from support.methods import call_raw
from support.server import Client, DevServer, refusal

from keysvc.v1 import audit_service_pb2 as apb

MIB = 1024 * 1024
EVENTS = "/keysvc.v1.AuditService/ListAuditEvents"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""RFC 9113 section 3.4, with SETTINGS of no entries."""
_MAX_CONCURRENT_STREAMS, _MAX_HEADER_LIST_SIZE = 3, 6


def test_a_connection_ends_at_its_age_while_no_call_fails(tmp_path: Path) -> None:
    """The audit record tells which connections changes came by."""
    server = DevServer(tmp_path / "home", KEYSVC_CONNECTION_AGE="1").start()
    with server.client() as client:
        deadline, made = time.monotonic() + 5, 0
        while time.monotonic() < deadline:
            ask(client, "CreateMerchant", merchant_id=f"m-{made}")
            made += 1
            time.sleep(0.05)
        listed = apb.ListAuditEventsRequest(page_size=1000).SerializeToString()
        answer = apb.ListAuditEventsResponse.FromString(call_raw(client, EVENTS, listed))
    assert 0 == server.stop()
    peers = [event.peer for event in answer.events if "CreateMerchant" in event.method]
    assert made == len(peers)
    assert 3 <= len(set(peers)) <= 8


def test_a_header_of_a_megabyte_is_answered_as_any_other_wrong_one(client: Client) -> None:
    for size in (10_000, 20_000, 1_000_000, MIB):
        for scheme in ("Basic ", "Bearer ", ""):
            metadata = (("authorization", scheme + "A" * size),)
            told = refusal(lambda sent=metadata: client.call("ListMerchants", request("ListMerchants"), sent))  # type: ignore[misc]
            assert (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED") == (told.code, told.reason)
    ask(client, "ListMerchants", page_size=1)


def test_beyond_the_limit_grpc_refuses_and_the_server_goes_on(client: Client) -> None:
    metadata = (("authorization", "Basic " + "A" * (3 * MIB)),)
    told = refusal(lambda: client.call("ListMerchants", request("ListMerchants"), metadata))
    assert grpc.StatusCode.RESOURCE_EXHAUSTED == told.code
    ask(client, "ListMerchants", page_size=1)


def test_a_megabyte_beside_right_credentials_does_no_harm(client: Client) -> None:
    metadata = (*client.metadata, ("x-more", "A" * 1_000_000))
    client.call("ListMerchants", request("ListMerchants", page_size=1), metadata)


def test_a_connection_is_told_its_limits(server: DevServer) -> None:
    told = settings_of(server.address)
    assert 1000 == told[_MAX_CONCURRENT_STREAMS]
    assert 2 * MIB == told[_MAX_HEADER_LIST_SIZE]


def settings_of(address: str) -> dict[int, int]:
    """What the server's SETTINGS say (RFC 9113 section 6.5)."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(_PREFACE)
        with connection.makefile("rb") as stream:
            header = stream.read(9)
            payload = stream.read(int.from_bytes(header[:3], "big"))
    assert 4 == header[3]
    return dict(struct.iter_unpack(">HI", payload))


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\nHost: keysvc\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", bytes(64)],
    ids=["HTTP/1.1", "TLS", "NULs"],
)
def test_what_is_not_http2_is_cut_off_and_the_server_goes_on(server: DevServer, client: Client, garbage: bytes) -> None:
    host, _, port = server.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(garbage)
        while connection.recv(4096):
            pass
    assert "NOT_FOUND" == refused(client, "GetMerchant", name="merchants/nobody").reason
