"""`keysvc dev`: what the first start makes, what later starts keep, and the line that it prints."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path

import grpc
import pytest
from support.asking import ask, refused, slot_of, verify_key, verify_mac
from support.outside import key_of, mac_of
from support.program import serving_anew
from support.server import Client, DevServer, FirstStart, refusal

QUICK_SECONDS = 10.0
"""\"In seconds\", on a machine that does other things too."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> DevServer:
    """Started and stopped again: what a first start leaves."""
    first = FirstStart(tmp_path_factory.mktemp("first") / "a" / "home")
    first.home.parent.mkdir()
    first.start()
    assert 0 == first.stop()
    return first


def test_the_first_start_writes_the_administrators_credentials(server: DevServer) -> None:
    file = server.home / "admin-credentials"
    assert re.fullmatch(rb"admin:[0-9A-F]{32}", file.read_bytes())
    assert 0o600 == file.stat().st_mode & 0o777


def test_nothing_of_the_home_is_open_to_others(server: DevServer) -> None:
    paths = [server.home, *server.home.rglob("*")]
    assert len(paths) > 8
    modes = {str(path): path.stat().st_mode & 0o777 for path in paths}
    expected = {str(path): 0o700 if path.is_dir() else 0o600 for path in paths}
    assert expected == modes


def test_no_half_made_file_is_left(server: DevServer) -> None:
    leftovers = [path for path in server.home.rglob("*") if path.suffix in (".new", ".pending")]
    assert [] == leftovers


def test_each_home_has_a_password_and_a_pin_of_its_own(server: DevServer, tmp_path: Path) -> None:
    other = FirstStart(tmp_path / "home").start()
    with other.client((server.home / "admin-credentials").read_text()) as stranger:
        told = refusal(lambda: ask(stranger, "ListMerchants"))
    assert grpc.StatusCode.UNAUTHENTICATED == told.code
    assert 0 == other.stop()
    for name in ("admin-credentials", "pin"):
        assert (server.home / name).read_text() != (other.home / name).read_text()


def test_a_restart_keeps_all_state_takes_seconds_and_logs_no_secret(tmp_path: Path) -> None:
    server = DevServer(tmp_path / "home").start()
    credentials = (server.home / "admin-credentials").read_text()
    with server.client() as client:
        merchant = client.active_merchant("m")
        told = {slot: ask(client, "CreateCredential", name=slot_of(merchant, slot)) for slot in
                ("primary-hmac-key", "api-password", "encryption-password")}  # fmt: skip
        ciphertext = ask(client, "Encrypt", name=slot_of(merchant, "encryption-password"), plaintext=b"p").ciphertext
        import_key = ask(client, "GetImportKey").public_key
        ask(client, "SuspendMerchant", name=client.active_merchant("suspended"))
    for end in (server.stop, server.kill):
        end()
        began = time.monotonic()
        server.start()
        assert time.monotonic() - began < QUICK_SECONDS
        with server.client(credentials) as client:
            for each in told.values():
                viewed = ask(client, "GetCredential", name=each.credential.name)
                viewed.ClearField("last_used_time")
                assert each.credential == viewed
            mac = mac_of(key_of(told["primary-hmac-key"].secret.value, "HEX"), b"m")
            assert "VALID" == verify_mac(client, merchant, b"m", mac)
            password = told["api-password"].secret.value
            assert "VALID" == verify_key(client, slot_of(merchant, "api-password"), password)
            opened = ask(client, "Decrypt", name=slot_of(merchant, "encryption-password"), ciphertext=ciphertext)
            assert b"p" == opened.plaintext
            assert import_key == ask(client, "GetImportKey").public_key
            assert "MERCHANT_NOT_ACTIVE" == verify_mac(client, "merchants/suspended", b"m", b"x")
    assert credentials == (server.home / "admin-credentials").read_text()
    assert 0 == server.stop()
    hidden = [credentials.removeprefix("admin:"), (server.home / "pin").read_text()]
    hidden += [each.secret.value for each in told.values()]
    assert [] == [secret for secret in hidden if secret in server.log.read_text()]


def test_lost_credentials_are_replaced_at_the_next_start(tmp_path: Path) -> None:
    server = DevServer(tmp_path / "home").start()
    lost = (server.home / "admin-credentials").read_text()
    server.stop()
    (server.home / "admin-credentials").unlink()
    server.start()
    with server.client(lost) as client:
        assert "UNAUTHENTICATED" == refused(client, "ListMerchants").reason
    with server.client() as client:
        ask(client, "ListMerchants")
    assert 0 == server.stop()


def printed_line(output: str) -> str:
    [line] = [line for line in output.splitlines() if "grpcurl" in line]
    return line.strip()


def assert_line_works(line: str, directory: Path) -> None:
    done = subprocess.run(["sh", "-c", line], cwd=directory, capture_output=True, text=True, check=False, timeout=30)
    assert (0, "") == (done.returncode, done.stderr)
    assert {} == json.loads(done.stdout)


def test_the_printed_line_works_as_printed(tmp_path: Path) -> None:
    """Where the program was started, with all state in ./var."""
    with serving_anew("dev", {"KEYSVC_LISTEN": "127.0.0.1:0"}, tmp_path) as running:
        line = printed_line(running.output.read_text())
        assert_line_works(line, tmp_path)
        assert 0 == running.stop()
    assert "< var/admin-credentials" in line


def test_the_printed_line_works_with_a_home_that_a_shell_would_split(tmp_path: Path) -> None:
    home = tmp_path / "it's my $HOME; really (100%)?"
    with serving_anew("dev", {"KEYSVC_LISTEN": "127.0.0.1:0", "KEYSVC_HOME": str(home)}, tmp_path) as running:
        assert_line_works(printed_line(running.output.read_text()), tmp_path)
        assert 0 == running.stop()
    assert (home / "keysvc.db").is_file()


def test_a_unix_socket_serves_and_is_gone_after(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/socket"
    with serving_anew("dev", {"KEYSVC_LISTEN": address}, tmp_path) as running:
        assert address == running.address
        assert_line_works(printed_line(running.output.read_text()), tmp_path)
        with Client(address, (tmp_path / "var" / "admin-credentials").read_text()) as client:
            assert "merchants/m" == client.active_merchant("m")
        assert 0 == running.stop()
    assert not (tmp_path / "socket").exists()
