"""`keysvc-probe`: an exit code for who restarts containers and sends them calls, whatever certificate is shown."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import grpc
import pytest
import typer
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import HealthServicer
from support.certificates import LONG, Authority, Pair, dns
from support.healthcheck import NOT_SERVING, SERVING
from support.program import environment_of
from support.server import PROGRAM, DevServer
from typer.testing import CliRunner, Result

from keysvc.cli.probe import own_address, probe
from keysvc.cli.settings import Settings
from keysvc.model.errors import Misconfigured

ENCRYPTED = {"KEYSVC_TLS_CERTIFICATE": "server.pem", "KEYSVC_TLS_KEY": "server.key"}


def probed(listen: str, *arguments: str, **settings: str) -> Result:
    app = typer.Typer()
    app.command()(probe)
    return CliRunner().invoke(app, arguments, env={"KEYSVC_LISTEN": listen, **settings})


@contextmanager
def healthy_as(status: int, listen: str, pair: Pair | None = None) -> Iterator[str]:
    """A server that says so, and shows the certificate of `pair`; its address."""
    servicer = HealthServicer()
    servicer.set("", status)
    server = grpc.server(ThreadPoolExecutor(2))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    if pair is None:
        port = server.add_insecure_port(listen)
    else:
        port = server.add_secure_port(listen, grpc.ssl_server_credentials([(pair.key, pair.certificate)]))
    server.start()
    try:
        yield listen if listen.startswith("unix:") else f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def shown(*names: x509.GeneralName) -> Pair:
    """A server's certificate with these names and no other."""
    key = Authority()._key
    return Authority()._issue("server", names, ExtendedKeyUsageOID.SERVER_AUTH, (-LONG, LONG), key)


def test_the_program_tells_of_a_server_and_of_none(server: DevServer) -> None:
    program = PROGRAM.with_name("keysvc-probe")
    ended = [
        subprocess.run([program], env=environment_of({"KEYSVC_LISTEN": listen}), capture_output=True, check=False)
        for listen in (server.address, "127.0.0.1:1")
    ]
    assert [(0, b"SERVING\n"), (1, b"")] == [(done.returncode, done.stdout) for done in ended]
    assert b"" == ended[0].stderr
    wanted = b"keysvc-probe: keysvc does not answer on 127.0.0.1:1: is KEYSVC_LISTEN that of `keysvc serve`?\n"
    assert wanted == ended[1].stderr


def test_not_serving_is_told_apart_and_is_life() -> None:
    with healthy_as(NOT_SERVING, "127.0.0.1:0") as address:
        ready, alive = probed(address), probed(address, "--alive")
    assert (3, "NOT_SERVING\n") == (ready.exit_code, ready.output)
    assert (0, "NOT_SERVING\n") == (alive.exit_code, alive.output)


@pytest.mark.parametrize(
    "names",
    [(), (dns("keysvc.example"),), (dns("*.keysvc.example"),), (x509.IPAddress(ip_address("192.0.2.7")),)],
    ids=["none", "another", "any of a domain", "another address"],
)
def test_a_certificate_need_not_name_this_machine(names: tuple[x509.GeneralName, ...]) -> None:
    with healthy_as(SERVING, "127.0.0.1:0", shown(*names)) as address:
        ended = probed(address, **ENCRYPTED)
    assert (0, "SERVING\n") == (ended.exit_code, ended.output)


@pytest.mark.parametrize("pair", [None, shown(dns("localhost"))], ids=["in clear", "encrypted"])
def test_a_unix_socket(tmp_path: Path, pair: Pair | None) -> None:
    with healthy_as(SERVING, f"unix:{tmp_path / 's'}", pair) as address:
        assert 0 == probed(address, **(ENCRYPTED if pair else {})).exit_code


@pytest.mark.parametrize("settings", [{}, ENCRYPTED], ids=["in clear", "encrypted"])
def test_one_that_hangs_is_given_up_in_time(settings: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begin = time.monotonic()
        ended = probed(f"127.0.0.1:{silent.getsockname()[1]}", "--seconds", "0.3", **settings)
        assert time.monotonic() - begin < 2
    assert isinstance(ended.exception, Misconfigured)


@pytest.mark.parametrize(
    ("listen", "asked"),
    [
        ("0.0.0.0:50051", "127.0.0.1:50051"),
        ("[::]:50051", "[::1]:50051"),
        ("10.1.2.3:1", "10.1.2.3:1"),
        ("unix:/run/keysvc/socket", "unix:/run/keysvc/socket"),
    ],
)
def test_a_server_that_listens_everywhere_is_asked_on_loopback(listen: str, asked: str) -> None:
    assert asked == own_address(Settings(listen=listen))
