"""Metrics on their own port: they move with the calls, they are all documented, and they end with the process."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.asking import ask, refused, slot_of, verify_mac
from support.metrics import ANY_PORT, Metrics, address_in, documented, page_of
from support.outages import stoppable_postgres
from support.production import Production
from support.program import assert_refused, run, serving
from support.server import Client, DevServer
from support.waiting import until

WITH_TLS = "keysvc_certificate_expiry_timestamp_seconds"
"""Not told without; tests/rpc/test_tls.py sees it told."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """Started a second time: stopping has signed the audit record, so every metric is there."""
    running = DevServer(tmp_path_factory.mktemp("metrics") / "home", **ANY_PORT).start()
    assert 0 == running.stop()
    yield running.start()
    assert 0 == running.stop()


@pytest.fixture(scope="module")
def client(server: DevServer) -> Iterator[Client]:
    """Has called, and was counted: a metric with labels is served from then on."""
    with server.client() as made:
        ask(made, "ListMerchants")
        until(lambda: {"keysvc_calls_total", "keysvc_anchor_age_seconds"} <= Metrics(server.log).names())
        yield made


def test_calls_are_counted_by_rpc_code_and_result(server: DevServer, client: Client, merchant: str) -> None:
    def counted(rpc: str, code: str, result: str) -> float:
        return Metrics(server.log).value("keysvc_calls_total", rpc=rpc, code=code, result=result)

    verify, create = "CredentialService/VerifyHmac", "CredentialService/CreateCredential"
    name = slot_of(merchant, "primary-hmac-key")
    ask(client, "CreateCredential", name=name)
    mac = ask(client, "GenerateHmac", name=name, message=b"m").mac
    until(lambda: counted("CredentialService/GenerateHmac", "OK", "OK") > 0)
    before = counted(verify, "OK", "VALID"), counted(verify, "OK", "INVALID"), counted(create, "OK", "OK")
    assert ["VALID", "VALID", "INVALID"] == [verify_mac(client, merchant, b"m", each) for each in (mac, mac, b"x")]
    refused(client, "CreateCredential", name=name)
    until(lambda: 1 == counted(create, "ALREADY_EXISTS", "SLOT_OCCUPIED"))  # the last call; they are counted in batches
    after = counted(verify, "OK", "VALID"), counted(verify, "OK", "INVALID"), counted(create, "OK", "OK")
    assert (2, 1, 0) == tuple(new - old for new, old in zip(after, before, strict=True))
    assert 3 <= Metrics(server.log).value("keysvc_call_seconds_count", rpc=verify)


def test_the_parts_numbers_move_with_the_calls(server: DevServer, client: Client, merchant: str) -> None:
    name = slot_of(merchant, "primary-hmac-key")
    ask(client, "CreateCredential", name=name)
    before = Metrics(server.log)
    for _ in range(10):
        assert "INVALID" == verify_mac(client, merchant, b"m", b"x")
    after = Metrics(server.log)

    def moved(metric: str, **labels: str) -> float:
        return after.value(metric, **labels) - before.value(metric, **labels)

    assert 10 <= moved("keysvc_token_operations_total")
    assert 10 <= moved("keysvc_epoch_reads_total")
    assert 10 <= moved("keysvc_cache_lookups_total", cache="headers", result="hit")
    assert 9 == moved("keysvc_cache_lookups_total", cache="merchants", result="hit")
    assert 1 == moved("keysvc_cache_lookups_total", cache="merchants", result="miss")
    assert 9 == moved("keysvc_cache_lookups_total", cache="handles", result="hit")
    assert 1 == moved("keysvc_cache_lookups_total", cache="handles", result="miss")
    assert 1 == moved("keysvc_token_handles")
    assert 16 == after.value("keysvc_token_sessions")
    assert (1000, 4096) == (after.value("keysvc_calls_waiting_max"), after.value("keysvc_token_handles_max"))
    assert (1, 1) == (after.value("keysvc_serving"), after.value("keysvc_anchor_held"))
    assert 0 == after.value("keysvc_altered_resources")
    assert 0 < after.value("keysvc_anchor_age_seconds") < 60 + 20  # it is kept once a minute
    assert after.value("keysvc_epoch") > 0
    assert 0 == after.value("keysvc_call_lines_lost_total") == after.value("keysvc_token_errors_total")


def test_what_is_due_and_what_retires_is_counted(server: DevServer, client: Client, merchant: str) -> None:
    def counted() -> tuple[float, ...]:
        metrics = Metrics(server.log)
        return tuple(
            metrics.value(f"keysvc_{what}") for what in ("credentials_overdue", "credentials_due", "keys_retiring")
        )

    def schedule(slot: str, seconds: float) -> None:
        rotate_before = {"seconds": int(time.time() + seconds)}
        ask(client, "ScheduleRotation", name=slot_of(merchant, slot), rotate_before=rotate_before)

    day = 86400
    assert (0, 0, 0) == counted()
    for slot in ("primary-hmac-key", "api-password", "encryption-password"):
        ask(client, "CreateCredential", name=slot_of(merchant, slot))
    assert (0, 0, 0) == counted()
    schedule("primary-hmac-key", -1)
    schedule("api-password", 6.9 * day)
    schedule("encryption-password", 7.1 * day)
    assert (1, 1, 0) == counted()
    ask(client, "RenewCredential", name=slot_of(merchant, "primary-hmac-key"), previous_ttl={"seconds": day})
    assert (0, 1, 1) == counted()  # the old key's date is met
    ask(client, "RevokeCredential", name=slot_of(merchant, "primary-hmac-key"), version=1)
    ask(client, "RevokeCredential", name=slot_of(merchant, "api-password"))
    assert (0, 0, 0) == counted()


def test_a_change_is_an_unsigned_audit_event_until_it_is_signed(server: DevServer, client: Client) -> None:
    made = 0

    def unsigned_after(changes: int) -> float:
        nonlocal made
        for _ in range(changes):
            made += 1
            ask(client, "CreateMerchant", merchant_id=f"audited-{made}")
        return Metrics(server.log).value("keysvc_audit_unsigned_events")

    def three_more() -> bool:
        return unsigned_after(0) + 3 == unsigned_after(3)

    until(three_more)  # a signature may come between, but not every time
    began = time.monotonic()
    assert unsigned_after(100) < 100  # one of a hundred events is signed at once
    age = Metrics(server.log).value("keysvc_audit_signature_age_seconds")
    assert 0 <= age <= time.monotonic() - began


def test_failed_authentications_that_are_refused_are_counted(tmp_path: Path) -> None:
    server = DevServer(tmp_path / "home", **ANY_PORT, KEYSVC_FAILED_AUTHENTICATIONS="3").start()
    with server.client("admin:wrong") as stranger:
        reasons = [refused(stranger, "ListMerchants").reason for _ in range(5)]
    assert ["UNAUTHENTICATED"] * 3 + ["TOO_MANY_FAILURES"] * 2 == reasons
    refused_calls = {"code": "RESOURCE_EXHAUSTED", "result": "TOO_MANY_FAILURES"}
    until(
        lambda: (
            2 == Metrics(server.log).value("keysvc_calls_total", rpc="MerchantService/ListMerchants", **refused_calls)
        )
    )
    metrics = Metrics(server.log)
    assert 2 == metrics.value("keysvc_failures_refused_total", kind="authentications")
    assert 0 == metrics.value("keysvc_failures_refused_total", kind="verifications")
    assert 0 == server.stop()


def test_every_metric_is_documented_and_every_documented_one_is_served(server: DevServer, client: Client) -> None:
    ask(client, "ListMerchants")
    served = {re.sub(r"_(bucket|count|sum)$", "", name) for name in Metrics(server.log).names()}
    ours = {name for name in served if name.startswith("keysvc_")}
    assert documented().keys() - {WITH_TLS} == ours
    assert {"process", "python"} == {name.partition("_")[0] for name in served - ours}


def test_types_and_labels_are_as_documented(server: DevServer, client: Client) -> None:
    ask(client, "ListMerchants")
    served = {
        f"{family.name}_total" if family.type == "counter" else family.name: (
            family.type,
            ", ".join(label for label in family.samples[0].labels if label != "le") or "none",
        )
        for family in Metrics(server.log).families
        if family.name.startswith("keysvc_")
    }
    told = {name: (kind, _in_order(labels)) for name, (kind, labels) in served.items()}
    assert documented() == {**told, WITH_TLS: ("gauge", "none")}


def _in_order(labels: str) -> str:
    """As the document has them: the exposition sorts them by name."""
    return {"code, result, rpc": "rpc, code, result"}.get(labels, labels)


def test_the_port_is_closed_when_the_process_has_ended_and_there_is_none_unless_asked_for(tmp_path: Path) -> None:
    server = DevServer(tmp_path / "home", **ANY_PORT).start()
    assert "keysvc_epoch " in page_of(server.log)
    host, port = address_in(server.log)
    assert 0 == server.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, port), timeout=5)
    server._environment.pop("KEYSVC_METRICS_LISTEN")
    server.start()
    assert 1 == server.log.read_text().count("metrics.serving")
    assert 0 == server.stop()


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Production:
    made = Production(tmp_path_factory.mktemp("scraped") / "all")
    made.make_all()
    return made


def test_a_taken_port_is_told_in_one_line(production: Production) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run("serve", settings={**production.settings, "KEYSVC_METRICS_LISTEN": address})
    assert_refused(done, "KEYSVC_METRICS_LISTEN", address)


@pytest.mark.parametrize(
    "listen", ["nonsense", "127.0.0.1:x", "127.0.0.1:99999", "unix:/tmp/x", "no-such-host.invalid:0"]
)
def test_an_address_that_cannot_be_had_is_told_in_one_line(production: Production, listen: str) -> None:
    done = run("serve", settings={**production.settings, "KEYSVC_METRICS_LISTEN": listen})
    assert_refused(done, "KEYSVC_METRICS_LISTEN", listen)


@pytest.mark.long
def test_without_its_database_the_rest_is_still_told(tmp_path: Path) -> None:
    made = Production(tmp_path / "all")
    with stoppable_postgres() as postgres:
        settings = {**made.settings, **ANY_PORT, "KEYSVC_DATABASE_URL": postgres.new_database()}
        made.make_token()
        assert 0 == run("db", "upgrade", settings=settings).returncode
        done = run("init", "--admin-credentials", str(made.admin_credentials), settings=settings)
        assert 0 == done.returncode, done.stderr
        with serving("serve", settings, tmp_path) as running:
            assert "keysvc_audit_unsigned_events" in Metrics(running.output).names()
            postgres.stop()
            names = Metrics(running.output).names()
            assert "keysvc_audit_unsigned_events" not in names
            assert "keysvc_token_operations_total" in names
            until(lambda: 0 == Metrics(running.output).value("keysvc_serving"))
            postgres.start()
            until(lambda: "keysvc_audit_unsigned_events" in Metrics(running.output).names())
            until(lambda: 1 == Metrics(running.output).value("keysvc_serving"))
            assert 0 == running.stop()
