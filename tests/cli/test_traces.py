"""Traces: a span for each call, sent for real, that holds nothing of what the caller sent."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from support.asking import ask, refused, request, slot_of, verify_mac
from support.collector import Collector, collecting
from support.program import assert_refused, run_anew
from support.server import Client, DevServer
from support.waiting import code_of, until

PLANTED = "pl4nted"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


def outcome(span: Span) -> tuple[str, int]:
    """The span's name and its gRPC status."""
    [code] = [pair.value.int_value for pair in span.attributes if pair.key == "rpc.grpc.status_code"]
    return span.name.removeprefix("keysvc.v1."), code


def planting(client: Client) -> Client:
    """Every call carries planted text wherever a caller can put some."""
    client.metadata = (
        *client.metadata,
        ("x-secret", PLANTED),
        ("traceparent", f"00-{TRACE}-{PARENT}-01"),
        ("tracestate", f"vendor={PLANTED}"),
        ("baggage", f"secret={PLANTED}"),
    )
    return client


def test_every_call_is_a_span_that_holds_no_secret(tmp_path: Path, collector: Collector) -> None:
    server = DevServer(tmp_path / "home", **collector.settings).start()
    with server.client() as client:
        planting(client)
        merchant = client.active_merchant("m")
        name = slot_of(merchant, "primary-hmac-key")
        secret = ask(client, "CreateCredential", name=name).secret.value
        assert "INVALID" == verify_mac(client, merchant, PLANTED.encode(), PLANTED.encode())
        assert "INVALID_FIELD" == refused(client, "GetMerchant", name=f"{PLANTED}!").reason
        assert "SLOT_OCCUPIED" == refused(client, "CreateCredential", name=name).reason
    with server.client(f"admin:{PLANTED}") as stranger:
        assert "UNAUTHENTICATED" == refused(stranger, "ListMerchants").reason
    credentials = (server.home / "admin-credentials").read_text()
    assert 0 == server.stop()
    assert [
        ("MerchantService/CreateMerchant", 0),
        ("MerchantService/ActivateMerchant", 0),
        ("CredentialService/CreateCredential", 0),
        ("CredentialService/VerifyHmac", 0),
        ("MerchantService/GetMerchant", grpc.StatusCode.INVALID_ARGUMENT.value[0]),
        ("CredentialService/CreateCredential", grpc.StatusCode.ALREADY_EXISTS.value[0]),
        ("MerchantService/ListMerchants", grpc.StatusCode.UNAUTHENTICATED.value[0]),
    ] == [outcome(span) for span in collector.spans()]
    assert {"keysvc"} == collector.service_names()
    sent = b"".join(collector.bodies)
    hidden = [PLANTED, secret, credentials, credentials.partition(":")[2], "vendor"]
    assert [] == [text for text in hidden if text.encode() in sent]


def test_a_span_goes_on_the_callers_trace(tmp_path: Path, collector: Collector) -> None:
    server = DevServer(tmp_path / "home", **collector.settings).start()
    with server.client() as client:
        ask(client, "ListMerchants")
        ask(planting(client), "ListMerchants")
    assert 0 == server.stop()
    own, theirs = collector.spans()
    assert ("", True) == (own.parent_span_id.hex(), own.trace_id.hex() != TRACE)
    assert (PARENT, TRACE, "") == (theirs.parent_span_id.hex(), theirs.trace_id.hex(), theirs.trace_state)
    assert {Span.SPAN_KIND_SERVER} == {own.kind, theirs.kind}
    assert own.end_time_unix_nano > own.start_time_unix_nano


def test_only_faults_of_the_service_are_errors(tmp_path: Path, collector: Collector) -> None:
    server = DevServer(tmp_path / "home", **collector.settings).start()
    tokens, away = server.home / "tokens", server.home / "tokens.away"
    with server.client() as client:
        merchant = client.active_merchant("m")
        refused(client, "GetMerchant", name="merchants/none")
        tokens.rename(away)
        create = request("CreateCredential", name=slot_of(merchant, "api-password"))
        until(lambda: grpc.StatusCode.UNAVAILABLE is code_of(lambda: client.call("CreateCredential", create)))
    away.rename(tokens)
    assert 0 == server.stop()
    statuses = {(outcome(span)[1], span.status.code) for span in collector.spans()}
    assert (grpc.StatusCode.NOT_FOUND.value[0], Status.STATUS_CODE_UNSET) in statuses
    assert (grpc.StatusCode.UNAVAILABLE.value[0], Status.STATUS_CODE_ERROR) in statuses
    unavailable = grpc.StatusCode.UNAVAILABLE.value[0]
    assert {code == unavailable for code, status in statuses if status == Status.STATUS_CODE_ERROR} == {True}


def test_a_collector_out_of_reach_costs_no_call_and_no_clean_end(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    server = DevServer(
        tmp_path / "home", KEYSVC_TRACES="true", OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}",
        OTEL_EXPORTER_OTLP_TIMEOUT="1",
    ).start()  # fmt: skip
    with server.client() as client:
        client.active_merchant("m")
    assert 0 == server.stop()
    assert "traces.trouble" in server.log.read_text()


def test_without_the_extra_one_line_says_what_to_install(tmp_path: Path) -> None:
    package = tmp_path / "opentelemetry"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('not installed')\n")
    settings = {
        "KEYSVC_TRACES": "true", "KEYSVC_HOME": str(tmp_path / "home"), "KEYSVC_LISTEN": "127.0.0.1:0",
        "PYTHONPATH": str(tmp_path),
    }  # fmt: skip
    assert_refused(run_anew("dev", settings=settings), "KEYSVC_TRACES", "pip install 'keysvc[traces]'")
