"""`keysvc serve --workers`: several processes on one port. One that dies is replaced; when they end no call is lost."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.asking import ask
from support.certificates import Authority, uri
from support.encrypted import Encrypted, trusting
from support.production import Production
from support.program import Running, assert_refused, run, serving, serving_anew
from support.server import Client
from support.waiting import until

from cli.calling import RECONNECT_SECONDS, Calling
from keysvc.cli.cores import cores_of
from keysvc.client import Basic
from keysvc.client import Client as RetryingClient

WORKERS = 2


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Production:
    made = Production(tmp_path_factory.mktemp("workers") / "all")
    made.make_all()
    return made


@pytest.fixture(scope="module")
def service(production: Production) -> Iterator[Running]:
    """Served by two workers, with metrics."""
    settings = {**production.settings, "KEYSVC_METRICS_LISTEN": f"127.0.0.1:{two_free_ports()}"}
    with serving_anew(f"serve --workers {WORKERS}", settings, production.directory) as running:
        yield running


@pytest.fixture
def admin(service: Running, production: Production) -> Iterator[Client]:
    with Client(service.address, production.admin_credentials.read_text()) as client:
        yield client


def two_free_ports() -> int:
    """The lower of two that follow each other."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            try:
                other.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


def logged(running: Running, event: str) -> list[dict[str, Any]]:
    written = running.output.read_text().rpartition("\n")[0]  # the last line may not be whole yet
    lines = [line for line in written.splitlines() if line.startswith("{")]
    return [entry for entry in map(json.loads, lines) if entry["event"] == event]


def pids(running: Running) -> dict[int, int]:
    """Of the workers, by their numbers, as the log tells."""
    return {entry["worker"]: entry["pid"] for entry in logged(running, "worker.serving")}


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_every_worker_answers_on_the_one_port_and_has_its_own_log_lines_and_metrics(
    service: Running, admin: Client, production: Production
) -> None:
    with Calling(service.address, admin, "port") as calling:
        calling.wait_for(200, "anew")
    assert {} == calling.failed
    until(lambda: {1, 2} == {entry.get("worker") for entry in logged(service, "call")})
    port = int(
        re.findall(r'"address":"127.0.0.1:(\d+)"', json.dumps(logged(service, "metrics.serving")).replace(" ", ""))[0]
    )
    counted = [
        urllib.request.urlopen(f"http://127.0.0.1:{port + number}/metrics").read().decode() for number in range(2)
    ]
    assert [True, True] == ["keysvc_calls_total{" in text for text in counted]


def test_all_threads_of_a_worker_are_on_its_cores(service: Running) -> None:
    allowed = os.sched_getaffinity(service.process.pid)
    for number, pid in pids(service).items():
        threads = [os.sched_getaffinity(int(thread.name)) for thread in Path(f"/proc/{pid}/task").iterdir()]
        assert [cores_of(number, WORKERS, allowed)] * len(threads) == threads


def test_a_worker_that_is_killed_is_replaced_while_calls_go_on(
    service: Running, admin: Client, production: Production
) -> None:
    before = pids(service)
    credentials = Basic.parse(production.admin_credentials.read_text(), "")
    name = admin.active_merchant("killed")
    with RetryingClient(service.address, credentials) as client:
        os.kill(before[1], signal.SIGKILL)
        until(lambda: client.call("MerchantService/GetMerchant", {"name": name}) and before[1] != pids(service)[1])
    assert (before[2], True) == (pids(service)[2], is_alive(pids(service)[1]))
    [died] = logged(service, "worker.died")
    assert (1, before[1], -signal.SIGKILL) == (died["worker"], died["pid"], died["code"])


def test_a_rolling_restart_of_the_workers_fails_no_call(service: Running, admin: Client) -> None:
    """Of clients that try nothing again: on connections that stay, on new ones, and of changes."""
    before = pids(service)
    with Calling(service.address, admin, "rolled") as calling:
        calling.wait_for(20, "anew")
        service.process.send_signal(signal.SIGHUP)
        until(lambda: logged(service, "workers.rolled") != [], 60)
        calling.wait_for(20, "anew")
    assert {} == calling.failed
    assert {1, 2} == {number for number, pid in pids(service).items() if pid != before[number]}


def test_sigterm_under_load_drops_no_call_and_ends_all_well(
    production: Production, service: Running, admin: Client
) -> None:
    """Last of those that use the service: it ends it. What comes later is refused, and never cut off midway.

    Workers are told more than once, as who stops a whole group of processes tells them."""
    workers = pids(service)
    with Calling(service.address, admin, "ended") as calling:
        calling.wait_for(50, "staying")
        service.process.send_signal(signal.SIGTERM)
        for _ in range(3):
            time.sleep(0.1)
            for pid in filter(is_alive, workers.values()):
                os.kill(pid, signal.SIGTERM)
        assert 0 == service.process.wait(30)
        calling.wait_for_failures(1)
    cut_off = [told for told in calling.failed if "UNAVAILABLE" not in told or "Connection refused" not in told]
    assert [] == cut_off
    assert [] == [pid for pid in pids(service).values() if is_alive(pid)]


@pytest.mark.long
def test_over_tls_both_addresses_are_shared_and_a_wrong_pin_is_not_tried_twice_and_workers_end_with_their_parent(
    production: Production, tmp_path: Path
) -> None:
    encrypted = Encrypted(production, Authority("servers"), Authority("clients"))
    encrypted.write_certificates()
    pin = tmp_path / "pin"
    pin.touch(mode=0o600)
    pin.write_bytes(Path(production.settings["KEYSVC_PIN_FILE"]).read_bytes())
    with encrypted.serving(KEYSVC_PIN_FILE=str(pin), KEYSVC_WORKERS="2") as running:
        pin.write_text("wrong-pin-1234")
        workers = pids(running)
        assert {1, 2} == set(workers)
        os.kill(workers[1], signal.SIGKILL)
        until(lambda: logged(running, "worker.given_up") != [])
        certificate = encrypted.clients.client(uri("spiffe://test/anybody"))
        credentials = production.admin_credentials.read_text()
        with encrypted.admin(running) as by_password:
            ask(by_password, "ListMerchants")
        with Client(running.mtls_address, credentials, trusting(encrypted.servers.pem, certificate)) as certified:
            ask(certified, "ListMerchants")
        running.process.kill()
        until(lambda: not is_alive(workers[2]))
    assert 1 == running.output.read_text().count("keysvc: The PIN is not that of token")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("KEYSVC_LISTEN", "unix:/tmp/keysvc.socket", ("KEYSVC_LISTEN", "unix:/tmp/keysvc.socket", "worker")),
        ("KEYSVC_LISTEN", "127.0.0.1:{taken}", ("KEYSVC_LISTEN", "127.0.0.1:{taken}", "taken")),
        ("KEYSVC_METRICS_LISTEN", "127.0.0.1:65535", ("KEYSVC_METRICS_LISTEN", "127.0.0.1:65535")),
        ("KEYSVC_WORKERS", "65", ("KEYSVC_WORKERS",)),
        ("KEYSVC_DATABASE_URL", "sqlite:////nowhere/at/all/keysvc.db", ("database",)),
        ("KEYSVC_PIN_FILE", "/nowhere/at/all/pin", ("KEYSVC_PIN_FILE",)),
        ("KEYSVC_TOKEN_LABEL", "another", ("KEYSVC_TOKEN_LABEL", "'another'")),
        ("KEYSVC_TLS_KEY", "/nowhere/at/all/key", ("KEYSVC_TLS_CERTIFICATE",)),
    ],
)
def test_a_setting_that_cannot_be_used_is_told_in_one_line(
    production: Production, name: str, value: str, words: tuple[str, ...]
) -> None:
    """Also where only the first worker can know."""
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # one that would share
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        taken = stranger.getsockname()[1]
        settings = {"KEYSVC_WORKERS": "2", **production.settings, name: value.format(taken=taken)}
        done = run("serve", settings=settings)
    assert_refused(done, *(word.format(taken=taken) for word in words))


@pytest.mark.long
def test_two_replicas_restarted_one_after_another_fail_no_call(production: Production, tmp_path: Path) -> None:
    """`keysvc serve` twice on one database and token; clients have both addresses, and try nothing again."""
    with (
        serving("serve", production.settings, tmp_path) as one,
        serving("serve", production.settings, tmp_path) as other,
    ):
        target = f"ipv4:{one.address},{other.address}"
        credentials = production.admin_credentials.read_text()
        with Client(one.address, credentials) as admin, Calling(target, admin, "replicas") as calling:
            calling.wait_for(20, "anew")
            assert 0 == one.stop()
            calling.wait_for(20, "anew")
            with serving("serve", {**production.settings, "KEYSVC_LISTEN": one.address}, tmp_path):
                time.sleep(5 * RECONNECT_SECONDS)  # until all have found it again
                assert 0 == other.stop()
                calling.wait_for(20, "anew")
                calling.end()
    assert {} == calling.failed
