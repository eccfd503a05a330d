"""How the commands that work over gRPC find keysvc and prove who asks; a failure is one line that says what to do."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.asking import ask
from support.certificates import Authority
from support.program import Running, run, serving
from support.server import Client, DevServer

from cli.walking import invoke, settings_of
from keysvc.cli import remote
from keysvc.client import CallFailed
from keysvc.model.errors import Misconfigured


def told(settings: dict[str, str], *arguments: str) -> str:
    """What the program would say, and end with 1."""
    ended = invoke(settings, *arguments)
    assert isinstance(ended.exception, Misconfigured), ended.output
    assert "" == ended.output
    return ended.exception.message


@pytest.mark.parametrize(
    "command", [("status", "--merchant", "none-such"), ("rotate", "none-such", "--secret-file", "secret")]
)
def test_an_unknown_merchant(server: DevServer, command: tuple[str, ...]) -> None:
    assert "There is no merchant none-such (NOT_FOUND)" == told(settings_of(server), *command)


def test_a_merchant_may_be_named_in_full(server: DevServer, merchant: str) -> None:
    assert 0 == invoke(settings_of(server), "status", "--merchant", merchant).exit_code


def test_something_that_is_no_merchant(server: DevServer) -> None:
    assert "(INVALID_FIELD)" in told(settings_of(server), "status", "--merchant", "m/credentials/x")


def credentials(directory: Path, text: str, mode: int = 0o600) -> dict[str, str]:
    file = directory / "credentials"
    file.write_text(text)
    file.chmod(mode)
    return {"KEYSVC_CREDENTIALS_FILE": str(file)}


def test_a_wrong_password(server: DevServer, tmp_path: Path) -> None:
    settings = {**settings_of(server), **credentials(tmp_path, "admin:wrong")}
    assert "(UNAUTHENTICATED)" in told(settings, "status")
    assert "wrong" not in told(settings, "status")


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        ("admin:password", 0o644, "can be read by others: chmod 600 it"),
        ("admin", 0o600, "does not hold NAME:PASSWORD. Set KEYSVC_CREDENTIALS_FILE"),
        (":password", 0o600, "does not hold NAME:PASSWORD"),
        ("admin:", 0o600, "does not hold NAME:PASSWORD"),
    ],
)
def test_a_credentials_file_that_cannot_be_used(
    server: DevServer, tmp_path: Path, text: str, mode: int, words: str
) -> None:
    message = told({**settings_of(server), **credentials(tmp_path, text, mode)}, "status")
    assert words in message
    assert "password" not in message


def test_no_credentials_file(server: DevServer, tmp_path: Path) -> None:
    message = told({**settings_of(server), "KEYSVC_HOME": str(tmp_path)}, "status")
    assert f"Cannot read the credentials file {tmp_path}/admin-credentials" in message
    assert message.endswith("Set KEYSVC_CREDENTIALS_FILE")


def test_nobody_listens(server: DevServer) -> None:
    """As the program itself ends: one line, exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    done = run("status", settings={**settings_of(server), "KEYSVC_ADDRESS": address})
    assert (1, "") == (done.returncode, done.stdout)
    assert f"keysvc: keysvc does not answer on {address}: is it running there? Set KEYSVC_ADDRESS" in done.stderr
    assert 1 == done.stderr.count("\n")


def test_an_address_off_loopback_needs_tls(server: DevServer) -> None:
    """The password would cross the network in clear: nothing is sent."""
    message = told({**settings_of(server), "KEYSVC_ADDRESS": "192.0.2.1:50051"}, "status")
    assert "192.0.2.1:50051 is not on loopback, so it needs TLS: set KEYSVC_CA" == message


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """`keysvc dev --tls`, with its home in `var`."""
    settings = {"KEYSVC_LISTEN": "127.0.0.1:0", "KEYSVC_MTLS_LISTEN": "127.0.0.1:0"}
    with serving("dev --tls", settings, tmp_path_factory.mktemp("tls")) as running:
        yield running
        assert 0 == running.stop()


def tls_files(running: Running) -> Path:
    return running.output.parent / "var" / "tls"


def by_password(running: Running) -> dict[str, str]:
    return {
        "KEYSVC_HOME": str(running.output.parent / "var"),
        "KEYSVC_ADDRESS": running.address,
        "KEYSVC_CA": str(tls_files(running) / "ca.pem"),
    }


def by_certificate(running: Running) -> dict[str, str]:
    """With no password at hand."""
    files = tls_files(running)
    return {
        "KEYSVC_HOME": "none",
        "KEYSVC_ADDRESS": running.mtls_address,
        "KEYSVC_CA": str(files / "ca.pem"),
        "KEYSVC_CLIENT_CERTIFICATE": str(files / "admin.pem"),
        "KEYSVC_CLIENT_KEY": str(files / "admin.key"),
    }


@pytest.mark.parametrize("proof", [by_password, by_certificate])
def test_over_tls(encrypted: Running, proof: object) -> None:
    assert callable(proof)
    ended = invoke(proof(encrypted), "status")
    assert 0 == ended.exit_code, ended.exception
    assert ended.output.startswith("merchants\t0\n")


def test_a_password_counts_before_the_certificate(encrypted: Running, tmp_path: Path) -> None:
    settings = {**by_certificate(encrypted), **credentials(tmp_path, "admin:wrong")}
    assert "(UNAUTHENTICATED)" in told(settings, "status")


@pytest.mark.parametrize("ca", ["missing", "another"])
def test_a_server_that_is_not_proved_is_not_asked(encrypted: Running, tmp_path: Path, ca: str) -> None:
    settings = by_password(encrypted)
    settings.pop("KEYSVC_CA")
    if ca == "another":
        settings["KEYSVC_CA"] = str(Authority().write(tmp_path / "ca.pem"))
    message = told(settings, "status")
    assert "does not answer" in message
    assert message.endswith("with TLS, KEYSVC_CA too")


@pytest.mark.parametrize(("given", "missing"), [("CERTIFICATE", "KEY"), ("KEY", "CERTIFICATE")])
def test_half_a_pair(encrypted: Running, given: str, missing: str) -> None:
    settings = by_certificate(encrypted)
    settings.pop(f"KEYSVC_CLIENT_{missing}")
    assert f"Set KEYSVC_CLIENT_{missing} too: a certificate and its key go together" == told(settings, "status")


def test_a_client_key_that_others_can_read(encrypted: Running, tmp_path: Path) -> None:
    open_to_all = tmp_path / "admin.key"
    open_to_all.write_bytes((tls_files(encrypted) / "admin.key").read_bytes())
    open_to_all.chmod(0o644)
    message = told({**by_certificate(encrypted), "KEYSVC_CLIENT_KEY": str(open_to_all)}, "status")
    assert f"The client key {open_to_all} can be read by others: chmod 600 it" == message


def test_a_ca_that_is_not_there(server: DevServer) -> None:
    message = told({**settings_of(server), "KEYSVC_CA": "none-such.pem"}, "status")
    assert "Cannot read none-such.pem: No such file or directory" == message


@pytest.mark.parametrize(
    ("failed", "words"),
    [
        (CallFailed("NOT_FOUND", "There is none", "NOT_FOUND"), "There is none (NOT_FOUND)"),
        (CallFailed("UNAVAILABLE", "The token is gone", "HSM_UNAVAILABLE"), "The token is gone (HSM_UNAVAILABLE)"),
        (CallFailed("UNAVAILABLE", "connect failed"), "keysvc does not answer on there: is it running there?"),
        (CallFailed("DEADLINE_EXCEEDED", "too late"), "The call failed with DEADLINE_EXCEEDED: too late"),
    ],
)
def test_a_failed_call_is_told_by_its_reason_or_else_its_code(failed: CallFailed, words: str) -> None:
    assert remote._told(failed, "there").startswith(words)


def test_a_caller_without_the_right(server: DevServer, client: Client, merchant: str, tmp_path: Path) -> None:
    """A SERVICE verifies, and sees nothing."""
    name = f"viewer-of-{merchant.removeprefix('merchants/')}"
    made = ask(client, "CreatePrincipal", principal_id=name, principal={"kind": "SERVICE", "merchants": [merchant]})
    settings = {**settings_of(server), **credentials(tmp_path, f"{name}:{made.password}")}
    assert "(PERMISSION_DENIED)" in told(settings, "status", "--merchant", merchant)
