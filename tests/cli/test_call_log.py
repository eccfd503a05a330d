"""The lines of calls: one a call, whole, and with nothing in them but names."""

from __future__ import annotations

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.asking import ask, refused, slot_of, verify_key, verify_mac
from support.production import Production
from support.program import serving
from support.server import Client, DevServer
from support.waiting import until

from keysvc.cli import call_log, logs
from keysvc.cli.call_log import Batch, CallFeed, CallLog
from keysvc.rpc.observation import CallLine

LINE = CallLine(1790985906.5, "CredentialService/VerifyHmac", "principals/a", "merchants/m", "VALID", "OK", 0.00123, "")


def number_of(line: CallLine) -> str:
    return line.request_id


def numbered(number: int) -> CallLine:
    return LINE._replace(request_id=str(number))


class Sink:
    """Takes batches, and can refuse them, or hold them up."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.broken = False
        self.open = threading.Event()
        self.open.set()

    def write(self, lines: bytes) -> None:
        self.open.wait(20)
        if self.broken:
            raise BrokenPipeError
        self.batches.append(lines.decode().split("\n"))

    @property
    def lines(self) -> list[str]:
        return [line for batch in self.batches for line in batch]


def test_what_calls_tell_is_handed_on_in_its_order_and_many_at_a_time() -> None:
    taken: list[Batch] = []
    also: list[Batch] = []
    feed = CallFeed(taken.append, also.append)
    feed.start()
    for number in range(1000):
        feed.put(numbered(number))
    feed.stop()
    assert [numbered(number) for number in range(1000)] == [line for batch in taken for line in batch]
    assert len(taken) < 100
    assert taken == also


def test_no_call_of_many_threads_is_lost() -> None:
    taken: list[Batch] = []
    feed = CallFeed(taken.append)
    feed.start()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: [feed.put(numbered(number)) for _ in range(2000)], range(8)))
    feed.stop()
    assert 16_000 == sum(len(batch) for batch in taken)


def test_a_call_is_handed_on_soon_without_another() -> None:
    taken: list[Batch] = []
    feed = CallFeed(taken.append)
    feed.start()
    feed.put(numbered(1))
    until(lambda: [[numbered(1)]] == taken, 2)
    feed.stop()


def test_batches_are_written_in_their_order() -> None:
    sink = Sink()
    log = CallLog(number_of, sink.write)
    log.start()
    for number in range(10):
        log.put([numbered(number), numbered(number)])
    log.stop()
    assert [str(number // 2) for number in range(20)] == sink.lines
    assert 0 == log.lost


def test_calls_go_on_while_stderr_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is more than may wait is lost, and counted; the rest is written once it can be."""
    monkeypatch.setattr(call_log, "MAX_WAITING", 100)
    sink = Sink()
    sink.open.clear()
    log = CallLog(number_of, sink.write)
    log.start()
    for number in range(300):
        log.put([numbered(number), numbered(number), numbered(number)])
    assert [] == sink.batches
    assert 800 == log.lost
    sink.open.set()
    log.stop()
    assert 100 == len(sink.lines)


def test_lines_are_written_again_after_stderr_was_broken() -> None:
    sink = Sink()
    sink.broken = True
    log = CallLog(number_of, sink.write)
    log.start()
    log.put([numbered(1)])
    until(lambda: 1 == log.lost)
    sink.broken = False
    log.put([numbered(2)])
    log.stop()
    assert ["2"] == sink.lines


def test_a_line_is_one_json_object_for_machines() -> None:
    expected = {
        "event": "call", "rpc": "CredentialService/VerifyHmac", "principal": "principals/a",
        "resource": "merchants/m", "result": "VALID", "code": "OK", "ms": 1.23,
        "level": "info", "timestamp": "2026-10-03T00:05:06.500Z",
    }  # fmt: skip
    assert expected == json.loads(logs.call_as_json(LINE))
    assert {**expected, "request_id": "r-1"} == json.loads(logs.call_as_json(LINE._replace(request_id="r-1")))


def test_no_text_can_break_out_of_its_json_line() -> None:
    nasty = 'a"b\\c\nd\x00é\ud800'
    written = logs.call_as_json(CallLine(0.0, nasty, nasty, nasty, nasty, nasty, 0.0, nasty))
    assert written.isascii()
    assert written.isprintable()
    fields: dict[str, Any] = json.loads(written)
    assert {nasty} == {fields[name] for name in ("rpc", "principal", "resource", "result", "code", "request_id")}


def test_a_line_reads_well_for_people() -> None:
    line = LINE._replace(request_id="r-1")
    assert (
        "2026-10-03T00:05:06.500Z [info     ] CredentialService/VerifyHmac VALID on merchants/m"
        " by principals/a in 1.23 ms, request_id r-1"
    ) == logs.call_as_text(line)
    assert "by nobody known in" in logs.call_as_text(LINE._replace(principal=""))


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Production:
    made = Production(tmp_path_factory.mktemp("logging") / "all")
    made.make_all()
    return made


def call_lines(output: Path) -> list[dict[str, Any]]:
    """Every line of the output parses; those of calls are returned."""
    lines = [json.loads(line) for line in output.read_text().splitlines() if not line.startswith("serving on ")]
    return [line for line in lines if line["event"] == "call"]


def test_serve_writes_one_line_a_call_and_no_secret(production: Production) -> None:
    planted = "pl4nted"
    with serving("serve", production.settings, production.directory) as running:
        credentials = production.admin_credentials.read_text()
        with Client(running.address, credentials) as client:
            merchant = client.active_merchant("m")
            name = slot_of(merchant, "primary-hmac-key")
            hidden = [planted, credentials.partition(":")[2]]
            hidden.append(ask(client, "CreateCredential", name=name, request_id="r-1").secret.value)
            api_key = slot_of(merchant, "primary-rest-api-key")
            hidden.append(ask(client, "CreateCredential", name=api_key).secret.value)
            mac = ask(client, "GenerateHmac", name=name, message=planted.encode()).mac
            hidden.append(mac.hex())
            assert "VALID" == verify_mac(client, merchant, planted.encode(), mac)
            assert "INVALID" == verify_mac(client, merchant, planted.encode(), planted.encode())
            assert "INVALID" == verify_key(client, api_key, planted)
            assert "INVALID_FIELD" == refused(client, "GetMerchant", name=f"{planted}!").reason
            client.metadata = (*client.metadata, ("x-secret", planted))
            assert "SLOT_OCCUPIED" == refused(client, "CreateCredential", name=name, request_id="r-2").reason
            assert (
                "INVALID_FIELD"
                == refused(client, "CreateCredential", name=name, request_id=f"{planted} is no id").reason
            )
        with Client(running.address, f"admin:{planted}") as stranger:
            assert "UNAUTHENTICATED" == refused(stranger, "ListMerchants").reason
        assert 0 == running.stop()
    told = [
        (line["rpc"].partition("/")[2], line["principal"], line["resource"], line["result"], line["code"])
        for line in call_lines(running.output)
    ]
    admin = "principals/admin"
    assert [
        ("CreateMerchant", admin, merchant, "OK", "OK"),
        ("ActivateMerchant", admin, merchant, "OK", "OK"),
        ("CreateCredential", admin, name, "OK", "OK"),
        ("CreateCredential", admin, api_key, "OK", "OK"),
        ("GenerateHmac", admin, name, "OK", "OK"),
        ("VerifyHmac", admin, merchant, "VALID", "OK"),
        ("VerifyHmac", admin, merchant, "INVALID", "OK"),
        ("VerifyApiKey", admin, api_key, "INVALID", "OK"),
        ("GetMerchant", admin, "", "INVALID_FIELD", "INVALID_ARGUMENT"),
        ("CreateCredential", admin, name, "SLOT_OCCUPIED", "ALREADY_EXISTS"),
        ("CreateCredential", admin, name, "INVALID_FIELD", "INVALID_ARGUMENT"),
        ("ListMerchants", "", "", "UNAUTHENTICATED", "UNAUTHENTICATED"),
    ] == told
    assert ["r-1", "r-2"] == [line["request_id"] for line in call_lines(running.output) if "request_id" in line]
    assert [] == [secret for secret in hidden if secret in running.output.read_text()]


def test_lines_of_many_threads_never_run_into_each_other(production: Production) -> None:
    with serving("serve", production.settings, production.directory) as running:
        with Client(running.address, production.admin_credentials.read_text()) as client, ThreadPoolExecutor(8) as pool:

            def call_often(_: int) -> None:
                for _ in range(50):
                    ask(client, "ListMerchants")

            list(pool.map(call_often, range(8)))
        assert 0 == running.stop()
    lines = call_lines(running.output)
    assert 400 == len(lines)
    assert all(0 < line["ms"] < 60_000 for line in lines)


def test_dev_writes_a_line_that_a_person_can_read(tmp_path: Path) -> None:
    server = DevServer(tmp_path / "home").start()
    with server.client() as client:
        client.active_merchant("m")
    assert 0 == server.stop()
    assert re.search(
        r"\[info +\] MerchantService/ActivateMerchant OK on merchants/m by principals/admin in [\d.]+ ms$",
        server.log.read_text(),
        flags=re.MULTILINE,
    )


def test_no_line_of_a_call_is_written_where_none_is_wanted(tmp_path: Path) -> None:
    server = DevServer(tmp_path / "home", KEYSVC_LOG_CALLS="false").start()
    with server.client() as client:
        client.active_merchant("m")
    assert 0 == server.stop()
    assert "MerchantService" not in server.log.read_text().replace("keysvc.v1.MerchantService/ListMerchants", "")
    assert "health.changed" in server.log.read_text()
